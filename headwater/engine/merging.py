"""Partial upserts: given fields over the row that is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.engine.data import as_table
from headwater.engine.rows import given_names, last_of_each_key
from headwater.errors import InvalidArgument, SchemaConflict, SchemaMismatch
from headwater.query import Snapshot, get
from headwater.schema import DYNAMIC_FIELD, Schema, refuse_outputs, validate
from headwater.types import DataType

__all__ = ["given_parts", "merged_rows"]

_OPERATIONS = ("replace", "append", "remove")


def given_parts(
    data: Any, schema: Schema, fill: Callable[[pa.Table, Schema, Collection[str]], pa.Table]
) -> list[pa.Table]:
    """A caller's rows, checked: a table for each run of rows that give the same fields.

    Args:
        data: the rows; a row may leave fields out.
        schema: of the collection.
        fill: appends what functions compute from given fields.

    Raises:
        SchemaMismatch: a value does not fit.
        InvalidArgument: the output of a function is given.
    """
    given = as_table(data)
    refuse_outputs(given, schema)
    parts = []
    for one in _by_fields(given) if isinstance(given, list) else [given]:
        names = _given(one, schema)
        if unknown := sorted(names - set(schema.names)):
            raise SchemaMismatch(
                f"unknown field {unknown[0]!r}", hint=f"fields: {', '.join(schema.names)}", field=unknown[0]
            )
        if schema.primary_key not in names:
            raise SchemaMismatch(f"a partial upsert needs the primary key {schema.primary_key!r} of each row")
        rows = validate(one, replace(schema.part(names), partition_key=None))
        parts.append(fill(rows, schema, names))
    return parts


def merged_rows(
    snapshot: Snapshot,
    parts: Sequence[pa.Table],
    array_ops: Mapping[str, str],
    complete: Callable[[pa.Table, Schema], pa.Table],
) -> pa.Table:
    """Whole rows, each field given or as it is.

    Args:
        snapshot: the rows as they are.
        parts: the caller's rows, as `given_parts` makes them.
        array_ops: by array field, `replace`, `append` or `remove`.
        complete: fills what functions have not filled yet in the rows as they are.

    Raises:
        SchemaMismatch: a row that is not there yet lacks a required field.
        SchemaConflict: a field that is given is not there any more.
    """
    schema = snapshot.schema
    _check_operations(schema, array_ops)
    key = schema.primary_key or ""
    merged = [complete(_completed(snapshot, one, array_ops), schema) for one in parts]
    names = schema.readable_names
    table = pa.concat_tables(merged) if merged else schema.to_arrow(names).empty_table()
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


def _completed(snapshot: Snapshot, rows: pa.Table, array_ops: Mapping[str, str]) -> pa.Table:
    schema, key = snapshot.schema, snapshot.schema.primary_key or ""
    if unknown := sorted(set(rows.column_names) - set(schema.names)):
        raise SchemaConflict(
            f"field {unknown[0]!r} was renamed or dropped meanwhile, in version {snapshot.manifest.version}",
            hint="read the newest schema and try again",
        )
    keys = rows.column(key).to_pylist()
    there = get(snapshot, keys, schema.readable_names).to_arrow()
    places = {value: place for place, value in enumerate(there.column(key).to_pylist())}
    taken = pa.array([places.get(value) for value in keys], pa.int64())
    columns = {}
    for name in schema.readable_names:
        if name not in rows.column_names:
            columns[name] = there.column(name).take(taken)
        elif name == DYNAMIC_FIELD and schema.dynamic:
            columns[name] = _merged_keys(there.column(name).take(taken), rows.column(name))
        elif array_ops.get(name, "replace") == "replace":
            columns[name] = rows.column(name)
        else:
            old = there.column(name).take(taken).to_pylist()
            new = rows.column(name).to_pylist()
            both = [_combined(a, b, array_ops[name]) for a, b in zip(old, new, strict=True)]
            columns[name] = pa.array(both, rows.column(name).type)
    try:
        # Outputs of functions are checked like any column, by a schema that takes them for one.
        return validate(pa.table(columns), schema.part(schema.readable_names))
    except SchemaMismatch as error:
        absent = np.flatnonzero(taken.is_null().to_numpy(zero_copy_only=False))
        if len(absent):
            error.add_note(f"key {keys[int(absent[0])]!r} is not there yet, so its row must be whole")
        raise


def _merged_keys(old: pa.ChunkedArray, new: pa.ChunkedArray) -> pa.Array:
    """What rows hold beside the schema's fields: keys given over those that are there."""
    merged = []
    for before, after in zip(old.to_pylist(), new.to_pylist(), strict=True):
        given = json.loads(after) if after is not None else {}
        if not given or before is None:
            merged.append(before if before is not None else after)
        else:
            both = {**json.loads(before), **given}
            merged.append(json.dumps(both, separators=(",", ":"), ensure_ascii=False, sort_keys=True))
    return pa.array(merged, new.type)


def _given(data: Any, schema: Schema) -> set[str]:
    named = set(given_names(data))
    # What a dynamic schema does not name is in its JSON field, which is given when one of them is.
    extra = {DYNAMIC_FIELD} if schema.dynamic and named - set(schema.names) else set()
    return (named & set(schema.names)) | extra if schema.dynamic else named


def _combined(old: list[Any] | None, new: list[Any] | None, operation: str) -> list[Any] | None:
    if operation == "append":
        return None if old is None and new is None else [*(old or []), *(new or [])]
    return None if old is None else [one for one in old if one not in (new or [])]
