"""Answers of queries as Milvus gives them: a key once, pages in the order of keys, wrong filters in its words."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import numpy as np
import pytest
from pymilvus import AnnSearchRequest, DataType, MilvusClient, MilvusException, RRFRanker
from serving import served

ROWS = 700
RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusClient]:
    with served(tmp_path_factory.mktemp("lake")) as address:
        yield MilvusClient(address)


def made(client: MilvusClient, name: str, kind: DataType, keys: list[int] | list[str]) -> None:
    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("key", kind, is_primary=True, max_length=20)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    schema.add_field("flag", DataType.BOOL, nullable=True)
    schema.add_field("meta", DataType.JSON, nullable=True)
    index = client.prepare_index_params()
    index.add_index("vector", metric_type="L2")
    client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")
    half = len(keys) // 2
    for part in (keys[:half], keys[half:]):
        client.insert(name, [{"key": key, "vector": RNG.random(4).tolist(), "at": str(key)} for key in part])
        if part is not keys[half:]:
            client.flush(name)


@pytest.mark.parametrize("kind", [DataType.INT64, DataType.VARCHAR], ids=["int64", "varchar"])
def test_pages_and_iterators_are_in_the_order_of_keys(client: MilvusClient, kind: DataType) -> None:
    numbers = random.Random(3).sample(range(10_000), ROWS)
    keys = numbers if kind is DataType.INT64 else [f"k{number}" for number in numbers]
    name = f"paged_{kind.name}"
    made(client, name, kind, keys)
    ordered = sorted(keys)
    for limit, offset in ((5, 0), (100, 37), (1000, ROWS - 3), (ROWS, 0)):
        page = client.query(name, filter="", limit=limit, offset=offset, output_fields=["at"])
        assert [row["key"] for row in page] == ordered[offset : offset + limit]
    few = client.query(name, filter="at like '%7%'", limit=9)
    assert [row["key"] for row in few] == [key for key in ordered if "7" in str(key)][:9]
    iterator = client.query_iterator(name, batch_size=90, filter="", offset=300)
    found = []
    while batch := iterator.next():
        found += [row["key"] for row in batch]
    assert found == ordered[300:]


def test_rows_of_a_query_without_a_limit_are_in_the_order_of_keys(client: MilvusClient) -> None:
    made(client, "unlimited", DataType.INT64, [5, 3, 9, 1])
    client.upsert("unlimited", [{"key": 1, "vector": [0.0] * 4, "at": "1"}])
    client.upsert("unlimited", [{"key": 3, "vector": [0.0] * 4, "at": "3"}])
    assert [row["key"] for row in client.query("unlimited", filter="key > 0", output_fields=["at"])] == [
        1,
        3,
        5,
        9,
    ]
    assert [row["key"] for row in client.query("unlimited", ids=[9, 1, 5])] == [1, 5, 9]


@pytest.fixture(scope="module")
def texts(client: MilvusClient) -> str:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    schema.add_field("text", DataType.VARCHAR, max_length=99, enable_analyzer=True, enable_match=True)
    schema.add_field("plain", DataType.VARCHAR, max_length=99, enable_analyzer=True)
    schema.add_field("number", DataType.INT64)
    index = client.prepare_index_params()
    index.add_index("vector", metric_type="L2")
    client.create_collection("texts", schema=schema, index_params=index, consistency_level="Strong")
    said = ["allergy season", "unrelated archive", "music focus"]
    rows = [{"id": n, "vector": [0, n], "text": one, "plain": one, "number": n} for n, one in enumerate(said)]
    client.insert("texts", rows)
    return "texts"


@pytest.mark.parametrize(
    ("words", "edits", "expected"),
    [("alergy", 1, [0]), ("muisc", 1, [2]), ("music", 0, [2]), ("musc", 0, [])],
)
def test_words_are_matched_with_so_many_edits(
    client: MilvusClient, texts: str, words: str, edits: int, expected: list[int]
) -> None:
    for option in (f"max_edit_distance={edits}", f"MAX_EDIT_DISTANCE={edits}"):
        found = client.query(texts, filter=f'text_match_fuzzy(text, "{words}", {option})')
        assert [row["id"] for row in found] == expected


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ('text_match_fuzzy(text, "a", fuzziness=1)', "expected max_edit_distance"),
        ('text_match_fuzzy(text, "a", max_edit_distance=-1)', r"max_edit_distance should be in \[0, 2\]"),
        ('text_match_fuzzy(text, "a", max_edit_distance=3)', r"max_edit_distance should be in \[0, 2\]"),
        ('text_match_fuzzy(text, "a", max_edit_distance=1.5)', "expecting IntegerConstant"),
        (
            'text_match_fuzzy(text, "a", max_edit_distance=9223372036854775808)',
            "invalid max_edit_distance value",
        ),
        ('text_match_fuzzy(text, "a")', "expecting ','"),
        ("text_match_fuzzy(text, 1, max_edit_distance=1)", "should be a string literal or template variable"),
        ('text_match_fuzzy(number, "a", max_edit_distance=1)', "non-string"),
        ('text_match(number, "a")', "non-string"),
        ('text_match_fuzzy(plain, "a", max_edit_distance=1)', "does not enable match"),
        ('number > 0 and TEXT_MATCH(plain, "a")', 'field "plain" does not enable match'),
        ('phrase_match(plain, "a")', 'field "plain" does not enable match'),
    ],
)
def test_wrong_conditions_of_words_are_told_in_milvus_words(
    client: MilvusClient, texts: str, asked: str, said: str
) -> None:
    with pytest.raises(MilvusException, match=said) as raised:
        client.query(texts, filter=asked)
    assert raised.value.code == 1100
    with pytest.raises(MilvusException, match=said):
        client.search(texts, [[0.0, 1.0]], filter=asked)


def test_a_function_that_there_is_not_is_told_as_a_plan_that_fails(client: MilvusClient, texts: str) -> None:
    with pytest.raises(
        MilvusException, match="Create retrieve plan by expr failed: unknown function"
    ) as raised:
        client.query(texts, filter="ST_CONTAIN(text, 'POINT (1 1)')")
    assert raised.value.code == 65535


def test_a_key_that_was_inserted_twice_is_answered_once(client: MilvusClient) -> None:
    made(client, "twice", DataType.INT64, list(range(50)))
    later = [{"key": key, "vector": RNG.random(4).tolist(), "at": "later"} for key in range(50)]
    client.insert("twice", later)
    assert client.query("twice", output_fields=["count(*)"])[0]["count(*)"] == 100
    rows = client.query("twice", filter="key >= 0", output_fields=["at"])
    assert sorted(row["key"] for row in rows) == list(range(50))
    assert {row["at"] for row in rows} == {"later"}
    query = RNG.random(4).tolist()
    hits = client.search("twice", [query, query], limit=100, output_fields=["at"])
    for found in hits:
        assert sorted(hit["key"] for hit in found) == list(range(50))
        assert [hit["distance"] for hit in found] == sorted(hit["distance"] for hit in found)
    asked = AnnSearchRequest([query], "vector", {}, limit=100)
    merged = client.hybrid_search("twice", [asked, asked], RRFRanker(), limit=100)[0]
    assert sorted(hit["key"] for hit in merged) == list(range(50))
    iterator = client.query_iterator("twice", batch_size=8)
    batches = []
    while batch := iterator.next():
        batches += [row["key"] for row in batch]
    assert batches == list(range(50))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("key", "predicate is not a boolean expression: key, data type: Int64"),
        ("12-3", "predicate is not a boolean expression: 12-3, data type: Int64"),
        ("mistyped", "predicate is not a boolean expression: mistyped, data type: JSON"),
        ("flag", "predicate is not a boolean expression: flag, data type: Bool"),
        ("true", "predicate is not a boolean expression: true, data type: Bool"),
        (
            "not flag",
            "cannot parse expression: not flag, error: not op can only be applied on boolean expression",
        ),
        (
            "key > 0 or false",
            "cannot parse expression: key > 0 or false, error: 'or' can only be used between boolean expressions",
        ),
        (
            "key > 0 and (flag and key < 9)",
            "cannot parse expression: key > 0 and (flag and key < 9), error: 'and' can only be used between boolean",
        ),
        ("名", "cannot parse expression: 名"),
        ("key > 1 and key", "cannot parse expression: key > 1 and key"),
    ],
)
def test_a_filter_that_is_no_condition_is_told_as_milvus_does(
    client: MilvusClient, text: str, said: str
) -> None:
    if not client.has_collection("conditions"):
        made(client, "conditions", DataType.INT64, [1, 2])
    with pytest.raises(MilvusException) as raised:
        client.query("conditions", filter=text)
    assert raised.value.message.startswith(f"failed to create query plan: {said}")
    assert raised.value.code == 1100


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("key == 1.5", "cannot cast value to Int64, value: float_val:1.5"),
        ("1.0 < key", "cannot cast value to Int64, value: float_val:1"),
        ("flag == true and key > -2.5", "cannot cast value to Int64, value: float_val:-2.5"),
        ("key in [1, 2.0]", "value 'float_val:2' in list cannot be casted to Int64"),
        ("at != later", "two column comparison with JSON type is not supported"),
        ("key < meta['a']", "two column comparison with JSON type is not supported"),
        ("key in not [1, 2]", "not can only apply on boolean: invalid parameter"),
        ("key in (mn)", "value '(mn)' in list cannot be a non-const expression"),
        ("key in [1, mn]", "value 'mn' in list cannot be a non-const expression"),
    ],
)
def test_values_that_do_not_go_with_a_field_are_told_as_milvus_does(
    client: MilvusClient, text: str, said: str
) -> None:
    if not client.has_collection("conditions"):
        made(client, "conditions", DataType.INT64, [1, 2])
    whole = f"cannot parse expression: {text}, error: {said}"
    for call, plan in ((client.query, "query"), (client.delete, "delete")):
        with pytest.raises(MilvusException) as raised:
            call("conditions", filter=text)
        assert raised.value.message.startswith(f"failed to create {plan} plan: {whole}")
    asked = AnnSearchRequest([[1.0] * 4], "vector", {}, limit=3, expr=text)
    with pytest.raises(MilvusException, match=re.escape(whole)):
        client.hybrid_search("conditions", [asked, asked], RRFRanker(), limit=3)
    with pytest.raises(MilvusException, match=re.escape(whole)):
        client.search("conditions", [[1.0] * 4], filter=text)


def test_a_hybrid_search_of_what_no_collection_is_called_finds_none(client: MilvusClient) -> None:
    asked = AnnSearchRequest([[1.0] * 4], "vector", {}, limit=3)
    with pytest.raises(MilvusException) as raised:
        client.hybrid_search("1 name", [asked, asked], RRFRanker(), limit=3)
    said = "collection not found[database=default][collection=1 name]"
    assert (raised.value.code, raised.value.message) == (100, said)


@pytest.mark.parametrize("call", ["query", "delete"])
def test_templates_without_a_value_or_a_list_are_told_as_milvus_does(client: MilvusClient, call: str) -> None:
    if not client.has_collection("conditions"):
        made(client, "conditions", DataType.INT64, [1, 2])
    for values, said in (
        ({"other": [0, 1]}, "the value of expression template variable name {keys} is not found"),
        ({"keys": 1}, "the value of term expression template variable {keys} is not array"),
    ):
        with pytest.raises(MilvusException) as raised:
            getattr(client, call)("conditions", filter="key in {keys}", filter_params=values)
        assert raised.value.message.startswith(f"failed to create {call} plan: {said}")


def test_whole_numbers_and_other_columns_compare(client: MilvusClient) -> None:
    if not client.has_collection("conditions"):
        made(client, "conditions", DataType.INT64, [1, 2])
    for text in (
        "key in [1, 2]",
        "key * 1.5 < 2.0 or key > 1",
        "meta['a'] == 1.5 or key > 0",
        "flag == true or key > 0",
    ):
        assert {row["key"] for row in client.query("conditions", filter=text)} == {1, 2}
    assert client.query("conditions", filter="key > {a}", filter_params={"a": 1})[0]["key"] == 2


def test_scann_wants_as_many_to_reorder_as_hits(client: MilvusClient) -> None:
    index = client.prepare_index_params()
    index.add_index("vector", index_type="SCANN", metric_type="L2", params={"nlist": 4})
    schema = client.create_schema()
    schema.add_field("key", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    client.create_collection("scann", schema=schema, index_params=index)
    with pytest.raises(MilvusException, match=r"reorder_k\(100\) should be larger than k\(101\)"):
        client.search("scann", [[1.0] * 4], limit=101, search_params={"params": {"reorder_k": 100}})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("key inn [1, 2]", "invalid expression: key inn [1, 2]"),
        ("key in 1", "the right-hand side of 'in' must be a list"),
        ("key > 1 and key", "'and' can only be used between boolean expressions"),
        ("key or key > 1", "'or' can only be used between boolean expressions"),
        ("not key", "not op can only be applied on boolean expression"),
        ("gone in [1]", "field gone not exist"),
        ("key in [1, NULL, 2]", "NULL literal is not supported in expressions"),
        ("key == null", "NULL literal is not supported in expressions"),
        (
            "key == 'a'",
            "comparisons between Int64 and VarChar are not supported: "
            'comparisons between key (Int64) and "a" (VarChar) are not supported',
        ),
    ],
)
def test_a_filter_that_is_not_understood_is_told_in_milvus_words_first(
    client: MilvusClient, text: str, said: str
) -> None:
    if not client.has_collection("plain"):
        client.create_collection("plain", 4, enable_dynamic_field=False)
    with pytest.raises(MilvusException) as raised:
        client.query("plain", filter=text.replace("key", "id"))
    whole = f"failed to create query plan: cannot parse expression: {text}, error: {said}"
    assert raised.value.message.startswith(whole.replace("key", "id"))


def test_a_missing_partition_is_told_before_that_nothing_is_loaded(client: MilvusClient) -> None:
    client.create_collection(
        "unloaded",
        schema=client.create_schema()
        .add_field("id", DataType.INT64, is_primary=True)
        .add_field("vector", DataType.FLOAT_VECTOR, dim=2),
    )
    for names, words in (
        (["gone"], "partition name gone not found"),
        (["_default"], "collection not loaded"),
    ):
        with pytest.raises(MilvusException, match=words):
            client.search("unloaded", [[0.0, 1.0]], partition_names=names)
        with pytest.raises(MilvusException, match=words):
            client.query("unloaded", filter="id > 0", partition_names=names)


def test_an_iterator_of_another_collection_by_now_is_refused(client: MilvusClient) -> None:
    for name in ("first_shelf", "second_shelf"):
        made(client, name, DataType.INT64, list(range(60)))
    client.create_alias("first_shelf", "shelf")
    hits = client.search_iterator("shelf", [[1.0] * 4], batch_size=10)
    rows = client.query_iterator("shelf", filter="key >= 0", batch_size=10)
    assert len(hits.next()) == len(rows.next()) == 10
    client.alter_alias("second_shelf", "shelf")
    with pytest.raises(MilvusException, match="alias or database may have been changed"):
        hits.next()
    with pytest.raises(MilvusException, match="alias or database may have changed"):
        rows.next()


def test_what_orders_groups_is_looked_at_before_counts_are(client: MilvusClient) -> None:
    made(client, "counted", DataType.INT64, list(range(20)))
    with pytest.raises(MilvusException, match="ORDER BY can only reference GROUP BY columns"):
        client.query(
            "counted", filter="key > 2", output_fields=["count(*)"], limit=5, order_by_fields=["key:asc"]
        )
    with pytest.raises(MilvusException, match="count entities with pagination is not allowed"):
        client.query("counted", filter="key > 2", output_fields=["count(*)"], limit=5)
