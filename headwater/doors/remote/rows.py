"""Rows on their way to a server: checked here as the lake checks them, sent as whole columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import pyarrow as pa
from pymilvus.grpc_gen import schema_pb2

from headwater.doors.milvus.field_data import field_data
from headwater.doors.remote.raised import unsupported
from headwater.engine.localtimes import localised
from headwater.engine.merging import given_parts
from headwater.engine.rows import checked_rows, last_of_each_key
from headwater.lake import Manifest
from headwater.schema import Schema
from headwater.types import DataType

__all__ = ["Target", "keys_of", "rows_to_send"]

_NOT_TOLD = (DataType.BINARY, DataType.REFERENCE)


_MESSAGE_BYTES = 64 << 20
"""Rows of one message, at most; half of what Milvus takes, because texts and nested values grow on the way."""


@dataclass(frozen=True)
class Target:
    """The collection that rows go to.

    Attributes:
        schema: its schema.
        properties: its properties; times without an offset are in its time zone.
    """

    schema: Schema
    properties: Mapping[str, str]


def rows_to_send(
    data: Any, target: Target, *, upsert: bool, partial: bool
) -> Iterator[tuple[int, list[schema_pb2.FieldData]]]:
    """For each message that is needed, how many rows and their fields.

    Args:
        data: in any form that `Collection.insert` takes.
        target: the collection.
        upsert: whether rows replace others.
        partial: whether rows may leave fields out.

    Raises:
        SchemaMismatch: a value does not fit; nothing is sent.
    """
    schema = target.schema
    data = localised(data, cast("Manifest", target))
    if partial:
        tables = given_parts(data, schema, lambda rows, _schema, _names: rows)
    else:
        table = checked_rows(data, schema, upsert=upsert)
        key = schema.primary_key
        tables = [last_of_each_key(table, key) if upsert and key is not None else table]
    for table in tables:
        pieces = max(1, -(-table.nbytes // _MESSAGE_BYTES))
        step = max(1, -(-table.num_rows // pieces))
        for start in range(0, table.num_rows, step):
            piece = table.slice(start, step)
            yield piece.num_rows, _fields(piece, schema)


def _fields(table: pa.Table, schema: Schema) -> list[schema_pb2.FieldData]:
    sent = []
    for name in table.column_names:
        field = schema.field(name)
        if name in schema.outputs:
            continue
        if field.type.data_type in _NOT_TOLD:
            raise unsupported(f"field {name!r} of type {field.type.data_type}")
        array = table.column(name).combine_chunks()
        if field.type.data_type is DataType.STRUCT_ARRAY or not (field.nullable or array.null_count):
            sent.append(field_data(name, field, array))
            continue
        # Rows are sent without their nulls, which `valid_data` marks.
        one = field_data(name, replace(field, nullable=False), array.drop_null())
        if not one.is_dynamic:
            one.valid_data.extend(array.is_valid().to_pylist())
        sent.append(one)
    return sent


def keys_of(ids: schema_pb2.IDs) -> pa.Array | None:
    """Keys that a server has told; None of none."""
    slot = ids.WhichOneof("id_field")
    if slot is None:
        return None
    values: Sequence[Any] = getattr(ids, slot).data
    return pa.array(list(values), pa.int64() if slot == "int_id" else pa.string())
