"""Less common kinds of rows and searches through the RESTful door, beside what the client library sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymilvus.client.embedding_list import EmbeddingList
from rest_serving import Caller, both


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    with both(tmp_path_factory.mktemp("lake")) as caller:
        yield caller


def _field(name: str, kind: str, **more: Any) -> dict[str, Any]:
    names = ("dim", "max_length", "max_capacity", "enable_analyzer")
    params = {key: more.pop(key) for key in names if key in more}
    return {"fieldName": name, "dataType": kind, "elementTypeParams": params, **more}


def test_structs_and_their_vectors(rest: Caller) -> None:
    parts = {
        "fieldName": "parts",
        "typeParams": {"max_capacity": 10},
        "fields": [
            _field("label", "Array", elementDataType="VarChar", max_length=20),
            _field("place", "Array", elementDataType="Int64"),
            _field("emb", "ArrayOfVector", elementDataType="FloatVector", dim=2),
        ],
    }
    fields = [_field("id", "Int64", isPrimary=True), _field("vector", "FloatVector", dim=2)]
    indexes = [
        {"fieldName": "vector", "metricType": "L2"},
        {"fieldName": "parts[emb]", "metricType": "MAX_SIM_COSINE", "indexType": "HNSW"},
    ]
    schema = {"fields": fields, "structFields": [parts]}
    rest.get("collections/create", collectionName="structs", schema=schema, indexParams=indexes)
    rows = [
        {
            "id": n,
            "vector": [n, 0],
            "parts": [
                {"label": f"p{n}{k}", "place": (1 << 60) + k, "emb": [n + 1.0, k]} for k in range(n + 1)
            ],
        }
        for n in range(4)
    ]
    rest.get("entities/insert", collectionName="structs", data=rows)
    found = rest.get("entities/query", collectionName="structs", filter="id >= 0", outputFields=["parts"])
    for row in found:
        assert row["parts"] == rows[int(row["id"])]["parts"]
    theirs = rest.client.query("structs", "id == 3", output_fields=["parts"])[0]["parts"]
    assert [part["label"] for part in theirs] == ["p30", "p31", "p32", "p33"]
    queries = EmbeddingList()
    queries.add([1.0, 3.0])
    queries.add([4.0, 1.0])
    [wanted] = rest.client.search("structs", [queries], anns_field="parts[emb]", limit=3)
    body = {"collectionName": "structs", "annsField": "parts[emb]", "limit": 3}
    hits = rest.get("entities/search", **body, data=[[[1.0, 3.0], [4.0, 1.0]]])
    assert [hit["id"] for hit in hits] == [hit["id"] for hit in wanted]
    assert [hit["distance"] for hit in hits] == pytest.approx([hit["distance"] for hit in wanted])


def test_absent_vectors_times_shapes_and_text_keys(rest: Caller) -> None:
    fields = [
        _field("key", "VarChar", max_length=20, isPrimary=True),
        _field("vector", "FloatVector", dim=2),
        _field("second", "FloatVector", dim=2, nullable=True),
        _field("thin", "SparseFloatVector", nullable=True),
        _field("at", "Timestamptz", nullable=True),
        _field("shape", "Geometry", nullable=True),
        _field("kind", "VarChar", max_length=10, defaultValue="plain"),
    ]
    index = [
        {"fieldName": "vector", "metricType": "L2"},
        {"fieldName": "second", "metricType": "L2"},
        {"fieldName": "thin", "metricType": "IP"},
    ]
    rest.get("collections/create", collectionName="kinds", schema={"fields": fields}, indexParams=index)
    full = {
        "key": 'a "b"',
        "vector": [0, 1],
        "second": [1, 2],
        "thin": {"3": 0.5},
        "at": "2025-01-02T03:04:05Z",
        "shape": "POINT (1 2)",
        "kind": "round",
    }
    data = rest.get("entities/insert", collectionName="kinds", data=[full, {"key": "c", "vector": [5, 5]}])
    assert data["insertIds"] == ['a "b"', "c"]
    [row] = rest.get("entities/get", collectionName="kinds", id='a "b"')
    assert {name: row[name] for name in ("vector", "second", "thin", "kind")} == {
        "vector": [0.0, 1.0], "second": [1.0, 2.0], "thin": {"3": 0.5}, "kind": "round",
    }  # fmt: skip
    assert row["at"].startswith("2025-01-02T03:04:05")
    assert row["shape"].replace(" ", "") == "POINT(12)"
    [row] = rest.get("entities/get", collectionName="kinds", id="c")
    assert [row[name] for name in ("second", "thin", "at", "shape", "kind")] == [
        None,
        None,
        None,
        None,
        "plain",
    ]
    hits = rest.get("entities/search", collectionName="kinds", annsField="second", data=[[1, 2]], limit=5)
    assert [hit["key"] for hit in hits] == ['a "b"']
    data = rest.get("entities/upsert", collectionName="kinds", data=[row])
    assert data == {"upsertCount": 1, "upsertIds": ["c"]}
    assert rest.get("entities/get", collectionName="kinds", id="c") == [row]


def test_texts_are_found_and_keys_are_made(rest: Caller) -> None:
    fields = [
        _field("id", "Int64", isPrimary=True),
        _field("text", "VarChar", max_length=200, enable_analyzer=True),
        _field("terms", "SparseFloatVector"),
    ]
    function = {
        "name": "words", "type": "BM25", "inputFieldNames": ["text"], "outputFieldNames": ["terms"],
    }  # fmt: skip
    schema = {"autoID": True, "fields": fields, "functions": [function]}
    index = [{"fieldName": "terms", "metricType": "BM25"}]
    rest.get("collections/create", collectionName="texts", schema=schema, indexParams=index)
    texts = ["a walk in the park", "a tree in the park", "the sea"]
    data = rest.get("entities/insert", collectionName="texts", data=[{"text": text} for text in texts])
    assert len(set(data["insertIds"])) == 3
    body = {"collectionName": "texts", "limit": 2, "outputFields": ["text"]}
    hits = rest.get("entities/search", **body, data=["tree park"])
    assert [hit["text"] for hit in hits] == [texts[1], texts[0]]
    assert hits[0]["id"] == data["insertIds"][1]
    [theirs] = rest.client.search("texts", ["tree park"], anns_field="terms", limit=2)
    assert [hit["distance"] for hit in hits] == pytest.approx([hit["distance"] for hit in theirs], rel=1e-6)
    assert rest.refused("entities/search", **body, data=[{"1": 0.5}]) == (
        1801,
        "can only accept json format request, error: a text query must be a string",
    )


def test_hits_are_aggregated_ordered_and_scored(rest: Caller) -> None:
    fields = [
        {"fieldName": "id", "dataType": "Int64", "isPrimary": True},
        {"fieldName": "shelf", "dataType": "VarChar", "elementTypeParams": {"max_length": "8"}},
        {"fieldName": "vector", "dataType": "FloatVector", "elementTypeParams": {"dim": "2"}},
    ]
    rest.get(
        "collections/create",
        collectionName="sums",
        schema={"fields": fields, "enableDynamicField": True},
        indexParams=[{"fieldName": "vector", "metricType": "L2", "indexName": "vector"}],
    )
    rows = [{"id": n, "vector": [n, 0], "shelf": "AB"[n % 2], "price": n * 10} for n in range(10)]
    rest.get("entities/insert", collectionName="sums", data=rows)
    body = {"collectionName": "sums", "data": [[0, 0]]}
    aggregation = {
        "fields": ["shelf"],
        "size": 2,
        "metrics": {"total": {"op": "count", "fieldName": "*"}},
        "topHits": {"size": 2},
    }
    answer = rest.ask("entities/search", **body, limit=10, searchAggregation=aggregation)
    assert answer["code"] == 0, answer
    [groups] = answer["data"]
    assert len(groups["buckets"]) == answer["aggTopks"][0] == 2
    assert {bucket["key"][0]["value"] for bucket in groups["buckets"]} == {"A", "B"}
    for bucket in groups["buckets"]:
        assert bucket["count"] == bucket["metrics"]["total"] == 2
        assert [hit["distance"] for hit in bucket["hits"]] == [hit["id"] ** 2 for hit in bucket["hits"]]
    by_price = {"order_by_fields": "price:desc"}
    for told in (by_price, {"params": by_price}):
        again = rest.ask(
            "entities/search", **body, limit=10, searchAggregation=aggregation, searchParams=told
        )
        assert (again["code"], again["data"]) == (0, answer["data"])
    ordered = {"orderByFields": ["price:desc"], "searchAggregation": aggregation}
    assert rest.refused("entities/search", **body, **ordered)[0] == 1100
    assert rest.refused("entities/search", **body, offset=1, searchAggregation=aggregation)[0] == 1100
    assert rest.refused("entities/search", **body, groupSize=2)[0] == 1100
    score = {
        "functions": [
            {"name": "f", "type": "Rerank", "inputFieldNames": ["price"], "params": {"reranker": "no"}}
        ]
    }
    assert rest.refused("entities/search", **body, functionScore=score)[0] != 0
    for sizes in ({"limit": 1, "offset": 4}, {}):
        count = {"collectionName": "sums", "outputFields": ["count(*)"], **sizes}
        assert rest.get("entities/query", **count) == [{"count(*)": 10}]


def _chain(*args: dict[str, Any], output: str = "$score", stage: str = "L2Rerank") -> list[dict[str, Any]]:
    expr = {"name": "num_combine", "args": list(args), "params": {"mode": "sum"}}
    return [
        {
            "name": "c",
            "stage": f"FunctionChainStage{stage}",
            "ops": [{"op": "map", "outputs": [output], "expr": expr}],
        }
    ]


def test_chains_that_do_not_go_are_refused_by_name(rest: Caller) -> None:
    rest.get("collections/create", collectionName="chained", dimension=2)
    body = {"collectionName": "chained", "data": [[0, 0]]}
    score, one = {"column": "$score"}, {"literal": 1}
    decay = {"reranker": "decay", "function": "exp", "origin": 1, "scale": 1}
    ranked = {"functions": [{"name": "d", "type": "Rerank", "inputFieldNames": ["id"], "params": decay}]}
    for more, words in (
        ({"functionChains": _chain(score, score, output="$mine")}, "$mine"),
        ({"functionChains": _chain(score, score, output="$id")}, "$id"),
        ({"functionChains": _chain({"column": "$seg_offset"}, one)}, "$seg_offset"),
        (
            {"functionChains": _chain(score, score, stage="Ingestion")},
            "stage FunctionChainStageIngestion is not supported in search request",
        ),
        (
            {"functionChains": _chain(score, {"column": "id"}), "functionScore": ranked},
            "function_score and function_chains cannot be used together",
        ),
    ):
        code, message = rest.refused("entities/search", **body, **more)
        assert (code, words in message) == (1100, True), message
