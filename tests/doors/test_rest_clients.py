"""What clients of the routes send beyond the documents, and what they look for in answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from rest_serving import Caller, both

VECTOR = [0.5, 0.25]


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    with both(tmp_path_factory.mktemp("lake")) as caller:
        caller.get(
            "collections/create",
            collectionName="kinds",
            schema={
                "enableDynamicField": True,
                "fields": [
                    {"fieldName": "id", "dataType": "Int64", "isPrimary": True},
                    {"fieldName": "doc", "dataType": "JSON", "nullable": True},
                    {"fieldName": "flag", "dataType": "Bool", "nullable": True},
                    {"fieldName": "big", "dataType": "Int64", "nullable": True},
                    {"fieldName": "vector", "dataType": "FloatVector", "elementTypeParams": {"dim": "2"}},
                ],
            },
            indexParams=[{"fieldName": "vector", "metricType": "L2"}],
            params={"consistencyLevel": "Strong"},
        )
        yield caller


@pytest.mark.parametrize("path", ["collections/list", "aliases/list", "users/list", "roles/list"])
def test_a_body_that_is_null_is_an_empty_one(rest: Caller, path: str) -> None:
    assert rest.raw(path, b"null")["data"] == rest.get(path)


def test_a_missing_collection_is_told_as_its_description_tells_it(rest: Caller) -> None:
    said = (100, "can't find collection[database=default][collection=gone]")
    for path, more in (
        ("collections/describe", {}),
        ("entities/query", {"filter": "id > 0"}),
        ("entities/get", {"id": 1}),
        ("entities/search", {"data": [VECTOR]}),
        ("entities/insert", {"data": [{"id": 1}]}),
        ("entities/upsert", {"data": [{"id": 1}]}),
        ("entities/delete", {"filter": "id in [1]"}),
    ):
        assert rest.refused(path, collectionName="gone", **more) == said, path
    assert rest.refused("collections/load", collectionName="gone")[1].startswith("collection not found[")


def test_older_names_of_parameters_mean_the_same(rest: Caller) -> None:
    rest.get(
        "collections/create", collectionName="older", dimension=2, primaryField="key", vectorField="place"
    )
    described = rest.get("collections/describe", collectionName="older")
    assert [field["name"] for field in described["fields"]] == ["key", "place"]
    rest.get("collections/release", collectionName="older")
    rest.get("collections/alter_properties", collectionName="older", properties={"collection.ttl.seconds": 9})
    rest.get("collections/drop_properties", collectionName="older", deleteKeys=["collection.ttl.seconds"])
    left = rest.get("collections/describe", collectionName="older")["properties"]
    assert [one["key"] for one in left] == ["timezone", "max_field_id"]


def test_the_same_is_made_by_many_at_once(rest: Caller) -> None:
    def make(_: int) -> int:
        answer = rest.ask("collections/create", collectionName="together", dimension=4, metricType="L2")
        return int(answer["code"])

    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(make, range(10))) == {0}


def test_documents_are_what_was_sent(rest: Caller) -> None:
    documents: list[Any] = [
        {"a": [1, {"b": None}]},
        "plain",
        '{"text": "of a document"}',
        "7",
        7,
        1.5,
        True,
        [1, "2"],
        9007199254740993,
    ]
    rows = [{"id": number, "doc": each, "vector": VECTOR} for number, each in enumerate(documents)]
    rest.get("entities/insert", collectionName="kinds", data=rows)
    words = {"collectionName": "kinds", "outputFields": ["doc"]}
    found = rest.get("entities/query", filter=f"id < {len(documents)}", **words)
    assert {row["id"]: row["doc"] for row in found} == dict(enumerate(documents))
    hits = rest.get("entities/search", data=[VECTOR], limit=100, **words)
    assert {hit["id"]: hit["doc"] for hit in hits} == dict(enumerate(documents))
    rest.get("entities/delete", collectionName="kinds", filter="id >= 0")


def test_numbers_are_exact_or_refused(rest: Caller) -> None:
    rows = [{"id": 1, "flag": 1, "vector": VECTOR}, {"id": 2, "flag": 0, "vector": VECTOR}]
    rest.get("entities/insert", collectionName="kinds", data=rows)
    found = rest.get("entities/query", collectionName="kinds", filter="flag == true", outputFields=["flag"])
    assert found == [{"id": 1, "flag": True}]
    body = b'{"collectionName": "kinds", "data": [{"id": 3, "big": 9007199254740993.%d, "vector": [0, 1]}]}'
    assert rest.raw("entities/insert", body % 1)["code"] == 1804
    assert rest.raw("entities/insert", body % 0)["code"] == 0
    [kept] = rest.get("entities/get", collectionName="kinds", id=3, outputFields=["big"])
    assert kept["big"] == 9007199254740993
    assert rest.ask("entities/insert", collectionName="kinds", data=[{**rows[0], "flag": 2}])["code"] == 1804
    rest.get("entities/delete", collectionName="kinds", filter="id >= 0")


def test_legs_may_name_the_fields_of_the_whole_search_and_the_metric(rest: Caller) -> None:
    rest.get("entities/insert", collectionName="kinds", data=[{"id": 1, "shelf": "A", "vector": VECTOR}])
    leg = {"data": [VECTOR], "annsField": "vector", "limit": 3, "outputFields": ["*"]}
    body = {"collectionName": "kinds", "search": [leg, leg], "limit": 3, "outputFields": ["shelf"]}
    answer = rest.ask("entities/hybrid_search", rerank={"strategy": "rrf", "params": {"k": 10}}, **body)
    assert [set(hit) for hit in answer["data"]] == [{"id", "distance", "shelf"}], json.dumps(answer)
    asked = {"collectionName": "kinds", "data": [VECTOR]}
    assert len(rest.get("entities/search", searchParams={"metricType": "L2"}, **asked)) == 1
    assert rest.refused("entities/search", searchParams={"metricType": "IP"}, **asked)[0] == 1100
    rest.get("entities/delete", collectionName="kinds", filter="id >= 0")


def test_too_many_hits_are_refused_in_milvus_words(rest: Caller) -> None:
    for limit in (0, 16385):
        code, said = rest.refused("entities/search", collectionName="kinds", data=[VECTOR], limit=limit)
        assert (code, said.split(",")[0]) == (65535, f"topk [{limit}] is invalid")


def test_the_highest_field_number_is_told_and_no_parameters_are_no_list(rest: Caller) -> None:
    rest.get(
        "collections/create",
        collectionName="numbered",
        schema={
            "fields": [
                {"fieldName": "id", "dataType": "Int64", "isPrimary": True},
                {"fieldName": "vector", "dataType": "FloatVector", "elementTypeParams": {"dim": "2"}},
                {
                    "fieldName": "text",
                    "dataType": "VarChar",
                    "elementTypeParams": {"max_length": "64", "enable_analyzer": True},
                },
            ]
        },
    )

    def told() -> tuple[dict[str, Any], int]:
        found = rest.get("collections/describe", collectionName="numbered")
        properties = {one["key"]: one["value"] for one in found["properties"]}
        return found, int(properties["max_field_id"])

    found, highest = told()
    assert highest == max(field["id"] for field in found["fields"])
    assert ["params" in field for field in found["fields"]] == [False, True, True]
    rest.get(
        "collections/add_function_field",
        collectionName="numbered",
        function={
            "name": "bm25",
            "type": "BM25",
            "inputFieldNames": ["text"],
            "outputFieldNames": ["sparse"],
        },
        outputField={"fieldName": "sparse", "dataType": "SparseFloatVector"},
        indexParams={"fieldName": "sparse", "metricType": "BM25", "indexType": "SPARSE_INVERTED_INDEX"},
    )
    found, higher = told()
    assert higher == found["fields"][-1]["id"] > highest
    assert "params" not in found["fields"][-1]
    assert found["functions"][0]["params"] is None
    rest.get("collections/drop_function_field", collectionName="numbered", functionName="bm25")
    found, still = told()
    assert still == higher > max(field["id"] for field in found["fields"])


WORDS_OF_REGEX = [
    ("word =~ '(open'", "missing closing"),
    ("word =~ '(a)\\\\1'", "invalid regex pattern"),
    ("id =~ '1'", "regex match on non-string or non-json field"),
    ("tags =~ 'x'", "can not comparisons array fields directly"),
    ("word =~ 1", "string literal or template variable"),
]


@pytest.fixture(scope="module")
def worded(rest: Caller) -> Caller:
    rest.get(
        "collections/create",
        collectionName="worded",
        schema={
            "fields": [
                {"fieldName": "id", "dataType": "Int64", "isPrimary": True},
                {"fieldName": "word", "dataType": "VarChar", "elementTypeParams": {"max_length": "64"}},
                {"fieldName": "rank", "dataType": "Int64"},
                {
                    "fieldName": "tags",
                    "dataType": "Array",
                    "elementDataType": "VarChar",
                    "elementTypeParams": {"max_capacity": "4", "max_length": "8"},
                },
                {"fieldName": "vector", "dataType": "FloatVector", "elementTypeParams": {"dim": "2"}},
            ]
        },
        indexParams=[{"fieldName": "vector", "metricType": "IP"}],
        params={"consistencyLevel": "Strong"},
    )
    words = ["code", "c\nd", "cd", "dc"]
    rows = [
        {"id": i, "word": word, "rank": i % 2, "tags": ["x"], "vector": VECTOR}
        for i, word in enumerate(words)
    ]
    rest.get("entities/insert", collectionName="worded", data=rows)
    return rest


def test_a_dot_of_a_regular_expression_is_the_end_of_a_line_too(worded: Caller) -> None:
    for pattern, ids in (("c.d", [0, 1]), ("(?-s)c.d", [0]), ("^c", [0, 1, 2]), ("d$", [1, 2])):
        found = worded.get("entities/query", collectionName="worded", filter=f"word =~ '{pattern}'", limit=9)
        assert [int(row["id"]) for row in found] == ids, pattern


@pytest.mark.parametrize(("text", "words"), WORDS_OF_REGEX, ids=[words for _, words in WORDS_OF_REGEX])
def test_a_wrong_regular_expression_is_told_in_milvus_words(worded: Caller, text: str, words: str) -> None:
    code, said = worded.refused("entities/query", collectionName="worded", filter=text)
    assert code == 1100
    assert words in said


def test_orders_of_hits_are_refused_as_wrong_parameters(worded: Caller) -> None:
    search: dict[str, Any] = {"collectionName": "worded", "data": [VECTOR], "annsField": "vector"}
    for order, words in (
        ("gone", "does not exist"),
        ("vector", "unsortable type"),
        ("rank:up", "invalid order"),
    ):
        code, said = worded.refused("entities/search", **search, orderByFields=[order])
        assert code == 1100, order
        assert words in said
    for twice in ({"order_by_fields": "rank:desc"}, {"params": {"order_by_fields": "rank:desc"}}):
        code, said = worded.refused("entities/search", **search, orderByFields=["rank"], searchParams=twice)
        assert code == 1100
        assert "ambiguous order by" in said


def test_groups_are_ordered_by_what_is_not_shown(worded: Caller) -> None:
    query: dict[str, Any] = {
        "collectionName": "worded",
        "filter": "id != 3",
        "outputFields": ["count(*)"],
        "limit": 9,
    }
    for direction, counts in (("asc", [2, 1]), ("desc", [1, 2])):
        found = worded.get(
            "entities/query", **query, groupByFields=["rank"], orderByFields=[f"rank:{direction}"]
        )
        assert found == [{"count(*)": count} for count in counts]
    assert worded.refused("entities/query", **query, groupByFields=["gone"])[0] == 1100


def test_only_arrays_are_appended_to(worded: Caller) -> None:
    said = worded.refused(
        "entities/upsert",
        collectionName="worded",
        data=[{"id": 0, "word": "more"}],
        partialUpdate=True,
        fieldOps=[{"fieldName": "word", "op": "ARRAY_APPEND"}],
    )[1]
    assert 'op ARRAY_APPEND requires Array field, but field "word" is VarChar' in said
