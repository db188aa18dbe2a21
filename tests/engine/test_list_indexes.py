"""Indexes over the vectors of struct arrays, against numpy over all elements."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headwater as hw
from headwater import errors

DIM, TOPICS = 16, 60
FIELD = "chunks[emb]"
Kept = Callable[[int, int], bool]


class Rows(NamedTuple):
    """What was inserted: `vectors[key]` by position in the array, None of elements without one."""

    vectors: dict[int, list[np.ndarray | None]]
    sizes: dict[int, list[int]]
    topics: np.ndarray

    def without(self, keys: set[int]) -> Rows:
        return Rows({k: v for k, v in self.vectors.items() if k not in keys}, self.sizes, self.topics)


def drawn(n: int, seed: int = 0) -> Rows:
    """Rows that are about something, as chunks of one text are: null arrays, empty ones, elements without a vector."""
    rng = np.random.default_rng(seed)
    topics = rng.normal(size=(TOPICS, DIM))
    vectors: dict[int, list[np.ndarray | None]] = {}
    sizes: dict[int, list[int]] = {}
    for key in range(n):
        about = topics[rng.integers(TOPICS)] + 0.6 * rng.normal(size=DIM)
        several = 0 if key % 11 == 0 else int(rng.integers(0, 9))
        made = (about + 0.4 * rng.normal(size=(several, DIM))).astype(np.float32)
        vectors[key] = [None if (key + j) % 17 == 0 else one for j, one in enumerate(made)]
        sizes[key] = [(key + 3 * j) % 10 for j in range(several)]
    return Rows(vectors, sizes, topics)


def records(rows: Rows, keys: np.ndarray) -> list[dict[str, Any]]:
    found = []
    for key in keys.tolist():
        chunks = [
            {"size": size, "emb": None if one is None else one.tolist()}
            for one, size in zip(rows.vectors[key], rows.sizes[key], strict=True)
        ]
        found.append({"id": key, "year": key % 10, "chunks": None if key % 11 == 0 else chunks})
    return found


def made(path: Path, rows: Rows, parts: int = 2, **options: Any) -> hw.Collection:
    schema = [
        hw.Field("id", hw.Int64),
        hw.Field("year", hw.Int32),
        hw.Field("chunks", hw.StructArray({"size": hw.Int32, "emb": hw.FloatVector(DIM)}), nullable=True),
    ]
    col = hw.connect(path).create_collection("docs", schema, "id", **options)
    for part in np.array_split(np.arange(len(rows.vectors)), parts):
        col.insert(records(rows, part))
        col.flush()
    return col


def queries_of(rows: Rows, count: int, several: int = 1, seed: int = 9) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    about = rows.topics[rng.integers(TOPICS, size=count)]
    return [(one + 0.7 * rng.normal(size=(several, DIM))).astype(np.float32) for one in about]


def compared(query: np.ndarray, vectors: np.ndarray, metric: str) -> np.ndarray:
    """(queries, vectors) in float64, larger is closer."""
    a, b = query.astype(np.float64), vectors.astype(np.float64)
    if metric.endswith("L2"):
        return -((a[:, None] - b[None]) ** 2).sum(axis=2)
    if metric.endswith("COSINE"):
        a, b = a / np.linalg.norm(a, axis=1)[:, None], b / np.linalg.norm(b, axis=1)[:, None]
    return a @ b.T


def nearest_elements(rows: Rows, query: np.ndarray, metric: str, k: int, keep: Kept) -> dict[Any, float]:
    names = [
        (key, j)
        for key, several in rows.vectors.items()
        for j, one in enumerate(several)
        if one is not None and keep(key, j)
    ]
    vectors = np.stack([rows.vectors[key][j] for key, j in names])
    values = compared(query, vectors, metric)[0]
    return {names[at]: float(values[at]) for at in np.argsort(-values)[:k]}


def nearest_rows(rows: Rows, query: np.ndarray, metric: str, k: int, keep: Kept) -> dict[Any, float]:
    there = {key: [one for one in several if one is not None] for key, several in rows.vectors.items()}
    keys = [key for key, several in there.items() if several and keep(key, 0)]
    starts = np.cumsum([0, *(len(there[key]) for key in keys[:-1])])
    values = compared(query, np.stack([one for key in keys for one in there[key]]), metric)
    sums = np.maximum.reduceat(values, starts, axis=1).sum(axis=0)
    return {keys[at]: float(sums[at]) for at in np.argsort(-sums)[:k]}


def recall(
    col: hw.Collection,
    rows: Rows,
    metric: str,
    *,
    filter: str | None = None,
    keep: Kept = lambda *_: True,
    k: int = 10,
    several: int = 4,
    params: dict[str, Any] | None = None,
) -> float:
    """Of the exact hits, found; every distance is checked, and that as many are found as there are."""
    late = metric.startswith("MAX_SIM")
    found = wanted = 0
    for query in queries_of(rows, 20, several if late else 1):
        exact = (nearest_rows if late else nearest_elements)(rows, query, metric, k, keep)
        ask = {"anns_field": FIELD, "top_k": k, "filter": filter}
        asked = [query] if late else query[0]
        hits = col.search(asked, params={"metric_type": metric, **(params or {})}, **ask)[0]
        assert len(hits) == len(exact)
        for hit in hits:
            key, sign = hit["id"], -1 if metric.endswith("L2") else 1
            own = [hit["offset"]] if not late else range(len(rows.vectors[key]))
            there = [one for j in own if (one := rows.vectors[key][j]) is not None]
            assert all(keep(key, j) for j in own if not late or j == 0)
            value = float(compared(query, np.stack(there), metric).max(axis=1).sum())
            assert sign * hit["distance"] == pytest.approx(value, rel=1e-4, abs=1e-4)
        names = {hit["id"] if late else (hit["id"], hit["offset"]) for hit in hits}
        found, wanted = found + len(names & exact.keys()), wanted + len(exact)
    return found / wanted


FILTERS: list[tuple[str | None, Callable[[Rows], Kept]]] = [
    (None, lambda rows: lambda key, j: True),
    ("year != 3", lambda rows: lambda key, j: key % 10 != 3),
    ("id < 40", lambda rows: lambda key, j: key < 40),
]
OF_ELEMENTS: list[tuple[str | None, Callable[[Rows], Kept]]] = [
    ("element_filter(chunks, $[size] > 2)", lambda rows: lambda key, j: rows.sizes[key][j] > 2),
    (
        "year == 4 and element_filter(chunks, $[size] in [1, 5, 9])",
        lambda rows: lambda key, j: key % 10 == 4 and rows.sizes[key][j] in (1, 5, 9),
    ),
]


@pytest.mark.parametrize(
    ("kind", "metric"),
    [
        ("AUTOINDEX", "COSINE"),
        ("AUTOINDEX", "L2"),
        ("AUTOINDEX", "IP"),
        ("IVF_FLAT", "L2"),
        ("HNSW", "COSINE"),
        ("HNSW_SQ", "L2"),
        ("FLAT", "IP"),
    ],
)
def test_elements_are_found_by_the_index_with_and_without_filters_and_deletes(
    tmp_path: Path, kind: str, metric: str
) -> None:
    rows = drawn(5000)
    col = made(tmp_path, rows)
    report = col.create_index(FIELD, kind, metric_type=metric)
    assert (report.index, report.segments_built) == (FIELD, 2)
    for gone in (set(), {1, 2, 3000, *range(500, 700)}):
        if gone:
            col.delete(sorted(gone))
        left = rows.without(gone)
        for text, keep in (*FILTERS, *OF_ELEMENTS):
            assert recall(col, left, metric, filter=text, keep=keep(rows)) >= 0.95
    with hw.explain() as what:
        found = col.search(queries_of(rows, 1)[0][0], anns_field=FIELD, params={"metric_type": metric})
    assert what.indexes == [FIELD]
    assert found.info.index_coverage == 1.0


@pytest.mark.parametrize("metric", ["MAX_SIM_COSINE", "MAX_SIM_L2"])
def test_rows_are_found_by_the_elements_that_the_index_names(tmp_path: Path, metric: str) -> None:
    rows = drawn(16_000)
    col = made(tmp_path, rows, parts=1)
    col.create_index(FIELD, metric_type=metric)
    for gone in (set(), {1, 2, 3000, *range(500, 700)}):
        if gone:
            col.delete(sorted(gone))
        left = rows.without(gone)
        for (text, keep), how in zip(FILTERS, ("candidates of the index",) * 2 + ("exact",), strict=True):
            with hw.explain() as what:
                assert recall(col, left, metric, filter=text, keep=keep(rows)) >= 0.95
            assert what.indexes == [FIELD]
            assert set(what.strategies.values()) == {how}
    with hw.explain() as what:
        assert recall(col, left, metric, k=100) >= 0.95
    assert set(what.strategies.values()) == {"exact"}
    asked = [queries_of(rows, 1, several)[0] for several in (4, 1, 7)]
    together = col.search(asked, anns_field=FIELD, params={"metric_type": metric})
    for query, hits in zip(asked, together, strict=True):
        alone = col.search(query, anns_field=FIELD, params={"metric_type": metric})[0]
        assert [hit["id"] for hit in hits] == [hit["id"] for hit in alone]
    col.insert([{"id": 90_000, "year": 1, "chunks": [{"size": 1, "emb": one.tolist()} for one in asked[0]]}])
    assert col.search(asked[0], anns_field=FIELD, params={"metric_type": metric})[0][0]["id"] == 90_000
    batches = col.search_iterator(asked[0], anns_field=FIELD, batch_size=50, limit=300)
    every = [hit["id"] for batch in batches for hit in batch]
    assert len(every) == len(set(every)) == 300


def test_late_interaction_in_vectors_about_nothing_is_exact(tmp_path: Path) -> None:
    col = hw.connect(tmp_path).create_collection(
        "docs", {"id": hw.Int64, "chunks": hw.StructArray({"emb": hw.FloatVector(64)})}, "id"
    )
    vectors = np.random.default_rng(0).normal(size=(9000, 4, 64)).astype(np.float32)
    col.insert([{"id": i, "chunks": [{"emb": one} for one in row.tolist()]} for i, row in enumerate(vectors)])
    col.create_index(FIELD, metric_type="IP")
    found = 0
    for query in np.random.default_rng(1).normal(size=(10, 4, 64)).astype(np.float32):
        values = np.einsum("qd,red->rqe", query, vectors).max(axis=2).sum(axis=1)
        hits = col.search(query, anns_field=FIELD, params={"metric_type": "MAX_SIM_IP"})[0]
        found += len({hit["id"] for hit in hits} & set(np.argsort(-values)[:10].tolist()))
    assert found >= 95


def test_the_answers_are_those_of_a_collection_without_an_index(tmp_path: Path) -> None:
    rows = drawn(4000)
    col, plain = made(tmp_path / "a", rows), made(tmp_path / "b", rows, parts=1)
    col.create_index(FIELD, metric_type="COSINE")
    ask: dict[str, Any] = {"anns_field": FIELD, "params": {"metric_type": "COSINE"}}
    found = wanted = 0
    for query in queries_of(rows, 10):
        for more in ({"top_k": 10}, {"top_k": 10, "offset": 10}, {"top_k": 8, "group_by_field": "id"}):
            here, there = (one.search(query[0], **ask, **more)[0] for one in (col, plain))
            assert len(here) == len(there)
            names = [{(hit["id"], hit["offset"]) for hit in hits} for hits in (here, there)]
            found, wanted = found + len(names[0] & names[1]), wanted + len(there)
        ring = {"metric_type": "COSINE", "radius": 0.6, "range_filter": 0.9}
        here, there = (
            one.search(query[0], anns_field=FIELD, top_k=500, params=ring)[0] for one in (col, plain)
        )
        assert {(hit["id"], hit["offset"]) for hit in here} == {(hit["id"], hit["offset"]) for hit in there}
    assert found >= 0.95 * wanted
    batches = col.search_iterator(queries_of(rows, 1)[0][0], batch_size=500, **ask)
    every = [(hit["id"], hit["offset"]) for batch in batches for hit in batch]
    assert len(every) == len(set(every)) == sum(one is not None for v in rows.vectors.values() for one in v)


def test_rows_that_came_later_are_found_before_and_after_they_are_indexed_and_merged(tmp_path: Path) -> None:
    rows = drawn(4500)
    first = Rows({k: v for k, v in rows.vectors.items() if k < 3000}, rows.sizes, rows.topics)
    col = made(tmp_path, first)
    col.create_index(FIELD, metric_type="COSINE")
    col.insert(records(rows, np.arange(3000, 4500)))
    assert recall(col, rows, "COSINE") >= 0.95
    col.flush()
    assert recall(col, rows, "COSINE") >= 0.95
    assert col.index_progress()[0].pending_rows == 1500
    [report] = col.build_indexes()
    assert (report.segments_built, report.rows) == (1, 1500)
    col.delete(list(range(100)))
    left = rows.without(set(range(100)))
    col.optimize()
    assert len(col.describe()["indexes"]) == 1
    with hw.explain() as what:
        assert recall(col, left, "COSINE") >= 0.95
    assert what.indexes == [FIELD]
    again = hw.connect(tmp_path).collection("docs")
    assert recall(again, left, "COSINE") >= 0.95
    assert again.health()["indexes"][0]["recall"] >= 0.95
    again.drop_index(FIELD)
    with hw.explain() as what:
        assert recall(again, left, "COSINE") == 1.0
    assert what.indexes == []


@pytest.mark.parametrize("policy", ["hot", "warm", "cold", "on_demand"])
def test_the_tiers_answer_alike(tmp_path: Path, policy: str) -> None:
    rows = drawn(3000)
    made(tmp_path, rows).create_index(FIELD, metric_type="L2")
    col = hw.connect(tmp_path).collection("docs")
    col.set_tier(policy)
    for text, keep in FILTERS:
        assert recall(col, rows, "L2", filter=text, keep=keep(rows)) >= 0.95


def test_another_metric_is_compared_without_the_index(tmp_path: Path) -> None:
    rows = drawn(2500)
    col = made(tmp_path, rows)
    col.create_index(FIELD, metric_type="MAX_SIM_IP", name="late")
    assert recall(col, rows, "IP") >= 0.95
    assert recall(col, rows, "L2") == 1.0
    with hw.explain() as what:
        col.search(queries_of(rows, 1)[0][0], anns_field=FIELD, params={"metric_type": "L2"})
    assert what.indexes == []
    [index] = col.describe()["indexes"]
    assert (index["name"], index["field"], index["metric"]) == ("late", FIELD, "MAX_SIM_IP")
    col.drop_index(FIELD)
    assert col.describe()["indexes"] == []


def test_members_of_one_array_have_an_index_each(tmp_path: Path) -> None:
    members = {"emb": hw.FloatVector(DIM), "bits": hw.BinaryVector(64), "alt": hw.Float16Vector(DIM)}
    schema = [hw.Field("id", hw.Int64), hw.Field("chunks", hw.StructArray(members))]
    col = hw.connect(tmp_path).create_collection("docs", schema, "id")
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(6000, DIM)).astype(np.float32)
    bits = rng.integers(0, 256, (6000, 8), np.uint8)
    col.insert(
        [
            {
                "id": i,
                "chunks": [
                    {"emb": vectors[j].tolist(), "bits": bits[j].tobytes(), "alt": (-vectors[j]).tolist()}
                    for j in range(2 * i, 2 * i + 2)
                ],
            }
            for i in range(3000)
        ]
    )
    for name in ("emb", "bits", "alt"):
        col.create_index(f"chunks[{name}]")
    assert [one["field"] for one in col.describe()["indexes"]] == [
        f"chunks[{name}]" for name in ("emb", "bits", "alt")
    ]
    for at in (3, 4001):
        for name, query, metric in (
            ("emb", vectors[at], "COSINE"),
            ("bits", bits[at].tobytes(), "HAMMING"),
            ("alt", -vectors[at], "COSINE"),
        ):
            with hw.explain() as what:
                hit = col.search(query, anns_field=f"chunks[{name}]", params={"metric_type": metric})[0][0]
            assert (hit["id"], hit["offset"]) == divmod(at, 2)
            assert what.indexes == [f"chunks[{name}]"]
    col.drop_index("chunks[alt]")
    with pytest.raises(errors.IndexNotFound):
        col.drop_index("chunks[alt]")
    col.drop_column("chunks")
    assert col.describe()["indexes"] == []


def test_segments_without_any_element_are_covered(tmp_path: Path) -> None:
    rows = drawn(1200)
    for key in range(600):
        rows.vectors[key], rows.sizes[key] = [], []
    col = made(tmp_path, rows)
    col.create_index(FIELD, metric_type="COSINE")
    assert col.index_progress()[0].pending_rows == 0
    assert recall(col, rows, "COSINE") >= 0.95
    assert col.health()["indexes"][0]["recall"] >= 0.95


def test_an_array_added_later_is_indexed(tmp_path: Path) -> None:
    col = hw.connect(tmp_path).create_collection("docs", [hw.Field("id", hw.Int64)], "id")
    col.insert([{"id": key} for key in range(1100)])
    col.flush()
    col.add_field(hw.Field("chunks", hw.StructArray({"emb": hw.FloatVector(DIM)}), nullable=True))
    vectors = np.random.default_rng(0).normal(size=(3000, DIM)).astype(np.float32)
    col.insert([{"id": 2000 + i, "chunks": [{"emb": one.tolist()}]} for i, one in enumerate(vectors)])
    col.create_index(FIELD, metric_type="L2")
    assert col.index_progress()[0].pending_rows == 0
    for at in (0, 17, 2999):
        hit = col.search(vectors[at], anns_field=FIELD, params={"metric_type": "L2"})[0][0]
        assert (hit["id"], hit["offset"]) == (2000 + at, 0)


def test_external_rows_are_indexed_and_refreshed(tmp_path: Path) -> None:
    rows = drawn(3000)

    def write(name: str, keys: np.ndarray) -> None:
        kind = pa.list_(pa.struct([("size", pa.int32()), ("emb", pa.list_(pa.float32(), DIM))]))
        told = records(rows, keys)
        columns = {"id": [one["id"] for one in told], "year": [one["year"] for one in told]}
        table = pa.table({**columns, "chunks": pa.array([one["chunks"] for one in told], kind)})
        pq.write_table(table, tmp_path / "files" / name)

    (tmp_path / "files").mkdir()
    write("a.parquet", np.arange(2000))
    members = {"size": hw.Int32, "emb": hw.FloatVector(DIM)}
    schema = {"id": hw.Int64, "year": hw.Int32, "chunks": hw.StructArray(members)}
    db = hw.connect(tmp_path / "lake")
    col = db.create_external_collection("docs", src=f"{tmp_path}/files/*.parquet", schema=schema)
    col.create_index(FIELD, metric_type="COSINE")
    first = Rows({k: v for k, v in rows.vectors.items() if k < 2000}, rows.sizes, rows.topics)
    ask: dict[str, Any] = {"anns_field": FIELD, "params": {"metric_type": "COSINE"}, "output_fields": ["id"]}

    def shares(known: Rows) -> float:
        found = 0
        for query in queries_of(known, 20):
            hits = col.search(query[0], **ask)[0]
            exact = nearest_elements(known, query, "COSINE", 10, lambda *_: True)
            found += len({(hit["entity"]["id"], hit["offset"]) for hit in hits} & exact.keys())
        return found / 200

    assert shares(first) >= 0.95
    write("b.parquet", np.arange(2000, 3000))
    col.refresh()
    assert shares(rows) >= 0.95
    col.build_indexes()
    with hw.explain() as what:
        assert shares(rows) >= 0.95
    assert what.indexes == [FIELD]


def test_a_hybrid_search_has_legs_by_the_index(tmp_path: Path) -> None:
    rows = drawn(4000)
    col, plain = made(tmp_path / "a", rows), made(tmp_path / "b", rows)
    col.create_index(FIELD, metric_type="COSINE")
    one, other = queries_of(rows, 2)
    legs = [hw.AnnSearchRequest(one[0], FIELD, {"metric_type": "COSINE"}, 20) for one in (one, other)]
    here, there = (each.hybrid_search(legs, hw.RRFRanker(), limit=20)[0] for each in (col, plain))
    names = [{(hit["id"], hit["offset"]) for hit in hits} for hits in (here, there)]
    assert len(names[0] & names[1]) >= 19


def test_what_an_index_cannot_be_is_refused(tmp_path: Path) -> None:
    col = made(tmp_path, drawn(20), parts=1)
    for field, kind, metric, error in (
        ("chunks", "AUTOINDEX", None, errors.InvalidArgument),
        ("chunks[size]", "HNSW", None, errors.InvalidArgument),
        ("chunks[none]", "HNSW", None, errors.FieldNotFound),
        (FIELD, "HNSW", "HAMMING", errors.InvalidArgument),
        (FIELD, "BIN_FLAT", None, errors.InvalidArgument),
        (FIELD, "NOTHING", None, errors.UnsupportedOption),
    ):
        with pytest.raises(error):
            col.create_index(field, kind, metric_type=metric)
    with pytest.raises(errors.UnsupportedOption):
        col.create_index(FIELD, "HNSW", params={"nlist": 4})
