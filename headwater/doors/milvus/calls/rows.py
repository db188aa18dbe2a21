"""Rows: insert, upsert, delete. Acknowledged when durable."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from headwater.doors.milvus.codes import SCHEMA_MISMATCH, MilvusError, invalid
from headwater.doors.milvus.described import update_timestamp
from headwater.doors.milvus.given_rows import column
from headwater.doors.milvus.rpc import OK, Call, rpc
from headwater.doors.milvus.templates import template_values
from headwater.engine import Collection, WriteResult
from headwater.schema import DYNAMIC_FIELD, Schema

__all__: list[str] = []


@rpc("Insert")
def insert(call: Call, request: milvus_pb2.InsertRequest) -> milvus_pb2.MutationResult:
    """Add rows."""
    collection = call.reading(request.collection_name)
    schema = _schema(collection, request)
    rows = _table(request, schema)
    done = collection.insert(rows, partition=request.partition_name or None)
    return _result(done, insert_cnt=done.count, rows=done.count)


@rpc("Upsert")
def upsert(call: Call, request: milvus_pb2.UpsertRequest) -> milvus_pb2.MutationResult:
    """Add rows, or replace those of the same keys."""
    collection = call.reading(request.collection_name)
    schema = _schema(collection, request)
    rows = _table(request, schema)
    done = collection.upsert(rows, partial=request.partial_update, partition=request.partition_name or None)
    return _result(done, upsert_cnt=done.count, insert_cnt=done.count, rows=done.count)


@rpc("Delete")
def delete(call: Call, request: milvus_pb2.DeleteRequest) -> milvus_pb2.MutationResult:
    """Delete the rows that a filter selects."""
    collection = call.reading(request.collection_name)
    if not request.expr.strip():
        raise invalid("delete expression is empty: expr cannot be empty")
    done = collection.delete(
        filter=request.expr,
        filter_params=template_values(request.expr_template_values),
        partition=request.partition_name or None,
    )
    # Without keys: the client would hand them out in place of the count.
    return milvus_pb2.MutationResult(
        status=OK, timestamp=done.timestamp, acknowledged=True, delete_cnt=done.count
    )


def _schema(collection: Collection, request: Any) -> Schema:
    """The collection's schema, which must be the one that the client knows."""
    schema = collection.schema
    known = request.schema_timestamp
    if known and known != update_timestamp(collection, schema):
        raise MilvusError(SCHEMA_MISMATCH, collection=request.collection_name)
    return schema


def _table(request: Any, schema: Schema) -> pa.Table:
    names, columns = [], []
    for data in request.fields_data:
        name = DYNAMIC_FIELD if data.is_dynamic else data.field_name
        if name not in schema.names:
            raise invalid(f"fieldName {name} not exist in collection schema")
        names.append(name)
        columns.append(column(data, schema.field(name), request.num_rows))
    return pa.Table.from_arrays(columns, names)


def _result(done: WriteResult, rows: int = 0, **counts: int) -> milvus_pb2.MutationResult:
    out = milvus_pb2.MutationResult(
        status=OK, timestamp=done.timestamp, acknowledged=True, succ_index=range(rows), **counts
    )
    if done.keys is not None:
        out.IDs.CopyFrom(ids_of(done.keys))
    return out


def ids_of(keys: pa.Array) -> schema_pb2.IDs:
    """Keys as the protocol has them."""
    if pa.types.is_integer(keys.type):
        return schema_pb2.IDs(int_id=schema_pb2.LongArray(data=keys.to_pylist()))
    return schema_pb2.IDs(str_id=schema_pb2.StringArray(data=keys.to_pylist()))
