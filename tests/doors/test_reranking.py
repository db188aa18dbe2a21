"""Declared rerankers: scores of boosts, and what Milvus refuses, in its words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymilvus import DataType, Function, FunctionScore, FunctionType, MilvusClient, MilvusException
from serving import served

DECAY = {"reranker": "decay", "function": "gauss", "origin": 0, "offset": 0, "decay": 0.5, "scale": 100}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusClient]:
    with served(tmp_path_factory.mktemp("lake")) as address:
        client = MilvusClient(address)
        for metric in ("COSINE", "L2"):
            schema = client.create_schema(enable_dynamic_field=True)
            schema.add_field("id", DataType.INT64, is_primary=True)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
            schema.add_field("n", DataType.INT64)
            schema.add_field("word", DataType.VARCHAR, max_length=9)
            schema.add_field("document", DataType.JSON)
            index = client.prepare_index_params()
            index.add_index("vector", index_type="FLAT", metric_type=metric)
            client.create_collection(metric, schema=schema, index_params=index, consistency_level="Strong")
            vectors = [[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]]
            rows = [
                {"id": n, "vector": one, "n": n, "word": "w", "document": {}, "extra": n}
                for n, one in enumerate(vectors, 1)
            ]
            client.insert(metric, rows)
        yield client
        client.close()


def boost(weight: Any, filter: str | None = None) -> Function:
    params = {"reranker": "boost", "weight": weight, "filter": filter}
    params = {name: value for name, value in params.items() if value is not None}
    return Function("boost", FunctionType.RERANK, input_field_names=[], params=params)


@pytest.mark.parametrize(
    ("metric", "boosts", "modes", "expected"),
    [
        ("COSINE", [(2.0, "n > 100")], {"boost_mode": "sum"}, {1: 1.0, 2: 0.8, 3: 0.6, 4: 0.0}),
        (
            "COSINE",
            [(2.0, "n in [2, 4]"), (3.0, "n >= 3")],
            {"function_mode": "multiply", "boost_mode": "sum"},
            {4: 6.0, 3: 3.6, 2: 2.8, 1: 1.0},
        ),
        ("L2", [(0.25, "n == 3")], {"boost_mode": "multiply"}, {1: 0.0, 3: 0.2, 2: 0.4, 4: 2.0}),
        # Where a smaller distance is better, a sum takes from it.
        ("L2", [(0.3, "n == 3")], {"boost_mode": "sum"}, {1: 0.0, 2: 0.4, 3: 0.5, 4: 2.0}),
        ("L2", [(1.7, "n == 4")], {"boost_mode": "sum"}, {1: 0.0, 4: 0.3, 2: 0.4, 3: 0.8}),
    ],
)
def test_boosts_score_hits_as_milvus_does(
    client: MilvusClient, metric: str, boosts: list[Any], modes: dict[str, str], expected: dict[int, float]
) -> None:
    ranker = FunctionScore(functions=[boost(*one) for one in boosts], params=modes)
    [hits] = client.search(metric, [[1.0, 0.0]], limit=4, ranker=ranker)
    assert [hit["id"] for hit in hits] == list(expected)
    assert [hit["distance"] for hit in hits] == pytest.approx(list(expected.values()), abs=1e-5)


@pytest.mark.parametrize(
    ("fields", "changed", "said"),
    [
        (["n", "id"], {}, "decay reranker requires exactly 1 input field, got 2"),
        (["n"], {"reranker": "invalid"}, "unsupported reranker invalid"),
        (
            ["n"],
            {"function": "cubic"},
            r'decay: invalid function "cubic", must be one of \[gauss, exp, linear\]',
        ),
        (["n"], {"origin": "x"}, "decay param origin: x is not a number"),
        (["n"], {"scale": [1]}, r"decay param scale: \[1\] is not a number"),
        (["n"], {"decay": "x"}, "decay param decay: x is not a number"),
        (["n"], {"origin": None}, "decay origin not specified"),
        (["n"], {"scale": None}, "decay scale not specified"),
        (["n"], {"scale": -1.0}, r"decay: scale must be > 0, got -1\.0"),
        (["n"], {"offset": -1.0}, r"decay: offset must be >= 0, got -1\.0"),
        (["word"], {}, "decay input field word must be numeric, got VarChar"),
        (["document"], {}, "unsupported field type: JSON"),
        (["vector"], {}, "unsupported field type: FloatVector"),
        (["extra"], {}, "input field extra not found in collection schema"),
    ],
)
def test_wrong_rerankers_are_told_in_milvus_words(
    client: MilvusClient, fields: list[str], changed: dict[str, Any], said: str
) -> None:
    params = {name: value for name, value in {**DECAY, **changed}.items() if value is not None}
    ranker = Function("f", FunctionType.RERANK, input_field_names=fields, params=params)
    with pytest.raises(MilvusException, match=said) as raised:
        client.search("COSINE", [[1.0, 0.0]], ranker=ranker)
    assert raised.value.code == 65535


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        (boost(None), {}, "must set weight params"),
        (boost("heavy"), {}, "invalid parameter"),
        (boost(2, "absent @@@ 1"), {}, "parse expr failed"),
        (boost(2), {"group_by_field": "n"}, "segment scorer with group_by"),
    ],
)
def test_wrong_boosts_are_told_in_milvus_words(
    client: MilvusClient, function: Function, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(MilvusException, match=said) as raised:
        client.search("COSINE", [[1.0, 0.0]], ranker=FunctionScore(functions=[function]), **options)
    assert raised.value.code == 1100
