"""Snapshots of a server's collections."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.remote.jobs import RemoteJobs
from headwater.doors.remote.raised import unsupported
from headwater.doors.remote.wire import Wire
from headwater.engine.snapshots import SnapshotReport
from headwater.lake.job_records import JobRecord

__all__ = ["RemoteSnapshots"]


class RemoteSnapshots:
    """See `headwater.engine.snapshots.Snapshots`.

    Args:
        wire: to the server.
        database: whose collections.
        jobs: tell how far restores are.
    """

    def __init__(self, wire: Wire, database: str, jobs: RemoteJobs) -> None:
        self._wire = wire
        self._database = database
        self._jobs = jobs

    def create(
        self, collection: str, name: str, description: str = "", *, protection_s: int = 0
    ) -> SnapshotReport:
        """Name what is in segments now."""
        self._call(
            "CreateSnapshot",
            milvus_pb2.CreateSnapshotRequest(
                collection_name=collection,
                name=name,
                description=description,
                compaction_protection_seconds=protection_s,
            ),
        )
        return self.describe(collection, name)

    def list(self, collection: str) -> list[str]:
        """Names of a collection's snapshots."""
        request = milvus_pb2.ListSnapshotsRequest(collection_name=collection)
        return sorted(self._call("ListSnapshots", request).snapshots)

    def describe(self, collection: str, name: str) -> SnapshotReport:
        """What is known of a snapshot; its version and number of rows (-1) are the server's to know.

        Raises:
            SnapshotNotFound: there is none of that name.
        """
        request = milvus_pb2.DescribeSnapshotRequest(collection_name=collection, name=name)
        told = self._call("DescribeSnapshot", request)
        return SnapshotReport(
            name=told.name,
            description=told.description,
            collection=told.collection_name,
            version=-1,
            created_ms=told.create_ts,
            partitions=tuple(told.partition_names),
            location=told.s3_location,
            num_rows=-1,
            pinned=False,
        )

    def drop(self, collection: str, name: str) -> bool:
        """Forget a snapshot; whether there was one."""
        there = name in self.list(collection)
        self._call("DropSnapshot", milvus_pb2.DropSnapshotRequest(collection_name=collection, name=name))
        return there

    def pin(self, collection: str, name: str, ttl_s: int = 0) -> int:
        """Keep a snapshot from being dropped; the pin's number."""
        request = milvus_pb2.PinSnapshotDataRequest(collection_name=collection, name=name, ttl_seconds=ttl_s)
        return int(self._call("PinSnapshotData", request).pin_id)

    def unpin(self, pin: int) -> bool:
        """Let go of a pin."""
        self._call("UnpinSnapshotData", milvus_pb2.UnpinSnapshotDataRequest(pin_id=pin))
        return True

    def restore(self, collection: str, name: str, target: str, *, database: str | None = None) -> JobRecord:
        """Copy a snapshot into a new collection, in the background; `jobs.wait` waits for it.

        Raises:
            AlreadyExists: the target's name is taken.
        """
        request = milvus_pb2.RestoreSnapshotRequest(
            collection_name=collection,
            name=name,
            target_collection_name=target,
            target_db_name=database or self._database,
        )
        return self._jobs.get(self._call("RestoreSnapshot", request).job_id)

    def open(self, collection: str, name: str) -> Any:
        """Not of a server: read a snapshot in place."""
        raise unsupported("reading a snapshot in place")

    def export(self, *_: Any, **__: Any) -> Any:
        """Not of a server: copy a snapshot to another store."""
        raise unsupported("exporting a snapshot")

    def restore_external(self, *_: Any, **__: Any) -> Any:
        """Not of a server: restore an exported snapshot."""
        raise unsupported("restoring an exported snapshot")

    def _call(self, name: str, request: Any) -> Any:
        if "db_name" in request.DESCRIPTOR.fields_by_name:
            request.db_name = self._database
        return self._wire.call(name, request, self._database)
