"""Reads without vectors: filter, order, page, count, scan and get by key over one snapshot."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater import trace
from headwater.errors import InvalidArgument
from headwater.lake import Segment, bloom_may_contain
from headwater.query.columns import HotColumn, NumberColumn
from headwater.query.elements import meant_elements
from headwater.query.fetch import fetch_keys, fetch_table, json_names
from headwater.query.ordering import OrderBy, sort_columns, sorted_places
from headwater.query.paths import ordered_path
from headwater.query.results import QueryResult
from headwater.query.snapshot import ROW_ID, Selection, Snapshot
from headwater.types import DataType, RowIds

if TYPE_CHECKING:
    from headwater.query import expr

__all__ = ["QueryRequest", "count", "get", "locate", "query", "query_keys", "scan"]


@dataclass(frozen=True)
class QueryRequest:
    """One query, checked.

    Attributes:
        filter: rows to return; None for all.
        output_fields: fields of the rows.
        order_by: most significant first. Without it rows come in stored order.
        limit: most rows to return; None for all.
        offset: rows to skip first.
    """

    filter: expr.Bound | None = None
    output_fields: tuple[str, ...] = ()
    order_by: tuple[OrderBy, ...] = ()
    limit: int | None = None
    offset: int = 0

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 0:
            raise InvalidArgument(f"limit must not be negative, got {self.limit}")
        if self.offset < 0:
            raise InvalidArgument(f"offset must not be negative, got {self.offset}")

    @property
    def stop(self) -> int | None:
        """One past the last row needed, in result order; None for all."""
        return None if self.limit is None else self.offset + self.limit


def query(snapshot: Snapshot, request: QueryRequest) -> QueryResult:
    """Rows of one snapshot as a table."""
    started = time.perf_counter()
    with trace.step("query"):
        segments = snapshot.survivors(request.filter)
        which, rows = _positions(snapshot, request, segments)
        if request.order_by:
            with trace.step("order", rows=len(rows), fields=[one.name for one in request.order_by]):
                order = _order(snapshot, request, segments, which, rows)
            which, rows = which[order], rows[order]
        page = slice(request.offset, request.stop)
        which, rows = which[page], rows[page]
        with trace.step("fetch", rows=len(rows), fields=list(request.output_fields)):
            table = fetch_table(snapshot, segments, which, rows, request.output_fields)
    info = snapshot.info(started=started, pruned=len(snapshot.segments) - len(segments))
    elements = meant_elements(snapshot, segments, which, rows, request.filter)
    parsed = json_names(snapshot.schema, request.output_fields)
    return QueryResult(table, info, parsed, element_indices=elements)


def count(snapshot: Snapshot, bound: expr.Bound | None) -> int:
    """Number of rows that a filter selects."""
    if bound is None:
        return snapshot.num_rows
    with trace.step("count"):
        return sum(snapshot.select(segment, bound).count for segment in snapshot.survivors(bound))


def scan(
    snapshot: Snapshot, names: Sequence[str], bound: expr.Bound | None = None
) -> Iterator[pa.RecordBatch]:
    """Stream record batches of chosen fields, segment by segment; memory stays bounded by a batch.

    Args:
        snapshot: what to read.
        names: fields, in the order wanted.
        bound: rows to return; None for all.
    """
    schema = snapshot.schema
    for segment in snapshot.survivors(bound):
        selection = snapshot.select(segment, bound)
        if selection.count == 0:
            continue
        opened = snapshot.opened
        reader = (opened.readers.bulk if selection.bitmap is None else opened.readers.of)(segment, schema)
        yield from reader.scan(list(names), selection.bitmap)


def query_keys(snapshot: Snapshot, bound: expr.Bound | None) -> pa.Array:
    """Primary keys, or row ids without one, of the rows that a filter selects."""
    segments = snapshot.survivors(bound)
    which, rows = _positions(snapshot, QueryRequest(bound), segments)
    keys = fetch_keys(snapshot, segments, which, rows).to_arrow()
    name = snapshot.schema.primary_key
    kind = pa.int64() if name is None else snapshot.schema.to_arrow([name]).field(0).type
    return keys.cast(kind)


def get(snapshot: Snapshot, ids: Sequence[Any], output_fields: tuple[str, ...]) -> QueryResult:
    """Rows by primary key (or row id), in the order of `ids`; absent keys are left out.

    Args:
        snapshot: what to read.
        ids: the keys.
        output_fields: fields of the rows.
    """
    started = time.perf_counter()
    segments, places = locate(snapshot, ids)
    chosen = [places[key] for key in ids if key in places]
    which = np.array([ordinal for ordinal, _ in chosen], np.int32)
    rows = np.array([position for _, position in chosen], np.int64)
    table = fetch_table(snapshot, segments, which, rows, output_fields)
    info = snapshot.info(started=started, pruned=len(snapshot.segments) - len(segments))
    return QueryResult(table, info, json_names(snapshot.schema, output_fields))


def locate(snapshot: Snapshot, ids: Sequence[Any]) -> tuple[list[Segment], dict[Any, tuple[int, int]]]:
    """Where rows are, by primary key (or row id).

    Args:
        snapshot: what to read.
        ids: the keys.

    Returns:
        Segments, and for each key that is there which of them has it, and at which position.

    Raises:
        InvalidArgument: a key is of another type than the field.
    """
    _check_keys(snapshot, ids)
    segments = [s for s in snapshot.survivors(None) if _may_hold(snapshot, s, ids)]
    found: dict[Any, tuple[int, int]] = {}
    for ordinal, segment in enumerate(segments):
        selection = snapshot.select(segment, None)
        column = _key_column(snapshot, segment)
        positions = column.where(ids)
        if selection.bitmap is not None:
            positions = positions[selection.bitmap[positions]]
        for position, key in zip(positions.tolist(), column.take(positions).to_pylist(), strict=True):
            found[key] = (ordinal, position)
    return segments, found


def _check_keys(snapshot: Snapshot, ids: Sequence[Any]) -> None:
    name = snapshot.schema.primary_key
    text = name is not None and snapshot.schema.field(name).type.data_type is DataType.VARCHAR
    wanted: type = str if text else int
    for key in ids:
        fits = (
            isinstance(key, str) if text else isinstance(key, int | np.integer) and not isinstance(key, bool)
        )
        if not fits or (not text and not -(1 << 63) <= key < 1 << 63):
            raise InvalidArgument(f"key {key!r} of field {name or ROW_ID!r}: expected {wanted.__name__}")


def _key_column(snapshot: Snapshot, segment: Segment) -> HotColumn:
    name = snapshot.schema.primary_key
    if name is None:
        return HotColumn(pa.array(snapshot.opened.readers.of(segment, snapshot.schema).row_ids()))
    return snapshot.opened.fields.hot(segment, snapshot.schema, name)


def _may_hold(snapshot: Snapshot, segment: Segment, ids: Sequence[Any]) -> bool:
    if snapshot.schema.primary_key is None:
        return any(first <= key < first + size for key in ids for first, size in segment.row_ids)
    bloom = segment.key_bloom
    return bloom is None or any(bloom_may_contain(bloom, key) for key in ids)


def _positions(
    snapshot: Snapshot, request: QueryRequest, segments: Sequence[Segment]
) -> tuple[npt.NDArray[np.int32], RowIds]:
    """Segment ordinal and position of every selected row that may be on the page, in stored order."""
    if request.stop and [one.name for one in request.order_by] == [snapshot.schema.primary_key]:
        found = _first_by_key(snapshot, request, segments, request.stop)
    else:
        found, seen, enough = {}, 0, None if request.order_by else request.stop
        for ordinal, segment in enumerate(segments):
            if enough is not None and seen >= enough:
                break
            found[ordinal] = _selected(snapshot.select(segment, request.filter))
            seen += len(found[ordinal])
    which = [np.full(len(rows), ordinal, np.int32) for ordinal, rows in sorted(found.items())]
    rows = [rows for _, rows in sorted(found.items())]
    return np.concatenate([np.empty(0, np.int32), *which]), np.concatenate([np.empty(0, np.int64), *rows])


def _first_by_key(
    snapshot: Snapshot, request: QueryRequest, segments: Sequence[Segment], count: int
) -> dict[int, RowIds]:
    """By ordinal, rows among which are the `count` that come first by key.

    Segments are looked at in the order of their first keys, as statistics know them, until all others come later.
    """
    [order] = request.order_by
    firsts = {ordinal: _first_key(snapshot, segment, order) for ordinal, segment in enumerate(segments)}
    known = [ordinal for ordinal, first in firsts.items() if first is not None]
    known.sort(key=firsts.__getitem__, reverse=order.descending)
    found: dict[int, RowIds] = {}
    keys: pa.Array | None = None
    for ordinal in [*firsts.keys() - known, *known]:
        if keys is not None and len(keys) == count and firsts[ordinal] is not None:
            first, last = firsts[ordinal], keys[-1].as_py()
            if first < last if order.descending else first > last:
                break
        positions = _selected(snapshot.select(segments[ordinal], request.filter))
        column = _key_column(snapshot, segments[ordinal])
        if len(positions) > count:
            positions = _first_rows(column, positions, count, order)
        found[ordinal] = positions
        here = column.take(positions).to_arrow()
        keys = here if keys is None else pa.concat_arrays([keys, here.cast(keys.type)])
        keys = keys.take(pc.select_k_unstable(pa.table({"key": keys}), count, [("key", order.direction)]))
    trace.note(by_key=True, segments_read=len(found))
    return found


def _first_key(snapshot: Snapshot, segment: Segment, order: OrderBy) -> Any:
    """The key of a segment that comes first; None where statistics do not know it."""
    stats = segment.stats.get(snapshot.schema.field(order.name).id)
    return None if stats is None else stats.max if order.descending else stats.min


def _selected(selection: Selection) -> RowIds:
    if selection.bitmap is None:
        return np.arange(selection.segment.num_rows, dtype=np.int64)
    return np.flatnonzero(selection.bitmap).astype(np.int64, copy=False)


def _first_rows(column: HotColumn, positions: RowIds, count: int, order: OrderBy) -> RowIds:
    """Of some rows those that come first by a key, as they are stored; the others need not be sorted."""
    keys = column.take(positions)
    if isinstance(keys, NumberColumn):
        place = len(positions) - count if order.descending else count - 1
        parted = np.argpartition(keys.numbers, place)
        chosen = parted[place:] if order.descending else parted[:count]
    else:
        table = pa.table({"key": keys.to_arrow()})
        chosen = pc.select_k_unstable(table, count, [("key", order.direction)]).to_numpy()
    return np.sort(positions[chosen])


def _order(
    snapshot: Snapshot,
    request: QueryRequest,
    segments: Sequence[Segment],
    which: npt.NDArray[np.int32],
    rows: RowIds,
) -> npt.NDArray[np.int64]:
    paths = [ordered_path(snapshot.schema, one.name, "order_by") for one in request.order_by]
    columns = [sort_columns(snapshot, segments, which, rows, path) for path in paths]
    return sorted_places([], list(zip(request.order_by, columns, strict=True)))
