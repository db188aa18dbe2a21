"""Routes of snapshots, their exports and restores, and external collections."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.milvus.codes import UNSUPPORTED, MilvusError
from headwater.doors.rest.ask import Ask
from headwater.doors.rest.errors import Refused, invalid_value
from headwater.doors.rest.fields import FLAG, INT64, Field, need
from headwater.doors.rest.ids import JOB_ID, JOB_NUMBER
from headwater.doors.rest.route import COLLECTION, NAMES, Answer, Route, direct, listed, route, shape

__all__ = ["ROUTES"]

_JOB = need("jobId", JOB_ID)
_SNAPSHOT = need("snapshotName")
_SKIP = Field("skipIndex", FLAG, default=False)
_ONE = {"collectionName": "books", "snapshotName": "spring"}
_STARTED = shape(jobId={"type": ["integer", "string"]})


def _job(ask: Ask, response: Any) -> Any:
    return {"jobId": response.job_id}


def _with_index(ask: Ask) -> None:
    if ask["skipIndex"]:
        raise Refused.because(
            MilvusError(
                UNSUPPORTED, "skipIndex: a snapshot names the index files that it shares with its collection"
            )
        )


async def _create(ask: Ask) -> Answer:
    _with_index(ask)
    if ask["compactionProtectionSeconds"] < 0:
        raise invalid_value("compactionProtectionSeconds must not be negative")
    request = milvus_pb2.CreateSnapshotRequest(
        collection_name=ask["collectionName"],
        name=ask["snapshotName"],
        description=ask["description"],
        compaction_protection_seconds=ask["compactionProtectionSeconds"],
    )
    await ask.call("CreateSnapshot", request)
    return {"data": {}}


def _described(ask: Ask, response: milvus_pb2.DescribeSnapshotResponse) -> Any:
    return {
        "snapshotName": response.name,
        "description": response.description,
        "collectionName": response.collection_name,
        "partitionNames": list(response.partition_names),
        "createTs": response.create_ts,
        "s3Location": response.s3_location,
    }


async def _restore(ask: Ask) -> Answer:
    _with_index(ask)
    request = milvus_pb2.RestoreSnapshotRequest(
        name=ask["snapshotName"],
        db_name=ask["sourceDbName"] or "",
        collection_name=ask["sourceCollectionName"],
        target_db_name=ask["targetDbName"] or "",
        target_collection_name=ask["targetCollectionName"],
    )
    return {"data": _job(ask, await ask.call("RestoreSnapshot", request))}


async def _pin(ask: Ask) -> Answer:
    if ask["ttlSeconds"] < 0:
        raise invalid_value("ttlSeconds must not be negative")
    request = milvus_pb2.PinSnapshotDataRequest(
        name=ask["snapshotName"], collection_name=ask["collectionName"], ttl_seconds=ask["ttlSeconds"]
    )
    response = await ask.call("PinSnapshotData", request)
    return {"data": {"pinId": ask.int64(response.pin_id)}}


async def _restore_external(ask: Ask) -> Answer:
    _with_index(ask)
    request = milvus_pb2.RestoreExternalSnapshotRequest(
        target_collection_name=ask["targetCollectionName"],
        snapshot_metadata_uri=ask["snapshotMetadataURI"],
        external_spec=ask["externalSpec"],
    )
    return {"data": _job(ask, await ask.call("RestoreExternalSnapshot", request))}


def _exported(ask: Ask, response: milvus_pb2.GetExportSnapshotStateResponse) -> Any:
    info = response.info
    return {
        "jobId": info.job_id,
        "snapshotName": info.snapshot_name,
        "dbName": info.db_name,
        "collectionName": info.collection_name,
        "state": milvus_pb2.ExportSnapshotState.Name(info.state),
        "progress": info.progress,
        "reason": info.reason,
        "startTime": info.start_time,
        "timeCost": info.time_cost,
        "totalFiles": info.total_files,
        "copiedFiles": info.copied_files,
        "totalBytes": info.total_bytes,
        "snapshotMetadataURI": info.snapshot_metadata_uri,
    }


def _restored(info: milvus_pb2.RestoreSnapshotInfo) -> dict[str, Any]:
    return {
        "jobId": info.job_id,
        "snapshotName": info.snapshot_name,
        "dbName": info.db_name,
        "collectionName": info.collection_name,
        "state": milvus_pb2.RestoreSnapshotState.Name(info.state),
        "progress": info.progress,
        "reason": info.reason,
        "startTime": info.start_time,
        "timeCost": info.time_cost,
    }


def _refreshed(info: milvus_pb2.RefreshExternalCollectionJobInfo) -> dict[str, Any]:
    found: dict[str, Any] = {
        "jobId": info.job_id,
        "collectionName": info.collection_name,
        "state": milvus_pb2.RefreshExternalCollectionState.Name(info.state),
        "progress": info.progress,
        "externalSource": info.external_source,
        "externalSpec": info.external_spec,
        "startTime": info.start_time,
        "endTime": info.end_time,
    }
    return {**found, "reason": info.reason} if info.reason else found


_RESTORE = shape(jobId="integer", snapshotName="string", state="string", progress="integer", reason="string")
_REFRESH = shape(
    ("reason",), jobId="integer", collectionName="string", state="string", progress="integer", reason="string"
)
_EXAMPLE_JOB = {"jobId": "1"}

ROUTES: tuple[Route, ...] = (
    route(
        "snapshots/create",
        "CreateSnapshot",
        "Name the state that a collection's segments have now.",
        (
            COLLECTION,
            _SNAPSHOT,
            Field("description", default=""),
            Field("compactionProtectionSeconds", INT64, default=0),
            _SKIP,
        ),
        _create,
        example=_ONE,
    ),
    direct(
        "snapshots/list",
        "ListSnapshots",
        "The names of a collection's snapshots.",
        (Field("collectionName", default=""),),
        show=listed("snapshots"),
        data=NAMES,
        example={"collectionName": "books"},
    ),
    direct(
        "snapshots/describe",
        "DescribeSnapshot",
        "A snapshot.",
        (COLLECTION, _SNAPSHOT),
        into={"snapshotName": "name"},
        show=_described,
        data=shape(
            snapshotName="string",
            description="string",
            collectionName="string",
            partitionNames=NAMES,
            createTs="integer",
            s3Location="string",
        ),
        example=_ONE,
    ),
    route(
        "snapshots/pin",
        "PinSnapshotData",
        "Keep a snapshot from being dropped.",
        (COLLECTION, _SNAPSHOT, Field("ttlSeconds", INT64, default=0)),
        _pin,
        data=shape(pinId={"type": ["integer", "string"]}),
        example={**_ONE, "ttlSeconds": 60},
    ),
    direct(
        "snapshots/unpin",
        "UnpinSnapshotData",
        "Let a snapshot go.",
        (need("pinId", JOB_ID),),
        example={"pinId": "1"},
    ),
    route(
        "snapshots/restore",
        "RestoreSnapshot",
        "Make a collection of a snapshot, in the background.",
        (
            Field("sourceDbName"),
            need("sourceCollectionName"),
            Field("targetDbName"),
            need("targetCollectionName"),
            _SNAPSHOT,
            _SKIP,
        ),
        _restore,
        data=_STARTED,
        example={
            "sourceCollectionName": "books",
            "targetCollectionName": "papers",
            "snapshotName": "spring",
        },
    ),
    direct(
        "jobs/snapshot/describe",
        "GetRestoreSnapshotState",
        "How far a restore is.",
        (_JOB,),
        show=lambda ask, response: _restored(response.info),
        data=_RESTORE,
        example=_EXAMPLE_JOB,
    ),
    direct(
        "jobs/snapshot/list",
        "ListRestoreSnapshotJobs",
        "The restores of a collection, or of all.",
        (Field("collectionName", default=""),),
        show=lambda ask, response: {"records": [_restored(each) for each in response.jobs]},
        data=shape(records={"type": "array", "items": _RESTORE}),
    ),
    route(
        "jobs/snapshot/restore_external",
        "RestoreExternalSnapshot",
        "Make a collection of a snapshot that was exported.",
        (
            need("targetCollectionName"),
            need("snapshotMetadataURI"),
            Field("externalSpec", default=""),
            _SKIP,
        ),
        _restore_external,
        data=_STARTED,
        example={"targetCollectionName": "papers", "snapshotMetadataURI": "s3://bucket/metadata/1.json"},
    ),
    direct(
        "jobs/snapshot/export",
        "ExportSnapshot",
        "Copy a snapshot to another place.",
        (COLLECTION, _SNAPSHOT, need("targetS3Path"), Field("externalSpec", default="")),
        into={"snapshotName": "name", "targetS3Path": "target_s3_path"},
        show=_job,
        data=_STARTED,
        example={**_ONE, "targetS3Path": "s3://bucket/export"},
    ),
    direct(
        "jobs/snapshot/export/describe",
        "GetExportSnapshotState",
        "How far an export is.",
        (_JOB,),
        show=_exported,
        data=shape(jobId="integer", snapshotName="string", state="string", progress="integer"),
        example=_EXAMPLE_JOB,
    ),
    direct(
        "snapshots/drop",
        "DropSnapshot",
        "Drop a snapshot that no one has pinned.",
        (COLLECTION, _SNAPSHOT),
        into={"snapshotName": "name"},
        example=_ONE,
    ),
    direct(
        "jobs/external_collection/refresh",
        "RefreshExternalCollection",
        "Look at an external collection's source again, in the background.",
        (COLLECTION, Field("externalSource", default=""), Field("externalSpec", default="")),
        show=_job,
        data=_STARTED,
        example={"collectionName": "outside"},
    ),
    direct(
        "jobs/external_collection/describe",
        "GetRefreshExternalCollectionProgress",
        "How far a refresh is.",
        (need("jobId", JOB_NUMBER),),
        show=lambda ask, response: _refreshed(response.job_info),
        data=_REFRESH,
        example=_EXAMPLE_JOB,
    ),
    direct(
        "jobs/external_collection/list",
        "ListRefreshExternalCollectionJobs",
        "The refreshes of an external collection, or of all.",
        (Field("collectionName", default=""),),
        show=lambda ask, response: {"records": [_refreshed(each) for each in response.jobs]},
        data=shape(records={"type": "array", "items": _REFRESH}),
    ),
)
"""The routes under `snapshots/` and `jobs/`, but for imports."""
