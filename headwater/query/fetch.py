"""Fetch the output fields of chosen rows: one gather per segment and field, results in the order asked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.errors import FieldNotFound, InvalidArgument
from headwater.lake import Segment
from headwater.query.away import Parts, parts_of, stored_names, taken_at_once
from headwater.query.columns import WKB, ArrowColumn, Column, GeometryColumn, NumberColumn, concatenated
from headwater.query.snapshot import ROW_ID, Snapshot
from headwater.schema import DYNAMIC_FIELD, Schema
from headwater.types import RowIds

__all__ = ["fetch", "fetch_hits", "fetch_keys", "fetch_table", "json_names", "resolve_output_fields"]


Taken = Mapping[tuple[int, str], Column]
"""Columns that were read already, by segment and field."""


def resolve_output_fields(
    schema: Schema, names: Sequence[str] | None, default: Sequence[str] = ()
) -> list[str]:
    """The fields to return, each once, in the order asked.

    Args:
        schema: the snapshot's schema.
        names: what the caller asked for; "*" stands for every field; None for `default`.
        default: fields when the caller names none.

    Raises:
        FieldNotFound: a name is no field, and the schema is not dynamic.
        InvalidArgument: a name is a field that has no column, or the names are no list.
    """
    wanted: list[str] = []
    for name in default if names is None else several_names(names):
        if name in schema.virtual:
            raise InvalidArgument(
                f"field {name!r} has no values to return: function {schema.outputs[name].name!r} stores nothing",
                hint="it is searched by; ask for the text it comes from",
            )
        for one in schema.readable_names if name == "*" else (name,):
            if one not in schema.names and one != ROW_ID and not schema.dynamic:
                schema.field(one)
            if one not in wanted:
                wanted.append(one)
    return wanted


def several_names(names: Any) -> Iterable[str]:
    """Names of fields as they were given.

    Raises:
        InvalidArgument: they are no list; one name alone would be taken for a list of its letters.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        shown = f'["{names}"]' if isinstance(names, str) else '["text"]'
        raise InvalidArgument(f"expected a list of fields, got {names!r}", hint=f"such as {shown}")
    return names


def json_names(schema: Schema, names: Sequence[str]) -> frozenset[str]:
    """Which output fields hold JSON text that a Python caller sees parsed."""
    if not schema.dynamic and not schema.json_fields:
        return frozenset()
    free = {name for name in names if name not in schema.names and name != ROW_ID}
    return frozenset(free | (schema.json_fields & set(names)))


def fetch_keys(
    snapshot: Snapshot, segments: Sequence[Segment], which: npt.NDArray[np.int32], rows: RowIds
) -> Column:
    """Primary keys, or stable row ids where the schema has none, of rows across segments."""
    key = snapshot.schema.primary_key or ROW_ID
    return fetch(snapshot, segments, which, rows, [key])[key]


def fetch_hits(
    snapshot: Snapshot,
    segments: Sequence[Segment],
    which: npt.NDArray[np.int32],
    rows: RowIds,
    names: Sequence[str],
) -> tuple[Column, dict[str, Column]]:
    """`fetch_keys` and `fetch` in one step."""
    key = snapshot.schema.primary_key or ROW_ID
    columns = fetch(snapshot, segments, which, rows, names if key in names else (key, *names))
    return columns[key], {name: columns[name] for name in names}


def fetch(
    snapshot: Snapshot,
    segments: Sequence[Segment],
    which: npt.NDArray[np.int32],
    rows: RowIds,
    names: Sequence[str],
) -> dict[str, Column]:
    """Rows across segments, in the order asked.

    Args:
        snapshot: what to read.
        segments: the segments that `which` points into.
        which: (n,) int32, the segment of each row.
        rows: (n,) int64, its position in that segment.
        names: fields; `row_id` for the stable row id; other names of a dynamic schema come from its JSON.

    Returns:
        A column of n rows for each name, in the order given.
    """
    parts, back = ([(0, rows)], None) if len(segments) == 1 else parts_of(which, rows)
    taken: Taken = {}
    if snapshot.opened.waits:
        taken = taken_at_once(snapshot, segments, parts, stored_names(snapshot.schema, names))
    columns = {name: _gather(snapshot, segments, parts, back, name, taken) for name in names}
    shapes = snapshot.schema.geometry_fields
    return {name: GeometryColumn(one) if name in shapes else one for name, one in columns.items()}


def fetch_table(
    snapshot: Snapshot,
    segments: Sequence[Segment],
    which: npt.NDArray[np.int32],
    rows: RowIds,
    names: Sequence[str],
) -> pa.Table:
    """`fetch` as an Arrow table."""
    if not names:
        return pa.table({"": pa.nulls(len(rows))}).select([])
    columns = fetch(snapshot, segments, which, rows, names)
    arrays = {name: column.to_arrow() for name, column in columns.items()}
    fields = [
        pa.field(name, arrays[name].type, metadata=WKB if isinstance(column, GeometryColumn) else None)
        for name, column in columns.items()
    ]
    return pa.Table.from_arrays(list(arrays.values()), schema=pa.schema(fields))


def _gather(
    snapshot: Snapshot,
    segments: Sequence[Segment],
    parts: Parts,
    back: npt.NDArray[np.int64] | None,
    name: str,
    taken: Taken,
) -> Column:
    columns = [_take(snapshot, segments, ordinal, part, name, taken) for ordinal, part in parts]
    if not columns:
        return ArrowColumn(pa.array([], _empty_type(snapshot.schema, name)))
    return columns[0] if back is None else concatenated(columns, back)


def _empty_type(schema: Schema, name: str) -> pa.DataType:
    if name == ROW_ID:
        return pa.int64()
    return schema.to_arrow([name]).field(0).type if name in schema.names else pa.string()


def _take(
    snapshot: Snapshot, segments: Sequence[Segment], ordinal: int, rows: RowIds, name: str, taken: Taken
) -> Column:
    schema, opened, segment = snapshot.schema, snapshot.opened, segments[ordinal]
    if name in schema.names:
        return taken.get((ordinal, name)) or opened.fields.take(segment, schema, name, rows)
    if name == ROW_ID:
        return NumberColumn(opened.readers.of(segment, schema).row_ids()[rows])
    if DYNAMIC_FIELD in schema.names:
        column = taken.get((ordinal, DYNAMIC_FIELD)) or opened.fields.take(
            segment, schema, DYNAMIC_FIELD, rows
        )
        texts = column.to_pylist()
        return ArrowColumn(pa.array([_dynamic_value(text, name) for text in texts], pa.string()))
    raise FieldNotFound(f"no field {name!r}", hint=f"fields: {', '.join(schema.names)}")


def _dynamic_value(text: str | None, name: str) -> str | None:
    value: Any = json.loads(text).get(name) if text else None
    return None if value is None else json.dumps(value)
