"""Partial upserts: given fields over the row that is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.engine.data import as_table
from headwater.engine.rows import given_names, last_of_each_key
from headwater.errors import InvalidArgument, SchemaMismatch
from headwater.query import Snapshot, get
from headwater.schema import DYNAMIC_FIELD, Schema, refuse_outputs, validate
from headwater.types import DataType

__all__ = ["merged_rows"]

_OPERATIONS = ("replace", "append", "remove")


def merged_rows(snapshot: Snapshot, data: Any, array_ops: Mapping[str, str]) -> pa.Table:
    """Whole rows, each field given or as it is.

    Args:
        snapshot: the rows as they are.
        data: the caller's rows; a row may leave fields out.
        array_ops: by array field, `replace`, `append` or `remove`.

    Raises:
        SchemaMismatch: a value does not fit, or a row that is not there yet lacks a required field.
    """
    schema = snapshot.schema
    _check_operations(schema, array_ops)
    key = schema.primary_key or ""
    given = as_table(data)
    groups = _by_fields(given) if isinstance(given, list) else [given]
    merged = [_completed(snapshot, one, array_ops) for one in groups]
    table = pa.concat_tables(merged) if merged else schema.to_arrow().empty_table()
    return last_of_each_key(table, key)


def _check_operations(schema: Schema, array_ops: Mapping[str, str]) -> None:
    for name, operation in array_ops.items():
        if schema.field(name).type.data_type is not DataType.ARRAY:
            raise InvalidArgument(f"array_ops: field {name!r} is {schema.field(name).type}, not an array")
        if operation not in _OPERATIONS:
            raise InvalidArgument(f"array_ops: {name!r}: expected one of {_OPERATIONS}, got {operation!r}")


def _by_fields(rows: Sequence[Any]) -> list[list[Any]]:
    """Runs of rows that give the same fields, in order, so that the last of a key stays the last."""
    groups: list[list[Any]] = []
    for row in rows:
        if groups and isinstance(row, Mapping) and row.keys() == groups[-1][0].keys():
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _completed(snapshot: Snapshot, data: Any, array_ops: Mapping[str, str]) -> pa.Table:
    schema, key = snapshot.schema, snapshot.schema.primary_key or ""
    names = _given(data, schema)
    if key not in names:
        raise SchemaMismatch(f"a partial upsert needs the primary key {key!r} of each row")
    refuse_outputs(data, schema)
    rows = validate(data, replace(schema.part(names), partition_key=None))
    keys = rows.column(key).to_pylist()
    there = get(snapshot, keys, schema.given.names).to_arrow()
    places = {value: place for place, value in enumerate(there.column(key).to_pylist())}
    taken = pa.array([places.get(value) for value in keys], pa.int64())
    columns = {}
    for field in schema.given.fields:
        if field.name not in names:
            columns[field.name] = there.column(field.name).take(taken)
        elif array_ops.get(field.name, "replace") == "replace":
            columns[field.name] = rows.column(field.name)
        else:
            old = there.column(field.name).take(taken).to_pylist()
            new = rows.column(field.name).to_pylist()
            both = [_combined(a, b, array_ops[field.name]) for a, b in zip(old, new, strict=True)]
            columns[field.name] = pa.array(both, rows.column(field.name).type)
    try:
        return validate(pa.table(columns), schema)
    except SchemaMismatch as error:
        absent = np.flatnonzero(taken.is_null().to_numpy(zero_copy_only=False))
        if len(absent):
            error.add_note(f"key {keys[int(absent[0])]!r} is not there yet, so its row must be whole")
        raise


def _given(data: Any, schema: Schema) -> set[str]:
    named = set(given_names(data))
    # What a dynamic schema does not name is in its JSON field, which is given when one of them is.
    extra = {DYNAMIC_FIELD} if schema.dynamic and named - set(schema.names) else set()
    return (named & set(schema.names)) | extra if schema.dynamic else named


def _combined(old: list[Any] | None, new: list[Any] | None, operation: str) -> list[Any] | None:
    if operation == "append":
        return None if old is None and new is None else [*(old or []), *(new or [])]
    return None if old is None else [one for one in old if one not in (new or [])]
