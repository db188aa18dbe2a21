"""Snapshots: named versions, their pins, and copies of them in the lake and out of it."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import (
    ALIAS_IS_COLLECTION,
    DATABASE_NOT_FOUND,
    MISSING_PARAMETER,
    SNAPSHOT_NOT_FOUND,
    SNAPSHOT_PINNED,
    UNEXPECTED,
    MilvusError,
    invalid,
)
from headwater.doors.milvus.external_rules import check_remote
from headwater.doors.milvus.given_names import checked_name
from headwater.doors.milvus.job_messages import export_info, job_of, restore_info
from headwater.doors.milvus.rpc import OK, Call, rpc
from headwater.engine import Database
from headwater.engine.snapshots import MAX_PIN_S, MAX_PROTECTION_S
from headwater.errors import (
    AlreadyExists,
    DatabaseNotFound,
    InvalidArgument,
    SnapshotNotFound,
    SnapshotPinned,
)
from headwater.lake.external import spec_options

__all__: list[str] = []


def _checked(name: str) -> str:
    return checked_name("snapshot", name)


def _needed(value: str, name: str, purpose: str) -> None:
    if not value:
        raise MilvusError(MISSING_PARAMETER, f"{name} is required for {purpose}")


def _missing(name: str) -> MilvusError:
    return MilvusError(SNAPSHOT_NOT_FOUND, snapshot=name)


@rpc("CreateSnapshot")
def create_snapshot(call: Call, request: milvus_pb2.CreateSnapshotRequest) -> common_pb2.Status:
    """Name the newest version; what is in the log only is not in it."""
    _checked(request.name)
    seconds = request.compaction_protection_seconds
    if seconds < 0:
        raise invalid("compaction_protection_seconds must be non-negative")
    if seconds > MAX_PROTECTION_S:
        raise invalid(f"compaction_protection_seconds must not exceed {MAX_PROTECTION_S}")
    call.collection(request.collection_name)
    try:
        call.db.snapshots.create(
            request.collection_name, request.name, request.description, protection_s=seconds
        )
    except AlreadyExists as error:
        raise invalid(f"snapshot name {request.name} already exists") from error
    return OK


@rpc("DropSnapshot")
def drop_snapshot(call: Call, request: milvus_pb2.DropSnapshotRequest) -> common_pb2.Status:
    """Forget a snapshot; one that is not there is forgotten already."""
    _checked(request.name)
    _needed(request.collection_name, "collection_name", "drop snapshot")
    call.collection(request.collection_name)
    try:
        call.db.snapshots.drop(request.collection_name, request.name)
    except SnapshotPinned as error:
        raise MilvusError(
            SNAPSHOT_PINNED, "cannot drop snapshot: active pins exist", snapshot=request.name
        ) from error
    return OK


@rpc("ListSnapshots")
def list_snapshots(call: Call, request: milvus_pb2.ListSnapshotsRequest) -> milvus_pb2.ListSnapshotsResponse:
    """Names of a collection's snapshots."""
    _needed(request.collection_name, "collection_name", "ListSnapshots")
    call.collection(request.collection_name)
    return milvus_pb2.ListSnapshotsResponse(
        status=OK, snapshots=call.db.snapshots.list(request.collection_name)
    )


@rpc("DescribeSnapshot")
def describe_snapshot(
    call: Call, request: milvus_pb2.DescribeSnapshotRequest
) -> milvus_pb2.DescribeSnapshotResponse:
    """What is known of a snapshot."""
    _checked(request.name)
    _needed(request.collection_name, "collection_name", "describe snapshot")
    call.collection(request.collection_name)
    try:
        found = call.db.snapshots.describe(request.collection_name, request.name)
    except SnapshotNotFound as error:
        raise _missing(request.name) from error
    return milvus_pb2.DescribeSnapshotResponse(
        status=OK,
        name=found.name,
        description=found.description,
        collection_name=found.collection,
        partition_names=found.partitions,
        create_ts=found.created_ms << 18,
        s3_location=found.location,
    )


@rpc("RestoreSnapshot")
def restore_snapshot(
    call: Call, request: milvus_pb2.RestoreSnapshotRequest
) -> milvus_pb2.RestoreSnapshotResponse:
    """Copy a snapshot into a new collection, in the background.

    `rewrite_data` asks for files of its own, which the copy always has.
    """
    _checked(request.name)
    _needed(request.collection_name, "collection_name", "restore snapshot")
    _needed(request.target_collection_name, "target_collection_name", "restore snapshot")
    target = checked_name("collection", request.target_collection_name)
    call.collection(request.collection_name)
    goal = _database(call, request.target_db_name or call.database)
    _check_free(goal, target)
    try:
        job = call.db.snapshots.restore(request.collection_name, request.name, target, database=goal.name)
    except SnapshotNotFound as error:
        raise MilvusError(
            SNAPSHOT_NOT_FOUND, "failed to pin source snapshot under restore lock", snapshot=request.name
        ) from error
    except AlreadyExists as error:
        raise _duplicate(target) from error
    return milvus_pb2.RestoreSnapshotResponse(status=OK, job_id=job.id)


def _database(call: Call, name: str) -> Database:
    try:
        return call.backend.database(name)
    except (DatabaseNotFound, InvalidArgument) as error:
        raise MilvusError(DATABASE_NOT_FOUND, database=name) from error


def _check_free(goal: Database, target: str) -> None:
    if target in goal.list_aliases():
        raise MilvusError(ALIAS_IS_COLLECTION, database=goal.name, alias=target)
    if goal.has_collection(target):
        raise _duplicate(target)


def _duplicate(target: str) -> MilvusError:
    return MilvusError(
        UNEXPECTED,
        f"failed to restore collection: create duplicate collection with different parameters, "
        f"collection: {target}",
    )


@rpc("GetRestoreSnapshotState")
def get_restore_snapshot_state(
    call: Call, request: milvus_pb2.GetRestoreSnapshotStateRequest
) -> milvus_pb2.GetRestoreSnapshotStateResponse:
    """How far a restore is."""
    job = job_of(call, request.job_id, "restore")
    return milvus_pb2.GetRestoreSnapshotStateResponse(status=OK, info=restore_info(job))


@rpc("ListRestoreSnapshotJobs")
def list_restore_snapshot_jobs(
    call: Call, request: milvus_pb2.ListRestoreSnapshotJobsRequest
) -> milvus_pb2.ListRestoreSnapshotJobsResponse:
    """The restores into a database, or into one collection of it."""
    name = request.collection_name
    goal = call.collection(name).name if name else None
    jobs = call.db.jobs.list("restore", database=call.database, collection=goal)
    return milvus_pb2.ListRestoreSnapshotJobsResponse(status=OK, jobs=[restore_info(job) for job in jobs])


@rpc("PinSnapshotData")
def pin_snapshot_data(
    call: Call, request: milvus_pb2.PinSnapshotDataRequest
) -> milvus_pb2.PinSnapshotDataResponse:
    """Keep a snapshot from being dropped."""
    _checked(request.name)
    _needed(request.collection_name, "collection_name", "pin snapshot data")
    if request.ttl_seconds < 0:
        raise invalid("ttl_seconds must be non-negative")
    if request.ttl_seconds > MAX_PIN_S:
        raise invalid(f"ttl_seconds exceeds maximum of {MAX_PIN_S} (30 days)")
    call.collection(request.collection_name)
    try:
        pin = call.db.snapshots.pin(request.collection_name, request.name, request.ttl_seconds)
    except SnapshotNotFound as error:
        raise _missing(request.name) from error
    return milvus_pb2.PinSnapshotDataResponse(status=OK, pin_id=pin)


@rpc("UnpinSnapshotData")
def unpin_snapshot_data(call: Call, request: milvus_pb2.UnpinSnapshotDataRequest) -> common_pb2.Status:
    """Take a pin back; one that is not there is taken back already."""
    if request.pin_id == 0:
        raise MilvusError(MISSING_PARAMETER, "pin_id is required for unpin snapshot data")
    call.backend.lake.snapshots.unpin(request.pin_id)
    return OK


# -- out of the lake, and into it -------------------------------------------------------------------------------------


def _elsewhere(uri: str, spec: str) -> tuple[str, dict[str, Any]]:
    """A remote store and its options; never a file of the server's own machine."""
    check_remote(uri, spec)
    return spec_options(uri, spec)


@rpc("ExportSnapshot")
def export_snapshot(
    call: Call, request: milvus_pb2.ExportSnapshotRequest
) -> milvus_pb2.ExportSnapshotResponse:
    """Copy a snapshot to another store, in the background."""
    _checked(request.name)
    _needed(request.collection_name, "collection_name", "export snapshot")
    _needed(request.target_s3_path, "target_s3_path", "export snapshot")
    call.collection(request.collection_name)
    url, options = _elsewhere(request.target_s3_path, request.external_spec)
    try:
        job = call.db.snapshots.export(
            request.collection_name,
            request.name,
            url,
            options,
            told_as=request.target_s3_path.rstrip("/"),
        )
    except SnapshotNotFound as error:
        raise _missing(request.name) from error
    return milvus_pb2.ExportSnapshotResponse(
        status=OK, job_id=job.id, snapshot_metadata_uri=job.details["location"]
    )


@rpc("GetExportSnapshotState")
def get_export_snapshot_state(
    call: Call, request: milvus_pb2.GetExportSnapshotStateRequest
) -> milvus_pb2.GetExportSnapshotStateResponse:
    """How far an export is."""
    job = job_of(call, request.job_id, "export")
    return milvus_pb2.GetExportSnapshotStateResponse(status=OK, info=export_info(job))


@rpc("RestoreExternalSnapshot")
def restore_external_snapshot(
    call: Call, request: milvus_pb2.RestoreExternalSnapshotRequest
) -> milvus_pb2.RestoreExternalSnapshotResponse:
    """Copy a snapshot that was exported into a new collection, in the background."""
    _needed(request.target_collection_name, "target_collection_name", "restore external snapshot")
    _needed(request.snapshot_metadata_uri, "snapshot_metadata_uri", "restore external snapshot")
    target = checked_name("collection", request.target_collection_name)
    _check_free(call.db, target)
    url, options = _elsewhere(request.snapshot_metadata_uri, request.external_spec)
    try:
        job = call.db.snapshots.restore_external(url, target, options)
    except AlreadyExists as error:
        raise _duplicate(target) from error
    return milvus_pb2.RestoreExternalSnapshotResponse(status=OK, job_id=job.id)
