"""Rows through the RESTful door: what goes in and comes out is what the client library sees on the same lake."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from pymilvus import DataType, MilvusClient
from rest_serving import Caller, both

TEXTS = {"Accept-Type-Allow-Int64": "false"}
DIM = 8


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    with both(tmp_path_factory.mktemp("lake")) as caller:
        yield caller


def _field(name: str, kind: str, **more: Any) -> dict[str, Any]:
    params = {key: more.pop(key) for key in ("dim", "max_length", "max_capacity") if key in more}
    return {"fieldName": name, "dataType": kind, "elementTypeParams": params, **more}


EVERY = [
    _field("id", "Int64", isPrimary=True),
    _field("flag", "Bool"),
    _field("tiny", "Int8"),
    _field("small", "Int16"),
    _field("medium", "Int32", nullable=True),
    _field("big", "Int64", defaultValue=7),
    _field("single", "Float"),
    _field("double", "Double"),
    _field("name", "VarChar", max_length=100, nullable=True),
    _field("doc", "JSON"),
    _field("tags", "Array", elementDataType="VarChar", max_capacity=10, max_length=20),
    _field("longs", "Array", elementDataType="Int64", max_capacity=10),
    _field("dense", "FloatVector", dim=DIM),
    _field("half", "Float16Vector", dim=DIM),
    _field("brain", "BFloat16Vector", dim=DIM),
    _field("bits", "BinaryVector", dim=16),
    _field("bytes", "Int8Vector", dim=DIM),
    _field("sparse", "SparseFloatVector"),
]
METRICS = {"bits": "HAMMING", "sparse": "IP"}
VECTORS = ["dense", "half", "brain", "bits", "bytes", "sparse"]


def _row(number: int) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    dense = rng.normal(size=DIM).astype(np.float32)
    return {
        "id": number,
        "flag": number % 2 == 0,
        "tiny": -number,
        "small": number * 100,
        "medium": None if number % 3 == 0 else number * 1000,
        "big": str((1 << 53) + number),
        "single": float(np.float32(0.1) * number),
        "double": 0.1 * number,
        "name": None if number % 4 == 0 else f"row {number}",
        "doc": {"n": number, "deep": {"list": [1, "two", None]}},
        "tags": [f"t{number}", "all"],
        "longs": [str((1 << 60) + number), number],
        "dense": [float(value) for value in dense],
        "half": [float(value) for value in dense],
        "brain": base64.b64encode(dense.astype(ml_dtypes.bfloat16).tobytes()).decode(),
        "bits": [number, 255 - number],
        "bytes": [int(value) for value in rng.integers(-100, 100, DIM)],
        "sparse": {"indices": [number, 1000], "values": [0.5, 0.25]},
        "colour": "red" if number % 2 else "blue",
        "count": number,
    }


@pytest.fixture(scope="module")
def every(rest: Caller) -> Caller:
    indexes = [{"fieldName": name, "metricType": METRICS.get(name, "L2")} for name in VECTORS]
    schema = {"enableDynamicField": True, "fields": EVERY}
    rest.get("collections/create", collectionName="every", schema=schema, indexParams=indexes)
    data = rest.get("entities/insert", collectionName="every", data=[_row(n) for n in range(1, 11)])
    assert data == {"insertCount": 10, "insertIds": list(range(1, 11))}
    return rest


def test_rows_of_every_type_are_what_the_client_library_reads(every: Caller) -> None:
    theirs = {row["id"]: row for row in every.client.query("every", "id > 0", output_fields=["*"])}
    assert len(theirs) == 10
    for number, found in theirs.items():
        sent = _row(number)
        for name in ("flag", "tiny", "small", "medium", "name", "doc", "tags", "colour", "count"):
            assert found[name] == sent[name], name
        assert found["big"] == (1 << 53) + number
        assert list(found["longs"]) == [(1 << 60) + number, number]
        assert found["double"] == sent["double"]
        assert np.float32(found["single"]) == np.float32(sent["single"])
        assert np.array_equal(np.float32(found["dense"]), np.float32(sent["dense"]))
        half = np.frombuffer(
            found["half"][0] if isinstance(found["half"], list) else found["half"], np.float16
        )
        assert np.array_equal(half, np.float32(sent["half"]).astype(np.float16))
        raw = found["bits"][0] if isinstance(found["bits"], list) else found["bits"]
        assert list(raw) == sent["bits"]
        assert found["sparse"] == {number: 0.5, 1000: 0.25}


def test_a_row_that_was_read_can_be_written_again(every: Caller) -> None:
    """Reading gives what writing takes, for every type."""
    [row] = every.get("entities/get", collectionName="every", id=7)
    assert (row["id"], row["big"], row["longs"]) == (7, (1 << 53) + 7, [(1 << 60) + 7, 7])
    assert row["colour"] == "red"
    copy = {**row, "id": 77}
    data = every.get("entities/upsert", collectionName="every", data=[copy])
    assert data == {"upsertCount": 1, "upsertIds": [77]}
    [again] = every.get("entities/get", collectionName="every", id=["77"])
    assert {**again, "id": 7} == row
    assert every.get("entities/delete", collectionName="every", filter="id == 77") == {"deleteCount": 1}
    assert every.get("entities/get", collectionName="every", id=77) == []


def test_int64_are_texts_where_the_caller_cannot_read_them(every: Caller) -> None:
    for said in ("false", "F", "0"):
        header = {"Accept-Type-Allow-Int64": said}
        [row] = every.get("entities/get", collectionName="every", id=2, headers=header)
        assert (row["id"], row["big"], row["longs"]) == ("2", str((1 << 53) + 2), [str((1 << 60) + 2), "2"])
    for said in ("true", "1", "", "what"):
        header = {"Accept-Type-Allow-Int64": said}
        assert every.get("entities/get", collectionName="every", id=2, headers=header)[0]["id"] == 2
    data = every.get("entities/upsert", collectionName="every", data=[_row(2)], headers=TEXTS)
    assert data["upsertIds"] == ["2"]


@pytest.mark.parametrize("field", VECTORS)
def test_searches_find_what_the_client_library_finds(every: Caller, field: str) -> None:
    sent = _row(4)[field]
    queries: dict[str, Any] = {
        "half": np.float32(_row(4)["dense"]).astype(np.float16),
        "brain": np.float32(_row(4)["dense"]).astype(ml_dtypes.bfloat16),
        "bits": bytes(_row(4)["bits"]),
        "bytes": np.int8(_row(4)["bytes"]),
        "sparse": {4: 0.5, 1000: 0.25},
    }
    [theirs] = every.client.search(
        "every", [queries.get(field, sent)], anns_field=field, limit=5, output_fields=["name", "count"]
    )
    answer = every.ask(
        "entities/search",
        collectionName="every",
        data=[sent],
        annsField=field,
        limit=5,
        outputFields=["name", "count"],
    )
    assert answer["topks"] == [5]
    for ours, hit in zip(answer["data"], theirs, strict=True):
        assert ours["id"] == hit["id"]
        assert ours["distance"] == pytest.approx(hit["distance"], rel=1e-6)
        assert (ours["name"], ours["count"]) == (hit["entity"]["name"], hit["entity"]["count"])
    assert answer["data"][0]["id"] == 4


def test_searches_are_filtered_grouped_and_paged(every: Caller) -> None:
    body = {"collectionName": "every", "annsField": "dense", "data": [_row(1)["dense"], _row(2)["dense"]]}
    answer = every.ask(
        "entities/search", **body, limit=3, filter="count in {few}", exprParams={"few": [1, 2, 3]}
    )
    assert answer["topks"] == [3, 3]
    assert [row["id"] for row in answer["data"][:1] + answer["data"][3:4]] == [1, 2]
    assert {row["id"] for row in answer["data"]} == {1, 2, 3}
    page = every.get("entities/search", **{**body, "data": body["data"][:1]}, limit=2, offset=2)
    whole = every.get("entities/search", **{**body, "data": body["data"][:1]}, limit=4)
    assert page == whole[2:]
    groups = every.get(
        "entities/search",
        **{**body, "data": body["data"][:1]},
        limit=2,
        groupingField="flag",
        outputFields=["flag"],
    )
    assert {row["flag"] for row in groups} == {True, False}
    by_key = every.get("entities/search", collectionName="every", annsField="dense", ids=["3"], limit=1)
    assert by_key[0]["id"] == 3


def test_hybrid_searches_find_what_the_client_library_finds(every: Caller) -> None:
    from pymilvus import AnnSearchRequest, RRFRanker

    legs = [
        AnnSearchRequest([_row(4)["dense"]], "dense", {}, 5),
        AnnSearchRequest([{5: 0.5, 1000: 0.25}], "sparse", {}, 5),
    ]
    [theirs] = every.client.hybrid_search("every", legs, RRFRanker(60), limit=4, output_fields=["name"])
    for path in ("entities/hybrid_search", "entities/advanced_search"):
        ours = every.get(
            path,
            collectionName="every",
            search=[
                {"annsField": "dense", "data": [_row(4)["dense"]], "limit": 5},
                {"annsField": "sparse", "data": [{"5": 0.5, "1000": 0.25}], "limit": 5},
            ],
            rerank={"strategy": "rrf", "params": {"k": 60}},
            limit=4,
            outputFields=["name"],
        )
        assert [row["id"] for row in ours] == [hit["id"] for hit in theirs]
        assert [row["distance"] for row in ours] == pytest.approx([hit["distance"] for hit in theirs])
        assert [row["name"] for row in ours] == [hit["entity"]["name"] for hit in theirs]


def test_queries_filter_count_and_choose_fields(every: Caller) -> None:
    rows = every.get(
        "entities/query",
        collectionName="every",
        filter="count > {low} and colour == 'red'",
        exprParams={"low": 5},
        outputFields=["count", "colour", "medium"],
    )
    assert sorted(row["count"] for row in rows) == [7, 9]
    assert all(set(row) == {"id", "count", "colour", "medium"} for row in rows)
    assert [row["medium"] for row in sorted(rows, key=lambda row: row["count"])] == [7000, None]
    [count] = every.get("entities/query", collectionName="every", filter="", outputFields=["count(*)"])
    assert count == {"count(*)": 10}
    assert len(every.get("entities/query", collectionName="every", filter="id > 0", limit=3, offset=1)) == 3


def test_part_of_a_row_is_updated(rest: Caller) -> None:
    fields = [
        _field("id", "Int64", isPrimary=True),
        _field("a", "Int32", nullable=True),
        _field("tags", "Array", elementDataType="Int64", max_capacity=10),
        _field("vector", "FloatVector", dim=2),
    ]
    index = [{"fieldName": "vector"}]
    rest.get("collections/create", collectionName="parts", schema={"fields": fields}, indexParams=index)
    row = {"id": 1, "a": 5, "tags": [1], "vector": [0.0, 1.0]}
    rest.get("entities/insert", collectionName="parts", data=[row])
    rest.get("entities/upsert", collectionName="parts", data=[{"id": 1, "a": 6}], partialUpdate=True)
    operations = [{"fieldName": "tags", "op": "ARRAY_APPEND"}]
    rest.get("entities/upsert", collectionName="parts", data=[{"id": 1, "tags": [2]}], fieldOps=operations)
    [found] = rest.get("entities/get", collectionName="parts", id=1)
    assert found == {"id": 1, "a": 6, "tags": [1, 2], "vector": [0.0, 1.0]}


def test_rows_are_packed_by_the_schema_as_it_is_now(rest: Caller) -> None:
    """A field that another client adds is known to the next write."""
    rest.get("collections/create", collectionName="grows", dimension=2, params={"enableDynamicField": False})
    rest.get("entities/insert", collectionName="grows", data=[{"id": 1, "vector": [0, 1]}])
    client: MilvusClient = rest.client
    client.add_collection_field("grows", "note", DataType.VARCHAR, max_length=20, nullable=True)
    rest.get("entities/insert", collectionName="grows", data=[{"id": 2, "vector": [1, 1], "note": "new"}])
    assert client.get("grows", 2, output_fields=["note"])[0]["note"] == "new"


WRONG_ROWS = [
    ({"flag": 3}, "field flag value must be a boolean"),
    ({"tiny": 200}, r"field tiny value must be an integer in range \[-128, 127\]"),
    ({"medium": "12x"}, "field medium value must be an integer"),
    ({"big": 1e300}, "field big value must be an integer"),
    ({"double": "NaN"}, "field double value must be a finite number"),
    ({"single": 1e39}, "range of a float"),
    ({"name": {"a": 1}}, "field name expects a string, got an object"),
    ({"tags": "red"}, "field tags is an array field"),
    ({"tags": ["a", None]}, "field tags has a null at index 1"),
    ({"dense": [1.0]}, "dimension must be 8, got 1"),
    ({"dense": [1.0] * 7 + [None]}, "a vector element must be a number, got null"),
    ({"dense": "[1, 2]"}, "field dense expects a vector"),
    ({"half": "AAAA"}, "must have 16 bytes"),
    ({"bits": [1, 256]}, "range of uint8"),
    ({"bytes": [1.5] * 8}, "integer in the range of int8"),
    ({"sparse": {"x": 1.0}}, "an index of a sparse vector"),
    ({"sparse": [1, 2]}, "expects a sparse vector"),
    ({"flag": None}, "field flag is not nullable"),
    ({"$meta": {}}, r"not in \$meta"),
]


@pytest.mark.parametrize(("change", "said"), WRONG_ROWS, ids=[said for _, said in WRONG_ROWS])
def test_a_wrong_value_is_named_and_nothing_is_written(
    every: Caller, change: dict[str, Any], said: str
) -> None:
    import re

    before = every.client.query("every", "", output_fields=["count(*)"])
    code, message = every.refused(
        "entities/insert", collectionName="every", data=[_row(50), {**_row(51), **change}]
    )
    assert code == 1804
    assert message.startswith("fail to deal the insert data, error: ")
    assert re.search(said, message)
    assert every.client.query("every", "", output_fields=["count(*)"]) == before


def test_a_missing_field_is_named(every: Caller) -> None:
    row = {name: value for name, value in _row(60).items() if name != "flag"}
    code, message = every.refused("entities/insert", collectionName="every", data=[row])
    assert (code, "field flag is required" in message) == (1804, True)


def test_errors_of_calls_keep_their_numbers(every: Caller) -> None:
    assert every.refused("entities/query", collectionName="nothing", filter="id > 0")[0] == 100
    assert every.refused("entities/insert", collectionName="nothing", data=[{"a": 1}])[0] == 100
    assert every.refused("entities/query", collectionName="every", filter="colour ==")[0] == 1100
    code, message = every.refused("entities/search", collectionName="every", data=[[0.0] * DIM])
    assert (code, "found multiple vector fields" in message) == (1100, True)
    body = {"collectionName": "every", "annsField": "dense"}
    assert every.refused("entities/search", **body) == (
        1802,
        "either 'ids' (for primary key search) or 'data' (for vector search) must be provided",
    )
    assert every.refused("entities/search", **body, data=[[1, 2]])[0] == 1801
    assert every.refused("entities/search", **body, data=[[0.0] * DIM], ids=[1])[0] == 1100
    assert every.refused("entities/search", **body, data=[[0.0] * DIM], consistencyLevel="weak")[0] == 1100
    assert every.refused("entities/get", collectionName="every", id="one")[0] == 1806
    code, message = every.refused(
        "entities/query", collectionName="every", filter="id > 0", exprParams={"x": None}
    )
    assert (code, "must not be null" in message) == (1100, True)
