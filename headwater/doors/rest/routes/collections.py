"""Routes of collections, but for making one and changing its schema."""

from __future__ import annotations

import asyncio
from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import collection_not_found
from headwater.doors.rest.ask import Ask
from headwater.doors.rest.errors import Refused
from headwater.doors.rest.fields import FLAG, PROPERTIES, TEXTS, Field, Schema, need
from headwater.doors.rest.ids import JOB_ID
from headwater.doors.rest.route import (
    COLLECTION,
    HAS,
    NAMES,
    ROW_COUNT,
    Answer,
    Route,
    direct,
    has,
    listed,
    route,
    row_count,
    shape,
)
from headwater.doors.rest.routes.databases import PAIRS, shown_pairs
from headwater.doors.rest.schemas import FIELD_SHAPE, shown_fields, shown_functions, shown_struct_fields

__all__ = ["ROUTES"]

_EXAMPLE = {"collectionName": "books"}
_FLUSH_POLL_S = 0.05


async def _beside(ask: Ask, name: str, request: Any, told: list[str]) -> Any:
    """A call whose error is told beside the answer."""
    try:
        return await ask.call(name, request)
    except Refused as error:
        told.append(error.message)
        return None


async def _describe(ask: Ask) -> Answer:
    name = ask["collectionName"]
    found = await ask.call("DescribeCollection", milvus_pb2.DescribeCollectionRequest(collection_name=name))
    told: list[str] = []
    load = await _beside(ask, "GetLoadState", milvus_pb2.GetLoadStateRequest(collection_name=name), told)
    indexes = await _beside(ask, "DescribeIndex", milvus_pb2.DescribeIndexRequest(collection_name=name), told)
    aliases = await _beside(ask, "ListAliases", milvus_pb2.ListAliasesRequest(collection_name=name), told)
    data = {
        "collectionName": found.collection_name or found.schema.name,
        "collectionID": found.collectionID,
        "description": found.schema.description,
        "autoId": any(field.is_primary_key and field.autoID for field in found.schema.fields),
        "fields": shown_fields(found.schema.fields),
        "structFields": shown_struct_fields(found.schema.struct_array_fields),
        "functions": shown_functions(found.schema.functions),
        "aliases": list(aliases.aliases) if aliases else [],
        "indexes": [_index(each) for each in indexes.index_descriptions] if indexes else [],
        "load": common_pb2.LoadState.Name(load.state) if load else "",
        "shardsNum": found.shards_num,
        "partitionsNum": found.num_partitions,
        "consistencyLevel": common_pb2.ConsistencyLevel.Name(found.consistency_level),
        "enableDynamicField": found.schema.enable_dynamic_field,
        "externalSource": found.schema.external_source,
        "externalSpec": found.schema.external_spec,
        "properties": shown_pairs(found.properties),
    }
    return {"data": data, "message": "; ".join(told)}


def _index(index: milvus_pb2.IndexDescription) -> dict[str, str]:
    params = {pair.key: pair.value for pair in index.params}
    return {
        "indexName": index.index_name,
        "fieldName": index.field_name,
        "metricType": params.get("metric_type", ""),
    }


_FIELDS: Schema = {"type": "array", "items": FIELD_SHAPE}
_DESCRIPTION = shape(
    collectionName="string",
    collectionID="integer",
    description="string",
    autoId="boolean",
    fields=_FIELDS,
    structFields={"type": "array", "items": {"type": "object"}},
    functions={"type": "array", "items": {"type": "object"}},
    aliases=NAMES,
    indexes={"type": "array", "items": shape(indexName="string", fieldName="string", metricType="string")},
    load="string",
    shardsNum="integer",
    partitionsNum="integer",
    consistencyLevel="string",
    enableDynamicField="boolean",
    externalSource="string",
    externalSpec="string",
    properties=PAIRS,
)


async def _load_state(ask: Ask) -> Answer:
    name, partitions = ask["collectionName"], ask["partitionNames"] or []
    request = milvus_pb2.GetLoadStateRequest(collection_name=name, partition_names=partitions)
    state = (await ask.call("GetLoadState", request)).state
    if state == common_pb2.LoadStateNotExist:
        raise Refused.because(collection_not_found(ask.database, name))
    if state == common_pb2.LoadStateNotLoad:
        return {"data": {"loadState": common_pb2.LoadState.Name(state)}}
    told: list[str] = []
    asked = milvus_pb2.GetLoadingProgressRequest(collection_name=name, partition_names=partitions)
    found = await _beside(ask, "GetLoadingProgress", asked, told)
    progress = found.progress if found else -1
    state = common_pb2.LoadStateLoaded if progress >= 100 else common_pb2.LoadStateLoading
    data = {"loadState": common_pb2.LoadState.Name(state), "loadProgress": progress}
    return {"data": data, "message": "; ".join(told)}


async def _flush(ask: Ask) -> Answer:
    name = ask["collectionName"]
    response = await ask.call("Flush", milvus_pb2.FlushRequest(collection_names=[name]))
    if name not in response.coll_flush_ts:
        return {"data": {}}
    state = milvus_pb2.GetFlushStateRequest(
        collection_name=name,
        segmentIDs=response.coll_segIDs[name].data,
        flush_ts=response.coll_flush_ts[name],
    )
    while not (await ask.call("GetFlushState", state)).flushed:
        await asyncio.sleep(_FLUSH_POLL_S)
    return {"data": {}}


def _compaction(ask: Ask, response: milvus_pb2.GetCompactionStateResponse) -> Any:
    return {
        "compactionID": ask["jobID"],
        "state": common_pb2.CompactionState.Name(response.state),
        "executingPlanNumber": response.executingPlanNo,
        "timeoutPlanNumber": response.timeoutPlanNo,
        "completedPlanNumber": response.completedPlanNo,
    }


ROUTES: tuple[Route, ...] = (
    direct(
        "collections/list",
        "ShowCollections",
        "The names of a database's collections.",
        show=listed("collection_names"),
        data=NAMES,
    ),
    direct(
        "collections/has",
        "HasCollection",
        "Whether a collection, or an alias of one, is there.",
        (COLLECTION,),
        show=has,
        data=HAS,
        example=_EXAMPLE,
    ),
    route(
        "collections/describe",
        "DescribeCollection",
        "A collection: its schema, indexes, aliases and state.",
        (COLLECTION,),
        _describe,
        data=_DESCRIPTION,
        beside={"message": {"type": "string"}},
        example=_EXAMPLE,
    ),
    direct(
        "collections/get_stats",
        "GetCollectionStatistics",
        "How many rows a collection has.",
        (COLLECTION,),
        show=row_count,
        data=ROW_COUNT,
        example=_EXAMPLE,
    ),
    route(
        "collections/get_load_state",
        "GetLoadState",
        "Whether a collection, or some of its partitions, is ready for searches.",
        (COLLECTION, Field("partitionNames", TEXTS)),
        _load_state,
        data=shape(("loadProgress",), loadState="string", loadProgress="integer"),
        beside={"message": {"type": "string"}},
        example=_EXAMPLE,
    ),
    direct(
        "collections/load",
        "LoadCollection",
        "Make a collection ready for searches.",
        (COLLECTION,),
        example=_EXAMPLE,
    ),
    direct(
        "collections/refresh_load",
        "LoadCollection",
        "Take up what came into a loaded collection by other ways.",
        (COLLECTION,),
        fixed={"refresh": True},
        example=_EXAMPLE,
    ),
    direct(
        "collections/release",
        "ReleaseCollection",
        "Take a collection out of searches.",
        (COLLECTION,),
        example=_EXAMPLE,
    ),
    direct(
        "collections/rename",
        "RenameCollection",
        "Rename a collection, or move it to another database.",
        (COLLECTION, need("newCollectionName"), Field("newDbName")),
        into={"collectionName": "oldName", "newCollectionName": "newName", "newDbName": "newDBName"},
        example={"collectionName": "papers", "newCollectionName": "articles"},
    ),
    direct(
        "collections/alter_properties",
        "AlterCollection",
        "Set properties of a collection.",
        (COLLECTION, Field("properties", PROPERTIES)),
        example={**_EXAMPLE, "properties": {"collection.ttl.seconds": 86400}},
    ),
    direct(
        "collections/drop_properties",
        "AlterCollection",
        "Take properties of a collection away.",
        (COLLECTION, Field("propertyKeys", TEXTS, also=("deleteKeys",))),
        into={"propertyKeys": "delete_keys"},
        example={**_EXAMPLE, "propertyKeys": ["collection.ttl.seconds"]},
    ),
    direct(
        "collections/compact",
        "ManualCompaction",
        "Merge a collection's segments.",
        (COLLECTION, Field("isClustering", FLAG, default=False)),
        into={"isClustering": "majorCompaction"},
        show=lambda ask, response: {"compactionID": response.compactionID},
        data=shape(compactionID="integer"),
        example=_EXAMPLE,
    ),
    direct(
        "collections/get_compaction_state",
        "GetCompactionState",
        "How far a compaction is.",
        (need("jobID", JOB_ID),),
        into={"jobID": "compactionID"},
        show=_compaction,
        data=shape(
            compactionID="integer",
            state="string",
            executingPlanNumber="integer",
            timeoutPlanNumber="integer",
            completedPlanNumber="integer",
        ),
        example={"jobID": 1},
    ),
    route(
        "collections/flush",
        "Flush",
        "Seal the rows of the log into segments.",
        (COLLECTION,),
        _flush,
        example=_EXAMPLE,
    ),
    direct(
        "collections/truncate",
        "TruncateCollection",
        "Drop a collection's rows.",
        (COLLECTION,),
        example={"collectionName": "articles"},
    ),
    direct(
        "collections/drop",
        "DropCollection",
        "Drop a collection.",
        (COLLECTION,),
        example={"collectionName": "articles"},
    ),
)
"""The routes under `collections/` that leave schemas as they are."""
