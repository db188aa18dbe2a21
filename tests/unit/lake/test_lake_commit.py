"""The chain of versions: exactly once, all or nothing, whoever races."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headwater.errors import (
    CollectionNotFound,
    CommitConflict,
    Corrupt,
    SchemaConflict,
    StoreUnavailable,
    VersionNotFound,
)
from headwater.lake import (
    AddIndex,
    AlterSchema,
    AppendSegments,
    Clock,
    ColumnGroup,
    DropIndex,
    FileRef,
    IndexBuild,
    IndexSpec,
    Lake,
    ReplaceSegments,
    Restore,
    Segment,
    SetProperties,
    SetTag,
    gc,
)
from headwater.lake.chain import Chain
from headwater.lake.lake import manifest_key
from headwater.lake.manifest_json import ManifestEncoder, decode_manifest
from headwater.schema import Int64, Schema, String
from headwater.store import FaultyStore, LocalObjectStore, ObjectStore, StoreWrapper, open_store

SCHEMA = Schema.of({"id": Int64, "text": String}, primary_key="id")


def new_lake(store: ObjectStore) -> Lake:
    return Lake.create(store, "default/docs", SCHEMA, properties={}, source=None)


def rows(name: str, count: int = 10) -> AppendSegments:
    return AppendSegments((Segment(name, count, (), ()),))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return new_lake(LocalObjectStore(tmp_path))


def test_concurrent_appends_never_share_a_row_id(lake: Lake) -> None:
    base = lake.latest()
    lake.commit(base, [rows("a")], operation="insert")
    lake.commit(base, [rows("b")], operation="insert")
    assert [segment.row_ids for segment in lake.latest().segments] == [((0, 10),), ((10, 10),)]


def test_replacing_a_segment_twice_conflicts(lake: Lake) -> None:
    base = lake.commit(lake.latest(), [rows("a")], operation="insert")
    lake.commit(base, [ReplaceSegments(("a",), ())], operation="compact")
    with pytest.raises(CommitConflict, match="segment a is gone"):
        lake.commit(base, [ReplaceSegments(("a",), ())], operation="compact")


@pytest.mark.parametrize("redefined", [False, True])
def test_compaction_brings_no_artifact_of_an_index_that_changed_meanwhile(
    lake: Lake, redefined: bool
) -> None:
    old, new = IndexSpec("v", 2, "ivf_rabitq", "L2"), IndexSpec("v", 2, "hnsw", "L2")
    base = lake.commit(lake.latest(), [rows("a"), AddIndex(old)], operation="insert")
    build = IndexBuild("v", "b", FileRef("indexes/b", 1, ""), 10)
    compacted = ReplaceSegments(("a",), (Segment("b", 10, (), ()),), builds=(build,), specs=base.indexes)
    if redefined:
        lake.commit(base, [DropIndex("v"), AddIndex(new)], operation="create index v")
    assert lake.commit(base, [compacted], operation="compact").builds == (() if redefined else (build,))


def test_two_alterations_of_one_schema_conflict(lake: Lake) -> None:
    base = lake.latest()
    lake.commit(base, [AlterSchema(base.schema, base.schema.rename("text", "body"))], operation="rename")
    with pytest.raises(SchemaConflict):
        lake.commit(base, [AlterSchema(base.schema, base.schema.drop("text"))], operation="drop")


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_a_lost_answer_never_commits_twice(tmp_path: Path, share: float) -> None:
    faulty = FaultyStore(LocalObjectStore(tmp_path), seed=3, fail_after=share, fail_before=share / 2)
    clean = Lake(LocalObjectStore(tmp_path), "default/docs")
    new_lake(LocalObjectStore(tmp_path))
    acknowledged = []
    for number in range(40):
        try:
            lake = Lake(faulty, "default/docs")
            lake.commit(lake.latest(), [rows(f"s{number}")], operation="insert")
            acknowledged.append(f"s{number}")
        except StoreUnavailable:
            continue
    names = [segment.id for segment in clean.latest().segments]
    assert len(names) == len(set(names))
    assert set(acknowledged) <= set(names)
    assert acknowledged


def test_threads_committing_at_once_lose_nothing(tmp_path: Path) -> None:
    new_lake(LocalObjectStore(tmp_path))

    def work(number: int) -> None:
        mine = Lake(LocalObjectStore(tmp_path), "default/docs")
        for i in range(10):
            mine.commit(mine.latest(), [rows(f"{number}-{i}", 1)], operation="insert")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    manifest = Lake(LocalObjectStore(tmp_path), "default/docs").latest()
    assert manifest.version == 61
    assert len({segment.id for segment in manifest.segments}) == 60
    assert sorted(segment.row_ids[0][0] for segment in manifest.segments) == list(range(60))


def _commit_in_process(folder: str, number: int) -> None:
    lake = Lake(LocalObjectStore(Path(folder)), "default/docs")
    for i in range(10):
        lake.commit(lake.latest(), [rows(f"{number}-{i}", 1)], operation="insert")


def test_processes_committing_at_once_lose_nothing(tmp_path: Path) -> None:
    new_lake(LocalObjectStore(tmp_path))
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_commit_in_process, args=(str(tmp_path), n), daemon=True) for n in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len({s.id for s in Lake(LocalObjectStore(tmp_path), "default/docs").latest().segments}) == 20


def test_a_torn_manifest_is_corrupt_and_the_version_before_still_reads(lake: Lake, tmp_path: Path) -> None:
    newest = lake.commit(lake.latest(), [rows("a")], operation="insert")
    path = tmp_path / manifest_key("default/docs", newest.version)
    path.write_bytes(path.read_bytes()[:-9])
    again = Lake(LocalObjectStore(tmp_path), "default/docs")
    with pytest.raises(Corrupt, match=f"{newest.version:020d}"):
        again.latest()
    assert again.at(version=1).segments == ()


def test_restore_brings_rows_back_and_never_reuses_ids(lake: Lake) -> None:
    first = lake.commit(lake.latest(), [rows("a")], operation="insert")
    second = lake.commit(first, [rows("b"), SetTag("t", first.version)], operation="insert")
    restored = lake.commit(second, [Restore(first)], operation="restore")
    assert [segment.id for segment in restored.segments] == ["a"]
    assert restored.next_row_id == 20
    assert lake.at(tag="t").version == first.version


def test_gc_keeps_the_newest_and_the_tagged(lake: Lake, tmp_path: Path) -> None:
    for number in range(5):
        lake.commit(lake.latest(), [SetProperties({"n": str(number)})], operation="set")
    lake.commit(lake.latest(), [SetTag("keep", 3)], operation="tag")
    (tmp_path / "default/docs/segments").mkdir()
    (tmp_path / "default/docs/segments/orphan.vortex").write_bytes(b"x" * 7)
    assert gc(lake, retention_s=0, grace_s=3600).versions_expired == 0
    later = Lake(lake.store, lake.root, clock=Clock(ahead_s=120))
    report = gc(later, retention_s=0, grace_s=60)
    assert (report.objects_deleted, report.bytes_deleted) == (1, 7)
    assert [entry.version for entry in lake.history()] == [3, 7]
    with pytest.raises(VersionNotFound, match="version 2"):
        lake.at(version=2)


class _Interrupted(StoreWrapper):
    """Does something before the first manifest is deleted."""

    def __init__(self, inner: ObjectStore, work: Callable[[], Any]) -> None:
        super().__init__(inner)
        self._work: list[Callable[[], Any]] = [work]

    def delete(self, keys: Sequence[str]) -> None:
        if self._work and "/manifests/" in keys[0]:
            self._work.pop()()
        super().delete(keys)


@pytest.mark.parametrize("change", ["tag", "restore"])
def test_gc_keeps_the_files_of_a_version_that_is_needed_again_meanwhile(
    lake: Lake, tmp_path: Path, change: str
) -> None:
    file = tmp_path / "default/docs/segments/a/0.vortex"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"rows")
    group = ColumnGroup("vortex", (1,), FileRef("default/docs/segments/a/0.vortex", 4, ""))
    first = lake.commit(
        lake.latest(), [AppendSegments((Segment("a", 10, (), (group,)),))], operation="insert"
    )
    lake.commit(first, [ReplaceSegments(("a",), ())], operation="compact")
    lake.commit(lake.latest(), [SetProperties({"n": "1"})], operation="set")
    wanted = SetTag("t", first.version) if change == "tag" else Restore(first)
    other = Lake(lake.store, lake.root)
    store = _Interrupted(lake.store, lambda: other.commit(other.latest(), [wanted], operation=change))
    gc(Lake(store, lake.root, clock=Clock(ahead_s=120)), retention_s=0, grace_s=0)
    assert file.exists()
    if change == "tag":
        assert Lake(lake.store, lake.root).at(tag="t") == first
    else:
        assert [one.id for one in lake.latest().segments] == ["a"]
        assert not lake.is_kept(first.version)


def test_a_manifest_survives_its_encoding(lake: Lake) -> None:
    manifest = lake.commit(lake.latest(), [rows("a"), SetTag("t", 1)], operation="insert")
    assert decode_manifest(ManifestEncoder().encode(manifest), "k") == manifest


def test_a_dropped_collection_is_noticed(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Lake(lake.store, lake.root)
    reader.latest()
    lake.store.delete([meta.key for meta in lake.store.list(lake.root)])
    monkeypatch.setattr("headwater.lake.lake.LISTING_INTERVAL_S", 0.0)
    with pytest.raises(CollectionNotFound):
        reader.latest()


def test_a_reader_sees_a_commit_of_another_at_once(lake: Lake) -> None:
    reader = Lake(lake.store, lake.root)
    for number in range(3):
        lake.commit(lake.latest(), [rows(f"s{number}")], operation="insert")
        assert len(reader.latest().segments) == number + 1


def test_reading_nothing_new_is_one_request(tmp_path: Path) -> None:
    counted = FaultyStore(open_store(tmp_path))
    lake = new_lake(counted)
    lake.latest()
    before = sum(counted.requests.values())
    lake.latest()
    assert sum(counted.requests.values()) - before == 1


class Interrupted(str):
    """Something happens while it is compared, as another thread may do it."""

    meanwhile: Callable[[], object] | None = None

    def __eq__(self, other: object) -> bool:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_a_larger_version_is_encoded_while_what_went_is_forgotten(lake: Lake) -> None:
    manifest = lake.commit(lake.latest(), [rows("a")], operation="insert")
    larger, encoder = replace(manifest, segments=manifest.segments * 100), ManifestEncoder()
    name = Interrupted("segments")
    encoder._frames[name, 1] = (), b""
    name.meanwhile = lambda: encoder.encode(larger)
    for version in (manifest, larger):
        assert decode_manifest(encoder.encode(version), "k") == version


class Handed:
    """A lock after which another thread has its turn, once."""

    def __init__(self, lock: threading.Lock, meanwhile: Callable[[], object]) -> None:
        self._lock = lock
        self._meanwhile: list[Callable[[], object]] = [meanwhile]

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if self._meanwhile:
            other = threading.Thread(target=self._meanwhile.pop())
            other.start()
            other.join()


def test_a_change_between_a_look_and_a_change_of_the_same_chain_is_not_lost(tmp_path: Path) -> None:
    store = open_store(tmp_path / "lake")
    chain: Chain[dict[str, Any]] = Chain(store, "names", empty={}, encode=dict, decode=_names)
    chain.change(lambda now: {**now, "first": 1})
    chain._lock = Handed(chain._lock, lambda: chain.change(lambda now: {**now, "second": 2}))  # type: ignore[assignment]
    chain.change(lambda now: {**now, "third": 3})
    assert chain.latest() == {"first": 1, "second": 2, "third": 3}


def _names(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in stored.items() if name not in ("format", "version", "commit_id")}
