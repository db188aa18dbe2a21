"""Filters, order and pages beside DuckDB, on the same rows: an oracle that shares no code with ours."""

from __future__ import annotations

import random
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw

INTEGERS = [None, -3, -1, 0, 1, 2, 5, 1 << 40]
DOUBLES = [None, -2.5, -0.0, 0.0, 0.5, 1.0, 2.0, 1e300]
TEXTS = [None, "", "a", "ab", "abc", "b%", "a_c", "é", "%"]
BOOLS = [None, True, False]


def rows(count: int) -> pa.Table:
    dice = random.Random(7)
    return pa.table(
        {
            "id": pa.array(range(count), pa.int64()),
            "i": pa.array([dice.choice(INTEGERS) for _ in range(count)], pa.int64()),
            "d": pa.array([dice.choice(DOUBLES) for _ in range(count)], pa.float64()),
            "s": pa.array([dice.choice(TEXTS) for _ in range(count)], pa.string()),
            "b": pa.array([dice.choice(BOOLS) for _ in range(count)], pa.bool_()),
            # Sorted, so that statistics rule segments out.
            "n": pa.array([k // 3 for k in range(count)], pa.int32()),
        }
    )


ROWS = rows(400)
Pair = tuple[str, str]
"""The same condition in our language and in SQL."""


def quoted(text: str) -> Pair:
    return '"' + text + '"', "'" + text.replace("'", "''") + "'"


NUMBERS = st.one_of(
    st.sampled_from([one for one in INTEGERS if one is not None]),
    st.sampled_from([one for one in DOUBLES if one is not None]),
    st.integers(-3, 140),
).map(lambda value: (repr(value), repr(value)))
LITERAL_TEXTS = st.sampled_from([one for one in TEXTS if one is not None]).map(quoted)
NUMERIC = st.sampled_from(["i", "d", "n"]).map(lambda name: (name, name))
COMPARISON = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])


TERMS = st.one_of(
    NUMERIC,
    st.tuples(st.sampled_from(["d", "n"]), st.sampled_from("+-*"), st.integers(-3, 9)).map(
        lambda t: (f"({t[0]} {t[1]} {t[2]})", f"({t[0]} {t[1]} {t[2]})")
    ),
)


def compared(left: Pair, operator: str, right: Pair) -> Pair:
    return f"{left[0]} {operator} {right[0]}", f"{left[1]} {'=' if operator == '==' else operator} {right[1]}"


def listed(field: str, values: list[Pair], negated: bool) -> Pair:
    word = "not in" if negated else "in"
    ours, theirs = (", ".join(value[side] for value in values) for side in (0, 1))
    return f"{field} {word} [{ours}]", f"{field} {word} ({theirs})"


CONDITIONS = st.one_of(
    st.builds(compared, TERMS, COMPARISON, NUMBERS),
    st.builds(compared, NUMBERS, COMPARISON, NUMERIC),
    st.builds(compared, TERMS, COMPARISON, NUMERIC),
    st.builds(compared, st.just(("s", "s")), COMPARISON, LITERAL_TEXTS),
    st.builds(
        listed, st.sampled_from(["i", "d", "n"]), st.lists(NUMBERS, min_size=1, max_size=4), st.booleans()
    ),
    st.builds(listed, st.just("s"), st.lists(LITERAL_TEXTS, min_size=1, max_size=4), st.booleans()),
    st.sampled_from(["a%", "%b%", "_", "a_c", "%", "", "__%"]).map(
        lambda p: (f's like "{p}"', f"s like '{p}'")
    ),
    st.tuples(st.sampled_from(["i", "d", "s", "b", "n"]), st.sampled_from(["is null", "is not null"])).map(
        lambda t: (f"{t[0]} {t[1]}", f"{t[0]} {t[1]}")
    ),
    st.just(("b", "b")),
    st.sampled_from([("b == true", "b = true"), ("b != true", "b != true")]),
)


def joined(pairs: list[Pair], word: str) -> Pair:
    ours, theirs = (f" {word} ".join(f"({pair[side]})" for pair in pairs) for side in (0, 1))
    return ours, theirs


FILTERS = st.recursive(
    CONDITIONS,
    lambda inner: st.one_of(
        st.builds(joined, st.lists(inner, min_size=2, max_size=3), st.sampled_from(["and", "or"])),
        inner.map(lambda pair: (f"not ({pair[0]})", f"not ({pair[1]})")),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module", params=["managed", "external"])
def collection(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> hw.Collection:
    folder: Path = tmp_path_factory.mktemp("oracle")
    db = hw.connect(folder / "lake")
    if request.param == "external":
        (folder / "source").mkdir()
        for part in range(5):
            pq.write_table(
                ROWS.slice(80 * part, 80), folder / "source" / f"{part}.parquet", row_group_size=30
            )
        settings_ = hw.Settings()
        return hw.connect(folder / "lake", settings=settings_).create_external_collection(
            "t", folder / "source", primary_key="id"
        )
    made = db.create_collection("t", ROWS.schema, "id")
    for part in range(5):
        made.insert(ROWS.slice(80 * part, 80))
        made.flush()
    return made


@pytest.fixture(scope="module")
def oracle() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.register("t", ROWS)
    return connection


@settings(max_examples=400)
@given(pair=FILTERS)
def test_a_filter_selects_what_sql_does(
    collection: hw.Collection, oracle: duckdb.DuckDBPyConnection, pair: Pair
) -> None:
    ours, theirs = pair
    expected = [row[0] for row in oracle.execute(f"select id from t where {theirs} order by id").fetchall()]
    assert collection.to_arrow(["id"], ours).column(0).to_pylist() == expected
    assert collection.count(ours) == len(expected)


@settings(max_examples=150)
@given(
    pair=FILTERS,
    order=st.lists(
        st.tuples(st.sampled_from(["i", "d", "s", "n"]), st.sampled_from(["asc", "desc"])),
        max_size=3,
        unique_by=lambda t: t[0],
    ),
    limit=st.integers(0, 50),
    offset=st.integers(0, 60),
)
def test_order_and_pages_are_those_of_sql(
    collection: hw.Collection,
    oracle: duckdb.DuckDBPyConnection,
    pair: Pair,
    order: list[tuple[str, str]],
    limit: int,
    offset: int,
) -> None:
    ours, theirs = pair
    keys = ", ".join([*(f"{name} {way} nulls last" for name, way in order), "id asc"])
    sql = f"select id, s, d from t where {theirs} order by {keys} limit {limit} offset {offset}"
    found = collection.query(
        ours, output_fields=["id", "s", "d"], order_by=[*order, ("id", "asc")], limit=limit, offset=offset
    )
    expected = oracle.execute(sql).fetchall()
    assert [(row["id"], row["s"], row["d"]) for row in found] == expected


def test_files_of_ours_are_read_by_duckdb(tmp_path: Path) -> None:
    """Open formats: a collection kept as Parquet is a folder of Parquet files."""
    kept = hw.connect(tmp_path).create_collection("t", ROWS.schema, "id", format="parquet")
    kept.insert(ROWS)
    kept.flush()
    files = [str(path) for path in (tmp_path / "default/t/segments").rglob("*.parquet")]
    read = (
        duckdb.connect()
        .execute("select count(*) from read_parquet(?, union_by_name=true)", [files])
        .fetchone()
    )
    assert read is not None
    assert read[0] >= 400


def test_statistics_rule_segments_out(collection: hw.Collection) -> None:
    info = collection.query("n >= 0 and n < 3").info
    assert 0 < info.segments_pruned < info.segments_total or info.segments_total == 1
