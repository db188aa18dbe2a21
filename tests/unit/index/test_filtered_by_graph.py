"""Filtered searches find lists by the graph, or by all centroids where the filter goes against the query."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headwater import index as index_kinds
from headwater.index import IndexParams, exact_search, num_selected, refine
from headwater.index.filtered_lists import FilteredLists
from headwater.store import open_store
from headwater.tiers import open_object
from headwater.types import MetricType

ROWS, DIM, LISTS, K = 12_000, 24, 300, 10


@pytest.fixture(scope="module")
def vectors() -> Any:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(60, DIM)) * 2
    return (centres[rng.integers(0, 60, ROWS)] + rng.normal(size=(ROWS, DIM))).astype(np.float32)


@pytest.fixture(scope="module", params=[MetricType.L2, MetricType.COSINE], ids=str)
def opened(request: pytest.FixtureRequest, vectors: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    params = IndexParams("ivf_flat", request.param, (("nlist", LISTS),))
    path: Path = tmp_path_factory.mktemp("graph") / "one.hwx"
    kind = index_kinds.get(params.kind)
    kind.build(vectors, params, path)
    return kind.open(open_object(open_store(path.parent), path.name), params), request.param


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries were compared with all centroids."""
    told: list[int] = []
    before = FilteredLists._centroid_distances

    def counting(self: FilteredLists, asked: Any) -> Any:
        told.append(len(asked))
        return before(self, asked)

    monkeypatch.setattr(FilteredLists, "_centroid_distances", counting)
    return told


def recall(index: Any, metric: MetricType, vectors: Any, queries: Any, allowed: Any) -> float:
    found = index.search(queries, K, allowed=allowed, vectors=vectors, options={"nprobe": 8})[1]
    assert allowed[found[found >= 0]].all()
    best = exact_search(vectors, queries, K, metric, allowed=allowed)[1]
    return float(np.mean([np.isin(one, two).mean() for one, two in zip(best, found, strict=True)]))


@pytest.mark.parametrize("share", [0.8, 0.5, 0.25])
def test_a_filter_that_has_nothing_to_do_with_the_vectors_reads_few_centroids(
    opened, vectors, compared, share
):
    index, metric = opened
    allowed = np.random.default_rng(1).random(ROWS) < share
    allowed.flags.writeable = False
    for query in vectors[:40]:
        assert recall(index, metric, vectors, query[None], allowed) >= 0.6
    assert recall(index, metric, vectors, vectors[40:80], allowed) >= 0.95
    assert sum(compared) <= 8


def test_a_filter_that_goes_against_the_query_is_looked_for_in_further_lists(opened, vectors, compared):
    index, metric = opened
    lengths = np.linalg.norm(vectors, axis=1)
    near = (
        vectors @ vectors[0] / lengths
        if metric is MetricType.COSINE
        else -((vectors - vectors[0]) ** 2).sum(axis=1)
    )
    allowed = near < np.quantile(near, 0.4)
    assert recall(index, metric, vectors, vectors[:1], allowed) >= 0.9
    assert sum(compared) == 1


def test_rows_are_counted_once_for_a_bitmap_that_cannot_change(monkeypatch):
    rng = np.random.default_rng(0)
    changing = rng.random(100) < 0.5
    assert num_selected(changing) == changing.sum()
    changing[:] = True
    assert num_selected(changing) == 100
    for _ in range(600):
        # New arrays come to be where old ones were.
        bitmap = rng.random(100) < rng.random()
        bitmap.flags.writeable = False
        assert num_selected(bitmap) == bitmap.sum() == num_selected(bitmap)
    fixed = rng.random(1000) < 0.5
    fixed.flags.writeable = False
    expected = num_selected(fixed)
    gc.collect()
    monkeypatch.setattr(np, "count_nonzero", None)
    assert num_selected(fixed) == expected


def test_a_query_whose_lists_hold_few_allowed_rows_is_searched_in_more_of_them(opened, vectors, monkeypatch):
    index, _ = opened
    allowed = np.random.default_rng(2).random(ROWS) < 0.2
    allowed.flags.writeable = False
    every: list[int] = []
    before = refine.exact_search

    def counting(rows: Any, queries: Any, *given: Any, **how: Any) -> Any:
        every.append(len(queries))
        return before(rows, queries, *given, **how)

    monkeypatch.setattr(refine, "exact_search", counting)
    for query in vectors[:200]:
        found = index.search(query[None], K, allowed=allowed, vectors=vectors, options={"nprobe": 1})[1]
        assert (found >= 0).all()
    assert sum(every) <= 2


def test_a_small_list_without_an_allowed_row_does_not_have_every_row_compared(opened, vectors, compared):
    index, _ = opened
    allowed = np.random.default_rng(2).random(ROWS) < 0.2
    allowed.flags.writeable = False
    for query in vectors[:200]:
        index.search(query[None], K, allowed=allowed, vectors=vectors, options={"nprobe": 1})
    assert sum(compared) <= 10
