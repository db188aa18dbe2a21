"""Fields in memory: decoded where they are read often, in place until then."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from contextlib import suppress

import pyarrow as pa

from headwater import trace
from headwater.errors import HeadwaterError
from headwater.index.json_paths import JsonPath, JsonValues, numbers_of_texts, shred
from headwater.lake import Segment
from headwater.lake.log import GrowingSegment, column_in
from headwater.query.columns import ArrowColumn, Column, HotColumn, rows_of
from headwater.query.open_files import OpenFiles
from headwater.query.opened.keys import column_key, kept
from headwater.query.opened.readers import OpenedReaders
from headwater.query.opened.views import MOST_OPEN, Views
from headwater.query.placed import array_bytes, column_bytes
from headwater.schema import Field, Schema
from headwater.tiers import MemoryView, Place, release_freed
from headwater.types import RowIds

__all__ = ["OpenedFields"]

_HOT_TAKES = 8
"""Decoding a whole field costs about as much as this many reads of a few rows."""

_LARGE_COLUMN_BYTES = 16 << 20
"""Decoding more than this leaves so much free memory behind that it is given back."""


class OpenedFields:
    """The fields of one collection's segments.

    Args:
        readers: of the segments.
        open_files: files as they are open.
        views: where columns are kept.

    Attributes:
        takes: counts how often each was read in place.
    """

    def __init__(self, readers: OpenedReaders, open_files: OpenFiles, views: Views) -> None:
        self._readers = readers
        self._open_files = open_files
        self._columns: MemoryView[Hashable, HotColumn] = views.new("columns", column_bytes)
        self._paths: MemoryView[Hashable, JsonValues] = views.new("json_paths", array_bytes, grows=False)
        self.takes: MemoryView[Hashable, itertools.count[int]] = views.new("takes", most=MOST_OPEN)

    def column(self, segment: Segment, schema: Schema, name: str) -> pa.Array:
        """All rows of one field, decoded; kept hot within the budget."""
        return self.hot(segment, schema, name).array

    def hot(self, segment: Segment, schema: Schema, name: str) -> HotColumn:
        """`column` with its lookups."""
        return self._hot(column_key(segment, schema.field(name)), segment, schema, name)

    def _hot(self, key: Hashable, segment: Segment, schema: Schema, name: str) -> HotColumn:
        def decode() -> HotColumn:
            reader = self._readers.of(segment, schema)
            with trace.step("decode field", field=name, rows=segment.num_rows) as step:
                chunks = [batch.column(0) for batch in reader.scan([name])]
                if step is not None:
                    trace.note(tier=self._open_files.tier_of_field(segment, schema.field(name)))
                    trace.count(rows_read=segment.num_rows, bytes_decoded=sum(c.nbytes for c in chunks))
            if not chunks:
                return HotColumn(pa.array([], schema.to_arrow([name]).field(0).type))
            column = HotColumn(chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks))
            if column.held_bytes > _LARGE_COLUMN_BYTES:
                chunks.clear()
                release_freed()
            return column

        return kept(self._columns, segment, key, decode)

    def json_path(self, segment: Segment, schema: Schema, name: str, path: JsonPath) -> JsonValues:
        """All rows of one path of a JSON field, sorted by type; kept within a budget."""
        key = ("path", *column_key(segment, schema.field(name)), path)
        return kept(self._paths, segment, key, lambda: shred(self.column(segment, schema, name), path))

    def json_numbers(self, segment: Segment, schema: Schema, name: str, path: JsonPath) -> JsonValues:
        """`json_path`, where texts that spell a number are numbers too."""
        key = ("numbers", *column_key(segment, schema.field(name)), path)
        return kept(
            self._paths,
            segment,
            key,
            lambda: numbers_of_texts(self.json_path(segment, schema, name, path)),
        )

    def decoded(self, segment: Segment, schema: Schema, name: str, path: JsonPath = ()) -> bool:
        """Whether a field, or a path of a JSON field, is in memory already."""
        key = column_key(segment, schema.field(name))
        if path:
            return self._paths.get(("path", *key, path)) is not None
        return self._columns.get(key) is not None

    def take(self, segment: Segment, schema: Schema, name: str, rows: RowIds) -> Column:
        """Rows of one field, in the order asked.

        A field is read in place until it has been asked for `_HOT_TAKES` times; then it is decoded and kept hot.

        Args:
            segment: of the collection.
            schema: names the field.
            name: the field.
            rows: (n,) int64 positions.
        """
        if isinstance(segment, GrowingSegment):
            return rows_of(column_in(segment, schema.field(name)), rows)
        field = schema.field(name)
        key = column_key(segment, field)
        column = self._columns.get(key)
        if column is None:
            if self._cheaper_in_place(key, segment, field):
                taken = self._readers.of(segment, schema).take([name], rows).column(name)
                return ArrowColumn(taken.combine_chunks())
            column = self._hot(key, segment, schema, name)
        return column.take(rows)

    def take_group(
        self, segment: Segment, schema: Schema, names: Sequence[str], rows: RowIds
    ) -> dict[str, Column]:
        """`take` of several fields of one column group, which those read in place are read from together."""
        fields = [schema.field(name) for name in names]
        in_place = [
            field.name
            for field in fields
            if self._cheaper_in_place(column_key(segment, field), segment, field)
        ]
        taken: dict[str, Column] = {}
        if in_place:
            table = self._readers.of(segment, schema).take(in_place, rows)
            taken = {name: ArrowColumn(table.column(name).combine_chunks()) for name in in_place}
        for name in names:
            if name not in taken:
                taken[name] = self.hot(segment, schema, name).take(rows)
        return taken

    def _cheaper_in_place(self, key: Hashable, segment: Segment, field: Field) -> bool:
        if field.type.data_type.dense_vector:
            return True
        group = next((group for group in segment.column_groups if field.id in group.field_ids), None)
        if group is None:
            return False
        if self._open_files.policies.of_fields(group.field_ids).in_store:
            return True
        if group.file is None:
            # Rows of files that others own come by whole row groups: one read costs what decoding does.
            return False
        return next(self.takes.get_or(key, itertools.count)) < _HOT_TAKES or self._columns.crowded(key)

    def place(self, segment: Segment, field: Field) -> Place | None:
        """Where a decoded field is; None where it is not in memory."""
        return self._columns.place(column_key(segment, field))

    def hot_names(self, schema: Schema) -> list[str]:
        """The fields that are decoded in some segment, vectors aside."""
        hot = {key[1] for key in list(self._columns.keys()) if isinstance(key, tuple)}
        return [
            one.name for one in schema.stored_fields if one.id in hot and not one.type.data_type.dense_vector
        ]

    def decode_ahead(self, segment: Segment, schema: Schema, name: str) -> None:
        """Decode a field where there is room for it; whoever reads it does so otherwise."""
        if not self._columns.crowded(column_key(segment, schema.field(name))):
            with suppress(HeadwaterError):
                self.hot(segment, schema, name)
