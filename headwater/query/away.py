"""Reading what is a request away: what does not depend on each other is asked for at once.

A search of cold segments costs as many waits as one of a single segment does: all of them are searched at once,
whatever their size, each opens what it will need in one step, and the fields of all hits come in one step. Nothing here
is used where everything is a mapped file or in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from headwater.errors import HeadwaterError
from headwater.lake import Segment, SegmentReader
from headwater.lake.log import GrowingSegment
from headwater.query.columns import Column
from headwater.query.snapshot import ROW_ID, Snapshot
from headwater.schema import DYNAMIC_FIELD, Schema
from headwater.store import Ahead, ahead, together
from headwater.types import RowIds

__all__ = [
    "Parts",
    "done",
    "fields_ahead",
    "open_fields",
    "parts_of",
    "quietly",
    "stored_names",
    "taken_at_once",
]

_MOST_OPENED = 64
"""Files opened before it is known which of them hold a hit."""

Parts = Sequence[tuple[int, RowIds]]
"""For some segments, by their place: the rows wanted of it."""


def stored_names(schema: Schema, names: Sequence[str]) -> list[str]:
    """The fields with a column that output fields come from."""
    known = schema.names
    stored = [
        name if name in known else DYNAMIC_FIELD
        for name in names
        if name != ROW_ID and (name in known or DYNAMIC_FIELD in known)
    ]
    return list(dict.fromkeys(stored))


def open_fields(snapshot: Snapshot, segments: Sequence[Segment], names: Sequence[str]) -> list[Ahead[None]]:
    """Begin to open the files of output fields, so that they are open when the hits are known.

    Args:
        snapshot: what is read.
        segments: that may hold hits.
        names: output fields.

    Returns:
        What was begun, for `done`.
    """
    stored = _stored_of_hits(snapshot, names)
    sealed = [segment for segment in segments if not isinstance(segment, GrowingSegment)]
    if len(sealed) * len(stored) > _MOST_OPENED:
        return []
    begun = []
    for segment in sealed:
        reader, groups = _left(snapshot, segment, stored)
        closed = [group[0] for group in groups if not reader.has_open(group[0])]
        begun += [ahead(partial(quietly, partial(reader.open_group, name))) for name in closed]
    return begun


def _stored_of_hits(snapshot: Snapshot, names: Sequence[str]) -> list[str]:
    """The fields with a column that hits come from: their key and their output fields."""
    key = (snapshot.schema.primary_key,) if snapshot.schema.primary_key else ()
    return stored_names(snapshot.schema, (*key, *names))


def _left(
    snapshot: Snapshot, segment: Segment, stored: Sequence[str]
) -> tuple[SegmentReader, list[list[str]]]:
    """A segment's reader, and by column group those of some fields that are not decoded yet."""
    opened, schema = snapshot.opened, snapshot.schema
    left = [name for name in stored if not opened.fields.decoded(segment, schema, name)]
    reader = opened.readers.of(segment, schema)
    return reader, reader.groups(left)


def fields_ahead(
    snapshot: Snapshot, segments: Sequence[Segment], parts: Parts, names: Sequence[str]
) -> list[Ahead[None]]:
    """Begin to read the fields of rows that are likely to be hits, while it is found out which of them are.

    Pieces of a file hold many rows, and those of the hits are nearly always among those of the rows that codes say are
    nearest: a round less for hardly a byte more.

    Args:
        snapshot: what is read.
        segments: that `parts` points into.
        parts: rows that are likely.
        names: output fields.

    Returns:
        What was begun, for `done`.
    """
    stored, begun = _stored_of_hits(snapshot, names), []
    for ordinal, rows in parts:
        segment = segments[ordinal]
        if isinstance(segment, GrowingSegment) or not len(rows):
            continue
        reader, groups = _left(snapshot, segment, stored)
        calls = [partial(reader.read_ahead, group, rows) for group in groups]
        begun += [ahead(partial(quietly, call)) for call in calls]
    return begun


def done(begun: Sequence[Ahead[None]]) -> None:
    """Wait for what was begun, which is over by the time that hits are found: no call outlives its caller."""
    for one in begun:
        one.result()


def quietly(call: Callable[[], object]) -> None:
    """Make a call that only saves time: what goes wrong in it goes wrong again where it is needed, and is told."""
    try:
        call()
    except HeadwaterError:
        return


def taken_at_once(
    snapshot: Snapshot, segments: Sequence[Segment], parts: Parts, names: Sequence[str]
) -> Mapping[tuple[int, str], Column]:
    """Stored fields of rows of several segments: one step for all column groups of all of them.

    Args:
        snapshot: what to read.
        segments: the segments that `parts` points into.
        parts: the rows of each.
        names: fields with a column.

    Returns:
        Columns by segment and field, rows in the order asked; those that are in memory anyway are left out.
    """
    opened, schema = snapshot.opened, snapshot.schema
    places, calls = [], []
    for ordinal, rows in parts:
        segment = segments[ordinal]
        if isinstance(segment, GrowingSegment) or not len(rows):
            continue
        left = [name for name in names if not opened.fields.decoded(segment, schema, name)]
        for group in opened.readers.of(segment, schema).groups(left):
            places.append(ordinal)
            calls.append(partial(opened.fields.take_group, segment, schema, group, rows))
    taken: dict[tuple[int, str], Column] = {}
    for ordinal, columns in zip(places, together(calls), strict=True):
        taken.update({(ordinal, name): column for name, column in columns.items()})
    return taken


def parts_of(which: npt.NDArray[np.int32], rows: RowIds) -> tuple[Parts, npt.NDArray[np.int64]]:
    """Rows by segment, and the order that puts what they give back in the order asked."""
    order = np.argsort(which, kind="stable")
    stops = np.cumsum(np.bincount(which)).tolist()
    ordered, parts, start = rows[order], [], 0
    for one, stop in enumerate(stops):
        if stop > start:
            parts.append((one, ordered[start:stop]))
        start = stop
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return parts, back
