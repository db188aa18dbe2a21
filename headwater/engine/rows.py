"""A caller's rows, keys and changes of rows as what the log writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.engine.data import as_table
from headwater.errors import InvalidArgument, SchemaMismatch
from headwater.lake import Manifest
from headwater.lake.log import NewRows
from headwater.lake.shards import key_hashes
from headwater.schema import Schema, arrow_type, validate
from headwater.types import DataType

__all__ = [
    "ALLOW_KEYS_PROPERTY",
    "FIRST_MADE_KEY",
    "checked_rows",
    "given_names",
    "key_array",
    "last_of_each_key",
    "new_rows",
    "partition_of_rows",
    "rekeyed_rows",
    "stamped",
]

ALLOW_KEYS_PROPERTY = "allow_insert_auto_id"
"""Property of a collection: true where rows may bring keys that the lake would make."""

FIRST_MADE_KEY = 1 << 39
"""Where the keys that the lake makes begin, so that the small numbers that people choose stay free."""


def checked_rows(data: Any, schema: Schema, *, upsert: bool = False, allow_keys: bool = False) -> pa.Table:
    """A caller's rows as a table of the schema's types; without the key column where the lake makes the keys.

    Args:
        data: the rows.
        schema: what they must fit.
        upsert: whether they replace others, so that they bring keys.
        allow_keys: whether they may bring keys that the lake would make.

    Raises:
        SchemaMismatch: a value does not fit.
        InvalidArgument: a key is given where the lake makes keys.
    """
    table = as_table(data)
    if not schema.auto_id or upsert:
        return validate(table, schema)
    key = schema.primary_key or ""
    if key in given_names(table):
        if allow_keys:
            return validate(table, schema)
        raise InvalidArgument(
            f"field {key!r} is filled in by the lake (auto_id), and was given",
            hint=f"leave it out; upsert takes it, to replace a row, and insert with the property {ALLOW_KEYS_PROPERTY}",
        )
    bare = replace(
        schema, fields=tuple(f for f in schema.fields if f.name != key), primary_key=None, auto_id=False
    )
    return validate(table, bare)


def given_names(data: Any) -> Sequence[str]:
    """The fields that a caller's rows give; of a list of rows, those of the first."""
    if isinstance(data, list):
        return list(data[0]) if data and isinstance(data[0], Mapping) else []
    if isinstance(data, pa.RecordBatch):
        return list(data.schema.names)
    return list(getattr(data, "column_names", None) or getattr(data, "columns", None) or data)


def new_rows(table: pa.Table, manifest: Manifest, partition: int, *, upsert: bool) -> NewRows:
    """Checked rows as the log takes them: columns named by field id."""
    schema = manifest.schema
    key = schema.primary_key
    present = key is not None and key in table.column_names
    keys = _one_array(table.column(key)) if present else None
    partitions = partition_of_rows(table, schema)
    renamed = table.rename_columns([str(schema.field(name).id) for name in table.column_names])
    made = schema.field(key) if key is not None and not present else None
    return NewRows(
        renamed,
        keys,
        partition,
        upsert,
        None if made is None else made.id,
        partitions,
        made is not None and made.type.data_type is DataType.VARCHAR,
    )


def rekeyed_rows(table: pa.Table, manifest: Manifest, partition: int) -> NewRows:
    """Checked rows that bring the keys of rows which they replace, and get keys of the lake's making themselves."""
    key = manifest.schema.primary_key or ""
    rows = new_rows(table.drop_columns([key]), manifest, partition, upsert=True)
    return replace(rows, keys=_one_array(table.column(key)))


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def stamped(table: pa.Table, schema: Schema, now_ms: int) -> pa.Table:
    """With the hidden fields that the lake fills in: when the row was written."""
    for field in schema.hidden:
        moment = pa.scalar(now_ms, pa.timestamp("ms", "UTC")).cast(arrow_type(field.type))
        table = table.append_column(field.name, pa.repeat(moment, table.num_rows))
    return table


def partition_of_rows(table: pa.Table, schema: Schema) -> npt.NDArray[np.int64] | None:
    """(n,) the partition that each row's partition key hashes to, from 1; None without a partition key."""
    if schema.partition_key is None:
        return None
    hashes = key_hashes(_one_array(table.column(schema.partition_key)))
    return 1 + (hashes % np.uint32(schema.num_partitions)).astype(np.int64)


def last_of_each_key(table: pa.Table, key: str) -> pa.Table:
    """Rows without those whose key comes again later: an upsert of the same key twice is the last one."""
    keys = table.column(key).to_pylist()
    last = {value: place for place, value in enumerate(keys)}
    if len(last) == len(keys):
        return table
    return table.take(pa.array(sorted(last.values())))


def key_array(keys: Any, schema: Schema) -> pa.Array:
    """Primary keys, or row ids, of a caller as an Arrow array.

    Raises:
        SchemaMismatch: a key is of another type.
    """
    many = keys if isinstance(keys, Sequence) and not isinstance(keys, str) else None
    if isinstance(keys, pa.ChunkedArray):
        return _one_array(keys)
    if isinstance(keys, pa.Array):
        return keys
    if many is None:
        many = list(keys) if hasattr(keys, "__iter__") and not isinstance(keys, str) else [keys]
    name = schema.primary_key
    text = name is not None and schema.field(name).type.data_type in (DataType.VARCHAR, DataType.TEXT)
    for key in many:
        fits = (
            isinstance(key, str) if text else isinstance(key, int | np.integer) and not isinstance(key, bool)
        )
        if not fits:
            raise SchemaMismatch(
                f"key {key!r}: expected {'a text' if text else 'an integer'}, got {type(key).__name__}"
            )
    kind = pa.int64() if name is None else schema.to_arrow([name]).field(0).type
    try:
        return pa.array([key if text else int(key) for key in many], kind)
    except (OverflowError, pa.ArrowException) as error:
        raise SchemaMismatch(f"a key does not fit {kind}: {error}") from error
