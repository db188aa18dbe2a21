"""Vectors as they are open: mapped from their files where these allow it, and those of struct arrays side by side."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.formats import FetchedVectors, Vectors
from headwater.lake import Segment, SegmentReader
from headwater.query.max_sim import VectorLists, vector_lists
from headwater.query.open_files import OpenFiles
from headwater.query.opened.keys import column_key, kept
from headwater.query.opened.readers import OpenedReaders
from headwater.query.opened.views import MOST_OPEN, Views
from headwater.query.placed import array_bytes, vectors_bytes
from headwater.schema import Field, Schema
from headwater.tiers import MAPPED, MemoryView, Place, Policies
from headwater.types import Bitmap

__all__ = ["OpenedVectors"]


class OpenedVectors:
    """The opened vector fields of one collection.

    Args:
        readers: of its segments.
        open_files: files as they are open.
        bitmaps: keeps which rows have a vector.
        views: where the others are kept.
    """

    def __init__(
        self,
        readers: OpenedReaders,
        open_files: OpenFiles,
        bitmaps: MemoryView[Hashable, Bitmap],
        views: Views,
    ) -> None:
        self._readers = readers
        self._open_files = open_files
        self._bitmaps = bitmaps
        self._vectors: MemoryView[tuple[Any, ...], Vectors] = views.new(
            "vectors", vectors_bytes, most=MOST_OPEN, grows=False
        )
        self._lists: MemoryView[Hashable, VectorLists] = views.new("lists", array_bytes, grows=False)

    def of(self, segment: Segment, schema: Schema, name: str) -> Vectors:
        """(num_rows, width) view of a dense vector field, mapped from the file where the format allows it."""
        key = self._key(segment, schema.field(name))
        if MAPPED.tight:
            MAPPED.look()
        return kept(self._vectors, segment, key, lambda: self._readers.of(segment, schema).vectors(name))

    def streamed(self, segment: Segment, schema: Schema, name: str) -> Vectors:
        """`of` for whoever reads each row about once: by ranges, and nothing that is read is kept."""
        return self._readers.ranged(segment, schema).streamed_vectors(name)

    def present(self, segment: Segment, schema: Schema, name: str) -> Bitmap | None:
        """(num_rows,) True where a vector field is not null; None where it nowhere is. Kept, its values are not."""
        key = ("present", *column_key(segment, schema.field(name)))
        nowhere = np.empty(0, np.bool_)

        def make() -> Bitmap:
            found = self._readers.of(segment, schema).present(name)
            return nowhere if found is None else found

        bitmap = kept(self._bitmaps, segment, key, make)
        return bitmap if len(bitmap) else None

    def lists(self, segment: Segment, schema: Schema, field: Field) -> VectorLists:
        """The vectors of a struct array's rows; kept hot within the budget.

        Args:
            segment: of the collection.
            schema: names the struct array.
            field: as `max_sim.list_field` gives it.
        """
        key = ("lists", segment.id, field.id, field.type.fields[0].name, segment.columns_key)
        make = partial(_read_lists, self._readers.of(segment, schema), schema, field)
        return kept(self._lists, segment, key, make)

    def read_lists(self, segment: Segment, schema: Schema, field: Field) -> VectorLists:
        """`lists` for whoever reads them once: not kept."""
        return _read_lists(self._readers.streamed(segment, schema), schema, field)

    def here(self, segment: Segment, field: Field) -> bool:
        """Whether the vectors of a segment in files are open, and reading them asks the store nothing."""
        vectors = self._vectors.get(self._key(segment, field))
        return vectors is not None and not isinstance(vectors, FetchedVectors)

    def place(self, segment: Segment, field: Field) -> Place | None:
        """Where the vectors of a segment are; None where they are not in one array."""
        key = self._key(segment, field)
        place = self._vectors.place(key)
        return place if place is not None and isinstance(self._vectors.get(key), np.ndarray) else None

    def use_policies(self, policies: Policies) -> None:
        """Close what is open elsewhere than these say."""
        self._vectors.discard(lambda key: key[-1] is not policies.of_fields((key[2],)))

    def moved(self, segments: set[str]) -> None:
        """Open the vectors of these segments again when they are used next."""
        self._vectors.discard(lambda key: key[1] in segments)

    def _key(self, segment: Segment, field: Field) -> tuple[Any, ...]:
        return ("vectors", *column_key(segment, field), self._open_files.policies.of_fields((field.id,)))


def _read_lists(reader: SegmentReader, schema: Schema, field: Field) -> VectorLists:
    name = schema.field_by_id(field.id).name
    batches = [batch.column(0) for batch in reader.scan([name])]
    column = pa.concat_arrays(batches) if batches else pa.array([], schema.to_arrow([name]).field(0).type)
    return vector_lists(column, field)
