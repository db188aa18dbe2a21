"""What is open of one collection, and where a search finds all of it in memory."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple
from weakref import finalize

import numpy.typing as npt
import pyarrow as pa

from headwater.index import ScanCodes
from headwater.index.joined_codes import JoinedCodes
from headwater.lake import FileResources, IndexBuild, KeyLookup, Segment
from headwater.lake.external import TableSource
from headwater.lake.log import GrowingSegment
from headwater.query.coded import Codes, codes_bytes, later
from headwater.query.columns import HotColumn
from headwater.query.open_files import OpenFiles
from headwater.query.opened.fields import OpenedFields
from headwater.query.opened.indexes import OpenedIndexes
from headwater.query.opened.readers import OpenedReaders
from headwater.query.opened.selections import Selections
from headwater.query.opened.vectors import OpenedVectors
from headwater.query.opened.views import MOST_OPEN, Views
from headwater.query.placed import lookup_bytes
from headwater.schema import Field, Schema
from headwater.store import ObjectStore
from headwater.tiers import MAPPED, MemoryView, Place, Policies, Tiers, taken
from headwater.types import Bitmap, RowIds

__all__ = ["HotParts", "HotPlaces", "Opened"]


class HotPlaces(NamedTuple):
    """Where a search of one segment finds what it needs; see `Opened.hot_places`.

    Attributes:
        policies: by which it was opened.
        every: of the index, the vectors, the rows that a filter selects where there is one, and fields, as asked.
        filtered: whether there is a filter.
        decoded: whether all fields are in memory; else there are none of them.
    """

    policies: Policies
    every: tuple[Place, ...]
    filtered: bool
    decoded: bool


class HotParts(NamedTuple):
    """What a search of one segment needs, all of it in memory or mapped.

    Attributes:
        index: opened.
        vectors: of the segment.
        selected: rows that the filter selects; None without a filter.
        columns: fields as asked; None where not all of them are in memory.
    """

    index: Any
    vectors: npt.NDArray[Any]
    selected: Bitmap | None
    columns: list[HotColumn] | None


class Opened:
    """What is opened of one collection.

    Args:
        store: where the lake is.
        source: the files of an external collection; None for a managed one.
        tiers: what the process holds; nothing that others share by default.
        root: prefix of the collection in the lake, for reports.

    Attributes:
        tiers: what the process holds.
        open_files: files as they are open.
        files: where analyzers find their files of words.
        waits: whether some of it may be a request away.
        readers: segments.
        fields: their values.
        vectors: of vector fields.
        indexes: builds.
        selections: the rows that filters select.
        codes: of rows that no index covers yet.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        source: TableSource | None = None,
        tiers: Tiers | None = None,
        root: str = "",
    ) -> None:
        self.tiers = tiers or Tiers()
        self.open_files = OpenFiles(store, self.tiers, root)
        self._remote = store.local_path(root or "_") is None
        self.waits = self._remote
        self.files = FileResources(store)
        views = Views(self.tiers.memory, root)
        self._views = views.by_kind
        self.readers = OpenedReaders(store, source, self.open_files, views)
        self.fields = OpenedFields(self.readers, self.open_files, views)
        self.indexes = OpenedIndexes(self.open_files, views)
        self.selections = Selections(views)
        self.vectors = OpenedVectors(self.readers, self.open_files, self.selections.view, views)
        self._row_ids: MemoryView[str, KeyLookup] = views.new("row_ids", lookup_bytes, most=MOST_OPEN)
        coded: MemoryView[Hashable, ScanCodes | JoinedCodes | None] = views.new(
            "codes", codes_bytes, most=MOST_OPEN, grows=False
        )
        self.codes = Codes(coded, self.fields.takes)
        self.tiers.follow(self)
        # What a handle that nobody holds any more had opened goes with it.
        finalize(self, _abandon, self.tiers, tuple(self._views.values())).atexit = False

    @property
    def policies(self) -> Policies:
        """Where files are opened."""
        return self.open_files.policies

    def use_policies(self, policies: Policies) -> None:
        """Open files from now on where these say. What is opened elsewhere goes; a read that began keeps it."""
        before, self.open_files.policies = self.open_files.policies, policies
        self.waits = self._remote or _some_cold(policies)
        if before == policies:
            return
        if (before.collection, before.fields) != (policies.collection, policies.fields):
            self.readers.renew()
        self.vectors.use_policies(policies)
        self.indexes.use_policies(policies)

    def moved(self, keys: Collection[str]) -> None:
        """Open some files again when they are used next: they are nearer, or farther, than before."""
        self.indexes.moved(keys)
        # A segment's files are in its folder, or named by its delete vector.
        segments = {key.rsplit("/", 2)[-2] for key in keys if "/segments/" in key}
        self.readers.moved(segments, keys)
        self.vectors.moved(segments)

    # -- what a search finds in memory ----------------------------------------------------------------------------

    def near(self, segment: Segment, schema: Schema, name: str, build: IndexBuild | None) -> bool:
        """Whether a search of a vector field asks the store nothing: its vectors and their index are here."""
        if not self.vectors.here(segment, schema.field(name)):
            return isinstance(segment, GrowingSegment)
        return build is None or self.indexes.here(build)

    def hot_places(
        self,
        segment: Segment,
        schema: Schema,
        field: Field,
        build: IndexBuild,
        names: Sequence[str],
        selected: tuple[Hashable, int | None] | None = None,
    ) -> HotPlaces | None:
        """Where `hot_parts` looks; None where a search has to wait, or the vectors are not in one array.

        Args:
            segment: of the collection.
            schema: names the fields.
            field: the vector field.
            build: of its index over the segment.
            names: fields of the hits.
            selected: of a filter, what `selections` are asked by.
        """
        bitmap = [] if selected is None else [self.selections.place(segment, *selected)]
        every = (self.indexes.place(build), self.vectors.place(segment, field), *bitmap)
        here = tuple(place for place in every if place is not None)
        if len(here) < len(every):
            return None
        columns = [self.fields.place(segment, schema.field(name)) for name in names]
        fields = tuple(place for place in columns if place is not None)
        if len(fields) < len(columns):
            return None if self.waits else HotPlaces(self.open_files.policies, here, bool(bitmap), False)
        return HotPlaces(self.open_files.policies, here + fields, bool(bitmap), True)

    def hot_parts(self, places: HotPlaces) -> HotParts | None:
        """What a search of a segment needs; None where a part of it is not here, or goes elsewhere."""
        values = taken(places.every) if places.policies is self.open_files.policies else None
        if values is None:
            return None
        if MAPPED.tight:
            MAPPED.look()
        selected = values.pop(2) if places.filtered else None
        return HotParts(values[0].value, values[1], selected, values[2:] if places.decoded else None)

    # -- what the log asks: see `SegmentKeys` ---------------------------------------------------------------------

    def where(self, segment: Segment, schema: Schema, keys: pa.Array) -> RowIds:
        """See `SegmentKeys.where`."""
        if schema.primary_key is not None:
            return self.fields.hot(segment, schema, schema.primary_key).where(keys)

        def lookup() -> KeyLookup:
            return KeyLookup(pa.array(self.readers.of(segment, schema).row_ids()))

        return self._row_ids.get_or(segment.id, lookup).where(keys)

    def deleted(self, segment: Segment, schema: Schema) -> Bitmap | None:
        """See `SegmentKeys.deleted`."""
        return self.readers.of(segment, schema).deleted()

    def sealed(self, grown: Sequence[GrowingSegment], segments: Sequence[Segment], schema: Schema) -> None:
        """See `SegmentKeys.sealed`: what readers had of the rows in memory, they have of the segments soon.

        Codes go over; fields that are hot in other segments are decoded in the background, so that no read pays for it.
        """
        self.codes.carry_over(grown, segments)
        if self._remote or _some_cold(self.open_files.policies):
            return
        for segment, name in itertools.product(segments, self.fields.hot_names(schema)):
            later(partial(self.fields.decode_ahead, segment, schema, name))

    # -- all of it ------------------------------------------------------------------------------------------------

    @property
    def caches(self) -> Mapping[str, MemoryView[Any, Any]]:
        """Every cache by what it holds."""
        return self._views

    def clear(self) -> None:
        """Forget everything; the next read opens it again."""
        for cache in self._views.values():
            cache.clear()

    def close(self) -> None:
        """Forget everything, and keep nothing from now on; for a collection that is gone."""
        for cache in self._views.values():
            cache.close()


def _some_cold(policies: Policies) -> bool:
    every = (policies.collection, *policies.fields.values(), *policies.indexes.values())
    return any(one.in_store for one in every)


def _abandon(tiers: Tiers, views: Sequence[MemoryView[Any, Any]]) -> None:
    for view in views:
        tiers.memory.abandon(view)
