"""Inverted lists that are mapped or fetched: never a wrong answer, never without bound."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headwater import index
from headwater.errors import Corrupt, StoreUnavailable
from headwater.formats import FetchedVectors
from headwater.index import Index, IndexParams, ivf_build
from headwater.index.artifact import open_artifact
from headwater.index.cold_costs import BOUND, REQUEST_BYTES, Effort, ReadCosts, bounded
from headwater.index.cold_lists import list_budget
from headwater.index.lists import DIRECTORY
from headwater.index.placed_lists import PlacedLists
from headwater.index.protocol import SupportsEffort, SupportsWarmUp
from headwater.store import Fault, FaultyStore, open_store
from headwater.tiers import Tier, open_object
from headwater.types import MetricType

ROWS, DIM, K = 16_000, 32, 10
PARAMS = IndexParams("ivf_rabitq", MetricType.L2)


@pytest.fixture(scope="module")
def vectors() -> Any:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(64, DIM))
    return (centres[rng.integers(0, 64, ROWS)] + 0.5 * rng.normal(size=(ROWS, DIM))).astype(np.float32)


@pytest.fixture(scope="module")
def queries(vectors: Any) -> Any:
    rng = np.random.default_rng(1)
    return (vectors[rng.integers(0, ROWS, 40)] + 0.1 * rng.normal(size=(40, DIM))).astype(np.float32)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, vectors: Any) -> Path:
    path = tmp_path_factory.mktemp("cold") / "lists.hwx"
    index.get(PARAMS.kind).build(vectors, PARAMS, path)
    return path


def opened(path: Path, tier: Tier, **faults: Any) -> tuple[Index, FaultyStore]:
    store = FaultyStore(open_store(path.parent), local_paths=tier != "cold", **faults)
    return index.get(PARAMS.kind).open(open_object(store, path.name, tier=tier), PARAMS), store


def found(one: Index, queries: Any, vectors: Any, **more: Any) -> Any:
    return one.search(queries, K, vectors=vectors, options={}, **more)[1]


def found_or_why(one: Index, queries: Any, vectors: Any) -> tuple[Any, str]:
    return answer_or_why(lambda: found(one, queries, vectors))


def answer_or_why(ask: Callable[[], Any]) -> tuple[Any, str]:
    try:
        return ask(), ""
    except Corrupt as error:
        return None, str(error)


@pytest.fixture
def short_of_room() -> Any:
    budget = list_budget()
    before, budget.limit_bytes = budget.limit_bytes, 30_000
    yield budget
    budget.limit_bytes = before


def altered(file: Path, folder: Path) -> tuple[Path, int, int]:
    """A copy with one bit flipped in the longest list, which that is, and one of its rows."""
    artifact = open_artifact(open_object(open_store(file.parent), file.name), PARAMS.kind)
    directory = np.frombuffer(artifact.section("directory"), DIRECTORY)
    number = int(np.argmax(directory["num_rows"]))
    content, start = bytearray(file.read_bytes()), int(directory["offset"][number])
    row = int.from_bytes(content[start + int(directory["code_bytes"][number]) :][:8], "little")
    content[start + 5] ^= 4
    (folder / "altered.hwx").write_bytes(content)
    return folder / "altered.hwx", number, row


def test_an_altered_list_is_named_when_it_is_probed_and_others_are_searched(
    file: Path, tmp_path: Path, vectors: Any
) -> None:
    path, number, row = altered(file, tmp_path)
    with pytest.raises(Corrupt, match=r"altered\.hwx.*'lists'"):
        opened(path, "hot")
    whole, _ = opened(file, "hot")
    for tier in ("warm", "cold"):
        one, _ = opened(path, tier)
        failed = 0
        for query in vectors[[row, *range(0, ROWS, 500)]]:
            rows, why = found_or_why(one, query[None], vectors)
            if rows is None:
                assert f"list {number} at " in why
                assert "altered.hwx" in why
                failed += 1
            else:
                np.testing.assert_array_equal(rows, found(whole, query[None], vectors))
        assert 0 < failed < 33
        with pytest.raises(Corrupt, match=f"list {number} at "):
            one.search(vectors[:1], K, vectors=vectors, options={"nprobe": 1024})


def test_the_short_way_reads_no_mapped_list_that_is_not_checked(
    file: Path, tmp_path: Path, vectors: Any
) -> None:
    path, number, row = altered(file, tmp_path)
    one, whole = opened(path, "warm")[0], opened(file, "hot")[0]
    assert isinstance(one, SupportsEffort)
    assert isinstance(whole, SupportsEffort)
    effort, failed = one.effort(K, vectors, {}), 0
    for query in vectors[[row, *range(0, ROWS, 500)]]:
        want = whole.nearest(query[None], vectors, effort)
        near, why = answer_or_why(lambda asked=query[None]: one.nearest(asked, vectors, effort))
        if why:
            assert f"list {number} at " in why
            failed += 1
            continue
        assert near is not None, "mapped lists need no long way"
        assert want is not None
        np.testing.assert_array_equal(near[1], want[1])
        np.testing.assert_allclose(near[0], want[0], rtol=1e-5)
    assert 0 < failed < 33


def test_warming_up_checks_every_mapped_list(
    file: Path, tmp_path: Path, vectors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, number, _ = altered(file, tmp_path)
    for tier, damaged in (("warm", opened(path, "warm")), ("cold", opened(path, "cold"))):
        one, store = damaged
        assert isinstance(one, SupportsWarmUp)
        store.reset()
        if tier == "cold":
            one.warm_up()
            assert not store.requests
        else:
            with pytest.raises(Corrupt, match=f"list {number} at "):
                one.warm_up()
    one, _ = opened(file, "warm")
    assert isinstance(one, SupportsWarmUp)
    one.warm_up()
    monkeypatch.setattr(PlacedLists, "_check", None)
    want = found(opened(file, "hot")[0], vectors[:300], vectors)
    np.testing.assert_array_equal(found(one, vectors[:300], vectors), want)


def test_opening_a_cold_index_is_one_request_and_a_search_one_more(
    file: Path, queries: Any, vectors: Any
) -> None:
    store = FaultyStore(open_store(file.parent))
    source = open_object(store, file.name, size_bytes=file.stat().st_size, tier="cold")
    one = index.get(PARAMS.kind).open(source, PARAMS)
    assert store.requests.total() == 1
    assert store.bytes_read < file.stat().st_size / 2
    found(one, queries, vectors)
    assert store.requests.total() == 2
    found(one, queries[::-1], vectors)
    assert store.requests.total() == 2
    found(one, queries, vectors, allowed=np.arange(ROWS) % 3 == 0)
    assert store.requests.total() <= 4, "the lists of rows, and further lists"


def test_little_room_changes_no_answer(file: Path, queries: Any, vectors: Any, short_of_room: Any) -> None:
    hot, cold = opened(file, "hot")[0], opened(file, "cold")[0]
    evicted = short_of_room.evictions
    allowed = np.random.default_rng(2).random(ROWS) < 0.3
    for query in queries:
        np.testing.assert_array_equal(found(cold, query[None], vectors), found(hot, query[None], vectors))
        np.testing.assert_array_equal(
            found(cold, query[None], vectors, allowed=allowed),
            found(hot, query[None], vectors, allowed=allowed),
        )
        assert short_of_room.held_bytes <= short_of_room.limit_bytes
    np.testing.assert_array_equal(found(cold, queries, vectors), found(hot, queries, vectors))
    assert short_of_room.evictions > evicted


def test_threads_that_take_each_others_room_see_whole_lists(
    file: Path, queries: Any, vectors: Any, short_of_room: Any
) -> None:
    hot, (cold, _) = opened(file, "hot")[0], opened(file, "cold", latency_s=0.001)
    expected = found(hot, queries, vectors)

    def many(seed: int) -> None:
        for at in np.random.default_rng(seed).permutation(len(queries)):
            np.testing.assert_array_equal(found(cold, queries[at : at + 1], vectors)[0], expected[at])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(many, range(6)))


def test_threads_that_want_the_same_lists_fetch_them_once(file: Path, queries: Any, vectors: Any) -> None:
    cold, store = opened(file, "cold", latency_s=0.02)
    store.reset()
    together = threading.Barrier(4)

    def one(_: int) -> Any:
        together.wait()
        return found(cold, queries[:1], vectors)

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(one, range(4))
    assert all((other == first).all() for other in others)
    assert store.requests.total() == 1


def test_a_fetch_that_failed_is_tried_by_the_next_search(file: Path, queries: Any, vectors: Any) -> None:
    broken = True

    def schedule(number: int, verb: str, key: str) -> Fault | None:
        return Fault("after") if broken and number > 1 else None

    cold, _ = opened(file, "cold", schedule=schedule)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            found(cold, queries[:1], vectors)
    broken = False
    np.testing.assert_array_equal(
        found(cold, queries, vectors), found(opened(file, "hot")[0], queries, vectors)
    )


def test_files_without_the_lists_of_rows_are_searched_at_every_tier(
    tmp_path: Path, queries: Any, vectors: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ivf_build, "write_owners", lambda *_: {})
    path = tmp_path / "older.hwx"
    index.get(PARAMS.kind).build(vectors, PARAMS, path)
    allowed = np.random.default_rng(2).random(ROWS) < 0.3
    expected = found(opened(file, "hot")[0], queries, vectors, allowed=allowed)
    for tier in ("hot", "warm", "cold"):
        rows = found(opened(path, tier)[0], queries, vectors, allowed=allowed)
        assert np.mean([len(set(a) & set(b)) / K for a, b in zip(rows, expected, strict=True)]) > 0.97


def test_what_an_index_holds_is_what_it_has_read(file: Path, queries: Any, vectors: Any) -> None:
    size = file.stat().st_size
    hot, warm, cold = (opened(file, tier)[0] for tier in ("hot", "warm", "cold"))
    assert 0.8 * size < index.held_bytes(hot) <= size
    before = index.held_bytes(cold)
    assert before == index.held_bytes(warm) < 0.5 * size
    found(cold, queries[:1], vectors)
    assert before < index.held_bytes(cold) < 0.8 * size


def selections(vectors: Any, queries: Any) -> dict[str, Any]:
    """Filters by name: drawn, beside each other in the file, near a query, far from it."""
    rng = np.random.default_rng(7)
    order = np.argsort(((vectors - queries[0]) ** 2).sum(axis=1))
    chosen = {f"drawn {share}": rng.random(ROWS) < share for share in (0.8, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)}
    chosen |= {f"drawn {count}": np.isin(np.arange(ROWS), rng.choice(ROWS, count)) for count in (5, 50)}
    chosen["beside"] = (np.arange(ROWS) >= 5000) & (np.arange(ROWS) < 6500)
    chosen["near"] = np.isin(np.arange(ROWS), order[:3000])
    chosen["far"] = np.isin(np.arange(ROWS), order[-3000:])
    return chosen


def test_many_short_lists_cost_no_more_than_all_of_them_read_at_once() -> None:
    costs = ReadCosts.of_lists(3_700_000, 800, 1024, share=0.5)
    assert costs.of(800, 0) == costs.of(400, 0) == 3_700_000 + REQUEST_BYTES
    assert costs.of(2, 0) == 2 * (3_700_000 / 800 + REQUEST_BYTES)
    # Of 40,000 rows a tenth, which lie all over 41 MB, and an effort of a third of the lists.
    allowed = np.random.default_rng(0).random(40_000) < 0.1
    assert bounded(Effort(256, 6.0), costs, 40_000, allowed, int(allowed.sum()), 10) is not None
    assert ReadCosts.of_lists(0, 800, 1024, share=0.5).of(800, 0) == 0


def test_a_filter_costs_a_bounded_multiple_and_no_recall(file: Path, queries: Any, vectors: Any) -> None:
    read: list[int] = []

    def fetch(rows: Any) -> Any:
        read.append(len(rows))
        return vectors[rows]

    fetched = FetchedVectors((ROWS, DIM), vectors.dtype, fetch)
    mean = (file.stat().st_size / 410) + REQUEST_BYTES
    for name, allowed in selections(vectors, queries).items():
        hits = total = 0
        for query in queries[:10]:
            cold, store = opened(file, "cold")
            # The lists of rows are read once.
            cold._filtered._list_of  # noqa: B018
            store.reset()
            read.clear()
            rows = cold.search(query[None], K, allowed=allowed, vectors=fetched, options={})[1][0]
            rows = rows[rows >= 0]
            apart = np.where(allowed, ((vectors - query) ** 2).sum(axis=1), np.inf)
            k = min(K, int(allowed.sum()))
            assert len(rows) == k
            assert allowed[rows].all()
            hits += int((apart[rows] <= np.sort(apart)[k - 1] * (1 + 1e-5)).sum())
            total += k
            plain = ReadCosts(mean, 4 * DIM).of(cold.nprobe, K * cold.refine_k)
            assert store.bytes_read + sum(read) * 4 * DIM <= BOUND * plain, name
            assert store.requests.total() + len(read) <= 2, name
        assert hits / total >= 0.95, name
