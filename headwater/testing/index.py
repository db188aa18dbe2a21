"""What every index kind must do, as tests against exact search: subclass `IndexTests`, name the kind and its metrics.

    class TestMine(IndexTests):
        kind = "mine"
        metrics = (MetricType.L2, MetricType.COSINE)

The oracle is written out in float64 here; nothing of the index room takes part in it.
"""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from headwater import index
from headwater.errors import Corrupt, UnsupportedOption
from headwater.formats import FetchedVectors
from headwater.index import Index, IndexParams
from headwater.store import FaultyStore, open_store
from headwater.tiers import Tier, open_object
from headwater.types import MetricType

__all__ = ["IndexTests", "exact_distances"]

K = 10
Vectors = npt.NDArray[Any]


def exact_distances(vectors: Vectors, query: Vectors, metric: MetricType) -> npt.NDArray[np.float64]:
    """(n,) the metric between each row and a query, in float64, by its definition."""
    if metric is MetricType.MHJACCARD:
        agree = [
            sum(row[i : i + 4].tobytes() == query[i : i + 4].tobytes() for i in range(0, len(query), 4))
            for row in vectors
        ]
        return np.array(agree) * 4.0 / len(query)
    if metric in (MetricType.HAMMING, MetricType.JACCARD):
        rows, asked = np.unpackbits(vectors, axis=1), np.unpackbits(query)
        differ: npt.NDArray[np.float64] = (rows != asked).sum(axis=1).astype(np.float64)
        if metric is MetricType.HAMMING:
            return differ
        union = (rows | asked).sum(axis=1)
        shares: npt.NDArray[np.float64] = np.where(union == 0, 0.0, differ / np.maximum(union, 1))
        return shares
    wide, wanted = vectors.astype(np.float64), query.astype(np.float64)
    if metric is MetricType.L2:
        squares: npt.NDArray[np.float64] = ((wide - wanted) ** 2).sum(axis=1)
        return squares
    products: npt.NDArray[np.float64] = wide @ wanted
    if metric is MetricType.IP:
        return products
    lengths = np.linalg.norm(wide, axis=1) * np.linalg.norm(wanted)
    cosines: npt.NDArray[np.float64] = np.divide(
        products, lengths, out=np.zeros_like(products), where=lengths > 0
    )
    return cosines


class IndexTests:
    """The suite.

    Attributes:
        kind: the word that `headwater.index.get` knows it by.
        metrics: which it takes.
        binary: whether its vectors are packed bits.
        least_recall: of ten neighbours, at the default effort.
        cold_rounds: how often, at most, a search without a filter asks for vectors that are not here.
    """

    kind: ClassVar[str]
    metrics: ClassVar[tuple[MetricType, ...]] = (MetricType.L2, MetricType.IP, MetricType.COSINE)
    binary: ClassVar[bool] = False
    least_recall: ClassVar[float] = 0.95
    cold_rounds: ClassVar[int] = 1

    def vectors(self, n: int, dim: int = 32, seed: int = 0) -> Vectors:
        """(n, dim) clustered rows."""
        rng = np.random.default_rng(seed)
        if self.binary:
            centres = rng.integers(0, 256, (32, dim // 8), np.uint8)
            flips = np.packbits(rng.random((n, dim)) < 0.1, axis=1)
            packed: Vectors = centres[rng.integers(0, 32, n)] ^ flips
            return packed
        centres = rng.normal(size=(64, dim))
        made: Vectors = (centres[rng.integers(0, 64, n)] + 0.4 * rng.normal(size=(n, dim))).astype(np.float32)
        return made

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Where artifacts go."""
        return tmp_path_factory.mktemp("index")

    def made(
        self, folder: Path, vectors: Vectors, metric: MetricType, present: Any = None, name: str = ""
    ) -> tuple[Index, Path, IndexParams]:
        """An index over rows, opened from its file."""
        params = IndexParams(self.kind, metric)
        path = folder / f"{name or uuid.uuid4().hex}.hwx"
        if not path.exists():
            index.get(self.kind).build(vectors, params, path, present=present)
        opened = index.get(self.kind).open(open_object(open_store(folder), path.name), params)
        return opened, path, params

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each of the kind's metrics."""
        if "metric" in metafunc.fixturenames:
            metafunc.parametrize("metric", self.metrics, ids=str)

    @pytest.fixture
    def large(self, folder: Path, metric: MetricType) -> tuple[Index, Vectors, Vectors]:
        """6,000 rows, an index over them, and queries that are none of them."""
        vectors = self.vectors(6000)
        opened, _, _ = self.made(folder, vectors, metric, name=f"large-{metric}")
        return opened, vectors, self.vectors(6040, seed=0)[6000:] if self.binary else self.queries(vectors)

    def queries(self, vectors: Vectors) -> Vectors:
        """(40, dim) near rows."""
        rng = np.random.default_rng(9)
        chosen = vectors[rng.choice(len(vectors), 40, replace=False)]
        near: Vectors = (chosen + 0.1 * rng.normal(size=chosen.shape)).astype(np.float32)
        return near

    def check(
        self,
        found: tuple[Any, Any],
        vectors: Vectors,
        queries: Vectors,
        metric: MetricType,
        allowed: Any = None,
    ) -> float:
        """Everything but recall holds; returns the recall, ties counted as right."""
        distances, rows = found
        right = total = 0
        for query, row_distances, positions in zip(queries, distances, rows, strict=True):
            truth = exact_distances(vectors, query, metric)
            wanted = len(truth) if allowed is None else int(np.count_nonzero(allowed))
            k = min(len(positions), wanted)
            real = positions[positions >= 0]
            assert len(real) >= k, "fewer rows than there are"
            assert len(set(real.tolist())) == len(real), "a row twice"
            assert allowed is None or allowed[real].all(), "a row that is not allowed"
            np.testing.assert_allclose(row_distances[: len(real)], truth[real], rtol=1e-3, atol=1e-3)
            order = np.diff(row_distances[: len(real)])
            assert (order <= 1e-5).all() if metric.larger_is_closer else (order >= -1e-5).all(), (
                "not best first"
            )
            key = -truth if metric.larger_is_closer else truth
            key = key if allowed is None else np.where(allowed, key, np.inf)
            bound = np.sort(key)[k - 1]
            right += int((key[real] <= bound + 1e-5).sum())
            total += k
        return right / max(total, 1)

    def test_the_default_effort_finds_the_neighbours(self, large: Any, metric: MetricType) -> None:
        """Recall@10, exact distances, best first."""
        opened, vectors, queries = large
        found = opened.search(queries, K, vectors=vectors, options={})
        assert self.check(found, vectors, queries, metric) >= self.least_recall

    @pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001])
    def test_a_filter_is_kept_and_costs_no_recall(self, large: Any, metric: MetricType, share: float) -> None:
        """At every selectivity."""
        opened, vectors, queries = large
        allowed = np.random.default_rng(3).random(len(vectors)) < share
        found = opened.search(queries, K, allowed=allowed, vectors=vectors, options={})
        assert self.check(found, vectors, queries, metric, allowed) >= self.least_recall

    @pytest.mark.parametrize("share", [0.6, 0.3, 0.15])
    def test_a_filter_that_goes_along_with_the_vectors(
        self, folder: Path, metric: MetricType, share: float
    ) -> None:
        """Rows near a point, far from it, between, whole clusters: few are where an index looks first."""
        vectors = self.vectors(16_000, dim=16)
        opened, _, _ = self.made(folder, vectors, metric, name=f"correlated-{metric}")
        queries = self.vectors(16_040, dim=16)[16_000:]
        truth = exact_distances(vectors, queries[0], metric)
        order, size = np.argsort(-truth if metric.larger_is_closer else truth), int(share * len(vectors))
        metric_of_clusters = self.metrics[0]
        clusters = np.argmin([exact_distances(vectors, v, metric_of_clusters) for v in vectors[:24]], axis=0)
        chosen = {
            "near": order[:size],
            "far": order[-size:],
            "between": order[(len(vectors) - size) // 2 :][:size],
            "clusters": np.flatnonzero(clusters < 24 * share),
        }
        for name, rows in chosen.items():
            allowed = np.zeros(len(vectors), np.bool_)
            allowed[rows] = True
            found = opened.search(queries, K, allowed=allowed, vectors=vectors, options={})
            assert self.check(found, vectors, queries, metric, allowed) >= 0.95, name

    @pytest.mark.parametrize("k", [1, 3000, 6000, 9000])
    def test_as_many_rows_as_asked_for(self, large: Any, metric: MetricType, k: int) -> None:
        """However many; never more than there are."""
        opened, vectors, queries = large
        found = opened.search(queries[:2], k, vectors=vectors, options={})
        assert (found[1] >= 0).sum() == 2 * min(k, len(vectors))
        self.check(found, vectors, queries[:2], metric)

    def test_nothing_allowed_is_nothing_found(self, large: Any) -> None:
        """And no error."""
        opened, vectors, queries = large
        nothing = np.zeros(len(vectors), np.bool_)
        assert not (opened.search(queries, K, allowed=nothing, vectors=vectors, options={})[1] >= 0).any()

    def test_a_batch_is_its_queries(self, large: Any, metric: MetricType) -> None:
        """From one thread and from several."""
        opened, vectors, queries = large
        together = opened.search(queries, K, vectors=vectors, options={})

        def alone(query: Vectors) -> Any:
            return opened.search(query[None], K, vectors=vectors, options={})

        with ThreadPoolExecutor(4) as pool:
            for each in (map(alone, queries), pool.map(alone, queries)):
                distances = np.concatenate([found[0] for found in each])
                np.testing.assert_allclose(distances, together[0], rtol=1e-4, atol=1e-4)

    def test_an_unknown_search_parameter_is_refused(self, large: Any) -> None:
        """Rather than ignored."""
        opened, vectors, queries = large
        with pytest.raises(UnsupportedOption, match="colour"):
            opened.search(queries, K, vectors=vectors, options={"colour": 1})

    @pytest.mark.parametrize("n", [1, 2, 7, 300])
    def test_few_rows(self, folder: Path, metric: MetricType, n: int) -> None:
        """Every row is found."""
        vectors = self.vectors(n)
        opened, _, _ = self.made(folder, vectors, metric)
        assert (
            self.check(
                opened.search(vectors[:1], n, vectors=vectors, options={}), vectors, vectors[:1], metric
            )
            == 1
        )

    def test_rows_that_are_all_the_same(self, folder: Path, metric: MetricType) -> None:
        """A k-means with one point, a graph of ties."""
        vectors = np.repeat(self.vectors(1), 3000, axis=0)
        opened, _, _ = self.made(folder, vectors, metric)
        found = opened.search(vectors[:1], K, vectors=vectors, options={})
        assert self.check(found, vectors, vectors[:1], metric) == 1

    def test_rows_without_length(self, folder: Path, metric: MetricType) -> None:
        """Zero vectors have no direction; nothing divides by their length."""
        vectors = self.vectors(3000)
        vectors[::3] = 0
        opened, _, _ = self.made(folder, vectors, metric)
        distances, rows = opened.search(vectors[1:2], 3000, vectors=vectors, options={})
        assert np.isfinite(distances).all()
        assert sorted(rows[0].tolist()) == list(range(3000))

    def test_rows_without_a_vector_are_left_out(self, folder: Path, metric: MetricType) -> None:
        """What stands in their place in the file does not matter."""
        vectors = self.vectors(4000)
        present = np.arange(4000) % 4 != 0
        vectors[~present] = 255 if self.binary else np.nan
        opened, _, _ = self.made(folder, vectors, metric, present=present)
        queries = vectors[present][:10]
        found = opened.search(queries, K, allowed=present, vectors=vectors, options={})
        clean = np.where(present[:, None], vectors, 0)
        assert self.check(found, clean, queries, metric, present) >= self.least_recall

    def at_tier(self, path: Path, params: IndexParams, tier: Tier) -> tuple[Index, FaultyStore]:
        """An index opened at a tier, and the store that counts what it is asked."""
        store = FaultyStore(open_store(path.parent), local_paths=tier != "cold")
        return index.get(self.kind).open(open_object(store, path.name, tier=tier), params), store

    def test_the_tiers_answer_alike(self, folder: Path, metric: MetricType) -> None:
        """Hot, mapped and fetched: the same rows, whatever a filter leaves, alone and in a batch."""
        vectors = self.vectors(6000)
        _, path, params = self.made(folder, vectors, metric, name=f"large-{metric}")
        queries = (self.vectors(6040)[6000:] if self.binary else self.queries(vectors))[:4]
        tiers: tuple[Tier, ...] = ("hot", "warm", "cold")
        opened = [self.at_tier(path, params, tier)[0] for tier in tiers]
        draw = np.random.default_rng(3).random(len(vectors))
        for allowed in (None, draw < 0.5, draw < 0.1):
            for asked in (queries[:1], queries):
                hot, *others = [
                    one.search(asked, K, allowed=allowed, vectors=vectors, options={}) for one in opened
                ]
                assert self.check(hot, vectors, asked, metric, allowed) >= self.least_recall - 0.1
                for found in others:
                    np.testing.assert_allclose(found[0], hot[0], rtol=1e-4, atol=1e-4)

    def test_cold_vectors_are_fetched_in_one_round(self, folder: Path, metric: MetricType) -> None:
        """An opened index asks once for its lists, once for the candidates' vectors; answers stay exact."""
        vectors = self.vectors(6000)
        _, path, params = self.made(folder, vectors, metric, name=f"large-{metric}")
        queries = (self.vectors(6040)[6000:] if self.binary else self.queries(vectors))[:20]
        opened, store = self.at_tier(path, params, "cold")
        fetches: list[int] = []

        def fetch(rows: npt.NDArray[np.int64]) -> Vectors:
            fetches.append(len(rows))
            return vectors[rows]

        fetched = FetchedVectors((6000, vectors.shape[1]), vectors.dtype, fetch)
        store.reset()
        found = opened.search(queries, K, vectors=fetched, options={})
        assert self.check(found, vectors, queries, metric) >= self.least_recall
        assert store.requests.total() <= 1
        assert len(fetches) <= self.cold_rounds
        store.reset()
        opened.search(queries, K, vectors=fetched, options={})
        assert store.requests.total() == 0, "lists are kept"
        for share in (0.5, 0.1, 0.02, 0.003):
            allowed = np.random.default_rng(3).random(6000) < share
            found = opened.search(queries, K, allowed=allowed, vectors=fetched, options={})
            assert self.check(found, vectors, queries, metric, allowed) >= self.least_recall

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
    def test_an_artifact_cut_short_is_named(self, folder: Path, share: float) -> None:
        """Wherever it ends."""
        _, path, params = self.made(folder, self.vectors(4000), self.metrics[0], name="to-be-cut")
        content = path.read_bytes()
        (folder / "cut.hwx").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(Corrupt, match=r"cut\.hwx"):
            index.get(self.kind).open(open_object(open_store(folder), "cut.hwx"), params)

    def test_a_flipped_bit_is_found_or_harmless(self, folder: Path) -> None:
        """Padding between sections is all that may change unseen."""
        metric = self.metrics[0]
        vectors = self.vectors(4000)
        whole, path, params = self.made(folder, vectors, metric, name="to-be-flipped")
        content = path.read_bytes()
        expected = whole.search(vectors[:5], K, vectors=vectors, options={})[1]
        found = 0
        for bit in np.random.default_rng(4).choice(len(content) * 8, 25, replace=False).tolist():
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            (folder / "flipped.hwx").write_bytes(flipped)
            try:
                opened = index.get(self.kind).open(open_object(open_store(folder), "flipped.hwx"), params)
                answer = opened.search(vectors[:5], K, vectors=vectors, options={})[1]
            except Corrupt:
                found += 1
                continue
            np.testing.assert_array_equal(answer, expected)
        assert found > 0 or len(content) < 4096
