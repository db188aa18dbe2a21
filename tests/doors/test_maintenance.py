"""Flush, compaction, segments, and what a cluster would do, through the real client."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pymilvus import MilvusClient, MilvusException
from pymilvus.client.types import CompactionTaskState, SegmentState
from pymilvus.grpc_gen import common_pb2, feder_pb2, milvus_pb2
from serving import served

import headwater as hw
from headwater.engine import maintaining
from headwater.settings import LakeSettings, Settings

DIM = 8


@pytest.fixture(scope="module")
def lake(lake_path: Path) -> Iterator[hw.Database]:
    """The Python door on the lake that the server serves: the oracle."""
    with hw.connect(lake_path) as found:
        yield found


def made(client: MilvusClient, name: str, batches: int, rows: int = 50, dim: int = DIM) -> None:
    """A collection of several segments, one a flush."""
    client.create_collection(name, dim)
    rng = np.random.default_rng(3)
    for batch in range(batches):
        data = [
            {"id": batch * rows + i, "vector": vec.tolist()} for i, vec in enumerate(rng.random((rows, dim)))
        ]
        client.insert(name, data)
        client.flush(name)


def refused(code: int, words: str, call, *args, **kwargs) -> None:
    with pytest.raises(MilvusException) as raised:
        call(*args, **kwargs)
    assert raised.value.code == code, raised.value
    assert words in raised.value.message


def compacted(client: MilvusClient, name: str, **how: object) -> int:
    job = client.compact(name, **how)
    deadline = time.monotonic() + 60
    while client.get_compaction_state(job) != "Completed":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return job


def stub(client: MilvusClient):
    return client._get_connection()._stub


def test_a_flush_seals_what_was_inserted(client: MilvusClient, lake: hw.Database) -> None:
    client.create_collection("flushed", DIM)
    client.insert("flushed", [{"id": 1, "vector": [0.0] * DIM}])
    assert client.list_persistent_segments("flushed") == []
    growing = client.list_persistent_segments("flushed", states=[SegmentState.Growing])
    assert [one.num_rows for one in growing] == [1]
    client.flush("flushed")
    (segment,) = client.list_persistent_segments("flushed")
    assert (segment.num_rows, segment.state) == (1, 4)
    assert segment.collection_id == client.describe_collection("flushed")["collection_id"]
    assert lake.collection("flushed").health()["growing_rows"] == 0
    answer = stub(client).Flush(milvus_pb2.FlushRequest(collection_names=["flushed"]))
    assert answer.coll_segIDs["flushed"].data == []
    assert answer.flush_coll_segIDs["flushed"].data == [segment.segment_id]
    state = stub(client).GetFlushState(
        milvus_pb2.GetFlushStateRequest(
            collection_name="flushed", flush_ts=answer.coll_flush_ts["flushed"], segmentIDs=[]
        )
    )
    assert state.flushed
    refused(100, "collection not found", client.flush, "nowhere")


def test_what_is_in_the_log_is_not_flushed_yet(client: MilvusClient) -> None:
    client.create_collection("pending", DIM)
    client.insert("pending", [{"id": 1, "vector": [0.0] * DIM}])
    later = (int(time.time() * 1000) + 1) << 18
    request = milvus_pb2.GetFlushStateRequest(collection_name="pending", flush_ts=later)
    assert not stub(client).GetFlushState(request).flushed
    client.flush("pending")
    assert stub(client).GetFlushState(request).flushed


def test_flush_all_reaches_every_database(client: MilvusClient, lake: hw.Database) -> None:
    client.create_collection("everywhere", DIM)
    client.insert("everywhere", [{"id": 1, "vector": [0.0] * DIM}])
    other = lake.create_database("flush_db")
    far = other.create_collection("far", {"id": hw.Int64, "v": hw.FloatVector(DIM)}, "id")
    far.insert([{"id": 1, "v": [0.0] * DIM}])
    answer = stub(client).FlushAll(milvus_pb2.FlushAllRequest())
    assert {result.db_name for result in answer.flush_results} >= {"default", "flush_db"}
    client.flush_all()
    assert far.health()["growing_rows"] == 0
    assert len(client.list_persistent_segments("everywhere")) == 1


def test_compaction_merges_segments_and_says_which(client: MilvusClient, lake: hw.Database) -> None:
    made(client, "merged", 4)
    before = {one.segment_id for one in client.list_persistent_segments("merged")}
    assert len(before) == 4
    client.delete("merged", ids=list(range(10)))
    client.flush("merged")
    job = compacted(client, "merged")
    (segment,) = client.list_persistent_segments("merged")
    assert segment.num_rows == 190
    plans = client.get_compaction_plans(job)
    assert plans.state == 2
    (plan,) = plans.plans
    assert set(plan.sources) == before
    assert plan.target == segment.segment_id
    assert sorted(lake.collection("merged").query(output_fields=["id"]).to_arrow()["id"].to_pylist()) == list(
        range(10, 200)
    )
    assert compacted(client, "merged")
    refused(100, "collection not found", client.compact, "nowhere")


def test_a_target_size_makes_segments_of_about_that_size(tmp_path: Path) -> None:
    settings = Settings(lake=LakeSettings(target_segment_bytes=1 << 20))
    with served(tmp_path, settings) as address:
        client = MilvusClient(address)
        made(client, "sized", 4, rows=1000, dim=256)
        compacted(client, "sized", target_size=1)
        assert [one.num_rows for one in client.list_persistent_segments("sized")] == [1000] * 4
        compacted(client, "sized", target_size=2)
        assert [one.num_rows for one in client.list_persistent_segments("sized")] == [2000] * 2
        compacted(client, "sized", target_size=64)
        assert [one.num_rows for one in client.list_persistent_segments("sized")] == [4000]
        assert client.query("sized", "", ["count(*)"])[0]["count(*)"] == 4000
        client.close()


@pytest.mark.parametrize("target_mb", [1, 512, 1023])
def test_a_target_below_the_size_of_a_full_segment_is_refused(client: MilvusClient, target_mb: int) -> None:
    client.create_collection("small", DIM)
    words = f"targetSize {target_mb} MB is less than the size of a full segment, 1024 MB"
    refused(1100, words, client.compact, "small", target_size=target_mb)


@pytest.mark.parametrize("target_mb", [1024, (1 << 63) // (1 << 20), (1 << 63) - 1])
def test_targets_that_no_segment_reaches_leave_their_size_to_the_server(
    client: MilvusClient, target_mb: int
) -> None:
    name = f"large_{target_mb}"
    made(client, name, 3)
    compacted(client, name, target_size=target_mb)
    assert [one.num_rows for one in client.list_persistent_segments(name)] == [150]


def test_level_zero_compaction_touches_only_segments_with_deletes(client: MilvusClient) -> None:
    made(client, "zero", 3)
    client.delete("zero", ids=[1, 2])
    client.flush("zero")
    compacted(client, "zero", is_l0=True)
    assert sorted(one.num_rows for one in client.list_persistent_segments("zero")) == [48, 50, 50]


def test_clustering_compaction_sorts_by_the_clustering_key(client: MilvusClient, lake: hw.Database) -> None:
    schema = client.create_schema()
    schema.add_field("id", 5, is_primary=True)
    schema.add_field("price", 5, is_clustering_key=True)
    schema.add_field("vector", 101, dim=DIM)
    client.create_collection("clustered", schema=schema)
    rng = np.random.default_rng(5)
    prices = rng.permutation(200)
    for part in range(2):
        chosen = range(part * 100, part * 100 + 100)
        client.insert(
            "clustered", [{"id": i, "price": int(prices[i]), "vector": [0.0] * DIM} for i in chosen]
        )
        client.flush("clustered")
    compacted(client, "clustered", is_clustering=True)
    stored = lake.collection("clustered").to_arrow(["price"])["price"].to_pylist()
    assert stored == sorted(stored)
    assert len(stored) == 200


def test_optimize_runs_to_its_end(client: MilvusClient) -> None:
    made(client, "optimized", 3)
    result = client.optimize("optimized")
    assert result.status == "success"
    assert len(client.list_persistent_segments("optimized")) == 1
    task = client.optimize("optimized", target_size="2GB", wait=False)
    assert task.result(timeout=30).collection_name == "optimized"


def test_an_unknown_compaction_has_no_state(client: MilvusClient) -> None:
    assert client.get_compaction_state(1234) == "UndefiedState"
    assert client.get_compaction_plans(1234).plans == []


def test_a_snapshot_can_keep_compaction_from_its_segments(client: MilvusClient) -> None:
    made(client, "protected", 3)
    client.create_snapshot("s1", "protected", compaction_protection_seconds=600)
    compacted(client, "protected")
    assert len(client.list_persistent_segments("protected")) == 3
    client.drop_snapshot("s1", "protected")
    compacted(client, "protected")
    assert len(client.list_persistent_segments("protected")) == 1


def test_dropped_segments_are_listed_with_what_was_made_of_them(client: MilvusClient) -> None:
    made(client, "lineage", 3)
    first = {one.segment_id for one in client.list_persistent_segments("lineage")}
    compacted(client, "lineage")
    (merged,) = client.list_persistent_segments("lineage")
    assert merged.is_sorted
    assert merged.state is SegmentState.Flushed
    client.insert("lineage", [{"id": 1000 + i, "vector": [float(i)] * DIM} for i in range(50)])
    client.flush("lineage")
    second = {one.segment_id for one in client.list_persistent_segments("lineage")} - {merged.segment_id}
    compacted(client, "lineage")
    told = {one.segment_id: one for one in client.list_segments("lineage")}
    (last,) = [one for one in told.values() if one.state is not SegmentState.Dropped]
    assert set(told) == {*first, merged.segment_id, *second, last.segment_id}
    assert set(told[merged.segment_id].compaction_from) == first
    assert set(last.compaction_from) == {merged.segment_id, *second}
    assert [told[one].num_rows for one in first] == [50] * 3
    assert all(told[one].compaction_from == [] for one in first | second)
    client.delete("lineage", filter="id >= 0")
    client.flush("lineage")
    compacted(client, "lineage")
    states = {one.segment_id: one.state for one in client.list_segments("lineage")}
    assert states == dict.fromkeys(told, SegmentState.Dropped)


def test_a_compaction_that_another_one_was_ahead_of_has_not_failed(
    client: MilvusClient, lake: hw.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(client, "ahead", 3)
    compact = maintaining.Maintaining._compact

    def late(self, *args, **kwargs):
        monkeypatch.undo()
        lake.collection("ahead").optimize()
        return compact(self, *args, **kwargs)

    monkeypatch.setattr(maintaining.Maintaining, "_compact", late)
    job = compacted(client, "ahead")
    (plan,) = client.get_compaction_plans(job).plans
    assert plan.state is CompactionTaskState.Completed
    assert plan.failure_reason == ""


def test_loaded_segments_follow_load_and_release(client: MilvusClient) -> None:
    made(client, "loaded", 2)
    client.insert("loaded", [{"id": 1000, "vector": [0.0] * DIM}])  # searched where it is written, by no node
    assert sum(one.num_rows for one in client.list_loaded_segments("loaded")) == 100
    client.release_collection("loaded")
    assert client.list_loaded_segments("loaded") == []


def test_the_segments_of_an_index_are_listed(client: MilvusClient, lake: hw.Database) -> None:
    made(client, "indexed", 2)
    lake.collection("indexed").build_indexes()
    name = client.list_indexes("indexed")[0]
    listed = stub(client).ListIndexedSegment(
        feder_pb2.ListIndexedSegmentRequest(collection_name="indexed", index_name=name)
    )
    assert set(listed.segmentIDs) == {one.segment_id for one in client.list_persistent_segments("indexed")}
    data = stub(client).DescribeSegmentIndexData(
        feder_pb2.DescribeSegmentIndexDataRequest(
            collection_name="indexed", index_name=name, segmentsIDs=[listed.segmentIDs[0]]
        )
    )
    assert json.loads(data.index_data[listed.segmentIDs[0]].index_data)["num_rows"] == 50
    missing = stub(client).ListIndexedSegment(
        feder_pb2.ListIndexedSegmentRequest(collection_name="indexed", index_name="nope")
    )
    assert missing.status.code == 700


def test_the_server_describes_itself_as_one_healthy_node(client: MilvusClient) -> None:
    states = stub(client).GetComponentStates(milvus_pb2.GetComponentStatesRequest())
    assert states.state.state_code == common_pb2.StateCode.Healthy
    metrics = stub(client).GetMetrics(
        milvus_pb2.GetMetricsRequest(request=json.dumps({"metric_type": "system_info"}))
    )
    (node,) = json.loads(metrics.response)["nodes_info"]
    assert node["infos"]["hardware_infos"]["cpu_core_count"] >= 1
    other = stub(client).GetMetrics(milvus_pb2.GetMetricsRequest(request='{"metric_type": "nope"}'))
    assert other.status.code == 3000
    assert stub(client).Dummy(milvus_pb2.DummyRequest(request_type="x")).response == '{"status": "fail"}'


def test_what_only_a_cluster_can_do_is_refused(client: MilvusClient) -> None:
    made(client, "alone", 1)
    conn = client._get_connection()
    where = "source node not found in any replica of collection alone: node not found[node=7]"
    refused(901, where, conn.load_balance, "alone", 7, [8], [])
    beside = "destination node not found in the same replica: node not found[node=8]"
    refused(901, beside, conn.load_balance, "alone", 1, [8], [])
    gone = "segment not found in source node: segment not found[segment=5]"
    refused(600, gone, conn.load_balance, "alone", 1, [], [5])
    refused(3000, "one node", conn.load_balance, "alone", 1, [], [])
    (cluster,) = client.get_replicate_configuration().clusters
    assert cluster.cluster_id == "headwater"
    refused(3000, "not served by Headwater", client.update_replicate_configuration, [], [])
    assert client.get_replicate_info("headwater", "p")["checkpoint"] is None
    with pytest.raises(MilvusException, match="not served by Headwater"):
        list(client.dump_messages("p", {"id": "1", "wal_name": "RocksMQ"}))
    distance = stub(client).CalcDistance(milvus_pb2.CalcDistanceRequest())
    assert distance.status.code == 3000
    manifest = stub(client).BatchUpdateManifest(
        milvus_pb2.BatchUpdateManifestRequest(collection_name="alone")
    )
    assert manifest.code == 3000
