"""Indexes and loading of a server's collection."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.remote.tiers import RemoteTiers
from headwater.errors import FieldNotFound, HeadwaterError, IndexNotFound
from headwater.jobs import BuildReport, Progress

__all__ = ["RemoteIndexes"]

_POLL_S = 0.05


class RemoteIndexes(RemoteTiers):
    """What may be searched faster, and what is in memory."""

    def create_index(
        self,
        field: str,
        index_type: str = "AUTOINDEX",
        *,
        metric_type: str | None = None,
        params: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        name: str | None = None,
    ) -> BuildReport:
        """See `Collection.create_index`; waits until it is built.

        Raises:
            FieldNotFound: there is no such field.
            HeadwaterError: the build failed; says why.
        """
        if field not in self._schema.names and "[" not in field:
            raise FieldNotFound(f"no field {field!r} in the schema")
        started = time.perf_counter()
        wanted = {"index_type": index_type}
        if metric_type is not None:
            wanted["metric_type"] = metric_type
        if params:
            wanted["params"] = json.dumps(dict(params))
        # Of one field, or of one path of a JSON field, the newer replaces the older, as in the lake itself.
        path = str((params or {}).get("json_path", ""))
        for one in self.list_indexes():
            if one["field"] == field and one["params"].get("json_path", "") == path:
                self._drop(one["name"])
        request = milvus_pb2.CreateIndexRequest(
            collection_name=self.name,
            field_name=field,
            index_name=name or "",
            extra_params=[common_pb2.KeyValuePair(key=key, value=value) for key, value in wanted.items()],
        )
        self._call("CreateIndex", request)
        built = self._built(field, name, progress)
        return BuildReport(
            index=built.index_name,
            segments_built=-1,
            segments_covered=-1,
            rows=built.indexed_rows,
            bytes_written=-1,
            seconds=time.perf_counter() - started,
            version=-1,
        )

    def drop_index(self, field: str) -> None:
        """Forget an index, by its field or its name.

        Raises:
            IndexNotFound: there is none.
        """
        found = [one for one in self.list_indexes() if field in (one["field"], one["name"])]
        if not found:
            raise IndexNotFound(f"field {field!r} of collection {self.name!r} has no index")
        for one in found:
            self._drop(one["name"])

    def list_indexes(self) -> list[dict[str, Any]]:
        """Each index: `name`, `field`, `kind`, `metric`, `params`, `rows` that it covers and `total_rows`."""
        try:
            told = self._describe_indexes()
        except IndexNotFound:
            return []
        made = []
        for one in told:
            params = {pair.key: pair.value for pair in one.params}
            made.append(
                {
                    "name": one.index_name,
                    "field": one.field_name,
                    "kind": params.pop("index_type", ""),
                    "metric": params.pop("metric_type", None),
                    "params": params,
                    "rows": one.indexed_rows,
                    "total_rows": one.total_rows,
                }
            )
        return made

    def release(self, partitions: Sequence[str] | None = None) -> None:
        """The opposite of `load`."""
        if partitions is None:
            self._call("ReleaseCollection", milvus_pb2.ReleaseCollectionRequest(collection_name=self.name))
        else:
            request = milvus_pb2.ReleasePartitionsRequest(
                collection_name=self.name, partition_names=list(partitions)
            )
            self._call("ReleasePartitions", request)

    def _describe_indexes(self) -> Any:
        request = milvus_pb2.DescribeIndexRequest(collection_name=self.name)
        return self._call("DescribeIndex", request).index_descriptions

    def _built(self, field: str, name: str | None, progress: Progress | None) -> Any:
        while True:
            found = [one for one in self._describe_indexes() if one.field_name == field]
            one = next((one for one in found if name in (None, one.index_name)), None)
            if one is None:
                raise IndexNotFound(f"the index of field {field!r} was dropped while it was built")
            if progress is not None:
                progress(one.indexed_rows, one.total_rows)
            if one.state == common_pb2.IndexState.Finished:
                return one
            if one.state == common_pb2.IndexState.Failed:
                raise HeadwaterError(f"the index of field {field!r} failed: {one.index_state_fail_reason}")
            time.sleep(_POLL_S)

    def _drop(self, name: str) -> None:
        """Forget an index, which may not be one of a loaded collection."""
        state = self._call("GetLoadState", milvus_pb2.GetLoadStateRequest(collection_name=self.name)).state
        if state in (common_pb2.LoadStateLoaded, common_pb2.LoadStateLoading):
            self.release()
        self._call("DropIndex", milvus_pb2.DropIndexRequest(collection_name=self.name, index_name=name))
