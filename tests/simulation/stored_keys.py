"""Finds rows of segments by key from the lake alone."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from headwater.lake.keys import KeyLookup
from headwater.lake.log.growing_segment import GrowingSegment, open_rows
from headwater.lake.manifest import Segment
from headwater.schema import Schema
from headwater.store import ObjectStore
from headwater.types import Bitmap, RowIds

__all__ = ["StoredKeys"]


class StoredKeys:
    """`SegmentKeys` that reads key columns as they are asked for, and keeps those of growing segments only.

    Args:
        store: where the lake is.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def where(self, segment: Segment, schema: Schema, keys: pa.Array) -> RowIds:
        """See `SegmentKeys.where`."""
        if isinstance(segment, GrowingSegment):
            if "keys" not in segment.memo:
                segment.memo["keys"] = self._lookup(segment, schema)
            lookup: KeyLookup = segment.memo["keys"]
            return lookup.where(keys)
        return self._lookup(segment, schema).where(keys)

    def _lookup(self, segment: Segment, schema: Schema) -> KeyLookup:
        reader = open_rows(self._store, segment, schema)
        if schema.primary_key is None:
            return KeyLookup(pa.array(reader.row_ids()))
        chunks = [batch.column(0) for batch in reader.scan([schema.primary_key])]
        return KeyLookup(chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks))

    def deleted(self, segment: Segment, schema: Schema) -> Bitmap | None:
        """See `SegmentKeys.deleted`."""
        return open_rows(self._store, segment, schema).deleted()

    def sealed(self, grown: Sequence[GrowingSegment], segments: Sequence[Segment], schema: Schema) -> None:
        """See `SegmentKeys.sealed`; nothing is kept."""
