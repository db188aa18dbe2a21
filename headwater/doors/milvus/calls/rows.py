"""Rows: insert, upsert, delete. Acknowledged when durable."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection as Names
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from headwater.doors.milvus.codes import SCHEMA_MISMATCH, MilvusError, invalid, unexpected
from headwater.doors.milvus.described import update_timestamp
from headwater.doors.milvus.filter_errors import filter_error
from headwater.doors.milvus.filter_rules import check_conditions
from headwater.doors.milvus.index_types import DATA_TYPE_NAMES
from headwater.doors.milvus.loads import partition_not_found
from headwater.doors.milvus.names import check_partition_name
from headwater.doors.milvus.row_rules import keys_allowed, rows_of
from headwater.doors.milvus.rpc import OK, Call, rpc
from headwater.doors.milvus.templates import template_values
from headwater.engine import Collection, WriteResult
from headwater.errors import FieldNotFound, FilterSyntax, PartitionNotFound, SchemaMismatch
from headwater.lake import Manifest
from headwater.schema import Schema
from headwater.types import TEXT_TYPES, DataType

__all__: list[str] = []

_NO_NAMES = "not support manually specifying the partition names if partition key mode is used"

Ops = schema_pb2.FieldPartialUpdateOp.OpType
_OPERATIONS = {Ops.REPLACE: "replace", Ops.ARRAY_APPEND: "append", Ops.ARRAY_REMOVE: "remove"}


@rpc("Insert")
def insert(call: Call, request: milvus_pb2.InsertRequest) -> milvus_pb2.MutationResult:
    """Add rows."""
    with _writing(call, request, "insert") as (collection, manifest):
        rows = rows_of(request, manifest, call.vectors)
        done = collection.insert(rows, partition=_partition(request, manifest.schema))
    return _result(done, insert_cnt=done.count)


@rpc("Upsert")
def upsert(call: Call, request: milvus_pb2.UpsertRequest) -> milvus_pb2.MutationResult:
    """Add rows, or replace those of the same keys."""
    with _writing(call, request, "upsert") as (collection, manifest):
        operations = _operations(request, manifest.schema)
        partial = request.partial_update or bool(operations)
        rows = rows_of(request, manifest, call.vectors, partial=partial)
        where = _partition(request, manifest.schema)
        if partial:
            done = _merged(collection, rows, operations, where)
        else:
            remade = manifest.schema.auto_id and not keys_allowed(manifest)
            done = collection.upsert(rows, partition=where, new_keys=remade)
    return _result(done, upsert_cnt=done.count)


def _merged(
    collection: Collection, rows: pa.Table, operations: dict[str, str], partition: str | None
) -> WriteResult:
    try:
        return collection.upsert(rows, partial=True, array_ops=operations or None, partition=partition)
    except SchemaMismatch as error:
        name = re.search(r'field "([^"]+)"', str(error))
        if name is not None and ("missing" in str(error) or "not nullable" in str(error)):
            raise invalid(f"fieldSchema({name[1]}) has no corresponding fieldData pass in") from error
        sizes = re.search(r"expected at most (\d+) elements, got (\d+)", str(error))
        if sizes is not None:
            raise unexpected(f"array length {sizes[2]} exceeds max_capacity {sizes[1]}") from error
        raise


def _operations(request: milvus_pb2.UpsertRequest, schema: Schema) -> dict[str, str]:
    """What the values of array fields mean, by field; nothing for those that are plain values."""
    named: dict[str, str] = {}
    given = {data.field_name for data in request.fields_data}
    for one in request.field_ops:
        name, operation = one.field_name, _operation(one.op)
        if not name:
            raise invalid("FieldPartialUpdateOp.field_name is required")
        if name in named:
            raise invalid(f'duplicate partial-update op for field "{name}"')
        named[name] = operation
        if operation != "replace":
            _check_operation(name, operation, schema, given)
    return {name: operation for name, operation in named.items() if operation != "replace"}


def _check_operation(name: str, operation: str, schema: Schema, given: Names[str]) -> None:
    if name == schema.primary_key:
        raise invalid(f'field "{name}" is the primary key and cannot carry a partial-update op')
    if name not in schema.names:
        raise invalid(f'field "{name}" not found in collection schema')
    kind = schema.field(name).type.data_type
    if kind is not DataType.ARRAY:
        told = DATA_TYPE_NAMES.get(kind, kind)
        raise invalid(f'op ARRAY_{operation.upper()} requires Array field, but field "{name}" is {told}')
    if name not in given:
        raise invalid(f'partial-update op targets field "{name}" not present in fields_data')


def _operation(number: int) -> str:
    if number not in _OPERATIONS:
        raise invalid(f"unsupported partial update op: {number}")
    return _OPERATIONS[Ops.ValueType(number)]


@rpc("Delete")
def delete(call: Call, request: milvus_pb2.DeleteRequest) -> milvus_pb2.MutationResult:
    """Delete the rows of some keys, or those that a filter selects."""
    with _writing(call, request, "delete") as (collection, manifest):
        if not request.expr.strip():
            raise invalid("delete plan can't be empty or always true")
        values = template_values(request.expr_template_values)
        where = request.partition_name or None
        if where is not None and manifest.schema.partition_key is not None and not call.by_python_door:
            raise unexpected(_NO_NAMES)
        keys = _keys_named(request.expr, manifest.schema) if values is None else None
        if keys is None and not call.by_python_door:
            check_conditions(manifest.schema, request.expr, plan="delete")
        try:
            if keys is not None:
                done = collection.delete(keys, partition=where)
            else:
                done = collection.delete(filter=request.expr, filter_params=values, partition=where)
        except FilterSyntax as error:
            raise filter_error(request.expr, error, plan="delete") from error
        except FieldNotFound as error:
            raise invalid(
                f"failed to create delete plan: cannot parse expression: {request.expr}, error: {error.message}"
            ) from error
    # Without keys: the client would hand them out in place of the count.
    return milvus_pb2.MutationResult(
        status=OK, timestamp=done.timestamp, acknowledged=True, delete_cnt=done.count
    )


_IN_LIST = re.compile(r"\s*(\w+)\s+in\s+(\[[^\]]*\])\s*", re.DOTALL)


def _keys_named(expr: str, schema: Schema) -> list[Any] | None:
    """The keys of a filter that only lists them, as clients write `ids`; None for any other filter."""
    found = _IN_LIST.fullmatch(expr)
    key = schema.primary_key
    if found is None or key is None or found[1] != key:
        return None
    try:
        keys = ast.literal_eval(found[2])
    except (ValueError, SyntaxError):
        return None
    kind = str if schema.field(key).type.data_type in TEXT_TYPES else int
    return keys if keys and all(type(one) is kind for one in keys) else None


@contextmanager
def _writing(call: Call, request: Any, verb: str) -> Iterator[tuple[Collection, Manifest]]:
    """The collection that a request writes to, as it is, and errors of its parts in Milvus's words."""
    name = request.collection_name
    with call.named(name):
        collection = call.reading(name)
        manifest = collection.manifest
        if manifest.source is not None:
            raise invalid(f"{verb} operation is not supported for external collection {name}")
        if request.namespace:
            raise invalid("namespace data is set but namespace disabled")
        known = getattr(request, "schema_timestamp", 0)
        if known and known != update_timestamp(collection, manifest.schema):
            raise MilvusError(SCHEMA_MISMATCH, collection=name)
        try:
            yield collection, manifest
        except PartitionNotFound as error:
            raise partition_not_found(collection, [request.partition_name]) from error
        except SchemaMismatch as error:
            if "expected geometry, got" in error.message:
                raise invalid(f"syntax error: {error.message}") from error
            raise


def _partition(request: Any, schema: Schema) -> str | None:
    name: str = request.partition_name
    if not name:
        return None
    if schema.partition_key is not None:
        raise invalid(_NO_NAMES)
    check_partition_name(name)
    return name


def _result(done: WriteResult, **counts: int) -> milvus_pb2.MutationResult:
    out = milvus_pb2.MutationResult(
        status=OK, timestamp=done.timestamp, acknowledged=True, succ_index=range(done.count), **counts
    )
    if done.keys is not None:
        out.IDs.CopyFrom(ids_of(done.keys))
    return out


def ids_of(keys: pa.Array) -> schema_pb2.IDs:
    """Keys as the protocol has them."""
    if pa.types.is_integer(keys.type):
        return schema_pb2.IDs(int_id=schema_pb2.LongArray(data=keys.to_pylist()))
    return schema_pb2.IDs(str_id=schema_pb2.StringArray(data=keys.to_pylist()))
