"""Buckets of a search against plain Python over every row."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headwater as hw
from headwater.errors import FieldNotFound, InvalidArgument, UnsupportedOption

DIM = 4
RNG = np.random.default_rng(2)
ROWS = [
    {
        "id": i,
        # The nearest rows are nearly all of one brand.
        "brand": "near" if i < 300 else ["a", "b", "c", None][i % 4],
        "color": ["red", "blue", "green"][int(RNG.integers(0, 3))],
        "size": int(RNG.integers(1, 5)),
        "price": None if i % 10 == 1 else float(RNG.integers(1, 100)),
        "v": (RNG.normal(size=DIM) + (0 if i < 300 else 9)).astype(np.float32),
    }
    for i in range(600)
]
QUERIES = RNG.normal(size=(2, DIM)).astype(np.float32)
ASK: dict[str, Any] = {"anns_field": "v", "params": {"metric_type": "L2"}}


@pytest.fixture(scope="module", params=["growing", "indexed"])
def docs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> hw.Collection:
    schema = hw.Schema.of(
        [
            hw.Field("id", hw.Int64),
            hw.Field("brand", hw.String, nullable=True),
            hw.Field("color", hw.String),
            hw.Field("size", hw.Int32),
            hw.Field("price", hw.Double, nullable=True),
            hw.Field("v", hw.FloatVector(DIM)),
        ],
        "id",
    )
    docs = hw.connect(tmp_path_factory.mktemp("buckets")).create_collection("docs", schema)
    for start in (0, 200, 400):
        docs.insert(ROWS[start : start + 200])
        if request.param == "indexed":
            docs.flush()
    if request.param == "indexed":
        docs.create_index("v", "FLAT", metric_type="L2")
    docs.delete([row["id"] for row in ROWS if row["id"] % 8 == 0])
    return docs


def tree(
    query: np.ndarray, rows: list[dict[str, Any]], levels: list[list[str]], budget: int, sizes: list[int]
) -> list[Any]:
    """[(key, candidates, [sub-buckets])], nearest first."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in levels[0]), []).append(row)
    out = []
    for key, members in list(groups.items())[: sizes[0]]:
        below = tree(query, members, levels[1:], budget, sizes[1:]) if len(levels) > 1 else []
        pool = {row["id"]: row for row in members[:budget]}
        pool.update({row["id"]: row for _, some, _ in below for row in some})
        ordered = sorted(pool.values(), key=lambda row: float(((row["v"] - query) ** 2).sum()))
        out.append((key, ordered, below))
    return out


def nearest(query: np.ndarray, condition: Any = None) -> list[dict[str, Any]]:
    alive = [row for row in ROWS if row["id"] % 8 and (condition is None or condition(row))]
    return sorted(alive, key=lambda row: float(((row["v"] - query) ** 2).sum()))


def check(buckets: list[Any], expected: list[Any], shown: int) -> None:
    assert len(buckets) == len(expected)
    for bucket, (key, rows, below) in zip(buckets, expected, strict=True):
        assert tuple(part["value"] for part in bucket.key) == key
        assert bucket.count == len(rows)
        prices = [row["price"] for row in rows if row["price"] is not None]
        assert bucket.metrics["n"] == len(rows)
        assert bucket.metrics["priced"] == len(prices)
        assert bucket.metrics["mean"] == (pytest.approx(sum(prices) / len(prices)) if prices else None)
        assert bucket.metrics["top"] == (max(prices) if prices else None)
        assert [hit.pk for hit in bucket.hits] == [row["id"] for row in rows[:shown]]
        assert all(hit.fields == {"price": row["price"]} for hit, row in zip(bucket.hits, rows, strict=False))
        check(bucket.sub_groups, below, shown)


METRICS = {
    "n": {"count": "*"},
    "priced": {"count": "price"},
    "mean": {"avg": "price"},
    "top": {"max": "price"},
}


def test_buckets_are_those_of_plain_python(docs: hw.Collection) -> None:
    aggregation = hw.SearchAggregation(["brand"], 10, metrics=METRICS, top_hits=hw.TopHits(4))
    found = docs.search(QUERIES, search_aggregation=aggregation, output_fields=["price"], **ASK)
    assert [list(hits) for hits in found] == [[], []]
    for query, buckets in zip(QUERIES, found.agg_buckets or [], strict=True):
        expected = tree(query, nearest(query), [["brand"]], 4, [10])
        assert {key[0] for key, _, _ in expected} == {"near", "a", "b", "c", None}
        check(buckets, expected, 4)


def test_buckets_within_buckets(docs: hw.Collection) -> None:
    level = hw.SearchAggregation(["color"], 2, metrics=METRICS, top_hits=hw.TopHits(2))
    level = hw.SearchAggregation(
        ["size", "color"], 3, metrics=METRICS, top_hits=hw.TopHits(2), sub_aggregation=level
    )
    level = hw.SearchAggregation(["brand"], 4, metrics=METRICS, top_hits=hw.TopHits(2), sub_aggregation=level)
    found = docs.search(QUERIES, search_aggregation=level, output_fields=["price"], filter="size < 4", **ASK)
    for query, buckets in zip(QUERIES, found.agg_buckets or [], strict=True):
        rows = nearest(query, lambda row: row["size"] < 4)
        check(buckets, tree(query, rows, [["brand"], ["size", "color"], ["color"]], 2, [4, 3, 2]), 2)


def test_buckets_and_hits_are_ordered(docs: hw.Collection) -> None:
    def keys(order: list[dict[str, str]], **more: Any) -> list[Any]:
        aggregation = hw.SearchAggregation(
            ["brand"], 5, metrics={"m": {"sum": "price"}, "near": {"min": "_score"}}, order=order, **more
        )
        found = docs.search(QUERIES[:1], search_aggregation=aggregation, **ASK)
        return [(bucket.key[0]["value"], bucket) for bucket in (found.agg_buckets or [])[0]]

    assert [key for key, _ in keys([{"_key": "desc"}])] == ["near", "c", "b", "a", None]
    by_sum = keys([{"m": "desc"}], top_hits=hw.TopHits(6))
    sums = [bucket.metrics["m"] for _, bucket in by_sum]
    assert sums == sorted(sums, reverse=True)
    by_count = keys([{"_count": "asc"}, {"_key": "asc"}], top_hits=hw.TopHits(50))
    places = [(bucket.count, key is None, key or "") for key, bucket in by_count]
    assert places == sorted(places)
    assert len({count for count, _, _ in places}) > 1
    distances = [bucket.metrics["near"] for _, bucket in keys([{"near": "asc"}])]
    assert distances == sorted(distances)

    hits = hw.TopHits(5, sort=[{"price": "desc"}, {"_score": "asc"}])
    aggregation = hw.SearchAggregation(["brand"], 1, top_hits=hits)
    [[bucket]] = (
        docs.search(QUERIES[:1], search_aggregation=aggregation, output_fields=["price"], **ASK).agg_buckets
        or []
    )
    nearest_five = nearest(QUERIES[0])[:5]
    expected = sorted(nearest_five, key=lambda row: (row["price"] is None, -(row["price"] or 0)))
    assert [hit.pk for hit in bucket.hits] == [row["id"] for row in expected]


def test_a_sort_chooses_among_what_a_bucket_retains(docs: hw.Collection) -> None:
    """The largest `TopHits` says what is retained, and each level shows the first of its own order."""
    inner = hw.SearchAggregation(["color"], 1, top_hits=hw.TopHits(2, sort=[{"price": "asc"}]))
    outer = hw.SearchAggregation(
        ["brand"], 1, top_hits=hw.TopHits(6, sort=[{"_score": "asc"}]), sub_aggregation=inner
    )
    [[bucket]] = (
        docs.search(QUERIES[:1], search_aggregation=outer, output_fields=["price"], **ASK).agg_buckets or []
    )
    [below] = bucket.sub_groups
    color = below.key[0]["value"]
    retained = nearest(QUERIES[0], lambda row: row["brand"] == "near" and row["color"] == color)[:6]
    priced = sorted(row["price"] for row in retained if row["price"] is not None)[:2]
    assert [hit.fields["price"] for hit in below.hits] == priced
    assert {hit.pk for hit in below.hits} != {row["id"] for row in retained[:2]}


def test_a_bucket_holds_what_is_looked_at_inside_it(docs: hw.Collection) -> None:
    """Also the candidates of buckets inside it that are not shown."""
    counted = {"n": {"count": "*"}}
    inner = hw.SearchAggregation(["color"], 1, counted, order=[{"_key": "desc"}], search_size=3)
    outer = hw.SearchAggregation(["brand"], 1, counted, sub_aggregation=inner)
    [[bucket]] = docs.search(QUERIES[:1], search_aggregation=outer, **ASK).agg_buckets or []
    assert (bucket.count, bucket.metrics["n"]) == (3, 3)
    assert [[part["value"] for part in one.key] for one in bucket.sub_groups] == [["red"]]


def test_more_buckets_are_looked_at_than_shown(docs: hw.Collection) -> None:
    narrow = hw.SearchAggregation(["brand"], 1, order=[{"_key": "asc"}])
    wide = hw.SearchAggregation(["brand"], 1, order=[{"_key": "asc"}], search_size=5)
    shown = [
        [
            bucket.key[0]["value"]
            for bucket in (docs.search(QUERIES[:1], search_aggregation=one, **ASK).agg_buckets or [])[0]
        ]
        for one in (narrow, wide)
    ]
    assert shown == [["near"], ["a"]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hw.SearchAggregation([], 3), "at least one field"),
        (lambda: hw.SearchAggregation("brand", 3), "list of at least one"),
        (lambda: hw.SearchAggregation(["brand"], 0), "size must be"),
        (lambda: hw.SearchAggregation(["brand"], 3, search_size=2), "below size"),
        (lambda: hw.SearchAggregation(["brand"], 3, metrics={"m": {"median": "x"}}), "median"),
        (lambda: hw.SearchAggregation(["brand"], 3, metrics={"m": {"sum": "*"}}), "expected count"),
        (lambda: hw.SearchAggregation(["brand"], 3, order=[{"price": "asc"}]), "expected one of _count"),
        (lambda: hw.SearchAggregation(["brand"], 3, order=[{"_key": "up"}]), "asc or desc"),
        (lambda: hw.SearchAggregation(["a"] * 11, 3), "10 fields"),
        (lambda: hw.SearchAggregation(["brand"], 3, top_hits=3), "must be a TopHits"),  # type: ignore[arg-type]
        (lambda: hw.TopHits(0), "size must be"),
    ],
)
def test_wrong_aggregations_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        make()


def test_at_most_four_levels() -> None:
    level = None
    for _ in range(4):
        level = hw.SearchAggregation(["brand"], 1, sub_aggregation=level)
    with pytest.raises(InvalidArgument, match="4 levels"):
        hw.SearchAggregation(["brand"], 1, sub_aggregation=level)


def test_aggregations_that_do_not_fit(docs: hw.Collection) -> None:
    one = hw.SearchAggregation(["brand"], 3)
    of_texts = hw.SearchAggregation(["brand"], 3, metrics={"m": {"sum": "color"}})
    with pytest.raises(UnsupportedOption, match="does not go with offset"):
        docs.search(QUERIES, search_aggregation=one, offset=2, **ASK)
    with pytest.raises(UnsupportedOption, match="is no SearchAggregation"):
        docs.search(QUERIES, search_aggregation={"fields": ["brand"]}, **ASK)
    with pytest.raises(FieldNotFound):
        docs.search(QUERIES, search_aggregation=hw.SearchAggregation(["nowhere"], 3), **ASK)
    with pytest.raises(InvalidArgument, match="price"):
        docs.search(QUERIES, search_aggregation=hw.SearchAggregation(["price"], 3), **ASK)
    with pytest.raises(InvalidArgument, match="no sum"):
        docs.search(QUERIES, search_aggregation=of_texts, **ASK)


def test_an_empty_collection_has_no_buckets(tmp_path: Path) -> None:
    docs = hw.connect(tmp_path).create_collection("docs", {"id": hw.Int64, "v": hw.FloatVector(DIM)}, "id")
    assert docs.search(QUERIES, search_aggregation=hw.SearchAggregation(["id"], 3)).agg_buckets == [[], []]


MIXED = [1, 10, 9, 2.5, "x", "b", True, False, 100, -3, None, "x"]


@pytest.fixture(params=[False, True], ids=["growing", "sealed"])
def mixed(request: pytest.FixtureRequest, tmp_path: Path) -> hw.Collection:
    """Rows whose JSON has values of several types at `p` and numbers at `n`, and numbers that are none in `f`."""
    docs = hw.connect(tmp_path).create_collection(
        "mixed", {"id": hw.Int64, "f": hw.Double, "j": hw.JSON, "g": hw.Int64, "v": hw.FloatVector(2)}, "id"
    )
    for i, value in enumerate(MIXED):
        number = math.nan if i % 4 == 1 else float((i * 7) % 12)
        row = {"id": i, "f": number, "j": {"p": value, "n": (i * 5) % 13}, "g": i % 2, "v": [1.0, i / 10]}
        docs.insert([row])
        if request.param and i == 5:
            docs.flush()
    if request.param:
        docs.flush()
    return docs


def bucketed(docs: hw.Collection, level: hw.SearchAggregation) -> list[Any]:
    [buckets] = docs.search([[1.0, 0.0]], search_aggregation=level, params={"metric_type": "L2"}).agg_buckets
    return list(buckets)


ORDERED = [False, True, -3, 1, 2.5, 9, 10, 100, "b", "x"]


def test_values_of_json_are_ordered_by_type_and_then_as_what_they_are(mixed: hw.Collection) -> None:
    for direction, wanted in (("asc", [*ORDERED, None]), ("desc", [*reversed(ORDERED), None])):
        level = hw.SearchAggregation(['j["p"]'], size=20, order=[{"_key": direction}])
        assert [bucket.key[0]["value"] for bucket in bucketed(mixed, level)] == wanted
        rows = mixed.query(group_by_fields=['j["p"]'], order_by=[('j["p"]', direction)])
        assert [row['j["p"]'] for row in rows] == wanted
    pages = [mixed.query(group_by_fields=['j["p"]'], limit=3, offset=offset) for offset in range(0, 12, 3)]
    assert [row['j["p"]'] for page in pages for row in page] == [*ORDERED, None]


def test_metrics_that_are_not_a_number_come_last(mixed: hw.Collection) -> None:
    numbers = {row["id"]: row["f"] for row in mixed.query(output_fields=["id", "f"])}
    there = sorted((key for key in numbers if not math.isnan(numbers[key])), key=lambda key: numbers[key])
    for direction, wanted in (("asc", there), ("desc", there[::-1])):
        level = hw.SearchAggregation(
            ["id"], size=20, metrics={"most": {"max": "f"}}, order=[{"most": direction}]
        )
        assert [bucket.key[0]["value"] for bucket in bucketed(mixed, level)][:9] == wanted


def test_metrics_and_hits_go_by_the_numbers_of_a_json_path(mixed: hw.Collection) -> None:
    metrics = {"least": {"min": 'j["n"]'}, "most": {"max": 'j["n"]'}, "largest": {"max": 'j["p"]'}}
    top = hw.TopHits(12, sort=[{'j["n"]': "desc"}])
    for bucket in bucketed(mixed, hw.SearchAggregation(["g"], size=2, metrics=metrics, top_hits=top)):
        rows = [i for i in range(len(MIXED)) if i % 2 == bucket.key[0]["value"]]
        numbers = [(i * 5) % 13 for i in rows]
        plain = [MIXED[i] for i in rows if type(MIXED[i]) in (int, float)]
        assert bucket.metrics["least"] == min(numbers)
        assert bucket.metrics["most"] == max(numbers)
        assert bucket.metrics["largest"] == max(plain)
        assert [(hit.pk * 5) % 13 for hit in bucket.hits] == sorted(numbers, reverse=True)
    for name in ("v", "j"):
        with pytest.raises(InvalidArgument, match="there is no max"):
            bucketed(mixed, hw.SearchAggregation(["g"], size=2, metrics={"most": {"max": name}}))


@pytest.mark.parametrize("name", ["v", "j"])
def test_what_has_no_order_orders_nothing(mixed: hw.Collection, name: str) -> None:
    level = hw.SearchAggregation(["g"], size=2, top_hits=hw.TopHits(2, sort=[{name: "asc"}]))
    for ask in (
        lambda: mixed.query(order_by=name),
        lambda: mixed.query(order_by=["id", name], limit=2),
        lambda: mixed.search([[1.0, 0.0]], order_by_fields=[name]),
        lambda: mixed.search([[1.0, 0.0]], function_chains=hw.FunctionChain().sort(name)),
        lambda: mixed.search([[1.0, 0.0]], function_chains=hw.FunctionChain().sort("g", tie_break=name)),
        lambda: bucketed(mixed, level),
    ):
        with pytest.raises(InvalidArgument, match="has no order"):
            ask()
