"""One server that clients take for a cluster: its state, its metrics, and what only a cluster could do."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from google.protobuf.message import Message
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater import __version__
from headwater.doors.milvus.calls.connection import MILVUS_VERSION
from headwater.doors.milvus.calls.segments import NODE_ID
from headwater.doors.milvus.codes import (
    COLLECTION_PARTLY_LOADED,
    NODE_NOT_FOUND,
    SEGMENT_NOT_FOUND,
    UNSUPPORTED,
    MilvusError,
    invalid,
)
from headwater.doors.milvus.params import CLUSTER_ID
from headwater.doors.milvus.rpc import OK, Call, rpc
from headwater.engine.segments import list_segments

__all__: list[str] = []

_STARTED_S = time.time()


@rpc("GetComponentStates")
def get_component_states(
    call: Call, request: milvus_pb2.GetComponentStatesRequest
) -> milvus_pb2.ComponentStates:
    """Whether the lake answers."""
    call.backend.lake.list_databases()
    healthy = milvus_pb2.ComponentInfo(
        nodeID=NODE_ID, role="standalone", state_code=common_pb2.StateCode.Healthy
    )
    return milvus_pb2.ComponentStates(status=OK, state=healthy, subcomponent_states=[healthy])


@rpc("GetMetrics")
def get_metrics(call: Call, request: milvus_pb2.GetMetricsRequest) -> milvus_pb2.GetMetricsResponse:
    """What the machine is, as JSON, or what is at which tier; the metrics of the server are at `/metrics`."""
    try:
        given = json.loads(request.request or "{}")
        asked, name = given.get("metric_type", ""), given.get("collection_name", "")
    except (ValueError, AttributeError) as error:
        raise invalid(f"failed to decode the request: {error}") from error
    if asked == "tiers":
        told = call.collection(name).tiers() if name else call.db.tiers.report()
        return milvus_pb2.GetMetricsResponse(
            status=OK, response=json.dumps(told.to_json()), component_name="standalone"
        )
    if asked != "system_info":
        raise MilvusError(UNSUPPORTED, f"sorry, but this metric type is not implemented: {asked}")
    return milvus_pb2.GetMetricsResponse(
        status=OK, response=json.dumps(_system_info(call)), component_name="standalone"
    )


def _system_info(call: Call) -> dict[str, Any]:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    infos = {
        "has_error": False,
        "error_reason": "",
        "name": f"standalone{NODE_ID}",
        "id": NODE_ID,
        "type": "standalone",
        "created_time": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(_STARTED_S)),
        "updated_time": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
        "hardware_infos": {
            "ip": "",
            "cpu_core_count": os.cpu_count() or 1,
            "cpu_core_usage": os.getloadavg()[0],
            "memory": pages,
            "memory_usage": pages - free,
            "disk": 0,
            "disk_usage": 0,
        },
        "system_info": {
            "system_version": MILVUS_VERSION,
            "deploy_mode": "STANDALONE",
            "build_version": MILVUS_VERSION,
            "build_time": "",
            "used_go_version": "",
            "headwater_version": __version__,
        },
        "system_configurations": {"lake": call.backend.lake.url},
    }
    return {"nodes_info": [{"identifier": NODE_ID, "connected": [], "infos": infos}]}


@rpc("LoadBalance")
def load_balance(call: Call, request: milvus_pb2.LoadBalanceRequest) -> common_pb2.Status:
    """Move segments between nodes: there is one, so they are where they can be."""
    collection = call.collection(request.collectionName)
    if not collection.load_state.anything:
        raise MilvusError(COLLECTION_PARTLY_LOADED, collection=request.collectionName)
    if request.src_nodeID != NODE_ID:
        why = "source node not found in any replica of collection"
        raise MilvusError(NODE_NOT_FOUND, f"{why} {request.collectionName}", node=request.src_nodeID)
    for node in request.dst_nodeIDs:
        if node != NODE_ID:
            raise MilvusError(NODE_NOT_FOUND, "destination node not found in the same replica", node=node)
    known = {one.number for one in list_segments(collection) if not one.growing}
    for number in request.sealed_segmentIDs:
        if number not in known:
            raise MilvusError(SEGMENT_NOT_FOUND, "segment not found in source node", segment=number)
    raise MilvusError(UNSUPPORTED, "there is one node, and no other to move segments to")


@rpc("Dummy")
def dummy(call: Call, request: milvus_pb2.DummyRequest) -> milvus_pb2.DummyResponse:
    """A call for Milvus's own tests, which answers no request."""
    return milvus_pb2.DummyResponse(response='{"status": "fail"}')


@rpc("CalcDistance")
def calc_distance(call: Call, request: milvus_pb2.CalcDistanceRequest) -> milvus_pb2.CalcDistanceResults:
    """Gone from Milvus too."""
    raise MilvusError(UNSUPPORTED, "CalcDistance is deprecated: interface obsolete")


@rpc("BatchUpdateManifest")
def batch_update_manifest(call: Call, request: milvus_pb2.BatchUpdateManifestRequest) -> common_pb2.Status:
    """Point segments at manifests that somebody else wrote: the lake's versions are its own."""
    call.collection(request.collection_name)
    raise MilvusError(UNSUPPORTED, "segments have no manifests of their own: commit to the lake instead")


@rpc("RegisterLink")
def register_link(call: Call, request: milvus_pb2.RegisterLinkRequest) -> milvus_pb2.RegisterLinkResponse:
    """How clients of Milvus 1 found their server."""
    raise MilvusError(UNSUPPORTED, "RegisterLink is deprecated: clients connect with Connect")


# -- replication to other clusters: the lake is on an object store, whose copies are the store's to make --------------


@rpc("GetReplicateConfiguration")
def get_replicate_configuration(
    call: Call, request: milvus_pb2.GetReplicateConfigurationRequest
) -> milvus_pb2.GetReplicateConfigurationResponse:
    """One cluster, which replicates to none."""
    alone = common_pb2.ReplicateConfiguration(clusters=[common_pb2.MilvusCluster(cluster_id=CLUSTER_ID)])
    return milvus_pb2.GetReplicateConfigurationResponse(status=OK, configuration=alone)


def _no_replication(what: str) -> MilvusError:
    return MilvusError(UNSUPPORTED, f"{what} is not served by Headwater")


@rpc("UpdateReplicateConfiguration")
def update_replicate_configuration(
    call: Call, request: milvus_pb2.UpdateReplicateConfigurationRequest
) -> common_pb2.Status:
    """Refused: there is no other cluster."""
    raise _no_replication("replication to other clusters")


@rpc("GetReplicateInfo")
def get_replicate_info(call: Call, request: milvus_pb2.GetReplicateInfoRequest) -> Message:
    """Nothing was ever replicated, so there is no checkpoint."""
    return milvus_pb2.GetReplicateInfoResponse()


@rpc("ReplicateMessage")
def replicate_message(
    call: Call, request: milvus_pb2.ReplicateMessageRequest
) -> milvus_pb2.ReplicateMessageResponse:
    """Refused: messages of another cluster."""
    raise _no_replication("replication from other clusters")


@rpc("DumpMessages")
def dump_messages(call: Call, request: milvus_pb2.DumpMessagesRequest) -> milvus_pb2.DumpMessagesResponse:
    """Refused: the log is not Milvus's."""
    raise _no_replication("dumping messages of a log")
