"""Every construct of the filter language, sent by an unmodified client, against plain Python."""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient, MilvusException

ROWS = 240
WORDS = ["lake", "river", "delta", "spring", "brook"]
START = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)


def row(i: int) -> dict[str, Any]:
    return {
        "id": i,
        "v": [float(i), 1.0],
        "n": i % 17,
        "m": None if i % 11 == 0 else i % 7,
        "x": i / 10,
        "flag": i % 2 == 0,
        "name": f"{WORDS[i % 5]}_{i:03d}",
        "text": f"{WORDS[i % 5]} {WORDS[i // 5 % 5]} water number{i}",
        "j": {
            "a": {"b": i % 6},
            "tags": [i % 3, i % 4],
            "s": f"k{i % 5}",
            **({"odd": True} if i % 2 else {}),
        },
        "arr": [i % 5, i % 9, 3],
        "at": (START + datetime.timedelta(days=i)).isoformat().replace("+00:00", "Z"),
        "place": f"POINT ({i % 20} {i // 20})",
        "parts": [{"word": WORDS[(i + k) % 5], "size": (i + k) % 8} for k in range(1 + i % 3)],
        "free": i % 4,
    }


DATA = [row(i) for i in range(ROWS)]


@pytest.fixture(scope="module")
def name(address: str) -> Iterator[str]:
    client = MilvusClient(address)
    name = f"c{uuid.uuid4().hex[:8]}"
    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=2)
    schema.add_field("n", DataType.INT16)
    schema.add_field("m", DataType.INT64, nullable=True)
    schema.add_field("x", DataType.DOUBLE)
    schema.add_field("flag", DataType.BOOL)
    schema.add_field("name", DataType.VARCHAR, max_length=40)
    schema.add_field("text", DataType.VARCHAR, max_length=200, enable_analyzer=True, enable_match=True)
    schema.add_field("j", DataType.JSON)
    schema.add_field("arr", DataType.ARRAY, element_type=DataType.INT64, max_capacity=8)
    schema.add_field("at", DataType.TIMESTAMPTZ)
    schema.add_field("place", DataType.GEOMETRY)
    part = client.create_struct_field_schema()
    part.add_field("word", DataType.VARCHAR, max_length=20)
    part.add_field("size", DataType.INT32)
    schema.add_field(
        "parts", DataType.ARRAY, element_type=DataType.STRUCT, struct_schema=part, max_capacity=8
    )
    index = client.prepare_index_params()
    index.add_index("v", index_type="FLAT", metric_type="L2")
    client.create_collection(name, schema=schema, index_params=index)
    client.insert(name, DATA[: ROWS // 2])
    client.flush(name)
    client.insert(name, DATA[ROWS // 2 :])
    yield name
    client.drop_collection(name)
    client.close()


Predicate = Callable[[dict[str, Any]], Any]

CASES: list[tuple[str, Predicate]] = [
    ("n == 3", lambda r: r["n"] == 3),
    ("n != 3", lambda r: r["n"] != 3),
    ("3 < n", lambda r: r["n"] > 3),
    ("2 <= n < 5", lambda r: 2 <= r["n"] < 5),
    ("5 > n >= 2", lambda r: 2 <= r["n"] < 5),
    ("n > 3 and x < 9.5", lambda r: r["n"] > 3 and r["x"] < 9.5),
    ("n > 3 && (x < 9.5 || flag == true)", lambda r: r["n"] > 3 and (r["x"] < 9.5 or r["flag"])),
    ("n == 1 or n == 2", lambda r: r["n"] in (1, 2)),
    ("not (n > 3)", lambda r: r["n"] <= 3),
    ("!(n > 3)", lambda r: r["n"] <= 3),
    ("n in [1, 4, 9]", lambda r: r["n"] in (1, 4, 9)),
    ("n not in [1, 4, 9]", lambda r: r["n"] not in (1, 4, 9)),
    ("name in ['lake_005', \"river_001\"]", lambda r: r["name"] in ("lake_005", "river_001")),
    ("not (flag == true)", lambda r: not r["flag"]),
    ("flag == True", lambda r: r["flag"]),
    ("n + 2 == 5", lambda r: r["n"] == 3),
    ("n * 2 - 1 > 20", lambda r: r["n"] * 2 - 1 > 20),
    ("x / 2 >= 5", lambda r: r["x"] / 2 >= 5),
    ("id % 5 == 2", lambda r: r["id"] % 5 == 2),
    ("n == 2 ** 2", lambda r: r["n"] == 4),
    ("(n & 6) == 4", lambda r: r["n"] & 6 == 4),
    ("(n | 1) == 7", lambda r: r["n"] | 1 == 7),
    ("(n ^ 1) == 6", lambda r: r["n"] ^ 1 == 6),
    ("n << 1 == 8", lambda r: r["n"] << 1 == 8),
    ("n >> 1 == 2", lambda r: r["n"] >> 1 == 2),
    ("~n == -4", lambda r: ~r["n"] == -4),
    ("n == 0x0a", lambda r: r["n"] == 10),
    ("n == m", lambda r: r["m"] is not None and r["n"] == r["m"]),
    ("x > n", lambda r: r["x"] > r["n"]),
    ("m is null", lambda r: r["m"] is None),
    ("m is not null", lambda r: r["m"] is not None),
    ("m > 2", lambda r: r["m"] is not None and r["m"] > 2),
    ("not (m > 2)", lambda r: r["m"] is not None and r["m"] <= 2),
    ("m > 2 or m is null", lambda r: r["m"] is None or r["m"] > 2),
    ("name like 'lake%'", lambda r: r["name"].startswith("lake")),
    ("name like '%_00_'", lambda r: re.search(r".00.$", r["name"])),
    ("name like '%\\_01%'", lambda r: "_01" in r["name"]),
    ("name not like 'lake%'", lambda r: not r["name"].startswith("lake")),
    ("name =~ '^(lake|delta)_.*[05]$'", lambda r: re.search(r"^(lake|delta)_.*[05]$", r["name"])),
    ("name !~ 'e'", lambda r: "e" not in r["name"]),
    ("name == r'lake_000'", lambda r: r["name"] == "lake_000"),
    ("name > 'river'", lambda r: r["name"] > "river"),
    ("j['a']['b'] == 3", lambda r: r["j"]["a"]["b"] == 3),
    ("j['a']['b'] + 1 > 4", lambda r: r["j"]["a"]["b"] + 1 > 4),
    ("j['s'] in ['k1', 'k2']", lambda r: r["j"]["s"] in ("k1", "k2")),
    ("j['s'] like 'k%'", lambda r: True),
    ("j['tags'][0] == 1", lambda r: r["j"]["tags"][0] == 1),
    ("exists j['odd']", lambda r: "odd" in r["j"]),
    ("not exists j['odd']", lambda r: "odd" not in r["j"]),
    ("j['odd'] == true", lambda r: r["j"].get("odd") is True),
    ("j['odd'] is null", lambda r: "odd" not in r["j"]),
    ("json_contains(j['tags'], 2)", lambda r: 2 in r["j"]["tags"]),
    ("JSON_CONTAINS_ALL(j['tags'], [1, 2])", lambda r: {1, 2} <= set(r["j"]["tags"])),
    ("json_contains_any(j['tags'], [1, 3])", lambda r: {1, 3} & set(r["j"]["tags"])),
    ("MATCH_ANY(j['tags'], $ == 2)", lambda r: 2 in r["j"]["tags"]),
    (
        "match_all(j['tags'], $ in [0, 2] || $ > 3)",
        lambda r: all(t in (0, 2) or t > 3 for t in r["j"]["tags"]),
    ),
    (
        "not match_least(j['tags'], $ > 1, threshold=2)",
        lambda r: sum(t > 1 for t in r["j"]["tags"]) < 2,
    ),
    (
        "match_any(j['a'], $ == 1) or match_any(j['s'], $ == 'k1') or not match_any(j, $ == 1)",
        lambda r: False,
    ),
    ("arr[1] == 4", lambda r: r["arr"][1] == 4),
    ("array_contains(arr, 8)", lambda r: 8 in r["arr"]),
    ("ARRAY_CONTAINS_ALL(arr, [1, 3])", lambda r: {1, 3} <= set(r["arr"])),
    ("array_contains_any(arr, [7, 8])", lambda r: {7, 8} & set(r["arr"])),
    ("array_length(arr) == 3", lambda r: True),
    ("free == 2", lambda r: r["free"] == 2),
    ("$meta['free'] in [1, 3]", lambda r: r["free"] in (1, 3)),
    ("nothing == 2", lambda r: False),
    ("text_match(text, 'delta brook')", lambda r: {"delta", "brook"} & set(r["text"].split())),
    (
        "text_match(text, 'delta brook spring', minimum_should_match=2)",
        lambda r: len({"delta", "brook", "spring"} & set(r["text"].split())) >= 2,
    ),
    ("phrase_match(text, 'delta water')", lambda r: "delta water" in r["text"]),
    ("phrase_match(text, 'river number6', 1)", lambda r: "river water number6" in r["text"] + " "),
    ("at > ISO '2025-03-01T00:00:00Z'", lambda r: r["at"] > "2025-03-01T00:00:00Z"),
    ("at + INTERVAL 'P1D' > ISO '2025-03-01T00:00:00Z'", lambda r: r["at"] > "2025-02-28T00:00:00Z"),
    (
        "ISO '2025-02-01T00:00:00Z' <= at and at < ISO '2025-02-03T08:00:00+08:00'",
        lambda r: "2025-02-01" <= r["at"] < "2025-02-03T00:00:00Z",
    ),
    (
        "st_within(place, 'POLYGON ((0.5 0.5, 5.5 0.5, 5.5 5.5, 0.5 5.5, 0.5 0.5))')",
        lambda r: 1 <= r["id"] % 20 <= 5 and 1 <= r["id"] // 20 <= 5,
    ),
    ("ST_EQUALS(place, 'POINT (3 2)')", lambda r: (r["id"] % 20, r["id"] // 20) == (3, 2)),
    (
        "st_intersects(place, 'LINESTRING (0 0, 9 9)')",
        lambda r: r["id"] % 20 == r["id"] // 20 and r["id"] // 20 <= 9,
    ),
    ("st_dwithin(place, 'POINT (3 2)', 1)", lambda r: (r["id"] % 20, r["id"] // 20) == (3, 2)),
    ("ST_ISVALID(place)", lambda r: True),
    (
        "element_filter(parts, $[word] == 'lake' && $[size] > 3)",
        lambda r: any(p["word"] == "lake" and p["size"] > 3 for p in r["parts"]),
    ),
    ("match_any(parts, $[size] == 7)", lambda r: any(p["size"] == 7 for p in r["parts"])),
    ("MATCH_ALL(parts, $[size] > 3)", lambda r: all(p["size"] > 3 for p in r["parts"])),
    (
        "match_least(parts, $[size] > 3, threshold=2)",
        lambda r: sum(p["size"] > 3 for p in r["parts"]) >= 2,
    ),
    ("match_most(parts, $[size] > 3, threshold=1)", lambda r: sum(p["size"] > 3 for p in r["parts"]) <= 1),
    ("match_exact(parts, $[size] > 3, threshold=2)", lambda r: sum(p["size"] > 3 for p in r["parts"]) == 2),
    ("parts[0][word] == 'delta'", lambda r: r["parts"][0]["word"] == "delta"),
]


@pytest.mark.parametrize(("text", "wanted"), CASES, ids=[text for text, _ in CASES])
def test_filters_select_what_python_does(
    client: MilvusClient, name: str, text: str, wanted: Predicate
) -> None:
    found = client.query(name, filter=text, output_fields=["id"], limit=ROWS, consistency_level="Strong")
    assert sorted(one["id"] for one in found) == [one["id"] for one in DATA if wanted(one)]


@pytest.mark.parametrize(
    ("text", "values", "wanted"),
    [
        ("n == {a}", {"a": 3}, lambda r: r["n"] == 3),
        ("x > {a}", {"a": 9.5}, lambda r: r["x"] > 9.5),
        ("flag == {a}", {"a": True}, lambda r: r["flag"]),
        ("name == {a}", {"a": "lake_000"}, lambda r: r["name"] == "lake_000"),
        ("match_any(j['tags'], $ in {a})", {"a": [1, 3]}, lambda r: {1, 3} & set(r["j"]["tags"])),
        ("n in {a}", {"a": [1, 2]}, lambda r: r["n"] in (1, 2)),
        ("name in {a}", {"a": ["lake_000", "brook_004"]}, lambda r: r["name"] in ("lake_000", "brook_004")),
        ("j['a']['b'] in {a}", {"a": [1, 2.0]}, lambda r: r["j"]["a"]["b"] in (1, 2)),
        ("n in {a}", {"a": []}, lambda r: False),
    ],
)
def test_templates_carry_values(
    client: MilvusClient, name: str, text: str, values: dict[str, Any], wanted: Predicate
) -> None:
    words = {"filter": text, "filter_params": values, "consistency_level": "Strong"}
    found = client.query(name, output_fields=["id"], limit=ROWS, **words)
    assert sorted(one["id"] for one in found) == [one["id"] for one in DATA if wanted(one)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("match_any(parts, $[colour] == 1)", "array field not found: parts[colour]"),
        ("array_contains(parts[colour], 1)", "struct field not found: parts[colour]"),
        ("parts[0][colour] == 1", "struct field not found: parts[0][colour]"),
        ("parts[word][0] == 'lake'", "invalid expression: parts[word][0] == 'lake'"),
        ("array_length(parts[0][word]) == 1", "mismatched input"),
        (
            "element_filter(parts, $[size] == 'big')",
            "comparisons between Int32 and VarChar are not supported",
        ),
        ("name > 3", "comparisons between VarChar and Int64 are not supported"),
        ("n == true", "comparisons between Int16 and Bool are not supported"),
        ("match_least(parts, $[size] > 3, threshold=0)", "count in MATCH_LEAST must be positive"),
        ("match_least(parts, $[size] > 3, threshold=-1)", "mismatched input, expecting IntegerConstant"),
        ("n ** 2 == 16", "power can only apply on constants"),
        ("element_filter(parts, $[size] ** 2 == 16)", "power can only apply on constants"),
        ("n == 1 or false", "'or' can only be used between boolean expressions"),
        ("n + m == 6", "not supported to do arithmetic operations between multiple fields"),
        (
            "match_any(parts, $[size] + $[size] == 6)",
            "not supported to do arithmetic operations between multiple",
        ),
        ("n + array_length(arr) == 6", "complicated arithmetic operations are not supported"),
        ("n * 2 - m == 6", "complicated arithmetic operations are not supported"),
        ("n % 0 == 1", "division or modulus by zero"),
        ("array_contains(arr, 'one')", "cannot cast value to Int64"),
        ("st_within(name, 'POINT (1 1)')", "spatial operation are only supported on geometry fields"),
        ("n in ['a']", "value of VarChar in list cannot be casted to Int16"),
        ("name in [1]", "value of Int64 in list cannot be casted to VarChar"),
        ("text_match(name, 'x')", 'field "name" does not enable match'),
        ("phrase_match(name, 'x y')", 'field "name" does not enable match'),
        ("text_match(text, 'x', minimum_should_match=0)", "minimum_should_match should be >= 1, got 0"),
        (
            "text_match(text, 'x', minimum_should_match=1001)",
            "minimum_should_match should be <= 1000, got 1001",
        ),
        ("text_match(text, 'x', minimum_should_match=1.5)", "mismatched input, expecting IntegerConstant"),
        ("phrase_match(text, 'x y', -1)", '"slop" should not be a negative interger. "slop" passed: -1'),
        ("phrase_match(text, 'x y', 1.5)", '"slop" should be a const integer expression with "uint32" value'),
        (
            "random_sample(0.5) and n > 1",
            "random sample expression can only be the last expression in the logical and expression",
        ),
        ("not random_sample(0.5)", "random sample expression cannot be used in unary expression"),
        ("exists n", "exists operations are only supportted on json field"),
        ("arr['x'] == 1", "can only access array field with integer index"),
        ("n[0] == 1", "data type not supported accessed with []"),
        ("arr + 1 == 2", "can not comparisons array fields directly"),
    ],
)
def test_what_a_filter_may_not_say_is_told_in_milvus_words(
    client: MilvusClient, name: str, text: str, said: str
) -> None:
    with pytest.raises(MilvusException) as raised:
        client.query(name, filter=text, limit=3)
    assert raised.value.code == 1100
    assert f"cannot parse expression: {text}, error: {said}" in raised.value.message


def test_a_list_that_all_members_are_looked_for_in_is_written_out(client: MilvusClient, name: str) -> None:
    with pytest.raises(MilvusException, match="template placeholder list"):
        client.query(
            name, filter="array_contains_all(parts[size], {sizes})", filter_params={"sizes": [1]}, limit=3
        )
    some = "array_contains_any(parts[size], {sizes})"
    assert client.query(name, filter=some, filter_params={"sizes": [1]}, limit=3)
    assert client.query(name, filter="array_contains_all(parts[size], [1, 2])", limit=3)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("n == 1 or true", lambda r: True),
        ("true and n == 1", lambda r: r["n"] == 1),
        ("(false and n == 1) or m == 2", lambda r: r["m"] == 2),
        ("(m == 2 or true) and n == 1", lambda r: r["n"] == 1),
    ],
)
def test_truth_values_are_joined_with_conditions(
    client: MilvusClient, name: str, text: str, wanted: Predicate
) -> None:
    found = client.query(name, filter=text, output_fields=["id"], limit=ROWS, consistency_level="Strong")
    assert [one["id"] for one in found] == [one["id"] for one in DATA if wanted(one)]


def test_random_samples_are_drawn(client: MilvusClient, name: str) -> None:
    words = {"output_fields": ["id"], "limit": ROWS, "consistency_level": "Strong"}
    segments = 3  # Each rounds down, and gives one row at least.
    for text, share, among in (
        ("random_sample(0.25)", 0.25, DATA),
        ("n > 3 and random_sample(0.5)", 0.5, [row for row in DATA if row["n"] is not None and row["n"] > 3]),
    ):
        found = {one["id"] for one in client.query(name, filter=text, **words)}
        assert abs(len(found) - share * len(among)) <= segments
        assert found <= {row["id"] for row in among}


def test_every_request_draws_its_own_sample(client: MilvusClient, name: str) -> None:
    words = {"filter": "n > 3 and RANDOM_SAMPLE(0.5)", "limit": ROWS, "consistency_level": "Strong"}
    queried = [{row["id"] for row in client.query(name, output_fields=["id"], **words)} for _ in range(4)]
    found = [{hit["id"] for hit in client.search(name, [[0.0, 1.0]], **words)[0]} for _ in range(4)]
    assert len({frozenset(one) for one in (*queried, *found)}) == 8
    assert len({len(one) for one in (*queried, *found)}) == 1


@pytest.mark.parametrize(
    "text",
    [
        "n ==",
        "n == 'text'",
        "name > 3",
        "n in 3",
        "n in [1, 'a']",
        "arr[0",
        "name =~ '('",
        "text_match(name, 'x')",
        "st_within(place, 'POLYGON')",
        "at > ISO 'yesterday'",
        "random_sample(2)",
        "match_least(parts, $[size] > 3)",
        "n is nul",
        "1 = 1",
    ],
)
def test_wrong_filters_are_told_as_milvus_does(client: MilvusClient, name: str, text: str) -> None:
    with pytest.raises(MilvusException) as raised:
        client.query(name, filter=text, limit=3)
    assert raised.value.code == 1100
    assert raised.value.message.startswith(
        f"failed to create query plan: cannot parse expression: {text}, error:"
    )
