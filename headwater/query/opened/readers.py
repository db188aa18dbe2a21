"""Segments as they are open: their files, read through one schema."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from headwater.formats import ArrowIpcFormat
from headwater.lake import FileOpener, FileRef, Segment, SegmentReader
from headwater.lake.external import TableSource
from headwater.lake.log import GrowingSegment, open_rows
from headwater.query.open_files import OpenFiles
from headwater.query.opened.views import MOST_OPEN, Views
from headwater.query.placed import reader_bytes
from headwater.schema import Schema
from headwater.store import ObjectStore
from headwater.tiers import MemoryView, Residency, open_object

__all__ = ["OpenedReaders"]


class OpenedReaders:
    """The opened segments of one collection.

    Args:
        store: where the lake is.
        source: the files of an external collection; None for a managed one.
        open_files: files as they are open.
        views: where readers are kept.
    """

    def __init__(
        self,
        store: ObjectStore,
        source: TableSource | None,
        open_files: OpenFiles,
        views: Views,
    ) -> None:
        self._store = store
        self._source = source
        self._open_files = open_files
        self._view: MemoryView[tuple[Any, ...], SegmentReader] = views.new(
            "segments", reader_bytes, most=MOST_OPEN
        )
        self._generation = 0

    def use_source(self, source: TableSource | None) -> None:
        """Open external rows from now on in another source; what is opened stays open."""
        self._source = source

    def of(self, segment: Segment, schema: Schema) -> SegmentReader:
        """The opened segment as this schema reads it."""
        if isinstance(segment, GrowingSegment):
            return open_rows(self._store, segment, schema)

        def open_segment() -> SegmentReader:
            crowded = self._view.crowded(key)
            open_file = self._open_files.group_below if crowded else self._open_files.group
            return self._open(segment, schema, open_file)

        deletes = segment.delete_vector.key if segment.delete_vector else None
        # A version of a schema is one schema along a collection's chain.
        key = (segment.id, schema.version, segment.columns_key, deletes, self._generation)
        return self._view.get_or(key, open_segment)

    def bulk(self, segment: Segment, schema: Schema) -> SegmentReader:
        """`of` for whoever reads all rows once: what that fetches does not take the place of what others use."""

        def open_file(file: FileRef, field_ids: Sequence[int]) -> Residency:
            opened = self._open_files.group(file, field_ids)
            opened.keep = False
            return opened

        return self._open(segment, schema, open_file)

    def streamed(self, segment: Segment, schema: Schema) -> SegmentReader:
        """`bulk` that holds a few blocks: a file that can be read by pieces is not mapped."""

        def open_file(file: FileRef, field_ids: Sequence[int]) -> Residency:
            if file.key.endswith(ArrowIpcFormat.suffix):
                return self._by_ranges(file)
            opened = self._open_files.group(file, field_ids)
            opened.keep = False
            return opened

        return self._open(segment, schema, open_file)

    def ranged(self, segment: Segment, schema: Schema) -> SegmentReader:
        """`streamed` whatever the format: every file is read by ranges, and nothing that is read is kept."""
        return self._open(segment, schema, lambda file, _: self._by_ranges(file))

    def renew(self) -> None:
        """Open every segment again when it is used next; a read that began keeps what it has."""
        self._generation += 1
        self._view.discard(lambda key: key[-1] != self._generation)

    def moved(self, segments: Collection[str], deletes: Collection[str]) -> None:
        """Open these segments again, and those with these delete vectors."""
        self._view.discard(lambda key: key[0] in segments or key[3] in deletes)

    def _open(self, segment: Segment, schema: Schema, open_file: FileOpener) -> SegmentReader:
        return open_rows(self._store, segment, schema, source=self._source, open_file=open_file)

    def _by_ranges(self, file: FileRef) -> Residency:
        return open_object(self._store, file.key, size_bytes=file.size_bytes, tier="cold")
