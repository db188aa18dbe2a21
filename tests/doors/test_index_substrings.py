"""FM-indexes through an unmodified client: what they take, and that they find what a scan finds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient, MilvusException
from serving import served

TEXTS = [
    "stadium",
    "100%done",
    "under_score",
    "back\\slash",
    "中文测试数据",
    "emoji😀测试",
    "",
    None,
    "req-1-error-2",
    "y" * 99,
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusClient]:
    lake: Path = tmp_path_factory.mktemp("lake")
    with served(lake) as address:
        made = MilvusClient(address)
        schema = made.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("v", DataType.FLOAT_VECTOR, dim=4)
        for name in ("indexed", "scanned", "other"):
            schema.add_field(name, DataType.VARCHAR, max_length=200, nullable=True)
        schema.add_field("number", DataType.INT64, nullable=True)
        schema.add_field("document", DataType.JSON, nullable=True)
        inside = made.create_struct_field_schema()
        inside.add_field("word", DataType.VARCHAR, max_length=20)
        schema.add_field(
            "words", DataType.ARRAY, element_type=DataType.STRUCT, struct_schema=inside, max_capacity=4
        )
        made.create_collection("c", schema=schema)
        rows = [
            {"id": i, "v": [i] * 4, "indexed": text, "scanned": text, "words": []}
            for i in range(2000)
            for text in [TEXTS[i % len(TEXTS)]]
        ]
        made.insert("c", rows)
        made.flush("c")
        wanted = made.prepare_index_params()
        wanted.add_index("v", index_type="FLAT", metric_type="L2")
        wanted.add_index("indexed", index_type="FMINDEX", params={"fm_sa_sample_rate": 32})
        made.create_index("c", wanted)
        made.load_collection("c")
        made.insert("c", [{**row, "id": row["id"] + 5000} for row in rows[:100]])
        yield made
        made.close()


def create(client: MilvusClient, field: str, **params: Any) -> dict[str, Any]:
    wanted = client.prepare_index_params()
    wanted.add_index(field, index_type="FMINDEX", index_name="one", params=params)
    client.create_index("c", wanted, sync=False)
    found = dict(client.describe_index("c", "one"))
    client.drop_index("c", "one")
    return found


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"fm_sa_sample_rate": 4},
        {"fm_sa_sample_rate": 256},
        {"fm_block_bytes": 8},
        {"fm_block_bytes": 128},
    ],
)
def test_an_index_of_substrings_is_described_as_it_was_asked_for(
    client: MilvusClient, params: dict[str, int]
) -> None:
    found = create(client, "other", **params)
    assert found["index_type"] == "FMINDEX"
    assert {name: found[name] for name in params} == {name: str(one) for name, one in params.items()}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"fm_sa_sample_rate": 3}, "fm_sa_sample_rate for FM-index must be in [4, 256], got: 3"),
        ({"fm_sa_sample_rate": 257}, "fm_sa_sample_rate for FM-index must be in [4, 256], got: 257"),
        ({"fm_sa_sample_rate": "abc"}, "fm_sa_sample_rate for FM-index must be an integer, got: abc"),
        ({"fm_block_bytes": 4}, "fm_block_bytes for FM-index must be a power of two in [8, 128], got: 4"),
        ({"fm_block_bytes": 24}, "fm_block_bytes for FM-index must be a power of two in [8, 128], got: 24"),
    ],
)
def test_wrong_sizes_are_refused(client: MilvusClient, params: dict[str, Any], words: str) -> None:
    with pytest.raises(MilvusException) as raised:
        create(client, "other", **params)
    assert raised.value.code == 1100
    assert words in raised.value.message


@pytest.mark.parametrize("field", ["number", "document", "words[word]"])
def test_only_texts_have_one(client: MilvusClient, field: str) -> None:
    with pytest.raises(MilvusException) as raised:
        create(client, field)
    assert raised.value.code == 1100
    assert "FM-index can only be created on VARCHAR field" in raised.value.message


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ('like "sta%"', {0}),
        ('like "%ium"', {0}),
        ('like "%adi%"', {0}),
        ('like "zzz%"', set()),
        ('like "%测试%"', {4, 5}),
        ('like "%😀%"', {5}),
        ('like "%"', set(range(10)) - {7}),
        ('like ""', {6}),
        ('like "%y%"', {9}),
        ('like "req-%error%"', {8}),
        ('like "req-_-error-_"', {8}),
        ('=~ "req-.-error-."', {8}),
        (r'like r"%\%%"', {1}),
        (r'like r"%\_%"', {2}),
        (r'like r"%\\%"', {3}),
        ('== "stadium"', {0}),
    ],
)
def test_the_rows_of_a_scan_are_found(client: MilvusClient, condition: str, found: set[int]) -> None:
    for field in ("indexed", "scanned"):
        rows = client.query("c", f"{field} {condition}", ["id"], consistency_level="Strong")
        numbers = [row["id"] for row in rows]
        assert sorted(numbers) == [
            number for number in (*range(2000), *range(5000, 5100)) if number % 5000 % len(TEXTS) in found
        ]
