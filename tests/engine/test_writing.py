"""Writes through the Python door: names, partitions, keys, times to live, and what a wrong call is told."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from headwater.engine.compacting import compact_in_background
from headwater.errors import (
    AliasNotFound,
    AlreadyExists,
    CollectionNotFound,
    DatabaseNotFound,
    InvalidArgument,
    NotReady,
    PartitionNotFound,
    SchemaConflict,
    SchemaMismatch,
    UnsupportedOption,
    VersionNotFound,
)
from headwater.lake import Lake
from headwater.lake.log import CollectionLog


@pytest.fixture
def notes(db: hw.Database) -> hw.Collection:
    schema = {"id": hw.Int64, "text": hw.String, "tags": hw.Array(hw.String)}
    return db.create_collection("notes", schema, "id")


def ids(collection: hw.Collection, **reading: object) -> list[int]:
    return sorted(collection.to_arrow(["id"], **reading).column(0).to_pylist())


def test_made_keys_are_unique_across_threads_connections_and_shards(tmp_path: Path) -> None:
    made = hw.connect(tmp_path).create_collection(
        "t", {"id": hw.Int64, "n": hw.Int64}, "id", auto_id=True, num_shards=3
    )

    def insert(worker: int) -> list[int]:
        table = hw.connect(tmp_path).collection("t")
        return [key for n in range(10) for key in table.insert([{"n": n}, {"n": worker}]).keys.to_pylist()]

    with ThreadPoolExecutor(4) as pool:
        keys = [key for part in pool.map(insert, range(4)) for key in part]
    assert len(set(keys)) == len(keys) == 80
    assert ids(made) == sorted(keys)
    made.flush()
    assert ids(made) == sorted(keys)
    made.upsert([{"id": keys[0], "n": 99}])
    assert made.get([keys[0]])[0]["n"] == 99
    made.delete(keys[1:])
    assert ids(made) == [keys[0]]
    with pytest.raises(InvalidArgument, match="filled in by the lake"):
        made.insert([{"id": 5, "n": 1}])
    with pytest.raises(InvalidArgument, match="which is not there"):
        made.upsert([{"id": max(keys) + 1, "n": 1}])


def test_of_rows_with_one_key_in_an_upsert_the_last_counts(notes: hw.Collection) -> None:
    result = notes.upsert([{"id": 1, "text": text, "tags": []} for text in "abc"])
    assert result.count == 1
    assert notes.get([1])[0]["text"] == "c"


def test_a_partial_upsert_needs_the_whole_of_a_new_row(notes: hw.Collection) -> None:
    notes.insert([{"id": 1, "text": "one", "tags": ["a", "b"]}])
    notes.upsert([{"id": 1, "text": "uno"}, {"id": 1, "tags": ["c"]}], partial=True)
    assert notes.get([1])[0] == {"id": 1, "text": "one", "tags": ["c"]}
    with pytest.raises(SchemaMismatch, match="text") as caught:
        notes.upsert([{"id": 2, "tags": []}], partial=True)
    assert "key 2 is not there yet" in str(caught.value.__notes__)
    with pytest.raises(InvalidArgument, match="not an array"):
        notes.upsert([{"id": 1, "text": "x"}], partial=True, array_ops={"text": "append"})
    assert ids(notes) == [1]


def test_partitions_are_looked_in_and_dropped(db: hw.Database, notes: hw.Collection) -> None:
    notes.create_partition("old")
    notes.insert([{"id": 1, "text": "a", "tags": []}], partition="old")
    notes.insert([{"id": 2, "text": "b", "tags": []}])
    for _ in range(2):
        assert ids(notes, partitions=["old"]) == [1]
        assert ids(notes, partitions=["_default"]) == [2]
        assert ids(notes) == [1, 2]
        notes.flush()
    notes.delete([1], partition="_default")
    assert ids(notes) == [1, 2], "a delete in another partition took the row"
    notes.upsert([{"id": 1, "text": "moved", "tags": []}])
    assert ids(notes, partitions=["old"]) == []
    notes.insert([{"id": 3, "text": "c", "tags": []}], partition="old")
    notes.drop_partition("old")
    assert ids(notes) == [1, 2]
    with pytest.raises(PartitionNotFound, match="old"):
        notes.insert([{"id": 4, "text": "", "tags": []}], partition="old")
    with pytest.raises(AlreadyExists):
        notes.create_partition("_default")
    keyed = db.create_collection(
        "k", {"id": hw.Int64, "who": hw.String}, "id", partition_key="who", num_partitions=4
    )
    keyed.insert({"id": range(40), "who": [f"u{i % 7}" for i in range(40)]})
    keyed.flush()
    assert keyed.describe()["num_segments"] <= 4
    assert ids(keyed, filter="who == 'u3'") == [i for i in range(40) if i % 7 == 3]
    with pytest.raises(InvalidArgument, match="partition key"):
        keyed.insert([{"id": 99, "who": "x"}], partition="p")


class Clock:
    """The time of day, which a test moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead_s = 0
        now, now_ns = time.time, time.time_ns
        monkeypatch.setattr(time, "time", lambda: now() + self.ahead_s)
        monkeypatch.setattr(time, "time_ns", lambda: now_ns() + self.ahead_s * 10**9)


def test_rows_go_when_their_time_has_come(db: hw.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    table = db.create_collection(
        "t", {"id": hw.Int64, "until": hw.Field("until", hw.TimestampTz, nullable=True)}, "id"
    )
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    rows = [(1, now - hour), (2, now + hour), (3, None)]
    table.insert([{"id": key, "until": until} for key, until in rows])
    table.set_ttl(field="until")
    assert ids(table) == [2, 3]
    assert table.num_rows == table.count() == len(table.query()) == 2
    assert table.count("id >= 1") == 2
    table.set_ttl(600.0)
    clock.ahead_s += 602
    assert table.num_rows == 0
    table.upsert([{"id": 2, "until": None}])
    assert ids(table) == [2]
    table.optimize()
    assert [s.num_rows for s in table._lake.latest().segments] == [1], "upkeep left dead rows"
    table.set_ttl(None)
    clock.ahead_s += 602
    assert ids(table) == [2]


def test_a_longer_time_brings_back_rows_that_upkeep_has_left(
    db: hw.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    table = db.create_collection("t", {"id": hw.Int64}, "id")
    table.set_ttl(600.0)
    table.insert([{"id": 1}, {"id": 2}])
    clock.ahead_s += 602
    table._tend()
    assert ids(table) == []
    table.set_ttl(1000.0)
    assert ids(table) == [1, 2]
    clock.ahead_s += 402
    table._tend()
    assert ids(table) == []
    clock.ahead_s += 60
    table._tend()
    table.set_ttl(10_000.0)
    assert ids(table) == [], "upkeep left rows that are long past their time"


def test_compaction_that_is_asked_for_drops_rows_at_their_time(
    db: hw.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    table = db.create_collection("t", {"id": hw.Int64}, "id")
    table.set_ttl(600.0)
    table.insert([{"id": 1}, {"id": 2}])
    table.flush()
    clock.ahead_s += 602
    db.jobs.wait(compact_in_background(db, "t").id)
    assert sum(s.num_rows - s.num_deleted for s in table._lake.latest().segments) == 0


def test_rows_are_expired_beside_another_who_deletes_in_their_segment(
    db: hw.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    table = db.create_collection(
        "t", {"id": hw.Int64, "until": hw.Field("until", hw.TimestampTz, nullable=True)}, "id"
    )
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=60)
    table.insert([{"id": 1, "until": soon}, {"id": 2, "until": None}, {"id": 3, "until": None}])
    table.flush()
    table.set_ttl(field="until")
    clock.ahead_s += 90
    other = hw.connect(db._store.inner.root).collection("t")
    commit, turns = Lake.commit, iter([True])

    def late(lake: Lake, base: Any, changes: Any, *, operation: str, **how: Any) -> Any:
        if operation == "expire rows" and next(turns, False):
            other.delete([3])
            other.flush()
        return commit(lake, base, changes, operation=operation, **how)

    monkeypatch.setattr(Lake, "commit", late)
    table.optimize()
    assert ids(table) == [2]
    assert [s.num_rows - s.num_deleted for s in table._lake.latest().segments] == [1]


def test_names_aliases_and_databases(db: hw.Database, notes: hw.Collection) -> None:
    notes.insert([{"id": 1, "text": "", "tags": []}])
    db.create_alias("current", "notes")
    assert ids(db.collection("current")) == [1]
    db.rename_collection("notes", "archive")
    assert db.list_collections() == ["archive"]
    assert db.list_aliases() == {"current": "archive"}
    again = db.create_collection("notes", {"id": hw.Int64}, "id")
    again.insert([{"id": 7}])
    assert (ids(db.collection("notes")), ids(db.collection("archive"))) == ([7], [1])
    db.alter_alias("current", "notes")
    assert db.get("current", [7])[0]["id"] == 7
    other = hw.connect(db._store.inner.root)
    assert other.list_collections() == ["archive", "notes"]
    assert ids(other.collection("archive")) == [1]
    with pytest.raises(AlreadyExists, match="current"):
        db.create_collection("current", {"id": hw.Int64})
    with pytest.raises(AlreadyExists):
        db.rename_collection("archive", "notes")
    with pytest.raises(AliasNotFound):
        db.drop_alias("archive")
    db.drop_collection("notes")
    assert db.list_aliases() == {}
    with pytest.raises(CollectionNotFound):
        db.collection("current")
    second = db.create_database("second")
    second.create_collection("notes", {"id": hw.Int64}, "id")
    assert db.list_databases() == ["default", "second"]
    assert db.list_collections() == ["archive"]
    with pytest.raises(InvalidArgument, match="holds notes"):
        db.drop_database("second")
    second.drop_collection("notes")
    db.drop_database("second")
    with pytest.raises(DatabaseNotFound):
        db.database("second")


def test_an_insert_too_large_for_the_log_is_named_in_it(tmp_path: Path) -> None:
    settings = hw.Settings(write=hw.settings.WriteSettings(bulk_bytes=1000))
    table = hw.connect(tmp_path, settings=settings).create_collection(
        "t", {"id": hw.Int64, "v": hw.FloatVector(8)}, "id"
    )
    vectors = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    table.insert({"id": range(500), "v": vectors})
    table.upsert({"id": range(100, 600), "v": vectors})
    table.delete([0, 599])
    assert ids(table) == list(range(1, 599))
    assert sum(path.stat().st_size for path in tmp_path.rglob("log/*/*")) < 20_000
    assert ids(hw.connect(tmp_path).collection("t")) == list(range(1, 599))


def test_a_read_waits_for_no_write_that_is_not_there(notes: hw.Collection) -> None:
    written = notes.insert([{"id": 1, "text": "", "tags": []}])
    assert notes.count(min_timestamp=written.timestamp) == 1
    with pytest.raises(NotReady):
        notes.count(min_timestamp=written.timestamp + 1)
    with pytest.raises(InvalidArgument, match="Strong"):
        notes.count(consistency_level="sometimes")
    with pytest.raises(TypeError, match="consistency"):
        notes.count(consistency="Strong")


def test_wrong_writes_say_what_is_wrong(db: hw.Database, notes: hw.Collection) -> None:
    with pytest.raises(InvalidArgument, match="either ids or filter"):
        notes.delete()
    with pytest.raises(SchemaMismatch, match="'x'"):
        notes.delete(["x"])
    with pytest.raises(InvalidArgument, match="primary key"):
        db.create_collection("bare", {"n": hw.Int64}).upsert([{"n": 1}])
    with pytest.raises(UnsupportedOption, match="num_shard"):
        db.create_collection("t", {"n": hw.Int64}, num_shard=2)
    with pytest.raises(InvalidArgument, match="num_shards"):
        db.create_collection("t", {"n": hw.Int64}, num_shards=99)
    with pytest.raises(InvalidArgument, match="Int64 or VarChar primary key"):
        db.create_collection("t", {"id": hw.Int32}, "id", auto_id=True)
    with pytest.raises(InvalidArgument, match="not open"):
        notes.split_shard(5)
    with pytest.raises(VersionNotFound):
        notes.changes(since=44)
    with pytest.raises(InvalidArgument, match="positive"):
        notes.set_ttl(-1)


def test_rows_without_a_key_are_deleted_by_row_id(db: hw.Database) -> None:
    bare = db.create_collection("bare", {"n": hw.Int64}, num_shards=2)
    for n in range(6):
        bare.insert([{"n": n}])
    bare.flush()
    for n in range(6, 9):
        bare.insert([{"n": n}])
    rows = bare.query(output_fields=["row_id", "n"])
    odd = [row["row_id"] for row in rows if row["n"] % 2]
    assert bare.delete(odd).count == len(odd)
    assert bare.delete(filter="n == 4").count == 1
    for _ in range(2):
        assert sorted(row["n"] for row in bare.query()) == [0, 2, 6, 8]
        bare.optimize()


def test_health_tells_what_an_index_finds_and_optimize_rebuilds_a_bad_one(db: hw.Database) -> None:
    table = db.create_collection("t", {"id": hw.Int64, "v": hw.FloatVector(16)}, "id")
    vectors = np.random.default_rng(0).normal(size=(3000, 16)).astype(np.float32)
    table.insert({"id": np.arange(3000), "v": vectors})
    table.create_index("v", "IVF_FLAT", metric_type="L2", params={"nlist": 64})
    table.delete(list(range(0, 600)))
    table.insert({"id": np.arange(5000, 5100), "v": vectors[:100]})
    [index] = table.health()["indexes"]
    assert index["unindexed_rows"] == 100
    assert index["deleted_share"] == pytest.approx(0.2)
    assert index["recall"] > 0.9
    report = table.optimize()
    [index] = table.health()["indexes"]
    assert (index["coverage"], index["deleted_share"]) == (1.0, 0.0)
    assert report.compactions[0].rows_dropped == 600
    hopeless = hw.Settings(maintenance=hw.settings.MaintenanceSettings(min_recall=1.1))
    again = hw.connect(db._store.inner.root, settings=hopeless).collection("t")
    assert again.optimize().indexes_rebuilt == ("v",)
    assert again.describe()["indexes"][0]["coverage"] == 1.0


def test_clustering_lets_filters_skip_segments(tmp_path: Path) -> None:
    settings = hw.Settings(lake=hw.settings.LakeSettings(target_segment_rows=100))
    table = hw.connect(tmp_path, settings=settings).create_collection(
        "t", {"id": hw.Int64, "year": hw.Int64}, "id"
    )
    years = np.random.default_rng(0).permutation(1000)
    table.insert({"id": np.arange(1000), "year": years})
    table.flush()
    assert table.query("year < 50").info.segments_pruned == 0
    table.optimize(cluster_by="year")
    result = table.query("year < 50")
    assert result.info.segments_pruned == result.info.segments_total - 1
    assert sorted(row["year"] for row in result) == list(range(50))
    assert table.at(version=2).num_rows == 1000


def test_the_log_is_arrow(tmp_path: Path) -> None:
    table = hw.connect(tmp_path).create_collection("t", {"id": hw.Int64, "text": hw.String}, "id")
    table.insert([{"id": 1, "text": "one"}])
    [path] = tmp_path.rglob("log/*/*.arrow")
    with pa.OSFile(str(path)) as file:
        header = pa.ipc.open_stream(file).read_all().schema.metadata
        rows = pa.ipc.open_stream(file).read_all()
    assert b"headwater" in header
    assert rows.to_pydict() == {"1": [1], "2": ["one"]}


def test_a_collection_without_rows_is_true_and_is_not_counted_for_it(tmp_path: Path) -> None:
    made = hw.connect(tmp_path).create_collection("c", {"id": hw.Int64}, "id")
    assert made
    assert len(made) == 0


def test_a_flush_is_done_when_another_process_has_sealed_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand = hw.Settings(maintenance=hw.settings.MaintenanceSettings(automatic=False))
    table = hw.connect(tmp_path, settings=by_hand).create_collection("t", {"id": hw.Int64}, "id")
    other = hw.connect(tmp_path, settings=by_hand).collection("t")
    table.insert([{"id": 0}])
    commit, lost = table._lake.commit, []

    def later(*args: Any, **named: Any) -> Any:
        other.flush()
        lost.append(len(lost) + 1)
        other.insert([{"id": lost[-1]}])
        return commit(*args, **named)

    monkeypatch.setattr(table._lake, "commit", later)
    version = table.flush()
    assert lost == [1]
    assert ids(table.at(version)) == [0]
    assert ids(table, consistency_level="Strong") == [0, 1]


def test_a_shard_split_during_a_partial_upsert_gets_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = {"id": hw.Int64, "tags": hw.Array(hw.Int64)}
    table = hw.connect(tmp_path).create_collection("t", schema, "id", num_shards=2)
    table.insert([{"id": n, "tags": [0]} for n in range(20)])
    other = hw.connect(tmp_path).collection("t")
    submit, written = CollectionLog._submit, []

    def split_after_the_first(self: CollectionLog, number: int, ticket: Any, deadline: float) -> Any:
        receipt = submit(self, number, ticket, deadline)
        if self is table._log:
            written.append(number)
            if len(written) == 1:
                other.split_shard(number)
        return receipt

    monkeypatch.setattr(CollectionLog, "_submit", split_after_the_first)
    changes = [{"id": n, "tags": [1]} for n in range(20)]
    table.upsert(changes, partial=True, array_ops={"tags": "append"})
    assert len(written) == 2
    for one in (table, other):
        assert one.to_arrow(["tags"], consistency_level="Strong")["tags"].to_pylist() == [[0, 1]] * 20


def before_writing(
    monkeypatch: pytest.MonkeyPatch, collection: hw.Collection, method: str, work: Callable[[], Any]
) -> None:
    """Have something done when a write of a collection has been checked, and before it goes to the log."""
    write = getattr(collection._log, method)

    def after_work(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(collection._log, method, write)
        work()
        return write(*args, **kwargs)

    monkeypatch.setattr(collection._log, method, after_work)


def test_a_value_for_a_field_that_is_renamed_meanwhile_is_not_lost_in_silence(
    tmp_path: Path, db: hw.Database, notes: hw.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes.insert([{"id": 1, "text": "old", "tags": []}])
    other = hw.connect(tmp_path / "lake").collection("notes")
    before_writing(monkeypatch, notes, "write_prepared", lambda: other.rename_column("text", "words"))
    with pytest.raises(SchemaConflict, match="'text' was renamed or dropped meanwhile"):
        notes.upsert([{"id": 1, "text": "new"}], partial=True)
    notes.upsert([{"id": 1, "words": "new"}], partial=True)
    assert notes.to_arrow(["words"])["words"].to_pylist() == ["new"]


def test_rows_of_a_partition_that_is_dropped_meanwhile_are_not_counted(
    tmp_path: Path, notes: hw.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes.create_partition("p")
    notes.insert([{"id": 1, "text": "a", "tags": []}])
    other = hw.connect(tmp_path / "lake").collection("notes")
    before_writing(monkeypatch, notes, "write", lambda: other.drop_partition("p"))
    with pytest.raises(PartitionNotFound, match="'p'"):
        notes.insert([{"id": 2, "text": "b", "tags": []}], partition="p")
    for _ in range(2):
        assert (ids(notes), notes.count(), notes.num_rows) == ([1], 1, 1)
        notes.flush()


@pytest.mark.parametrize("change", ["tag", "restore"])
def test_a_version_that_is_forgotten_at_the_same_moment_is_not_taken(
    notes: hw.Collection, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    notes.insert([{"id": 1, "text": "a", "tags": []}])
    version = notes.flush()
    notes.insert([{"id": 2, "text": "b", "tags": []}])
    monkeypatch.setattr(notes._lake, "is_kept", lambda number: number != version)
    with pytest.raises(VersionNotFound, match="forgotten at the same moment"):
        notes.tag("t", version) if change == "tag" else notes.restore(version)
    assert (ids(notes), dict(notes.manifest.tags)) == ([1, 2], {})
