"""Aggregates against DuckDB, over growing and sealed segments, deletes and nulls."""

from __future__ import annotations

import datetime
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from headwater.errors import FieldNotFound, InvalidArgument

SCHEMA = hw.Schema.of(
    [
        hw.Field("id", hw.Int64),
        hw.Field("color", hw.String, nullable=True),
        hw.Field("size", hw.Int16, nullable=True),
        hw.Field("big", hw.Int64, nullable=True),
        hw.Field("price", hw.Double, nullable=True),
        hw.Field("ratio", hw.Float, nullable=True),
        hw.Field("ok", hw.Bool, nullable=True),
        hw.Field("stamp", hw.TimestampTz, nullable=True),
        hw.Field("meta", hw.JSON, nullable=True),
        hw.Field("v", hw.FloatVector(2)),
    ],
    "id",
)


def some(rng: np.random.Generator, value: Any) -> Any:
    return None if rng.random() < 0.15 else value


def make(n: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(11)
    start = datetime.datetime(2025, 12, 28, 22, 30, tzinfo=datetime.UTC)
    return [
        {
            "id": i,
            "color": some(rng, ["red", "blue", "grün", ""][rng.integers(0, 4)]),
            "size": some(rng, int(rng.integers(-3, 4))),
            "big": some(rng, int(rng.integers(-(1 << 40), 1 << 40))),
            "price": some(rng, float(rng.normal() * 50)),
            "ratio": some(rng, float(np.float32(rng.random()))),
            "ok": some(rng, bool(rng.integers(0, 2))),
            "stamp": some(rng, start + datetime.timedelta(minutes=int(rng.integers(0, 20_000)))),
            "meta": some(
                rng,
                {
                    "region": some(rng, ["eu", "us", 3, 3.0, 2.5][rng.integers(0, 5)]),
                    "n": int(rng.integers(0, 9)),
                },
            ),
            "v": [1.0, 0.0],
        }
        for i in range(n)
    ]


ROWS = make(900)


@pytest.fixture(scope="module", params=["growing", "sealed", "several"])
def docs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> hw.Collection:
    docs = hw.connect(tmp_path_factory.mktemp("aggregates")).create_collection("docs", SCHEMA)
    for start in (0, 300, 600):
        docs.insert(
            [{**row, "stamp": row["stamp"] and row["stamp"].isoformat()} for row in ROWS[start : start + 300]]
        )
        if request.param == "several":
            docs.flush()
    if request.param == "sealed":
        docs.flush()
    docs.delete([i for i in range(900) if i % 10 == 3])
    return docs


@pytest.fixture(scope="module")
def oracle() -> duckdb.DuckDBPyConnection:
    rows = [
        {
            **{k: v for k, v in row.items() if k not in ("v", "meta")},
            "region": (row["meta"] or {}).get("region"),
            "n": (row["meta"] or {}).get("n"),
        }
        for row in ROWS
        if row["id"] % 10 != 3
    ]
    for row in rows:
        region = row["region"]
        row["region"] = None if region is None else json.dumps(int(region) if region == 3 else region)
    columns = {name: [plain(row[name]) for row in rows] for name in rows[0]}
    types = {"size": pa.int16(), "ratio": pa.float32(), "stamp": pa.timestamp("us")}
    table = pa.table({name: pa.array(values, types.get(name)) for name, values in columns.items()})
    connection = duckdb.connect()
    connection.register("docs", table)
    return connection


def plain(value: Any) -> Any:
    """Moments without their zone, which is UTC everywhere here."""
    return value.replace(tzinfo=None) if isinstance(value, datetime.datetime) else value


def same(found: hw.QueryResult, expected: list[tuple[Any, ...]], ordered: bool = False) -> None:
    got = [tuple(row.values()) for row in found]
    assert len(got) == len(expected)
    if not ordered:
        got, expected = sorted(got, key=repr), sorted(expected, key=repr)
    for a, b in zip(got, expected, strict=True):
        for x, y in zip(a, b, strict=True):
            x, y = plain(x), plain(y)
            if isinstance(y, float) and x is not None:
                assert x == pytest.approx(y, rel=1e-9, abs=1e-9)
            else:
                assert x == y, (a, b)


EVERYTHING = [
    "count(*)",
    "count(price)",
    "count(ok)",
    "sum(size)",
    "sum(big)",
    "sum(price)",
    "sum(ratio)",
    "avg(size)",
    "avg(big)",
    "avg(price)",
    "min(price)",
    "max(price)",
    "min(color)",
    "max(color)",
    "min(stamp)",
    "max(stamp)",
    "min(ok)",
    "max(big)",
]


@pytest.mark.parametrize("condition", [None, "size > 0", "price < -1000", "id < 5"])
@pytest.mark.parametrize(
    "keys", [[], ["color"], ["size"], ["ok"], ["stamp"], ["color", "ok", "size"]], ids=str
)
def test_groups_are_those_of_duckdb(
    docs: hw.Collection, oracle: duckdb.DuckDBPyConnection, keys: list[str], condition: str | None
) -> None:
    found = docs.query(condition, group_by_fields=keys, output_fields=[*keys, *EVERYTHING])
    # DuckDB orders text by bytes, as Arrow does.
    sql = f"select {', '.join([*keys, *EVERYTHING])} from docs where {condition or 'true'}"
    same(found, oracle.execute(f"{sql} group by {', '.join(keys)}" if keys else sql).fetchall())


def test_paths_are_keys_and_numbers(docs: hw.Collection, oracle: duckdb.DuckDBPyConnection) -> None:
    found = docs.query(
        group_by_fields=['meta["region"]'],
        output_fields=['meta["region"]', "count(*)", 'sum(meta["n"])', 'avg(meta["n"])', 'max(meta["n"])'],
    )
    expected = oracle.execute(
        "select region, count(*), sum(n), avg(n), max(n) from docs group by region"
    ).fetchall()
    same(found, [(None if row[0] is None else json.loads(row[0]), *row[1:]) for row in expected])


def test_pages_and_orders(docs: hw.Collection, oracle: duckdb.DuckDBPyConnection) -> None:
    sql = (
        "select color, size, count(*), avg(price) from docs group by color, size order by {} limit 7 offset 4"
    )
    fields = ["color", "size", "count(*)", "avg(price)"]
    for order, by in (
        ("3 desc, 1 nulls last, 2 nulls last", ["count(*):desc"]),
        ("4 desc nulls last, 1, 2", "-avg(price)"),
        ("2 desc nulls last, 1 nulls last", [("size", "desc")]),
        ("1 nulls last, 2 nulls last", None),
    ):
        found = docs.query(
            group_by_fields=["color", "size"], output_fields=fields, order_by=by, limit=7, offset=4
        )
        same(found, oracle.execute(sql.format(order)).fetchall(), ordered=True)


def test_histograms_of_numbers_and_time(docs: hw.Collection, oracle: duckdb.DuckDBPyConnection) -> None:
    for text, sql in (
        ("histogram(price, 12.5)", "floor(price / 12.5) * 12.5"),
        ("histogram(size, 2)", "floor(size / 2.0) * 2"),
        ("histogram(big, 1000000)", "floor(big::decimal(38, 0) / 1000000) * 1000000"),
        ('histogram(stamp, "1d")', "date_trunc('day', stamp)"),
        ("histogram(stamp, '6h')", "time_bucket(interval 6 hours, stamp)"),
    ):
        found = docs.query(group_by_fields=[text], output_fields=[text, "count(*)", "sum(size)"])
        same(found, oracle.execute(f"select {sql}, count(*), sum(size) from docs group by 1").fetchall())


def test_zeros_of_either_sign_share_a_bucket_and_the_infinite_have_their_own(tmp_path: Path) -> None:
    docs = hw.connect(tmp_path).create_collection(
        "docs", {"id": hw.Int64, "x": hw.Double, "v": hw.FloatVector(2)}, "id"
    )
    values = [0.0, -0.0, 0.4, -0.1, math.inf, -math.inf, math.inf, math.nan]
    docs.insert([{"id": i, "x": value, "v": [0.0, 1.0]} for i, value in enumerate(values)])
    buckets = [tuple(row.values()) for row in docs.query(group_by_fields=["histogram(x, 0.5)"])]
    assert buckets == [(-math.inf, 1), (-0.5, 1), (0.0, 3), (math.inf, 2), (None, 1)]


def test_the_count_is_that_of_count(docs: hw.Collection) -> None:
    assert docs.query("size > 0", output_fields=["count(*)"]) == [{"count(*)": docs.count("size > 0")}]
    assert docs.query(group_by_fields=["ok"]).to_arrow().column_names == ["ok", "count(*)"]


def test_sums_beyond_64_bits_are_exact(tmp_path: Path) -> None:
    docs = hw.connect(tmp_path).create_collection(
        "docs", {"id": hw.Int64, "x": hw.Int64, "v": hw.FloatVector(2)}, "id"
    )
    big = (1 << 63) - 1
    for start in (0, 3):
        docs.insert([{"id": i, "x": big, "v": [0.0, 1.0]} for i in range(start, start + 3)])
        docs.flush()
    [row] = docs.query(output_fields=["sum(x)", "avg(x)", "max(x)"])
    assert row == {"sum(x)": Decimal(6 * big), "avg(x)": pytest.approx(float(big)), "max(x)": big}
    assert docs.query("id == 2", output_fields=["sum(x)"]) == [{"sum(x)": big}]


def test_nothing_is_one_row_without_keys_and_none_with_them(tmp_path: Path) -> None:
    docs = hw.connect(tmp_path).create_collection("docs", SCHEMA)
    for condition in (None, "id > 5"):
        assert docs.query(condition, output_fields=["count(*)", "sum(price)", "max(stamp)"]) == [
            {"count(*)": 0, "sum(price)": None, "max(stamp)": None}
        ]
        assert len(docs.query(condition, group_by_fields=["color"])) == 0


@pytest.mark.parametrize(
    ("keys", "outputs", "error", "message"),
    [
        (["price"], ["count(*)"], InvalidArgument, "'price' is double"),
        (["v"], ["count(*)"], InvalidArgument, "float_vector"),
        (["color"], ["size"], InvalidArgument, "'size' is neither"),
        (["color", "color"], None, InvalidArgument, "different fields"),
        ("color", None, InvalidArgument, "expected a list"),
        ([], ["sum(*)"], InvalidArgument, "only count takes"),
        ([], ["sum(color)"], InvalidArgument, "there is no sum"),
        ([], ["max(v)"], InvalidArgument, "there is no max"),
        ([], ["avg(nowhere)"], FieldNotFound, "nowhere"),
        (["nowhere"], None, FieldNotFound, "nowhere"),
        (["histogram(price, 0)"], None, InvalidArgument, "above 0"),
        (["histogram(color, 3)"], None, InvalidArgument, "expected histogram"),
        (['histogram(price, "1d")'], None, InvalidArgument, "expected histogram"),
    ],
    ids=str,
)
def test_wrong_aggregates(
    docs: hw.Collection, keys: Any, outputs: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        docs.query(group_by_fields=keys, output_fields=outputs)
    with pytest.raises(InvalidArgument, match="ordered by its columns"):
        docs.query(group_by_fields=["color"], order_by="price")
    assert not math.isnan(docs.query(output_fields=["avg(price)"])[0]["avg(price)"])
