"""Orders and groups of rows and hits, searches by key, and bounds of ranges, held to what Milvus's clients expect."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient, MilvusException

ROWS, DIM = 60, 4
RNG = np.random.default_rng(11)
VECTORS = RNG.normal(size=(ROWS, DIM)).astype(np.float32)
PRICES = [None if i % 5 == 0 else int(x) for i, x in enumerate(RNG.integers(0, 8, ROWS))]
AGES = [int(x) for x in RNG.integers(0, 90, ROWS)]
BRANDS = [1, "1", 1.0, True, "true", None, 2, "x"]


def row(i: int) -> dict:
    brand = BRANDS[i % len(BRANDS)]
    return {
        "id": i,
        "v": VECTORS[i],
        "half": VECTORS[i].astype(np.float16),
        "maybe": None if i % 3 == 0 else VECTORS[i],
        "sparse": None if i % 4 == 0 else {i: 1.0, 1000: 0.5},
        "price": PRICES[i],
        "kind": f"k{i % 6}",
        "meta": {"inner": {"rank": (i * 7) % 13}, **({} if brand is None else {"brand": brand})},
        "age": AGES[i],
        "deep": {"price": (i * 11) % 17},
    }


@pytest.fixture(scope="module", params=["growing", "sealed"])
def name(address: str, request: pytest.FixtureRequest) -> Iterator[str]:
    client = MilvusClient(address)
    name = f"c{uuid.uuid4().hex[:8]}"
    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=DIM)
    schema.add_field("half", DataType.FLOAT16_VECTOR, dim=DIM)
    schema.add_field("maybe", DataType.FLOAT_VECTOR, dim=DIM, nullable=True)
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR, nullable=True)
    schema.add_field("price", DataType.INT32, nullable=True)
    schema.add_field("kind", DataType.VARCHAR, max_length=10)
    schema.add_field("meta", DataType.JSON)
    index = client.prepare_index_params()
    for field, metric in (("v", "COSINE"), ("half", "L2"), ("maybe", "L2"), ("sparse", "IP")):
        index.add_index(field, metric_type=metric)
    client.create_collection(name, schema=schema, index_params=index)
    client.insert(name, [row(i) for i in range(ROWS)])
    if request.param == "sealed":
        client.flush(name)
    yield name
    client.drop_collection(name)
    client.close()


def ordered_prices(client: MilvusClient, name: str, order: list) -> list[tuple[int | None, int]]:
    rows = client.query(name, filter="", limit=ROWS, output_fields=["price"], order_by_fields=order)
    return [(one["price"], one["id"]) for one in rows]


@pytest.mark.parametrize(
    ("order", "descending", "nulls_first"),
    [
        ([{"field": "price", "order": "asc"}], False, False),
        ([{"field": "price", "order": "desc"}], True, True),
        (["price:asc:nulls_first"], False, True),
        (["price:desc:nulls_last"], True, False),
    ],
)
def test_queries_say_where_nulls_stand_and_break_ties_by_key(
    client: MilvusClient, name: str, order: list, descending: bool, nulls_first: bool
) -> None:
    def place(pair: tuple[int | None, int]) -> tuple:
        price, key = pair
        null = (price is None) != nulls_first
        return (null, 0 if price is None else -price if descending else price, key)

    assert ordered_prices(client, name, order) == sorted(((PRICES[i], i) for i in range(ROWS)), key=place)


QUERY = VECTORS[3] + 0.1


def hits(client: MilvusClient, name: str, **words) -> list[dict]:
    [found] = client.search(name, data=[QUERY], anns_field="v", limit=words.pop("limit", 20), **words)
    return list(found)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("age", lambda i: AGES[i]),
        ('deep["price"]', lambda i: row(i)["deep"]["price"]),
        ('meta["inner"]["rank"]', lambda i: row(i)["meta"]["inner"]["rank"]),
        ("kind", lambda i: f"k{i % 6}"),
    ],
)
@pytest.mark.parametrize("order", ["asc", "descending"])
def test_searches_are_ordered_by_paths_and_keys_of_dynamic_rows(
    client: MilvusClient, name: str, field: str, value, order: str
) -> None:
    nearest = [hit["id"] for hit in hits(client, name)]
    told = [hit["id"] for hit in hits(client, name, order_by_fields=[{"field": field, "order": order}])]
    assert told == sorted(nearest, key=value, reverse=order == "descending")


def test_searches_put_nulls_first_where_they_ascend(client: MilvusClient, name: str) -> None:
    told = hits(client, name, order_by_fields=[{"field": "price", "order": "asc"}], output_fields=["price"])
    prices = [hit["entity"]["price"] for hit in told]
    assert None in prices
    assert prices == sorted(prices, key=lambda price: -1 if price is None else price)


def test_groups_are_ordered_by_their_best_hits(client: MilvusClient, name: str) -> None:
    words = {"group_by_field": "kind", "group_size": 3, "strict_group_size": True, "output_fields": ["kind"]}
    plain = hits(client, name, limit=6, **words)
    told = hits(client, name, limit=6, order_by_fields=[{"field": "age", "order": "asc"}], **words)
    assert {hit["id"] for hit in told} == {hit["id"] for hit in plain}
    groups: dict[str, list[int]] = {}
    for hit in told:
        groups.setdefault(hit["entity"]["kind"], []).append(hit["id"])
    heads = [AGES[members[0]] for members in groups.values()]
    assert heads == sorted(heads)
    for kind, members in groups.items():
        assert members == [hit["id"] for hit in plain if hit["entity"]["kind"] == kind]


CASTS = [
    (None, False, {"1", '"1"', "true", '"true"', None, "2", '"x"'}),
    (DataType.INT64, True, {1, 2, None}),
    (DataType.INT64, False, {1, 2, None}),
    (DataType.BOOL, False, {True, None}),
    (DataType.VARCHAR, True, {"1", "true", "x", None}),
    (DataType.VARCHAR, False, {"1", "true", "x", "2", None}),
]


@pytest.mark.parametrize(("kind", "strict", "expected"), CASTS)
def test_values_of_json_are_grouped_as_one_type(
    client: MilvusClient, name: str, kind: DataType | None, strict: bool, expected: set
) -> None:
    words = {} if kind is None else {"json_type": kind, "strict_cast": strict}
    found = hits(client, name, limit=20, group_by_field="meta", json_path='["brand"]', **words)
    assert len(found) == len(expected)
    keys = {BRANDS[hit["id"] % len(BRANDS)] for hit in found}
    if kind is DataType.INT64 and strict:
        # Of 1, "1" and 1.0 only the first is an integer; all others are one group with what has no value.
        assert {key for key in keys if type(key) is int} >= {2}


def test_a_key_without_a_vector_finds_nothing(client: MilvusClient, name: str) -> None:
    for field, absent in (("maybe", [0, 3]), ("sparse", [0, 4])):
        present = [1, 5]
        mixed = [absent[0], present[0], absent[1], present[1]]
        both = client.search(name, ids=mixed, anns_field=field, limit=3, output_fields=["kind"])
        alone = client.search(name, ids=present, anns_field=field, limit=3, output_fields=["kind"])
        assert [list(one) for one in both] == [[], list(alone[0]), [], list(alone[1])]
        none = client.search(name, ids=absent, anns_field=field, limit=3)
        assert [list(one) for one in none] == [[], []]


def test_numbers_of_32_bits_are_searched_for_among_smaller_ones(client: MilvusClient, name: str) -> None:
    [half] = client.search(name, data=[VECTORS[7].astype(np.float16)], anns_field="half", limit=5)
    [full] = client.search(
        name, data=[VECTORS[7].astype(np.float16).astype(np.float32)], anns_field="half", limit=5
    )
    assert half[0]["id"] == 7
    assert [hit["id"] for hit in full] == [hit["id"] for hit in half]


WRONG = [
    (
        {"group_by_field": "kind", "group_size": 11},
        1100,
        "input group size:11 exceeds configured max group size:10",
    ),
    ({"group_by_field": "kind", "group_size": "a"}, 1100, "failed to parse input group size:a"),
    ({"group_by_field": "v"}, 65535, "unsupported data type VECTOR_FLOAT for group by operator"),
    ({"group_by_field": 21}, 65535, "cannot parse identifier"),
    ({"search_params": {"params": {"range_filter": 0.5}}}, 1100, "range_filter requires radius to be set"),
    (
        {"search_params": {"params": {"radius": 0.9, "range_filter": 0.5}}},
        65535,
        "range_filter(0.5) must be greater than radius(0.9)",
    ),
    (
        {"order_by_fields": [{"field": "v", "order": "asc"}]},
        1100,
        "order_by field 'v' has unsortable type FloatVector; supported types: bool",
    ),
    (
        {"order_by_fields": [{"field": "meta", "order": "asc"}]},
        1100,
        "order_by field 'meta' has unsortable type JSON",
    ),
    (
        {"order_by_fields": [{"field": "price", "order": "up"}]},
        1100,
        "invalid order direction 'up' for field 'price', expected 'asc' or 'desc'",
    ),
    (
        {"order_by_fields": [{"field": "meta[oops", "order": "asc"}]},
        1100,
        "order_by field 'meta[oops:asc' does not exist in collection schema",
    ),
    (
        {"data": [[0.5] * DIM], "anns_field": "sparse"},
        1100,
        "type VECTOR_SPARSE_U32_F32, search info type VECTOR_FLOAT",
    ),
    ({"data": None, "ids": ["1"]}, 1100, "primary key is int64, but IDs type mismatch"),
    ({"data": None, "ids": [1, 2, 1]}, 1100, "duplicate IDs found in search request"),
    (
        {"data": None, "ids": [1, 999]},
        1100,
        "some of the provided primary key IDs do not exist: missing IDs = [999]",
    ),
    (
        {"data": None, "ids": [1], "anns_field": ""},
        1100,
        "multiple vector fields exist, please specify anns_field in search_params",
    ),
]


@pytest.mark.parametrize(("words", "code", "message"), WRONG, ids=[message[:30] for _, _, message in WRONG])
def test_what_is_wrong_is_said_in_milvus_words(
    client: MilvusClient, name: str, words: dict, code: int, message: str
) -> None:
    asked = {"data": [QUERY], "anns_field": "v", "limit": 5, **words}
    if asked["data"] is None:
        del asked["data"]
    with pytest.raises(MilvusException) as raised:
        client.search(name, **asked)
    assert message in raised.value.message
    assert raised.value.code == code


WRONG_ORDERS = [
    ("v:asc", "order_by field 'v' has type FloatVector which is not sortable"),
    ("meta:asc", "order_by field 'meta' has type JSON which is not sortable"),
    ("nowhere:asc", "order_by field 'nowhere' does not exist in collection schema"),
    (":asc", "order_by field '' does not exist in collection schema"),
    ("age:asc", "order_by field 'age' does not exist in collection schema"),
    ("price:up", "invalid order direction 'up' for field 'price', must be 'asc' or 'desc'"),
]


@pytest.mark.parametrize(("order", "message"), WRONG_ORDERS)
def test_wrong_orders_of_queries_are_refused_in_milvus_words(
    client: MilvusClient, name: str, order: str, message: str
) -> None:
    with pytest.raises(MilvusException) as raised:
        client.query(name, filter="", limit=5, order_by_fields=[order])
    assert message in raised.value.message
    assert raised.value.code == 1100


def test_a_field_to_group_by_that_is_not_there_is_code_1700(client: MilvusClient) -> None:
    name = f"c{uuid.uuid4().hex[:8]}"
    client.create_collection(name, DIM, enable_dynamic_field=False)
    for wrong in ("nowhere", 21, ["id", "vector"]):
        with pytest.raises(
            MilvusException, match="groupBy field not found in schema: field not found"
        ) as raised:
            client.search(name, data=[[0.1] * DIM], limit=1, group_by_field=wrong)
        assert raised.value.code == 1700
    client.drop_collection(name)


def test_parameters_of_how_an_index_is_built_have_nothing_to_tune_in_a_search(
    client: MilvusClient, name: str
) -> None:
    params = {"nlist": 128, "efConstruction": 9, "itopk_size": 64}
    words = {"metric_type": "COSINE", "index_type": "HNSW", "params": params}
    assert hits(client, name, search_params=words) == hits(client, name)
