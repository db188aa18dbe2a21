"""Writes to a server's collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from pymilvus.client.prepare import Prepare
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from headwater.doors.remote.core import RemoteCore
from headwater.doors.remote.raised import unsupported
from headwater.doors.remote.rows import Target, keys_of, rows_to_send
from headwater.engine import WriteResult
from headwater.engine.rows import key_array
from headwater.errors import InvalidArgument, SchemaConflict
from headwater.query.expr import filter_text

__all__ = ["RemoteWrites"]

_OPERATIONS = {
    "replace": schema_pb2.FieldPartialUpdateOp.REPLACE,
    "append": schema_pb2.FieldPartialUpdateOp.ARRAY_APPEND,
    "remove": schema_pb2.FieldPartialUpdateOp.ARRAY_REMOVE,
}


class RemoteWrites(RemoteCore):
    """What changes the rows of a server's collection."""

    def insert(self, data: Any, *, partition: str | None = None) -> WriteResult:
        """See `Collection.insert`."""
        return self._write("Insert", data, partition, partial=False, array_ops={})

    def upsert(
        self,
        data: Any,
        *,
        partial: bool = False,
        array_ops: Mapping[str, str] | None = None,
        partition: str | None = None,
    ) -> WriteResult:
        """See `Collection.upsert`."""
        if self._schema.primary_key is None:
            raise InvalidArgument(f"upsert needs a primary key, and collection {self.name!r} has none")
        if array_ops and not partial:
            raise InvalidArgument("array_ops needs partial=True")
        return self._write("Upsert", data, partition, partial=partial, array_ops=array_ops or {})

    def delete(
        self,
        ids: Any = None,
        *,
        filter: str | None = None,
        filter_params: Mapping[str, Any] | None = None,
        partition: str | None = None,
    ) -> WriteResult:
        """See `Collection.delete`; the keys that a filter selected are not told."""
        if (ids is None) == (filter is None):
            raise InvalidArgument("delete() needs either ids or filter")
        keys = None if ids is None else key_array(ids, self._schema)
        if keys is not None:
            if len(keys) == 0:
                return WriteResult(0, keys, self._written)
            filter, filter_params = f"{self._key()} in {{keys}}", {"keys": keys.to_pylist()}
        request = milvus_pb2.DeleteRequest(
            collection_name=self.name,
            partition_name=partition or "",
            expr=filter_text(filter) or "",
            expr_template_values=Prepare.prepare_expression_template(dict(filter_params or {})),
        )
        answer = self._call("Delete", request)
        self._written = max(self._written, answer.timestamp)
        return WriteResult(answer.delete_cnt if keys is None else len(keys), keys, answer.timestamp)

    def truncate(self, partitions: Sequence[str] | None = None) -> None:
        """Delete every row."""
        if partitions is not None:
            raise unsupported("truncating some partitions")
        self._call("TruncateCollection", milvus_pb2.TruncateCollectionRequest(collection_name=self.name))

    def flush(self) -> None:
        """Seal what is in the log."""
        self._call("Flush", milvus_pb2.FlushRequest(collection_names=[self.name]))

    def _write(
        self, call: str, data: Any, partition: str | None, *, partial: bool, array_ops: Mapping[str, str]
    ) -> WriteResult:
        try:
            return self._sent(call, data, partition, partial, array_ops)
        except SchemaConflict:
            self._refresh()
            return self._sent(call, data, partition, partial, array_ops)

    def _sent(
        self, call: str, data: Any, partition: str | None, partial: bool, array_ops: Mapping[str, str]
    ) -> WriteResult:
        properties = {one.key: one.value for one in self._described.properties}
        target = Target(self._schema, properties)
        messages = rows_to_send(data, target, upsert=call == "Upsert", partial=partial)
        kind: Any = milvus_pb2.InsertRequest if call == "Insert" else milvus_pb2.UpsertRequest
        count, keys = 0, []
        for num_rows, fields in messages:
            request = kind(
                collection_name=self.name,
                partition_name=partition or "",
                num_rows=num_rows,
                fields_data=fields,
                schema_timestamp=self._described.update_timestamp,
            )
            if partial:
                request.partial_update = True
                _set_operations(request, array_ops)
            answer = self._call(call, request)
            count += num_rows
            self._written = max(self._written, answer.timestamp)
            told = keys_of(answer.IDs)
            keys += [] if told is None else [told]
        return WriteResult(count, pa.concat_arrays(keys) if keys else None, self._written)


def _set_operations(request: Any, array_ops: Mapping[str, str]) -> None:
    """What an array's values mean in a partial upsert."""
    for name, operation in array_ops.items():
        if operation not in _OPERATIONS:
            raise InvalidArgument(
                f"array_ops: {name!r} is to {operation!r}, expected one of {', '.join(_OPERATIONS)}"
            )
        request.field_ops.add(field_name=name, op=_OPERATIONS[operation])
