"""Numbers of rows through the RESTful door are what the caller wrote, and a name stands once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from rest_serving import Caller, both

from headwater.doors.rest.written import Written, integer_of


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    with both(tmp_path_factory.mktemp("lake")) as caller:
        for name, dynamic in (("rows", True), ("strict", False)):
            caller.get("collections/create", collectionName=name, schema=_schema(dynamic), indexParams=_INDEX)
        yield caller


_INDEX = [{"fieldName": "vec", "metricType": "L2"}]


def _schema(dynamic: bool) -> dict[str, Any]:
    return {
        "enableDynamicField": dynamic,
        "fields": [
            {"fieldName": "id", "dataType": "Int64", "isPrimary": True},
            {"fieldName": "big", "dataType": "Int64", "nullable": True},
            {"fieldName": "small", "dataType": "Int16", "nullable": True},
            {
                "fieldName": "name",
                "dataType": "VarChar",
                "nullable": True,
                "elementTypeParams": {"max_length": 50},
            },
            {"fieldName": "double", "dataType": "Double", "nullable": True},
            {"fieldName": "doc", "dataType": "JSON", "nullable": True},
            {
                "fieldName": "longs",
                "dataType": "Array",
                "elementDataType": "Int64",
                "nullable": True,
                "elementTypeParams": {"max_capacity": 4},
            },
            {"fieldName": "vec", "dataType": "FloatVector", "elementTypeParams": {"dim": 2}},
        ],
    }


def _raw(row: str, collection: str = "rows") -> bytes:
    return b'{"collectionName": "%s", "data": [{"vec": [1, 0], %s}]}' % (collection.encode(), row.encode())


@pytest.mark.parametrize(
    ("field", "written", "read"),
    [
        ("big", "9007199254740993.0", 9007199254740993),
        ("big", "9223372036854775807.00", (1 << 63) - 1),
        ("big", "1e3", 1000),
        ("small", "-12.0e1", -120),
        ("name", "1.50", "1.50"),
        ("name", "1e300", "1e300"),
        ("name", "18446744073709551617", "18446744073709551617"),
        ("double", "123456789012345678901234567890", 123456789012345678901234567890.0),
        ("doc", '{"n": 18446744073709551615, "x": 1e19}', {"n": (1 << 64) - 1, "x": 1e19}),
        ("colour", '{"a": [9007199254740993], "b": {"a": 1}}', {"a": [9007199254740993], "b": {"a": 1}}),
        ("longs", '"[1, 9007199254740993]"', [1, 9007199254740993]),
    ],
)
def test_a_number_is_kept_as_it_was_written(rest: Caller, field: str, written: str, read: Any) -> None:
    answer = rest.raw("entities/upsert", _raw(f'"id": 1, "{field}": {written}'))
    assert answer["code"] == 0, answer
    [row] = rest.get("entities/get", collectionName="rows", id=1, outputFields=[field])
    assert row[field] == read
    assert type(row[field]) is type(read)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('"id": 1, "id": 2', "key id twice"),
        ('"id": 1, "doc": {"a": 1, "b": [{"c": 1, "c": 2}]}', "key c twice"),
        ('"id": 1, "colour": {"a": 1, "a": 1}', "key a twice"),
        ('"id": 1, "doc": [1, 18446744073709551616]', "exceeds the 64-bit range"),
        ('"id": 1, "colour": -9223372036854775809', "exceeds the 64-bit range"),
        ('"id": 1, "big": 9223372036854775808', "field big"),
        ('"id": 1, "big": 1.5', "field big"),
        ('"id": 1, "longs": "[1, 2"', "field longs"),
    ],
)
def test_what_cannot_be_kept_is_refused(rest: Caller, row: str, words: str) -> None:
    for path in ("entities/insert", "entities/upsert"):
        answer = rest.raw(path, _raw(row))
        assert answer["code"] == 1804, answer
        assert words in answer["message"]


def test_a_text_that_looks_like_a_name_is_no_name(rest: Caller) -> None:
    """What is looked for in the bytes only says where to look closely."""
    row = '"id": 5, "name": "\\"a\\": 1, \\"a\\": 2", "doc": {"00000000000000000000000": "x\\":y"}'
    assert rest.raw("entities/upsert", _raw(row))["code"] == 0
    [found] = rest.get("entities/get", collectionName="rows", id=5)
    assert (found["name"], found["doc"]) == ('"a": 1, "a": 2', {"0" * 23: 'x":y'})


def test_a_name_that_a_schema_without_a_dynamic_field_does_not_know_is_refused(rest: Caller) -> None:
    for path, row in (
        ("entities/insert", {"id": 1, "vec": [0, 1], "colour": "red"}),
        ("entities/upsert", {"id": 1, "vec": [0, 1], "colour": None}),
    ):
        code, message = rest.refused(path, collectionName="strict", data=[row])
        assert code == 1804
        assert "has pass more field without dynamic schema, please check it: colour" in message
    code, message = rest.refused(
        "entities/upsert", collectionName="strict", data=[{"id": 1, "colour": 1}], partialUpdate=True
    )
    assert (code, "without dynamic schema" in message) == (1804, True)


def test_integers_are_read_to_the_last_digit() -> None:
    assert integer_of("9007199254740993.0") == 9007199254740993
    assert integer_of("-1.20E2") == -120
    assert integer_of("0e999999") == 0
    assert integer_of("1e19") == 10**19
    for none in ("1.5", "1e-1", "1e300", "1e99999999999999999999", "NaN", "Infinity", "x"):
        assert integer_of(none) is None


def test_only_what_may_have_lost_something_is_read_again() -> None:
    def doubtful(text: str) -> bool:
        return Written(text.encode(), json.loads(text)).doubtful

    assert not doubtful('{"data": [{"a": 1, "b": {"c": [1.25, 2]}}, {"a": "12:30:00"}]}')
    assert not doubtful('{ "data" : [ { "a" : [ { "b" : "x: y" } ] , "t" : "10:20" } ] }')
    assert not doubtful('{"data": [{"a": [0.00091234567890123456, -1.00000000000000000001e-5]}]}')
    assert doubtful('{"data": [{"a": 1, "a": 2}]}')
    assert doubtful('{"data": [{"a": [[1], {"b": 1, "b": 2}]}]}')
    assert doubtful('{"data": [{"a": 12345678901234567890123}]}')


def test_deep_documents_are_read_again_too(rest: Caller) -> None:
    document = '{"a": ' * 600 + "%s" + "}" * 600
    answer = rest.raw("entities/upsert", _raw(f'"id": 6, "doc": {document % ("9" * 30)}'))
    assert (answer["code"], "exceeds the 64-bit range" in answer["message"]) == (1804, True)
    answer = rest.raw("entities/upsert", _raw(f'"id": 6, "name": 2.0, "doc": {document % 1}'))
    assert answer["code"] == 0
    [row] = rest.get("entities/get", collectionName="rows", id=6, outputFields=["name"])
    assert row["name"] == "2.0"
