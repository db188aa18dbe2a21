"""Resource groups, and the replicas of loaded collections in them."""

from __future__ import annotations

import re
import socket
from collections import Counter

from pymilvus.grpc_gen import common_pb2, milvus_pb2, rg_pb2

from headwater.doors.milvus.codes import (
    INVALID_PARAMETER,
    RESOURCE_GROUP_CONFIG,
    RESOURCE_GROUP_EXISTS,
    RESOURCE_GROUP_LIMIT,
    RESOURCE_GROUP_NODES,
    UNEXPECTED,
    MilvusError,
    collection_not_found,
    invalid,
)
from headwater.doors.milvus.rpc import OK, Call, rpc
from headwater.engine import Collection, Database
from headwater.errors import AlreadyExists, InvalidArgument, QuotaExceeded, ResourceGroupNotFound
from headwater.govern import DEFAULT_GROUP, GroupConfig, ResourceGroups

__all__: list[str] = []

NODE = 1
"""The number of the one node."""

_MAX_NAME = 255
_DEFAULT_CAPACITY = 1_000_000


@rpc("CreateResourceGroup")
def create_resource_group(call: Call, request: milvus_pb2.CreateResourceGroupRequest) -> common_pb2.Status:
    """Add a resource group."""
    name = _checked(request.resource_group)
    groups = _groups(call)
    try:
        groups.create(name, _config(request.config) if request.HasField("config") else None)
    except AlreadyExists as error:
        raise MilvusError(RESOURCE_GROUP_EXISTS, rg=name) from error
    except QuotaExceeded as error:
        raise MilvusError(RESOURCE_GROUP_LIMIT, rg=name, limit=error.details["limit"]) from error
    except InvalidArgument as error:
        raise _told(error) from error
    return OK


@rpc("UpdateResourceGroups")
def update_resource_groups(call: Call, request: milvus_pb2.UpdateResourceGroupsRequest) -> common_pb2.Status:
    """Give resource groups other configurations."""
    try:
        _groups(call).update({name: _config(one) for name, one in request.resource_groups.items()})
    except InvalidArgument as error:
        raise _told(error) from error
    return OK


@rpc("DropResourceGroup")
def drop_resource_group(call: Call, request: milvus_pb2.DropResourceGroupRequest) -> common_pb2.Status:
    """Forget a resource group."""
    _groups(call).drop(request.resource_group, in_use=lambda name: bool(_loaded_in(call, name)))
    return OK


@rpc("ListResourceGroups")
def list_resource_groups(
    call: Call, request: milvus_pb2.ListResourceGroupsRequest
) -> milvus_pb2.ListResourceGroupsResponse:
    """Names of the resource groups."""
    return milvus_pb2.ListResourceGroupsResponse(status=OK, resource_groups=list(_groups(call).all()))


@rpc("DescribeResourceGroup")
def describe_resource_group(
    call: Call, request: milvus_pb2.DescribeResourceGroupRequest
) -> milvus_pb2.DescribeResourceGroupResponse:
    """What a resource group asks for, and what it has."""
    groups, name = _groups(call), request.resource_group
    config = groups.get(name)
    nodes = groups.num_nodes(name)
    loaded = _loaded_in(call, name)
    host = socket.gethostname()
    group = milvus_pb2.ResourceGroup(
        name=name,
        capacity=_DEFAULT_CAPACITY if name == DEFAULT_GROUP else config.requests,
        num_available_node=nodes,
        num_loaded_replica=loaded,
        # Replicas stay on the one node when the group that has it changes.
        num_outgoing_node={} if nodes else loaded,
        num_incoming_node={},
        config=_told_config(config),
        nodes=[common_pb2.NodeInfo(node_id=NODE, hostname=host)] * nodes,
    )
    return milvus_pb2.DescribeResourceGroupResponse(status=OK, resource_group=group)


@rpc("TransferNode")
def transfer_node(call: Call, request: milvus_pb2.TransferNodeRequest) -> common_pb2.Status:
    """Let one group ask for a node that another one asked for."""
    source = request.source_resource_group
    try:
        _groups(call).transfer_nodes(source, request.target_resource_group, request.num_node)
    except QuotaExceeded as error:
        raise MilvusError(
            RESOURCE_GROUP_NODES,
            rg=source,
            currentNodeNum=error.details["limit"],
            expectedNodeNum=error.details["used"],
        ) from error
    return OK


@rpc("TransferReplica")
def transfer_replica(call: Call, request: milvus_pb2.TransferReplicaRequest) -> common_pb2.Status:
    """Move replicas of a collection to another resource group."""
    source, target = request.source_resource_group, request.target_resource_group
    collection = call.collection(request.collection_name)
    for kind, name in (("source", source), ("target", target)):
        try:
            _groups(call).get(name)
        except ResourceGroupNotFound as error:
            raise ResourceGroupNotFound(
                f"the {kind} resource group[{name}] doesn't exist: {error.message}"
            ) from error
    if source == target:
        raise invalid(
            "source resource group and target resource group should not be the same, resource group: "
            + source
        )
    count = request.num_replica
    if count <= 0:
        raise MilvusError(INVALID_PARAMETER, expected="NumReplica > 0", actual=f"invalid NumReplica {count}")
    places = _places(collection)
    if places.count(source) < count:
        raise MilvusError(
            INVALID_PARAMETER,
            expected="NumReplica not greater than the number of replica in source resource group",
            actual=f"only found [{places.count(source)}] replicas in source resource group[{source}]",
        )
    for _ in range(count):
        places[places.index(source)] = target
    collection.place_replicas(places)
    return OK


@rpc("GetReplicas")
def get_replicas(call: Call, request: milvus_pb2.GetReplicasRequest) -> milvus_pb2.GetReplicasResponse:
    """The replicas of a collection; one that is not loaded has none."""
    collection = _named_or_numbered(call, request)
    shards = [
        milvus_pb2.ShardReplica(leaderID=NODE, dm_channel_name=f"{collection.id}v{number}", node_ids=[NODE])
        for number in range(max(1, len(collection.manifest.all_shards)))
    ]
    replicas = [
        milvus_pb2.ReplicaInfo(
            replicaID=collection.id + number,
            collectionID=collection.id,
            shard_replicas=shards,
            node_ids=[NODE],
            resource_group_name=place,
        )
        for number, place in enumerate(_places(collection))
    ]
    return milvus_pb2.GetReplicasResponse(status=OK, replicas=replicas)


def _named_or_numbered(call: Call, request: milvus_pb2.GetReplicasRequest) -> Collection:
    if request.collection_name:
        return call.collection(request.collection_name)
    for name in call.db.list_collections():
        collection = call.db.collection(name)
        if collection.id == request.collectionID:
            return collection
    raise collection_not_found(call.database, str(request.collectionID))


def _places(collection: Collection) -> list[str]:
    """The resource group of each replica; none of a collection that is not loaded."""
    load = collection.load_state
    if not load.anything:
        return []
    groups = load.options.resource_groups or (DEFAULT_GROUP,)
    return [groups[number % len(groups)] for number in range(max(load.options.replicas, len(groups)))]


def _loaded_in(call: Call, group: str) -> dict[str, int]:
    """Collections of the lake that have replicas in a group, and how many."""
    found: Counter[str] = Counter()
    for database in call.backend.lake.list_databases():
        db: Database = call.backend.database(database)
        for name in db.list_collections():
            found[name] += _places(db.held(name)).count(group)
    return {name: count for name, count in found.items() if count}


def _groups(call: Call) -> ResourceGroups:
    return call.backend.lake.resource_groups


def _config(given: rg_pb2.ResourceGroupConfig) -> GroupConfig:
    return GroupConfig(
        given.requests.node_num if given.HasField("requests") else None,
        given.limits.node_num if given.HasField("limits") else None,
        tuple(one.resource_group for one in given.transfer_from),
        tuple(one.resource_group for one in given.transfer_to),
        {pair.key: pair.value for pair in given.node_filter.node_labels},
    )


def _told_config(config: GroupConfig) -> rg_pb2.ResourceGroupConfig:
    labels = [common_pb2.KeyValuePair(key=key, value=value) for key, value in config.labels.items()]
    return rg_pb2.ResourceGroupConfig(
        requests=rg_pb2.ResourceGroupLimit(node_num=config.requests),
        limits=rg_pb2.ResourceGroupLimit(node_num=config.limits),
        transfer_from=[rg_pb2.ResourceGroupTransfer(resource_group=one) for one in config.transfer_from],
        transfer_to=[rg_pb2.ResourceGroupTransfer(resource_group=one) for one in config.transfer_to],
        node_filter=rg_pb2.ResourceGroupNodeFilter(node_labels=labels),
    )


def _told(error: InvalidArgument) -> MilvusError | InvalidArgument:
    """A configuration that cannot be one, under the number that Milvus has for it."""
    detail, found, named = error.message.partition(f": {RESOURCE_GROUP_CONFIG.base}")
    if not found:
        return error
    told = MilvusError(RESOURCE_GROUP_CONFIG, detail)
    told.message += named
    return told


def _checked(name: str) -> str:
    if not name:
        raise MilvusError(UNEXPECTED, "resource group name couldn't be empty")
    said = f"Invalid resource group name {name}."
    if len(name) > _MAX_NAME:
        raise invalid(f"{said} the length of a resource group name must be less than {_MAX_NAME} characters")
    if not re.match("[A-Za-z_]", name):
        raise invalid(f"{said} the first character of a resource group name must be an underscore or letter")
    if not re.fullmatch(r"\w+", name, re.ASCII):
        raise invalid(f"{said} resource group name can only contain numbers, letters and underscores")
    return name
