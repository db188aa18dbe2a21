"""Snapshots through the real client: named versions, pins, and copies."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pymilvus import MilvusClient, MilvusException
from pymilvus.grpc_gen import milvus_pb2

import headwater as hw
from headwater.lake.clock import Clock
from headwater.testing.s3_server import s3_server

DIM = 8


@pytest.fixture(scope="module")
def lake(lake_path: Path) -> Iterator[hw.Database]:
    """The Python door on the lake that the server serves: the oracle."""
    with hw.connect(lake_path) as found:
        yield found


def vectors(count: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).random((count, DIM), np.float32)


def filled(lake: hw.Database, name: str, count: int = 100) -> hw.Collection:
    collection = lake.create_collection(
        name, {"id": hw.Int64, "text": hw.VarChar(64), "vec": hw.FloatVector(DIM)}, "id"
    )
    collection.insert(
        [{"id": i, "text": f"t{i}", "vec": vec.tolist()} for i, vec in enumerate(vectors(count))]
    )
    collection.flush()
    collection.create_index("vec", "HNSW", metric_type="L2")
    return collection


def restored(client: MilvusClient, job: int) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        state = client.get_restore_snapshot_state(job)
        if state.state in ("RestoreSnapshotCompleted", "RestoreSnapshotFailed"):
            return state.state
        time.sleep(0.05)
    raise AssertionError("the restore never ended")


def refused(code: int, words: str, call, *args, **kwargs) -> None:
    with pytest.raises(MilvusException) as raised:
        call(*args, **kwargs)
    assert raised.value.code == code, raised.value
    assert words in raised.value.message


def test_a_snapshot_is_created_described_and_dropped(client: MilvusClient, lake: hw.Database) -> None:
    filled(lake, "books")
    client.create_snapshot("s1", "books", description="before the fair")
    assert client.list_snapshots("books") == ["s1"]
    info = client.describe_snapshot("s1", "books")
    assert (info.name, info.description, info.collection_name) == ("s1", "before the fair", "books")
    assert info.partition_names == ["_default"]
    assert info.create_ts > 0
    assert "/books/" in info.s3_location
    client.drop_snapshot("s1", "books")
    assert client.list_snapshots("books") == []
    client.drop_snapshot("s1", "books")


def test_growing_rows_are_not_in_a_snapshot_and_later_changes_neither(
    client: MilvusClient, lake: hw.Database
) -> None:
    papers = filled(lake, "papers", 100)
    papers.insert([{"id": 1000 + i, "text": "growing", "vec": [0.0] * DIM} for i in range(7)])
    client.create_snapshot("s1", "papers")
    papers.delete(list(range(50)))
    papers.flush()
    assert restored(client, client.restore_snapshot("s1", "papers", "papers_then")) == (
        "RestoreSnapshotCompleted"
    )
    then = lake.collection("papers_then")
    assert then.count() == 100
    assert sorted(then.query(output_fields=["id"]).to_arrow().column("id").to_pylist()) == list(range(100))
    assert papers.count() == 57


def test_a_restored_collection_has_the_index_and_answers_as_the_original(
    client: MilvusClient, lake: hw.Database
) -> None:
    source = filled(lake, "source", 300)
    client.create_snapshot("s1", "source")
    restored(client, client.restore_snapshot("s1", "source", "target"))
    target = lake.collection("target")
    query = vectors(3, seed=1)
    expected = source.search(query, top_k=5).to_arrow()
    assert target.search(query, top_k=5).to_arrow().equals(expected)
    assert target.describe()["indexes"][0]["coverage"] == 1.0
    target.insert([{"id": 5000, "text": "own", "vec": [0.0] * DIM}])
    assert target.count() == 301
    assert source.count() == 300


def test_a_restore_goes_to_another_database_and_is_listed_there(
    client: MilvusClient, lake: hw.Database
) -> None:
    filled(lake, "moving")
    lake.create_database("archive_db")
    client.create_snapshot("s1", "moving")
    job = client.restore_snapshot("s1", "moving", "moved", target_db_name="archive_db")
    assert restored(client, job) == "RestoreSnapshotCompleted"
    state = client.get_restore_snapshot_state(job)
    assert (state.job_id, state.snapshot_name, state.db_name, state.collection_name, state.progress) == (
        job,
        "s1",
        "archive_db",
        "moved",
        100,
    )
    assert [one.job_id for one in client.list_restore_snapshot_jobs(db_name="archive_db")] == [job]
    assert job not in [one.job_id for one in client.list_restore_snapshot_jobs()]
    assert lake.database("archive_db").collection("moved").count() == 100


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (" ", "snapshot name should be not empty"),
        ("1st", "the first character of snapshot name must be an underscore or letter"),
        ("-x", "the first character of snapshot name must be an underscore or letter"),
        ("a b", "snapshot name can only contain"),
        ("a@b", "snapshot name can only contain"),
        ("a" * 256, "the length of snapshot name must be not greater than limit"),
    ],
)
def test_names_are_refused_in_milvus_words(
    client: MilvusClient, lake: hw.Database, name: str, words: str
) -> None:
    if not lake.has_collection("named"):
        filled(lake, "named", 5)
    for call in (client.create_snapshot, client.drop_snapshot, client.describe_snapshot):
        refused(1100, words, call, name, "named")


def test_what_is_missing_or_taken_is_refused(client: MilvusClient, lake: hw.Database) -> None:
    filled(lake, "taken", 5)
    lake.create_alias("taken_alias", "taken")
    client.create_snapshot("s1", "taken_alias")
    refused(1100, "snapshot name s1 already exists", client.create_snapshot, "s1", "taken")
    refused(100, "collection not found", client.create_snapshot, "s1", "nowhere")
    refused(100, "collection not found", client.list_snapshots, "nowhere")
    refused(2600, "snapshot not found[snapshot=s9]", client.describe_snapshot, "s9", "taken")
    refused(2600, "snapshot not found", client.restore_snapshot, "s9", "taken", "new_one")
    refused(65535, "duplicate collection", client.restore_snapshot, "s1", "taken", "taken")
    refused(1601, "alias and collection name conflict", client.restore_snapshot, "s1", "taken", "taken_alias")
    refused(800, "database not found", client.restore_snapshot, "s1", "taken", "x", target_db_name="nope")
    refused(1100, "first character", client.restore_snapshot, "s1", "taken", "1x")
    refused(1100, "not found", client.get_restore_snapshot_state, 12345)
    refused(
        1100, "must not exceed", client.create_snapshot, "s2", "taken", compaction_protection_seconds=10**9
    )


def test_a_pin_keeps_a_snapshot_and_garbage_collection_keeps_its_files(
    client: MilvusClient, lake: hw.Database
) -> None:
    pinned = filled(lake, "pinned", 50)
    client.create_snapshot("s1", "pinned")
    pin = client.pin_snapshot_data("s1", "pinned", ttl_seconds=600)
    refused(2601, "active pins exist", client.drop_snapshot, "s1", "pinned")
    pinned.delete(list(range(50)))
    pinned.optimize()
    pinned._lake.clock = Clock(ahead_s=3600)
    pinned.gc(retention_s=0, grace_s=0)
    with pytest.raises(hw.errors.VersionNotFound):
        pinned.at(1)
    assert lake.snapshots.open("pinned", "s1").count() == 50
    client.unpin_snapshot_data(pin)
    client.unpin_snapshot_data(pin)
    client.drop_snapshot("s1", "pinned")
    refused(1100, "exceeds maximum", client.pin_snapshot_data, "s1", "pinned", ttl_seconds=10**8)
    refused(2600, "snapshot not found", client.pin_snapshot_data, "s1", "pinned")


def test_dropping_a_collection_drops_its_snapshots(client: MilvusClient, lake: hw.Database) -> None:
    filled(lake, "gone", 5)
    client.create_snapshot("s1", "gone")
    client.drop_collection("gone")
    refused(100, "collection not found", client.list_snapshots, "gone")
    filled(lake, "gone", 5)
    assert client.list_snapshots("gone") == []


def test_a_snapshot_goes_to_another_store_and_comes_back(client: MilvusClient, lake: hw.Database) -> None:
    filled(lake, "leaving", 40)
    client.create_snapshot("s1", "leaving")
    stub = client._get_connection()._stub
    with s3_server("backups") as server:
        where = f"s3://127.0.0.1:{server.port}/backups/nightly"
        extfs = {
            "cloud_provider": "minio",
            "region": "us-east-1",
            "access_key_id": "test",
            "access_key_value": "test",
        }
        spec = json.dumps({"extfs": extfs})
        request = milvus_pb2.ExportSnapshotRequest(
            name="s1", collection_name="leaving", target_s3_path=where, external_spec=spec
        )
        answer = stub.ExportSnapshot(request)
        assert answer.status.code == 0, answer.status
        lake.jobs.wait(answer.job_id)
        info = stub.GetExportSnapshotState(
            milvus_pb2.GetExportSnapshotStateRequest(job_id=answer.job_id)
        ).info
        assert info.state == milvus_pb2.ExportSnapshotState.ExportSnapshotCompleted, info
        assert info.copied_files == info.total_files > 0
        assert info.total_bytes > 0
        assert info.snapshot_metadata_uri.startswith(where)
        lake.drop_collection("leaving")
        back = milvus_pb2.RestoreExternalSnapshotRequest(
            target_collection_name="returned",
            snapshot_metadata_uri=info.snapshot_metadata_uri,
            external_spec=spec,
        )
        job = stub.RestoreExternalSnapshot(back)
        assert job.status.code == 0, job.status
        assert restored(client, job.job_id) == "RestoreSnapshotCompleted"
        back.target_collection_name = "other"
        back.snapshot_metadata_uri = info.snapshot_metadata_uri.replace("nightly", "weekly")
        assert stub.RestoreExternalSnapshot(back).status.code == 2600
        back.snapshot_metadata_uri = where
        assert stub.RestoreExternalSnapshot(back).status.code == 1100
        request.target_s3_path = "file:///tmp/out"
        assert stub.ExportSnapshot(request).status.code in (100, 1100)
    returned = lake.collection("returned")
    assert returned.count() == 40
    assert returned.describe()["indexes"][0]["coverage"] == 1.0


def test_a_client_cannot_name_the_servers_own_files(client: MilvusClient, lake: hw.Database) -> None:
    filled(lake, "local", 5)
    client.create_snapshot("s1", "local")
    stub = client._get_connection()._stub
    for path in ("file:///tmp/out", "/tmp/out", "out", "memory://x/y"):
        request = milvus_pb2.ExportSnapshotRequest(name="s1", collection_name="local", target_s3_path=path)
        assert stub.ExportSnapshot(request).status.code == 1100, path
        back = milvus_pb2.RestoreExternalSnapshotRequest(
            target_collection_name="stolen", snapshot_metadata_uri=path
        )
        assert stub.RestoreExternalSnapshot(back).status.code == 1100, path


def test_snapshots_and_jobs_work_on_an_object_store() -> None:
    with s3_server("lakes") as server, hw.connect(f"{server.url}/one", server.options) as remote:
        filled(remote, "far", 30)
        remote.snapshots.create("far", "s1")
        reads: list[str] = []
        inner = remote._store.inner
        get = inner.get
        inner.get = lambda key: (reads.append(key), get(key))[1]
        job = remote.jobs.wait(remote.snapshots.restore("far", "s1", "farther").id)
        assert job.state == "completed", job.reason
        # The store copies by itself: no file of rows or vectors passes through here.
        assert [key for key in reads if "/segments/" in key or "/indexes/" in key] == []
        assert remote.collection("farther").count() == 30
        again = hw.connect(f"{server.url}/one", server.options)
        assert again.jobs.get(job.id).state == "completed"
        assert again.collection("farther").query("id == 7", output_fields=["text"])[0]["text"] == "t7"
        again.close()
