"""Loading and releasing collections and partitions."""

from __future__ import annotations

from collections.abc import Sequence

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import (
    COLLECTION_NOT_LOADED,
    INDEX_NOT_FOUND,
    INVALID_PARAMETER,
    RESOURCE_GROUP_NOT_FOUND,
    MilvusError,
    invalid,
    unexpected,
)
from headwater.doors.milvus.loads import partition_not_found
from headwater.doors.milvus.rpc import OK, Call, rpc
from headwater.engine import Collection
from headwater.engine.loading import LoadOptions
from headwater.engine.policies import WarmupMode
from headwater.errors import CollectionNotFound, PartitionNotFound
from headwater.schema import DYNAMIC_FIELD, Schema
from headwater.types import DataType

__all__: list[str] = []

_State = common_pb2.LoadState
_PRIORITIES = ("", "high", "low")


@rpc("LoadCollection")
def load_collection(call: Call, request: milvus_pb2.LoadCollectionRequest) -> common_pb2.Status:
    """Let a collection be searched."""
    collection = call.collection(request.collection_name)
    options = _options(call, collection.schema, request)
    _check_indexes(call, collection, request.collection_name, options)
    if request.refresh:
        _refresh(collection, request.collection_name)
        return OK
    _check_same(collection, options)
    collection.load(None, options, warmup=_warmup(request), wait=False)
    return OK


@rpc("LoadPartitions")
def load_partitions(call: Call, request: milvus_pb2.LoadPartitionsRequest) -> common_pb2.Status:
    """Let some partitions be searched."""
    collection = call.collection(request.collection_name)
    if collection.spread_by_key:
        raise unexpected("disable load partitions if partition key mode is used")
    options = _options(call, collection.schema, request)
    _check_indexes(call, collection, request.collection_name, options)
    if not request.partition_names:
        raise unexpected("failed to load partition, due to no partition specified")
    if request.refresh:
        _refresh(collection, request.collection_name)
        return OK
    _check_same(collection, options)
    try:
        collection.load(list(request.partition_names), options, warmup=_warmup(request), wait=False)
    except PartitionNotFound as error:
        raise partition_not_found(collection, request.partition_names) from error
    return OK


@rpc("ReleaseCollection")
def release_collection(call: Call, request: milvus_pb2.ReleaseCollectionRequest) -> common_pb2.Status:
    """Let a collection be searched no more; one that is not loaded is released already."""
    call.collection(request.collection_name).release()
    return OK


@rpc("ReleasePartitions")
def release_partitions(call: Call, request: milvus_pb2.ReleasePartitionsRequest) -> common_pb2.Status:
    """Let some partitions be searched no more."""
    collection = call.collection(request.collection_name)
    if collection.spread_by_key:
        raise unexpected("disable release partitions if partition key mode is used")
    if not request.partition_names:
        raise MilvusError(INVALID_PARAMETER, expected="any partition", actual="empty partition list")
    try:
        collection.release(list(request.partition_names))
    except PartitionNotFound as error:
        raise partition_not_found(collection, request.partition_names) from error
    return OK


@rpc("GetLoadState")
def get_load_state(call: Call, request: milvus_pb2.GetLoadStateRequest) -> milvus_pb2.GetLoadStateResponse:
    """Whether a collection, or each of some partitions, is loaded; what is loading may be searched already."""
    with call.named(request.collection_name):
        try:
            collection = call.db.collection(request.collection_name)
        except CollectionNotFound:
            return milvus_pb2.GetLoadStateResponse(status=OK, state=_State.LoadStateNotExist)
    if not _is_loaded(collection, request.partition_names):
        state = _State.LoadStateNotLoad
    else:
        state = _State.LoadStateLoaded if _percent(collection) == 100 else _State.LoadStateLoading
    return milvus_pb2.GetLoadStateResponse(status=OK, state=state)


@rpc("GetLoadingProgress")
def get_loading_progress(
    call: Call, request: milvus_pb2.GetLoadingProgressRequest
) -> milvus_pb2.GetLoadingProgressResponse:
    """How far loading has got, in percent: what is to be warmed up before a load is done counts by its bytes."""
    collection = call.collection(request.collection_name)
    if not _is_loaded(collection, request.partition_names):
        raise MilvusError(COLLECTION_NOT_LOADED, collection=request.collection_name)
    warming = collection.warming
    if warming is not None and warming.error is not None:
        raise warming.error
    return milvus_pb2.GetLoadingProgressResponse(
        status=OK, progress=_percent(collection), refresh_progress=_percent(collection)
    )


def _percent(collection: Collection) -> int:
    warming = collection.warming
    return 100 if warming is None else warming.percent


def _is_loaded(collection: Collection, partitions: Sequence[str]) -> bool:
    load, ids = collection.load_state, collection.partition_ids
    missing = [name for name in partitions if name not in ids]
    if missing:
        raise partition_not_found(collection, missing)
    if not partitions:
        return load.anything
    return all(load.has(ids[name]) for name in partitions)


def _refresh(collection: Collection, name: str) -> None:
    """A read sees the newest rows whenever it is made; what came since the load is warmed up by and by."""
    if not collection.load_state.anything:
        raise MilvusError(COLLECTION_NOT_LOADED, collection=name)


def _warmup(request: milvus_pb2.LoadCollectionRequest | milvus_pb2.LoadPartitionsRequest) -> str | None:
    """The mode of warmup that one load asks for; a word of ours among `load_params`."""
    mode: str | None = request.load_params.get("warmup")
    if mode is not None and mode not in tuple(WarmupMode):
        raise invalid(f"invalid warmup policy: {mode}, must be one of {', '.join(WarmupMode)}")
    return mode


def _options(
    call: Call, schema: Schema, request: milvus_pb2.LoadCollectionRequest | milvus_pb2.LoadPartitionsRequest
) -> LoadOptions:
    fields = list(request.load_fields)
    if fields:
        _check_fields(schema, fields)
    priority = request.load_params.get("load_priority", "")
    if priority.lower() not in _PRIORITIES:
        raise invalid(f"invalid load_priority: {priority}, expected high or low")
    usual = call.db.known_properties()
    asked = request.replica_number
    replicas = asked if asked > 0 else int(usual.get("database.replica.number", "1"))
    _check_groups(call, list(request.resource_groups))
    groups = request.resource_groups or filter(None, usual.get("database.resource_groups", "").split(","))
    return LoadOptions(
        fields=None if set(fields) >= _loadable(schema) else tuple(sorted(fields)) or None,
        dynamic=not request.skip_load_dynamic_field,
        replicas=replicas,
        resource_groups=tuple(group.strip() for group in groups),
        priority=priority,
    )


def _check_groups(call: Call, names: list[str]) -> None:
    if names:
        known = call.backend.lake.resource_groups.all()
        for name in names:
            if name not in known:
                raise MilvusError(RESOURCE_GROUP_NOT_FOUND, rg=name)


def _check_fields(schema: Schema, names: list[str]) -> None:
    known = {field.name: field for field in schema.every_field}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise invalid(f"failed to get field schema by name: fieldName({unknown[0]}) not found")
    shown = f"[{' '.join(names)}]"
    if schema.primary_key is not None and schema.primary_key not in names:
        raise invalid(f"load field list {shown} does not contain primary key field {schema.primary_key}")
    if not any(known[name].type.data_type.value.endswith("_vector") for name in names):
        raise invalid(f"load field list {shown} does not contain vector field")
    if schema.partition_key is not None and schema.partition_key not in names:
        raise invalid(f"load field list {shown} does not contain partition key field {schema.partition_key}")


def _loadable(schema: Schema) -> set[str]:
    return {name for name in schema.names if name != DYNAMIC_FIELD}


def _check_same(collection: Collection, options: LoadOptions) -> None:
    """What is loaded of the rows does not change until it is released."""
    load = collection.load_state
    if load.anything and (load.options.fields, load.options.dynamic) != (options.fields, options.dynamic):
        raise invalid(
            "can't change the load field list for loaded collection",
            expected=_listed(load.options),
            actual=_listed(options),
        )


def _listed(options: LoadOptions) -> str:
    return "*" if options.fields is None else " ".join(options.fields)


def _check_indexes(call: Call, collection: Collection, name: str, options: LoadOptions) -> None:
    if call.by_python_door:
        return
    indexed = {known.field for known in collection.index_progress()}
    if not indexed:
        raise MilvusError(INDEX_NOT_FOUND, collection=name)
    without = [
        one
        for one in _vectors(collection.schema)
        if one not in indexed and (options.fields is None or one in options.fields)
    ]
    if without:
        raise unexpected(
            f"there is no vector index on field: [{' '.join(without)}], please create index firstly"
        )


def _vectors(schema: Schema) -> list[str]:
    """The fields that need an index: vectors, and those in struct arrays."""
    found = []
    for field in schema.fields:
        kind = field.type.data_type
        if kind.value.endswith("_vector"):
            found.append(field.name)
        if kind is DataType.STRUCT_ARRAY:
            found += [
                f"{field.name}[{one.name}]" for one in field.type.fields if one.type.data_type.dense_vector
            ]
    return found
