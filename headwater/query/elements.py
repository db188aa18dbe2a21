"""Hits that are elements: single vectors searched for among those of struct arrays.

With a plain metric each element of a row's array is a candidate of its own, so a row is found as often as its elements
are near. Inside a search an element is a number: its place among the vectors of its segment, one row after the other
(`VectorLists`). `placed` turns numbers into rows and positions in their arrays, once the best of all segments are
known.

Which elements may be found: those of the rows that the filter selects, and of these, where the filter has an
`element_filter` of the array, the ones that it means. An element without a vector is never found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from headwater.lake import Segment
from headwater.query.max_sim import VectorLists
from headwater.query.snapshot import Selection, Snapshot
from headwater.schema import Field
from headwater.types import Bitmap, RowIds

if TYPE_CHECKING:
    from headwater.query import expr

__all__ = ["allowed_elements", "meant_elements", "placed"]


def allowed_elements(
    snapshot: Snapshot,
    selection: Selection,
    field: Field,
    bound: expr.Bound | None,
    lists: VectorLists,
    *,
    narrowed: bool = False,
) -> Bitmap | None:
    """(elements,) of `lists`, those that may be found; None for all. Kept with what the filter selects.

    Args:
        snapshot: what is searched.
        selection: rows of a segment, selected by the filter among others.
        field: the searched vectors.
        bound: the filter.
        lists: the vectors of the segment.
        narrowed: whether the selection leaves out more rows than the filter and what is deleted.
    """
    name, segment = snapshot.schema.field_by_id(field.id).name, selection.segment
    chosen = bound is not None and name in bound.chosen_elements
    if selection.bitmap is None and not chosen:
        return None

    def make() -> Bitmap:
        counts = np.diff(lists.offsets)
        rows = None if selection.bitmap is None else np.repeat(selection.bitmap, counts)
        if bound is None or not chosen:
            assert rows is not None
            return rows
        held = snapshot.chosen_elements(segment, bound, name)
        if lists.places is not None:
            held = held[np.repeat(_starts(snapshot, segment, name)[:-1], counts) + lists.places]
        return held if rows is None else held & rows

    if narrowed or snapshot.expires:
        return make()
    of_filter, gone = snapshot.selected_by(segment, bound)
    key = ("allowed elements", field.id, field.type.fields[0].name, of_filter)
    return snapshot.opened.selections.of(segment, key, gone, make)


def placed(
    snapshot: Snapshot,
    field: Field,
    segments: Sequence[Segment],
    which: npt.NDArray[np.int32],
    numbers: RowIds,
) -> tuple[RowIds, RowIds]:
    """(n,) the row of each element in its segment, and (n,) its position in the row's array.

    Args:
        snapshot: what was searched.
        field: the searched vectors.
        segments: that `which` points into.
        which: (n,) the segment of each element.
        numbers: (n,) its number there.
    """
    rows, places = np.empty(len(numbers), np.int64), np.empty(len(numbers), np.int64)
    for ordinal in np.unique(which):
        here = which == ordinal
        lists = snapshot.opened.vectors.lists(segments[ordinal], snapshot.schema, field)
        rows[here] = lists.rows_of(numbers[here])
        places[here] = lists.places_of(numbers[here], rows[here])
    return rows, places


def meant_elements(
    snapshot: Snapshot,
    segments: Sequence[Segment],
    which: npt.NDArray[np.int32],
    rows: RowIds,
    bound: expr.Bound | None,
) -> list[list[int]] | None:
    """For each of some rows that a filter selects, the positions of the elements that it means, ascending.

    None where it means none, or those of several arrays.

    Args:
        snapshot: what is read.
        segments: that `which` points into.
        which: (n,) the segment of each row.
        rows: (n,) its position there.
        bound: the filter.
    """
    if bound is None or len(bound.chosen_elements) != 1:
        return None
    [name] = bound.chosen_elements
    found: list[list[int]] = [[] for _ in rows]
    for ordinal in np.unique(which):
        held = snapshot.chosen_elements(segments[ordinal], bound, name)
        starts = _starts(snapshot, segments[ordinal], name)
        for at in np.flatnonzero(which == ordinal).tolist():
            row = rows[at]
            found[at] = np.flatnonzero(held[starts[row] : starts[row + 1]]).tolist()
    return found


def _starts(snapshot: Snapshot, segment: Segment, name: str) -> RowIds:
    """(num_rows + 1,) where the elements of each row start, those without a vector included."""
    column = snapshot.opened.fields.column(segment, snapshot.schema, name)
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    starts: RowIds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return starts
