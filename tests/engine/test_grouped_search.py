"""Grouping against plain Python over every row: groups, their hits, their order, whatever the index and the skew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headwater as hw
from headwater.errors import FieldNotFound, InvalidArgument, NotFound, UnsupportedOption
from headwater.query import by_key
from headwater.query.scan import locate

DIM = 6
SCHEMA = {
    "id": hw.Int64,
    "color": hw.Field("color", hw.String, nullable=True),
    "size": hw.Field("size", hw.Int16, nullable=True),
    "ok": hw.Field("ok", hw.Bool, nullable=True),
    "at": hw.Field("at", hw.TimestampTz, nullable=True),
    "weight": hw.Double,
    "meta": hw.JSON,
    "v": hw.FloatVector(DIM),
    "w": hw.FloatVector(DIM),
}
META = [1, 1.0, 1.5, True, "1", 'say "hi"\n', None, [1, 2], {"b": 1}, "missing"]


def rows(n: int, seed: int) -> list[dict[str, Any]]:
    """The nearest rows are nearly all of one group, so that the first hits never hold enough of them."""
    rng = np.random.default_rng(seed)
    out = []
    for i in range(n):
        far = rng.random() < 0.15
        color = [None, "blue", "grün", "", "yellow"][rng.integers(0, 5)] if far else "red"
        value = META[rng.integers(0, len(META))] if far else "many"
        out.append(
            {
                "id": i,
                "color": color,
                "size": int(rng.integers(0, 40)) if far else 7,
                "ok": [True, False, None][rng.integers(0, 3)] if far else True,
                "at": [None, "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+02:00"][rng.integers(0, 3)],
                "weight": float(rng.random()),
                "meta": {} if value == "missing" else {"a": {"b": value}},
                "v": (rng.normal(size=DIM) + (10 if far else 0)).astype(np.float32),
                "w": rng.normal(size=DIM).astype(np.float32),
            }
        )
    return out


ROWS = rows(1500, 3)


@pytest.fixture(scope="module", params=["growing", "sealed", "ivf", "hnsw"])
def docs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> hw.Collection:
    docs = hw.connect(tmp_path_factory.mktemp("grouped")).create_collection(
        "docs",
        hw.Schema.of([f if isinstance(f, hw.Field) else hw.Field(n, f) for n, f in SCHEMA.items()], "id"),
    )
    for part in range(3):
        docs.insert(ROWS[500 * part : 500 * part + 500])
        if request.param != "growing" and part < 2:
            docs.flush()
    if request.param in ("ivf", "hnsw"):
        docs.flush()
        docs.create_index("v", {"ivf": "IVF_FLAT", "hnsw": "HNSW"}[request.param], metric_type="L2")
    docs.delete([row["id"] for row in ROWS if row["id"] % 9 == 0])
    return docs


def value_of(row: dict[str, Any], name: str) -> Any:
    if name == 'meta["a"]["b"]':
        value = row["meta"].get("a", {}).get("b")
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return None if value is None else json.dumps(value)
    if name == "at":
        return row["at"] and np.datetime64(row["at"].replace("Z", "").replace("+02:00", "")) - np.timedelta64(
            2 if row["at"].endswith("+02:00") else 0, "h"
        )
    return row[name]


def expected(query: np.ndarray, names: list[str], size: int, condition: Any = None) -> list[list[int]]:
    """Every group, nearest first, as the keys of its nearest rows."""
    alive = [row for row in ROWS if row["id"] % 9 and (condition is None or condition(row))]
    alive.sort(key=lambda row: float(((row["v"] - query) ** 2).sum()))
    groups: dict[Any, list[int]] = {}
    for row in alive:
        groups.setdefault(tuple(value_of(row, name) for name in names), []).append(row["id"])
    return [ids[:size] for ids in groups.values()]


def chunks(hits: list[dict[str, Any]], names: list[str]) -> list[list[int]]:
    by_id = {row["id"]: row for row in ROWS}
    out: list[list[int]] = []
    last: Any = ()
    for hit in hits:
        key = [value_of(by_id[hit["id"]], name) for name in names]
        if not out or key != last:
            out.append([])
        out[-1].append(hit["id"])
        last = key
    return out


QUERIES = np.random.default_rng(5).normal(size=(3, DIM)).astype(np.float32)
EXACT = {"metric_type": "L2"}


def params(docs: hw.Collection) -> dict[str, Any]:
    kinds = {index["kind"] for index in docs.describe()["indexes"]}
    return {
        **EXACT,
        **({"nprobe": 4096} if "ivf_flat" in kinds else {}),
        **({"ef": 2000} if "hnsw" in kinds else {}),
    }


@pytest.mark.parametrize("name", ["color", "size", "ok", "at", 'meta["a"]["b"]'])
@pytest.mark.parametrize("size", [1, 3])
def test_every_group_is_found_however_rare(docs: hw.Collection, name: str, size: int) -> None:
    found = docs.search(
        QUERIES,
        anns_field="v",
        top_k=50,
        params=params(docs),
        group_by_field=name,
        group_size=size,
        strict_group_size=True,
    )
    for query, hits in zip(QUERIES, found, strict=True):
        groups = expected(query, [name], size)
        assert chunks(hits, [name]) == groups[:50]


def test_groups_of_several_fields(docs: hw.Collection) -> None:
    names = ["color", "ok", "size"]
    found = docs.search(
        QUERIES, anns_field="v", top_k=40, params=params(docs), group_by_fields=names, filter="weight < 0.8"
    )
    for query, hits in zip(QUERIES, found, strict=True):
        assert chunks(hits, names) == expected(query, names, 1, lambda row: row["weight"] < 0.8)[:40]


def test_pages_of_groups(docs: hw.Collection) -> None:
    options: dict[str, Any] = {"group_by_field": "size", "group_size": 2, "strict_group_size": True}
    for offset in (0, 5, 35, 100):
        found = docs.search(
            QUERIES[0], anns_field="v", top_k=6, offset=offset, params=params(docs), **options
        )
        assert chunks(found[0], ["size"]) == expected(QUERIES[0], ["size"], 2)[offset : offset + 6]


def test_a_loose_group_holds_its_nearest_hits(docs: hw.Collection) -> None:
    found = docs.search(
        QUERIES[0], anns_field="v", top_k=5, params=params(docs), group_by_field="color", group_size=4
    )
    groups = expected(QUERIES[0], ["color"], 4)[:5]
    for part, whole in zip(chunks(found[0], ["color"]), groups, strict=True):
        assert part == whole[: len(part)]


@pytest.mark.parametrize("scorer", ["max", "sum", "avg"])
@pytest.mark.parametrize(("name", "count"), [("color", 2), ("size", 2), ("size", 1)])
def test_hybrid_hits_are_grouped_after_the_fusion(
    docs: hw.Collection, name: str, count: int, scorer: str
) -> None:
    legs = [
        hw.AnnSearchRequest(QUERIES, "w", EXACT, 1400),
        hw.AnnSearchRequest(QUERIES, "v", params(docs), 1400),
    ][:count]
    whole = docs.hybrid_search(legs, limit=1400)
    by_id = {row["id"]: row for row in ROWS}
    found = docs.hybrid_search(
        legs,
        limit=4,
        offset=1,
        group_by_field=name,
        group_size=3,
        strict_group_size=True,
        rank_group_scorer=scorer,
    )
    for hits, every in zip(found, whole, strict=True):
        groups: dict[Any, list[dict[str, Any]]] = {}
        for hit in every:
            members = groups.setdefault(by_id[hit["id"]][name], [])
            if len(members) < 3:
                members.append(hit)
        score = {"max": max, "sum": sum, "avg": lambda values: sum(values) / len(values)}[scorer]
        order = sorted(groups.values(), key=lambda members: -score([hit["distance"] for hit in members]))
        assert [{hit["id"] for hit in members} for members in order[1:5]] == [
            set(ids) for ids in chunks(hits, [name])
        ]


def test_searching_by_key_is_searching_by_the_stored_vector(docs: hw.Collection) -> None:
    keys = [5, 700, 1400, 5]
    vectors = np.stack([ROWS[key]["v"] for key in keys])
    asked: dict[str, Any] = {
        "anns_field": "v",
        "top_k": 7,
        "filter": "weight > 0.5",
        "output_fields": ["color"],
    }
    assert docs.search(ids=keys, **asked) == docs.search(vectors, **asked)
    assert docs.search(ids=5, **asked) == docs.search(vectors[:1], **asked)
    assert docs.search(ids=np.array([700]), offset=2, **asked) == docs.search(vectors[1], offset=2, **asked)


def test_rows_that_are_searched_by_are_located_once_and_those_without_a_vector_have_no_hits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = {"id": hw.Int64, "v": hw.Field("v", hw.FloatVector(2), nullable=True)}
    docs = hw.connect(tmp_path).create_collection("docs", schema, "id")
    docs.insert([{"id": i, "v": None if i % 3 == 1 else [i, 1.0]} for i in range(9)])
    located = []
    monkeypatch.setattr(by_key, "locate", lambda *asked: located.append(asked) or locate(*asked))
    hits = docs.search(ids=[2, 1, 8], top_k=1, params={"metric_type": "L2"})
    assert [[hit["id"] for hit in one] for one in hits] == [[2], [], [8]]
    assert len(located) == 1
    with pytest.raises(NotFound, match="no row of key 77"):
        docs.search(ids=[1, 77])


def test_wrong_requests_say_what_is_wrong(docs: hw.Collection) -> None:
    one = {"anns_field": "v", "params": EXACT}
    with pytest.raises(NotFound, match="no row of key 9 and 1 more"):
        docs.search(ids=[1, 9, 99_999], anns_field="v")
    with pytest.raises(InvalidArgument, match="expected int"):
        docs.search(ids=["a"], anns_field="v")
    with pytest.raises(InvalidArgument, match="one of them"):
        docs.search(QUERIES, ids=[1], anns_field="v")
    with pytest.raises(InvalidArgument, match="one of them"):
        docs.search(anns_field="v")
    with pytest.raises(InvalidArgument, match=r"weight.*double"):
        docs.search(QUERIES, group_by_field="weight", **one)
    with pytest.raises(FieldNotFound):
        docs.search(QUERIES, group_by_field="nowhere", **one)
    with pytest.raises(InvalidArgument, match="no path"):
        docs.search(QUERIES, group_by_field='color["a"]', **one)
    with pytest.raises(InvalidArgument, match="expected a field, or a path"):
        docs.search(QUERIES, group_by_field="meta[a]", **one)
    with pytest.raises(InvalidArgument, match="group_size must be"):
        docs.search(QUERIES, group_by_field="color", group_size=0, **one)
    with pytest.raises(UnsupportedOption, match="group_size has no effect"):
        docs.search(QUERIES, group_size=2, **one)
    with pytest.raises(InvalidArgument, match="no path in a JSON field"):
        docs.search(QUERIES, group_by_field="color", json_type="int64", **one)
    with pytest.raises(InvalidArgument, match="json_type 'double'"):
        docs.search(QUERIES, group_by_field='meta["a"]', json_type="double", **one)


def test_keys_of_text_and_other_vectors(tmp_path: Path) -> None:
    docs = hw.connect(tmp_path).create_collection(
        "docs", {"id": hw.String, "h": hw.Float16Vector(4), "b": hw.BinaryVector(16)}, "id"
    )
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(50, 4)).astype(np.float16)
    bits = rng.integers(0, 256, size=(50, 2), dtype=np.uint8)
    docs.insert([{"id": f"k{i}", "h": vectors[i], "b": bits[i].tobytes()} for i in range(50)])
    for flushed in (False, True):
        if flushed:
            docs.flush()
        assert docs.search(ids=["k7"], anns_field="h") == docs.search(
            vectors[7:8].astype(np.float32), anns_field="h"
        )
        assert docs.search(ids=["k7", "k8"], anns_field="b") == docs.search(
            [bits[7].tobytes(), bits[8].tobytes()], anns_field="b"
        )


def test_pages_agree_where_distances_are_equal(tmp_path: Path) -> None:
    docs = hw.connect(tmp_path).create_collection(
        "docs", {"id": hw.Int64, "half": hw.Int64, "v": hw.FloatVector(2)}, "id"
    )
    for start in (300, 200, 100):
        docs.insert([{"id": start - i, "half": i // 2, "v": [1.0, float(i % 2)]} for i in range(100)])
        docs.flush()
    asked: dict[str, Any] = {"anns_field": "v", "params": {"metric_type": "IP"}}
    whole = docs.search([[1.0, 1.0]], top_k=300, **asked)[0]
    pages = [docs.search([[1.0, 1.0]], top_k=10, offset=offset, **asked)[0] for offset in range(0, 300, 10)]
    assert [hit["id"] for page in pages for hit in page] == [hit["id"] for hit in whole]
    grouped: dict[str, Any] = {**asked, "group_by_field": "half", "group_size": 3, "strict_group_size": True}
    groups = docs.search([[1.0, 1.0]], top_k=50, **grouped)[0]
    pages = [docs.search([[1.0, 1.0]], top_k=5, offset=offset, **grouped)[0] for offset in range(0, 50, 5)]
    assert [hit["id"] for page in pages for hit in page] == [hit["id"] for hit in groups]


def test_groups_may_hold_more_hits_than_a_search_may_ask_for(tmp_path: Path) -> None:
    n, per_group = 24_000, 12
    axes = np.arange(n) * (np.pi / n)
    vectors = np.stack([np.cos(axes), np.sin(axes)], 1).astype(np.float32)
    docs = hw.connect(tmp_path).create_collection(
        "docs", {"id": hw.Int64, "g": hw.Int64, "v": hw.FloatVector(2), "w": hw.FloatVector(2)}, "id"
    )
    docs.insert({"id": np.arange(n), "g": np.arange(n) // per_group, "v": vectors, "w": vectors})
    docs.flush()
    asked = {"group_by_field": "g", "group_size": 9, "strict_group_size": True}
    question = [[1.0, 0.0]]
    nearest = [per_group * group + place for group in range(1900) for place in range(9)]
    for several in (question, question * 2):
        for hits in docs.search(several, anns_field="v", top_k=1900, params={"metric_type": "IP"}, **asked):
            assert len(hits) == len(nearest)
            assert {hit["id"] // per_group for hit in hits} == {key // per_group for key in nearest}
    legs = [hw.AnnSearchRequest(question, name, {"metric_type": "IP"}, limit=1900) for name in ("v", "w")]
    [hits] = docs.hybrid_search(legs, hw.RRFRanker(), limit=10, **asked)
    assert len(hits) == 90
    assert {hit["id"] // per_group for hit in hits} == set(range(10))
