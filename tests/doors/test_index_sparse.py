"""How sparse indexes store their lists, as a client asks for it: checked, told again, and the same rows found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymilvus import DataType, Function, FunctionType, MilvusClient, MilvusException
from serving import served

STORED: list[dict[str, Any]] = [
    {"inverted_index_algo": "SINDI", "sindi_window_size": 1024},
    {"inverted_index_algo": "SINDI", "sindi_window_size": 65535},
    {"inverted_index_algo": "BLOCK_MAX_WAND", "block_max_block_size": 128},
    {"inverted_index_algo": "BLOCK_MAX_WAND", "block_max_block_size": -1},
    {"inverted_index_algo": "DAAT_MAXSCORE", "inverted_index_codec": "block_streamvbyte"},
    {"quant_type": "fp16"},
    {"quant_type": "fp32"},
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusClient]:
    lake: Path = tmp_path_factory.mktemp("lake")
    with served(lake) as address:
        made = MilvusClient(address)
        schema = made.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("words", DataType.SPARSE_FLOAT_VECTOR)
        schema.add_field("text", DataType.VARCHAR, max_length=200, enable_analyzer=True)
        schema.add_field("terms", DataType.SPARSE_FLOAT_VECTOR)
        schema.add_function(Function("bm25", FunctionType.BM25, ["text"], ["terms"]))
        made.create_collection("c", schema=schema)
        made.insert(
            "c", [{"id": i, "words": {1: 1500.0 - i, 2: 1.0}, "text": f"alpha {i}"} for i in range(1500)]
        )
        made.flush("c")
        yield made
        made.close()


def create(client: MilvusClient, field: str, metric: str, params: dict[str, Any]) -> dict[str, Any]:
    wanted = client.prepare_index_params()
    wanted.add_index(field, index_type="SPARSE_INVERTED_INDEX", metric_type=metric, params=params)
    client.create_index("c", wanted)
    return dict(client.describe_index("c", field))


@pytest.mark.parametrize("params", STORED)
def test_however_lists_are_stored_the_same_rows_are_found(
    client: MilvusClient, params: dict[str, Any], brief_waits: None
) -> None:
    found = create(client, "words", "IP", params)
    create(client, "terms", "BM25", {"quant_type": "u16"})
    assert {name: found[name] for name in params} == {name: str(one) for name, one in params.items()}
    client.load_collection("c")
    (hits,) = client.search("c", [{1: 1.0}], anns_field="words", limit=5, search_params={"metric_type": "IP"})
    assert [hit["id"] for hit in hits] == [0, 1, 2, 3, 4]
    client.release_collection("c")
    for name in client.list_indexes("c"):
        client.drop_index("c", name)


@pytest.mark.parametrize(
    ("field", "metric", "params", "words"),
    [
        ("words", "IP", {"quant_type": "u16"}, "quant_type u16 is not supported with metric type IP"),
        ("terms", "BM25", {"quant_type": "fp16"}, "quant_type fp16 is not supported with metric type BM25"),
        ("words", "IP", {"quant_type": "odd"}, "supported: [fp32 fp16]"),
        ("terms", "BM25", {"quant_type": "odd"}, "supported: [u32 u16]"),
        (
            "words",
            "IP",
            {"inverted_index_algo": "SINDI", "sindi_window_size": 512},
            "param 'sindi_window_size' (512) should be in range [1024, 65535]",
        ),
        ("words", "IP", {"sindi_window_size": 65536}, "param 'sindi_window_size' (65536) should be in range"),
    ],
)
def test_lists_that_cannot_be_stored_so_are_refused(
    client: MilvusClient, field: str, metric: str, params: dict[str, Any], words: str
) -> None:
    with pytest.raises(MilvusException) as raised:
        create(client, field, metric, params)
    assert raised.value.code == 1100
    assert words in raised.value.message
    assert client.list_indexes("c") == []
