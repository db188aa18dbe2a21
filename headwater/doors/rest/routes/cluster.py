"""Routes of resource groups, file resources, segments, quotas, analyzers and the version."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict
from pymilvus.grpc_gen import milvus_pb2, rg_pb2

from headwater.doors.milvus.codes import collection_not_found
from headwater.doors.rest.ask import Ask
from headwater.doors.rest.errors import Refused
from headwater.doors.rest.fields import (
    FLAG,
    INT32,
    INT64,
    TEXT,
    TEXTS,
    Field,
    Listed,
    Mapped,
    Record,
    need,
)
from headwater.doors.rest.route import COLLECTION, NAMES, Answer, Route, direct, listed, pairs, route, shape

__all__ = ["ROUTES"]

_LIMIT = Record("ResourceGroupLimit", (Field("node_num", INT32, default=0),))
_TRANSFER = Record("ResourceGroupTransfer", (need("resource_group"),))
_FILTER = Record("ResourceGroupNodeFilter", (need("node_labels", Mapped(TEXT)),))
_CONFIG = Record(
    "ResourceGroupConfig",
    (
        need("requests", _LIMIT),
        need("limits", _LIMIT),
        Field("transfer_from", Listed(_TRANSFER)),
        Field("transfer_to", Listed(_TRANSFER)),
        Field("node_filter", _FILTER),
    ),
)
_NAME = need("name")
_GROUP = {"name": "fast"}


def _config(told: dict[str, Any] | None) -> rg_pb2.ResourceGroupConfig | None:
    if told is None:
        return None
    found = rg_pb2.ResourceGroupConfig(
        requests=rg_pb2.ResourceGroupLimit(node_num=told["requests"]["node_num"]),
        limits=rg_pb2.ResourceGroupLimit(node_num=told["limits"]["node_num"]),
    )
    for name in ("transfer_from", "transfer_to"):
        for each in told[name] or []:
            getattr(found, name).add(resource_group=each["resource_group"])
    if told["node_filter"]:
        found.node_filter.node_labels.extend(pairs(told["node_filter"]["node_labels"]))
    return found


async def _create_group(ask: Ask) -> Answer:
    request = milvus_pb2.CreateResourceGroupRequest(resource_group=ask["name"], config=_config(ask["config"]))
    await ask.call("CreateResourceGroup", request)
    return {"data": {}}


async def _alter_groups(ask: Ask) -> Answer:
    groups = {name: _config(told) for name, told in ask["resource_groups"].items()}
    request = milvus_pb2.UpdateResourceGroupsRequest(resource_groups=groups)
    await ask.call("UpdateResourceGroups", request)
    return {"data": {}}


async def _describe_group(ask: Ask) -> Answer:
    request = milvus_pb2.DescribeResourceGroupRequest(resource_group=ask["name"])
    response = await ask.call("DescribeResourceGroup", request)
    found = MessageToDict(
        response.resource_group, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return {"data": found, "resource_group": found}


async def _describe_segments(ask: Ask) -> Answer:
    number = ask["collectionID"]
    known = await ask.call("ShowCollections", milvus_pb2.ShowCollectionsRequest())
    names = dict(zip(known.collection_ids, known.collection_names, strict=True))
    if number not in names:
        raise Refused.because(collection_not_found(ask.database, str(number)))
    request = milvus_pb2.GetPersistentSegmentInfoRequest(dbName=ask.database, collectionName=names[number])
    response = await ask.call("GetPersistentSegmentInfo", request)
    wanted = set(ask["segmentIDs"] or [])
    infos = [_segment(each) for each in response.infos if not wanted or each.segmentID in wanted]
    return {"data": {"segmentInfos": infos}}


def _segment(info: milvus_pb2.PersistentSegmentInfo) -> dict[str, Any]:
    return {
        "segmentID": info.segmentID,
        "collectionID": info.collectionID,
        "partitionID": info.partitionID,
        "vChannel": info.insert_channel,
        "numRows": info.num_rows,
        "state": info.state,
        "level": info.level,
        "isSorted": info.is_sorted,
        "insertLogs": [],
        "deltaLogs": [],
        "statsLogs": [],
    }


async def _quotas(ask: Ask) -> Answer:
    request = milvus_pb2.GetMetricsRequest(request='{"metric_type": "system_info"}')
    return {"data": (await ask.call("GetMetrics", request)).response}


async def _version(ask: Ask) -> Answer:
    if not ask["detail"]:
        told = await ask.call("GetVersion", milvus_pb2.GetVersionRequest())
        return {"data": {"version": told.version}}
    info = (await ask.call("Connect", milvus_pb2.ConnectRequest())).server_info
    return {
        "data": {
            "version": info.build_tags,
            "buildTags": info.build_tags,
            "buildTime": info.build_time,
            "gitCommit": info.git_commit,
            "goVersion": info.go_version,
            "deployMode": info.deploy_mode,
        }
    }


def _files(ask: Ask, response: milvus_pb2.ListFileResourcesResponse) -> Any:
    return [{"id": ask.int64(each.id), "name": each.name, "path": each.path} for each in response.resources]


async def _analyze(ask: Ask) -> Answer:
    request = milvus_pb2.RunAnalyzerRequest(
        analyzer_params=ask["analyzerParams"],
        placeholder=[text.encode() for text in ask["text"]],
        with_detail=ask["withDetail"],
        with_hash=ask["withHash"],
        collection_name=ask["collectionName"],
        field_name=ask["fieldName"],
        analyzer_names=ask["analyzerNames"] or [],
    )
    response = await ask.call("RunAnalyzer", request)
    results = [{"tokens": [_token(ask, each) for each in result.tokens]} for result in response.results]
    return {"data": {"results": results}}


def _token(ask: Ask, token: milvus_pb2.AnalyzerToken) -> dict[str, Any]:
    found: dict[str, Any] = {"token": token.token}
    if ask["withDetail"]:
        found |= {
            "startOffset": token.start_offset,
            "endOffset": token.end_offset,
            "position": token.position,
            "positionLength": token.position_length,
        }
    if ask["withHash"]:
        found["hash"] = token.hash
    return found


_FILE = shape(id={"type": ["integer", "string"]}, name="string", path="string")
_SEGMENTS = shape(
    segmentInfos={
        "type": "array",
        "items": shape(segmentID="integer", collectionID="integer", partitionID="integer", numRows="integer"),
    }
)
_LIMITS = {"requests": {"node_num": 0}, "limits": {"node_num": 0}}

ROUTES: tuple[Route, ...] = (
    route(
        "resource_groups/create",
        "CreateResourceGroup",
        "Create a resource group.",
        (_NAME, Field("config", _CONFIG)),
        _create_group,
        example={**_GROUP, "config": _LIMITS},
    ),
    direct(
        "resource_groups/list",
        "ListResourceGroups",
        "The names of the resource groups.",
        show=listed("resource_groups"),
        data=NAMES,
    ),
    route(
        "resource_groups/describe",
        "DescribeResourceGroup",
        "A resource group.",
        (_NAME,),
        _describe_group,
        data={"type": "object"},
        beside={"resource_group": {"type": "object"}},
        example=_GROUP,
    ),
    route(
        "resource_groups/alter",
        "UpdateResourceGroups",
        "Change resource groups.",
        (need("resource_groups", Mapped(_CONFIG)),),
        _alter_groups,
        example={"resource_groups": {"fast": _LIMITS}},
    ),
    direct(
        "resource_groups/transfer_replica",
        "TransferReplica",
        "Move replicas of a collection between resource groups.",
        (need("sourceRgName"), need("targetRgName"), COLLECTION, need("replicaNum", INT64)),
        into={
            "sourceRgName": "source_resource_group",
            "targetRgName": "target_resource_group",
            "replicaNum": "num_replica",
        },
        example={
            "sourceRgName": "__default_resource_group",
            "targetRgName": "fast",
            "collectionName": "books",
            "replicaNum": 1,
        },
    ),
    direct(
        "resource_groups/drop",
        "DropResourceGroup",
        "Drop an empty resource group.",
        (_NAME,),
        into={"name": "resource_group"},
        example=_GROUP,
    ),
    direct(
        "file_resources/add",
        "AddFileResource",
        "Name a file that analyzers may use.",
        (_NAME, need("path")),
        example={"name": "words", "path": "words.txt"},
    ),
    direct(
        "file_resources/list",
        "ListFileResources",
        "The files that analyzers may use.",
        show=_files,
        data={"type": "array", "items": _FILE},
    ),
    direct(
        "file_resources/remove",
        "RemoveFileResource",
        "Forget a file.",
        (_NAME,),
        example={"name": "words"},
    ),
    route(
        "segments/describe",
        "GetPersistentSegmentInfo",
        "The segments of a collection.",
        (Field("collectionID", INT64, default=0), Field("segmentIDs", Listed(INT64))),
        _describe_segments,
        data=_SEGMENTS,
        example={"collectionID": 1},
    ),
    route(
        "quotacenter/describe",
        "GetMetrics",
        "What the server uses, as JSON in a string.",
        (),
        _quotas,
        data={"type": "string"},
    ),
    route(
        "server/version",
        "GetVersion",
        "The version of Milvus whose protocol this is, and of the server.",
        (Field("detail", FLAG, default=False, about="the build of the server too"),),
        _version,
        data=shape(
            ("buildTags", "buildTime", "gitCommit", "goVersion", "deployMode"),
            version="string",
            buildTags="string",
            buildTime="string",
            gitCommit="string",
            goVersion="string",
            deployMode="string",
        ),
        example={"detail": True},
    ),
    route(
        "common/run_analyzer",
        "RunAnalyzer",
        "Cut texts into terms.",
        (
            need("text", TEXTS),
            Field("analyzerParams", default=""),
            Field("withDetail", FLAG, default=False),
            Field("withHash", FLAG, default=False),
            Field("collectionName", default=""),
            Field("fieldName", default=""),
            Field("analyzerNames", TEXTS),
        ),
        _analyze,
        data=shape(results={"type": "array", "items": shape(tokens={"type": "array"})}),
        example={"text": ["Walking the trees"], "analyzerParams": '{"type": "english"}'},
    ),
)
"""The routes of what all collections share."""
