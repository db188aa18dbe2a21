"""Single vectors searched for among the elements of struct arrays, against numpy over all elements in float64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import headwater as hw
from headwater import errors

DIM = 8
FIELD = "chunks[emb]"


class Element(NamedTuple):
    key: int
    offset: int
    size: int | None
    vector: np.ndarray


def value(a: np.ndarray, b: np.ndarray, metric: str) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    if metric == "L2":
        return float(((a - b) ** 2).sum())
    product = float(a @ b)
    if metric == "IP":
        return product
    length = np.linalg.norm(a) * np.linalg.norm(b)
    return product / length if length else 0.0


def nearest(
    elements: list[Element], query: np.ndarray, metric: str, keep: Callable[[Element], bool] = lambda _: True
) -> list[tuple[int, int, float]]:
    """(key, offset, distance) of every element that may be found, best first."""
    found = [(e.key, e.offset, value(query, e.vector, metric)) for e in elements if keep(e)]
    return sorted(found, key=lambda one: one[2] if metric == "L2" else -one[2])


def listed(hits: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(hit["id"], hit["offset"]) for hit in hits]


def agree(hits: list[dict[str, Any]], wanted: list[tuple[int, int, float]]) -> None:
    assert listed(hits) == [(key, offset) for key, offset, _ in wanted]
    np.testing.assert_allclose(
        [hit["distance"] for hit in hits], [v for *_, v in wanted], rtol=2e-5, atol=1e-5
    )


def made(path: Path, n: int = 120, **options: Any) -> tuple[hw.Collection, list[Element]]:
    """Two sealed segments and rows in the log: null arrays, empty ones, null elements, elements without a vector."""
    rng = np.random.default_rng(0)
    members = {"size": hw.Int32, "emb": hw.FloatVector(DIM), "alt": hw.FloatVector(DIM)}
    schema = [
        hw.Field("id", hw.Int64),
        hw.Field("year", hw.Int32),
        hw.Field("flat", hw.FloatVector(DIM)),
        hw.Field("chunks", hw.StructArray(members), nullable=True),
        hw.Field("notes", hw.StructArray({"size": hw.Int32, "emb": hw.FloatVector(DIM)}), nullable=True),
    ]
    col = hw.connect(path).create_collection("docs", schema, "id", **options)
    elements: list[Element] = []
    for part in np.array_split(np.arange(n), 3):
        rows = []
        for i in part.tolist():
            chunks: list[dict[str, Any] | None] | None = None
            if i % 11:
                chunks = []
                for j in range(int(rng.integers(0, 7))):
                    vector = rng.normal(size=DIM).astype(np.float32)
                    if (i + j) % 13 == 0:
                        chunks.append(None)
                        continue
                    there = (i + j) % 7 != 0
                    size = None if (i * j) % 5 == 1 else (i + 3 * j) % 10
                    chunks.append(
                        {"size": size, "emb": vector.tolist() if there else None, "alt": (-vector).tolist()}
                    )
                    if there:
                        elements.append(Element(i, j, size, vector))
            notes = [{"size": i % 4, "emb": rng.normal(size=DIM).tolist()} for _ in range(i % 3)]
            flat = rng.normal(size=DIM).tolist()
            rows.append({"id": i, "year": i % 10, "flat": flat, "chunks": chunks, "notes": notes})
        col.insert(rows)
        if part[-1] < n - 1:
            col.flush()
    return col, elements


def query_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=DIM).astype(np.float32)


@pytest.mark.parametrize("metric", ["COSINE", "IP", "L2"])
def test_every_element_is_a_hit_by_itself(tmp_path: Path, metric: str) -> None:
    col, elements = made(tmp_path)
    queries = np.stack([query_of(seed) for seed in (1, 2, 3)])
    params = {"metric_type": metric}
    for gone in ((), (1, 2, 40, 100)):
        if gone:
            col.delete(list(gone))
        left = [one for one in elements if one.key not in gone]
        for text, keep in (
            (None, lambda e: True),
            ("year in [3, 4]", lambda e: e.key % 10 in (3, 4)),
            ("element_filter(chunks, $[size] > 4)", lambda e: e.size is not None and e.size > 4),
            (
                "year != 3 and element_filter(chunks, $[size] in [1, 2, 3] and not $[size] == 2)",
                lambda e: e.key % 10 != 3 and e.size in (1, 3),
            ),
            ("id < 20 or element_filter(chunks, $[size] == 7)", lambda e: e.key < 20 or e.size == 7),
            (
                "id < 50 and year == 3 or element_filter(chunks, $[size] == 7)",
                lambda e: (e.key < 50 and e.key % 10 == 3) or e.size == 7,
            ),
            (
                "id > 5 and (year == 3 and element_filter(chunks, $[size] > 5)"
                " or element_filter(chunks, $[size] == 1))",
                lambda e: e.key > 5 and ((e.key % 10 == 3 and (e.size or 0) > 5) or e.size == 1),
            ),
            ("match_any(chunks, $[size] == 7)", None),
            ("not element_filter(chunks, $[size] == 7)", None),
            ("element_filter(notes, $[size] == 2)", lambda e: e.key % 4 == 2 and e.key % 3 > 0),
        ):
            if keep is None:
                rows = {row["id"] for row in col.query(text, output_fields=["id"])}
                keep = lambda e, rows=rows: e.key in rows  # noqa: E731
            found = col.search(queries, anns_field=FIELD, top_k=30, filter=text, params=params)
            for query, hits in zip(queries, found, strict=True):
                wanted = nearest(left, query, metric, keep)[:30]
                agree(hits, wanted)
            assert found.element_indices == [[hit["offset"] for hit in hits] for hits in found]


@pytest.mark.parametrize("form", [None, "parquet", "vortex"])
@pytest.mark.parametrize("policy", ["hot", "warm", "cold", "on_demand"])
def test_growing_sealed_merged_and_cold_rows_answer_alike(
    tmp_path: Path, form: str | None, policy: str
) -> None:
    col, elements = made(tmp_path, format=form)
    query, filter = query_of(4), "element_filter(chunks, $[size] >= 3)"
    wanted = nearest(elements, query, "L2", lambda e: e.size is not None and e.size >= 3)
    ask = {"anns_field": FIELD, "top_k": 50, "filter": filter, "params": {"metric_type": "L2"}}
    agree(col.search(query, **ask)[0], wanted[:50])
    col.flush()
    col.set_tier(policy)
    agree(col.search(query, **ask)[0], wanted[:50])
    col.optimize()
    agree(col.search(query, **ask)[0], wanted[:50])
    agree(hw.connect(tmp_path).collection("docs").search(query, **ask)[0], wanted[:50])


def test_hits_show_the_row_they_are_in(tmp_path: Path) -> None:
    col, elements = made(tmp_path)
    query = query_of(5)
    found = col.search(
        query, anns_field=FIELD, top_k=40, params={"metric_type": "IP"}, output_fields=["chunks", "year"]
    )
    sizes = {(e.key, e.offset): e.size for e in elements}
    for hit in found[0]:
        assert hit["entity"]["chunks"][hit["offset"]]["size"] == sizes[hit["id"], hit["offset"]]
        assert hit["entity"]["year"] == hit["id"] % 10
    table = found.to_arrow()
    assert table.column_names == ["query", "id", "distance", "offset", "chunks", "year"]
    assert table.column("offset").to_pylist() == [hit["offset"] for hit in found[0]]
    late = col.search([query[None]], anns_field=FIELD, top_k=3)
    assert late.element_indices is None
    assert "offset" not in late[0][0]
    assert col.search(query, anns_field=FIELD, params={"metric_type": "IP"}, filter="id < 0")[0] == []


def test_pages_and_iterators_bring_every_element_once(tmp_path: Path) -> None:
    col, elements = made(tmp_path)
    col.delete([7, 8])
    query, filter = query_of(6), "year != 1 and element_filter(chunks, $[size] != 3)"
    wanted = nearest(
        elements,
        query,
        "COSINE",
        lambda e: e.key not in (7, 8) and e.key % 10 != 1 and e.size not in (None, 3),
    )
    ask: dict[str, Any] = {"anns_field": FIELD, "filter": filter, "params": {"metric_type": "COSINE"}}
    pages = [
        hit
        for start in range(0, len(wanted) + 7, 7)
        for hit in col.search(query, top_k=7, offset=start, **ask)[0]
    ]
    agree(pages, wanted)
    batches = list(col.search_iterator(query, batch_size=9, **ask))
    assert [len(batch) for batch in batches[:-1]] == [9] * (len(batches) - 1)
    agree([hit for batch in batches for hit in batch], wanted)
    col.flush()
    iterator = col.search_iterator(query, batch_size=9, version=col.version, **ask)
    first, token = iterator.next(), iterator.token()
    rest = col.search_iterator(query, batch_size=9, token=token, version=col.version, **ask)
    agree([*first, *(hit for batch in rest for hit in batch)], wanted)


@pytest.mark.parametrize("metric", ["COSINE", "L2"])
def test_bounds_hold_of_each_element(tmp_path: Path, metric: str) -> None:
    col, elements = made(tmp_path)
    query = query_of(7)
    every = nearest(elements, query, metric)
    radius, inner = (0.2, 0.5) if metric == "COSINE" else (12.0, 8.0)
    params: dict[str, Any] = {"metric_type": metric, "radius": radius}

    def inside(v: float) -> bool:
        return v > radius if metric == "COSINE" else v < radius

    def ring(v: float) -> bool:
        return inside(v) and (v <= inner if metric == "COSINE" else v >= inner)

    found = col.search(query, anns_field=FIELD, top_k=500, params=params)[0]
    agree(found, [one for one in every if inside(one[2])])
    assert found
    found = col.search(query, anns_field=FIELD, top_k=500, params={**params, "range_filter": inner})[0]
    agree(found, [one for one in every if ring(one[2])])
    assert found
    batches = col.search_iterator(query, anns_field=FIELD, batch_size=11, params=params)
    agree([hit for batch in batches for hit in batch], [one for one in every if inside(one[2])])


def test_grouped_by_key_each_row_is_found_once_by_its_best_element(tmp_path: Path) -> None:
    col, elements = made(tmp_path)
    query = query_of(8)
    every = nearest(elements, query, "IP")
    best: dict[int, tuple[int, int, float]] = {}
    for one in every:
        best.setdefault(one[0], one)
    ask: dict[str, Any] = {"anns_field": FIELD, "params": {"metric_type": "IP"}}
    hits = col.search(query, top_k=25, group_by_field="id", **ask)[0]
    agree(hits, list(best.values())[:25])
    hits = col.search(query, top_k=10, offset=15, group_by_field="id", **ask)[0]
    agree(hits, list(best.values())[15:25])
    hits = col.search(query, top_k=200, group_by_field="id", **ask)[0]
    agree(hits, list(best.values()))
    two = col.search(query, top_k=12, group_by_field="id", group_size=2, strict_group_size=True, **ask)[0]
    wanted = [pair for key in list(best)[:12] for pair in [one for one in every if one[0] == key][:2]]
    agree(two, wanted)


def fused(legs: list[list[Any]], k: int = 60) -> list[tuple[Any, float]]:
    scores: dict[Any, float] = {}
    for leg in legs:
        for rank, name in enumerate(leg):
            scores[name] = scores.get(name, 0.0) + 1 / (k + rank + 1)
    return sorted(scores.items(), key=lambda one: (-one[1], one[0]))


def leg(field: str, query: np.ndarray, limit: int, metric: str = "IP", **params: Any) -> hw.AnnSearchRequest:
    return hw.AnnSearchRequest(query, field, {"metric_type": metric, **params}, limit)


def test_legs_over_one_array_find_elements(tmp_path: Path) -> None:
    col, elements = made(tmp_path)
    one, other = query_of(9), query_of(10)
    first = [(key, offset) for key, offset, _ in nearest(elements, one, "IP")[:30]]
    rows = {row["id"]: row["chunks"] for row in col.query(output_fields=["id", "chunks"])}
    alts = [
        Element(key, j, None, np.array(chunk["alt"], np.float32))
        for key, chunks in rows.items()
        for j, chunk in enumerate(chunks or ())
        if chunk is not None
    ]
    second = [(key, offset) for key, offset, _ in nearest(alts, other, "L2")[:30]]
    wanted = fused([first, second])
    legs = [leg(FIELD, one, 30), leg("chunks[alt]", other, 30, "L2")]
    hits = col.hybrid_search(legs, hw.RRFRanker(), limit=20)[0]
    assert sorted(listed(hits)) == sorted(name for name, _ in wanted[:20])
    np.testing.assert_allclose([hit["distance"] for hit in hits], [v for _, v in wanted[:20]], rtol=1e-6)
    grouped = col.hybrid_search(legs, hw.RRFRanker(), limit=10, group_by_field="id")[0]
    assert len({hit["id"] for hit in grouped}) == len(grouped) == 10
    assert all("offset" in hit for hit in grouped)


@pytest.mark.parametrize(
    ("scope", "metric"),
    [
        (None, "IP"),
        ({"strategy": "max"}, "L2"),
        ({"strategy": "sum"}, "IP"),
        ({"strategy": "avg"}, "L2"),
        ({"strategy": "topk_sum", "topk": 2}, "COSINE"),
        ({"strategy": "topk_avg", "topk": 2}, "L2"),
    ],
)
def test_beside_rows_the_elements_of_a_row_are_one_hit(
    tmp_path: Path, scope: dict[str, Any] | None, metric: str
) -> None:
    col, elements = made(tmp_path)
    one, other = query_of(11), query_of(12)
    grouped: dict[int, list[float]] = {}
    for key, _, v in nearest(elements, one, metric)[:40]:
        grouped.setdefault(key, []).append(v)
    how, k = (scope or {"strategy": "max"})["strategy"], (scope or {}).get("topk")
    values = {
        key: vs[0] if how == "max" else (np.mean if how.endswith("avg") else np.sum)(vs[:k])
        for key, vs in grouped.items()
    }
    rows = sorted(values, key=lambda key: values[key] if metric == "L2" else -values[key])
    notes = {row["id"]: row["notes"] for row in col.query(output_fields=["id", "notes"])}
    others = [
        Element(key, j, None, np.array(note["emb"], np.float32))
        for key, own in notes.items()
        for j, note in enumerate(own or ())
    ]
    second = list(dict.fromkeys(key for key, *_ in nearest(others, other, "IP")[:25]))
    params = {} if scope is None else {"element_scope": {"collapse": scope}}
    legs = [leg(FIELD, one, 40, metric, **params), leg("notes[emb]", other, 25)]
    found = col.hybrid_search(legs, hw.RRFRanker(), limit=15)
    wanted = fused([rows, second])[:15]
    assert found.element_indices is None
    assert [(hit["id"], pytest.approx(hit["distance"])) for hit in found[0]] == wanted
    assert all("offset" not in hit for hit in found[0])
    flat = {row["id"]: np.array(row["flat"], np.float32) for row in col.query(output_fields=["id", "flat"])}
    third = sorted(flat, key=lambda key: -value(other, flat[key], "IP"))[:25]
    legs[1] = leg("flat", other, 25)
    hits = col.hybrid_search(legs, hw.RRFRanker(), limit=15)[0]
    assert [(hit["id"], pytest.approx(hit["distance"])) for hit in hits] == fused([rows, third])[:15]


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        (3, "element_scope must be a JSON object"),
        ({}, "element_scope.collapse is required"),
        ({"other": 1}, "unsupported element_scope key: other"),
        ({"collapse": "max"}, "element_scope.collapse must be a JSON object"),
        ({"collapse": {}}, "element_scope.collapse.strategy is required"),
        ({"collapse": {"strategy": 1}}, "element_scope.collapse.strategy must be a string"),
        ({"collapse": {"strategy": "min"}}, "unsupported element_scope.collapse.strategy: min"),
        ({"collapse": {"strategy": "max", "topk": 2}}, "topk is only valid for topk strategies"),
        ({"collapse": {"strategy": "topk_avg"}}, "topk is required for strategy topk_avg"),
        ({"collapse": {"strategy": "topk_avg", "topk": 0}}, "topk must be positive"),
        ({"collapse": {"strategy": "topk_avg", "topk": "2"}}, "topk must be an integer"),
        ({"collapse": {"strategy": "max", "k": 1}}, "unsupported element_scope.collapse key: k"),
        ({"collapse": {"strategy": "sum"}}, "sum is only supported for positively related metrics"),
    ],
)
def test_scopes_that_say_nothing_are_refused(tmp_path: Path, scope: Any, said: str) -> None:
    col, _ = made(tmp_path, 12)
    legs = [leg(FIELD, query_of(1), 9, "L2", element_scope=scope), leg("flat", query_of(1), 9)]
    with pytest.raises(errors.InvalidArgument, match=said):
        col.hybrid_search(legs)


def test_scopes_go_with_legs_that_become_rows(tmp_path: Path) -> None:
    col, _ = made(tmp_path, 12)
    scope = {"element_scope": {"collapse": {"strategy": "max"}}}
    query = query_of(1)
    with pytest.raises(errors.InvalidArgument, match="not allowed for same-struct"):
        col.hybrid_search([leg(FIELD, query, 9, **scope), leg("chunks[alt]", query, 9)])
    with pytest.raises(errors.InvalidArgument, match="only supported for element-level search"):
        col.hybrid_search([leg("flat", query, 9, **scope), leg(FIELD, query, 9)])
    late = hw.AnnSearchRequest([query[None]], FIELD, {"metric_type": "MAX_SIM_IP", **scope}, 9)
    with pytest.raises(errors.InvalidArgument, match="only supported for element-level search"):
        col.hybrid_search([late, leg("flat", query, 9)])
    with pytest.raises(errors.InvalidArgument, match="hybrid search"):
        col.search(query, anns_field=FIELD, params={"metric_type": "IP", **scope})


def test_queries_say_which_elements_are_meant(tmp_path: Path) -> None:
    col, _ = made(tmp_path)
    col.delete([3])
    every = {row["id"]: row["chunks"] for row in col.query(output_fields=["id", "chunks"])}
    for _ in range(2):
        found = col.query(
            "year < 8 and element_filter(chunks, $[size] > 5)", output_fields=["id"], order_by=["id"]
        )
        wanted = {
            key: [
                j
                for j, chunk in enumerate(chunks or ())
                if chunk is not None and chunk["size"] is not None and chunk["size"] > 5
            ]
            for key, chunks in every.items()
            if key % 10 < 8
        }
        wanted = {key: places for key, places in wanted.items() if places}
        assert dict(zip([row["id"] for row in found], found.element_indices or (), strict=True)) == wanted
        page = col.query(
            "year < 8 and element_filter(chunks, $[size] > 5)",
            output_fields=["id"],
            order_by=["id"],
            limit=5,
            offset=3,
        )
        assert page.element_indices == list(wanted.values())[3:8]
        col.flush()
    assert col.query("match_any(chunks, $[size] > 5)", output_fields=["id"]).element_indices is None
    assert col.query("id > 3", output_fields=["id"]).element_indices is None


def test_binary_vectors_of_elements_are_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 2, size=(60, 16), dtype=np.uint8)
    packed = np.packbits(bits, axis=1)
    schema = {"id": hw.Int64, "c": hw.StructArray({"code": hw.BinaryVector(16)})}
    col = hw.connect(tmp_path).create_collection("docs", schema, "id")
    col.insert([{"id": i, "c": [{"code": packed[3 * i + j].tobytes()} for j in range(3)]} for i in range(20)])
    [hits] = col.search([packed[0].tobytes()], anns_field="c[code]", top_k=60)
    apart = (bits != bits[0]).sum(axis=1)
    assert [hit["distance"] for hit in hits] == sorted(apart.tolist())
    assert {(hit["id"], hit["offset"]): hit["distance"] for hit in hits} == {
        divmod(at, 3): d for at, d in enumerate(apart.tolist())
    }


@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_vectors_of_small_numbers_are_widened(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(5)
    field = hw.Float16Vector(DIM) if kind == "float16" else hw.Int8Vector(DIM)
    vectors = rng.integers(-100, 100, (30, 3, DIM)).astype(np.float32)
    schema = {"id": hw.Int64, "c": hw.StructArray({"emb": field})}
    col = hw.connect(tmp_path).create_collection("docs", schema, "id")
    dtype = np.int8 if kind == "int8" else np.float32
    col.insert(
        [{"id": i, "c": [{"emb": v.astype(dtype).tolist()} for v in row]} for i, row in enumerate(vectors)]
    )
    elements = [Element(i, j, None, v) for i, row in enumerate(vectors) for j, v in enumerate(row)]
    query = rng.integers(-100, 100, DIM).astype(np.float32)
    hits = col.search(query, anns_field="c[emb]", top_k=90, params={"metric_type": "L2"})[0]
    agree(hits, nearest(elements, query, "L2"))


def test_what_elements_cost_is_explained(tmp_path: Path) -> None:
    col, elements = made(tmp_path)
    with hw.explain() as what:
        col.search(query_of(1), anns_field=FIELD, params={"metric_type": "L2"})
    assert set(what.strategies.values()) == {"exact"}
    assert what.total("vectors_compared") == len(elements)


def test_a_worker_answers_with_the_same_elements(tmp_path: Path) -> None:
    col, elements = made(tmp_path)
    col.flush()
    query, filter = query_of(13), "element_filter(chunks, $[size] > 4)"
    ask: dict[str, Any] = {
        "anns_field": FIELD,
        "top_k": 20,
        "filter": filter,
        "params": {"metric_type": "IP"},
    }
    legs = [leg(FIELD, query, 20), leg("chunks[alt]", query, 20)]
    with hw.connect(tmp_path) as db, db.on_demand() as away:
        found = away.search("docs", query, **ask)
        agree(found[0], nearest(elements, query, "IP", lambda e: (e.size or 0) > 4)[:20])
        assert found.to_arrow().equals(col.search(query, **ask).to_arrow())
        assert list(away.hybrid_search("docs", legs, limit=9)) == list(col.hybrid_search(legs, limit=9))
        rows = away.query("docs", filter, output_fields=["id"])
        assert rows.element_indices == col.query(filter, output_fields=["id"]).element_indices
        assert rows.element_indices


def test_vectors_of_no_length_are_at_no_angle(tmp_path: Path) -> None:
    schema = {"id": hw.Int64, "c": hw.StructArray({"n": hw.Int32, "emb": hw.FloatVector(2)})}
    col = hw.connect(tmp_path).create_collection("docs", schema, "id")
    vectors = [[0.0, 0.0], [3.0, 0.0], [0.0, -2.0]]
    col.insert([{"id": 1, "c": [{"n": n, "emb": vector} for n, vector in enumerate(vectors)]}])
    for queries in (1, 3, 9):
        for text, want in (
            (None, [(1, 1.0), (0, 0.0), (2, 0.0)]),
            ("element_filter(c, $[n] != 2)", [(1, 1), (0, 0)]),
        ):
            found = col.search(
                [[5.0, 0.0]] * queries, anns_field="c[emb]", filter=text, params={"metric_type": "COSINE"}
            )
            for hits in found:
                assert [(hit["offset"], pytest.approx(hit["distance"])) for hit in hits] == want
