"""Opened segments, opened indexes and hot columns of one collection: compute caches storage, and nothing more.

Everything here is derived from immutable objects, so an entry is never stale, only cold: throwing the whole cache away
changes no answer. Entries are keyed by the name of the bytes they came from. All of them live on the one budget of
memory that the process has (`tiers.MemoryCache`); opened files are counted as well.

Thread safety: all methods may be called from any thread; two threads may decode the same column at once, and one wins.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar
from weakref import finalize

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater import index as index_kinds
from headwater import trace
from headwater.errors import HeadwaterError
from headwater.formats import ArrowIpcFormat, FetchedVectors, Vectors
from headwater.index import (
    SCALAR_KINDS,
    Index,
    IndexParams,
    ScalarIndex,
    ScalarParams,
    ScanCodes,
)
from headwater.index.joined_codes import JoinedCodes
from headwater.index.json_paths import JsonPath, JsonValues, numbers_of_texts, shred
from headwater.index.text import Postings, open_postings
from headwater.lake import FileRef, FileResources, IndexBuild, IndexSpec, KeyLookup, Segment, SegmentReader
from headwater.lake.external import TableSource
from headwater.lake.log import GrowingSegment, column_in, open_rows
from headwater.query.coded import Codes, codes_bytes, later
from headwater.query.columns import ArrowColumn, Column, HotColumn, rows_of
from headwater.query.lru import LruCache
from headwater.query.max_sim import VectorLists, single_metric, vector_lists
from headwater.query.open_files import OpenFiles
from headwater.query.placed import (
    Placed,
    array_bytes,
    column_bytes,
    lookup_bytes,
    placed_bytes,
    postings_bytes,
    reader_bytes,
    vectors_bytes,
)
from headwater.schema import Field, Schema
from headwater.store import ObjectStore
from headwater.tiers import (
    MAPPED,
    MemoryView,
    Place,
    Policies,
    Residency,
    TierPolicy,
    Tiers,
    open_object,
    release_freed,
    taken,
)
from headwater.types import Bitmap, MetricType, RowIds

__all__ = ["LruCache", "Opened", "index_params"]

_HOT_TAKES = 8
"""Decoding a whole field costs about as much as this many reads of a few rows."""

_BITMAP_BYTES = 64 << 20
"""Budget of the rows that recent filters selected, one byte each."""

_MOST_OPEN = 4096
"""Opened segments, and opened indexes of each kind."""

_MOST_BITMAPS = 8192
"""Filters that nobody asks for again leave theirs behind, and those of small segments are lighter than their keys."""

_LARGE_COLUMN_BYTES = 16 << 20
"""Decoding more than this leaves so much free memory behind that it is given back."""

V = TypeVar("V")


def index_params(spec: IndexSpec, share: float = 1.0) -> IndexParams:
    """The index room's parameters of an index named in a manifest, over a share of the collection's rows."""
    return IndexParams(spec.kind, single_metric(MetricType(spec.metric)), tuple(spec.options), share)


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
        open_files: files as they are open.
        files: where analyzers find their files of words.
        waits: whether some of it may be a request away.
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
        self._store = store
        self._tiers = tiers or Tiers()
        self.open_files = OpenFiles(store, self._tiers, root)
        self._remote = store.local_path(root or "_") is None
        self.waits = self._remote
        self._generation = 0
        self._source = source
        self.files = FileResources(store)
        view = partial(self._tiers.memory.view, collection=root)
        self._readers: MemoryView[tuple[Any, ...], SegmentReader] = view(
            "segments", weigh=reader_bytes, most=_MOST_OPEN
        )
        self._indexes: MemoryView[tuple[Any, ...], Placed[Index]] = view(
            "vector_indexes", weigh=placed_bytes, most=_MOST_OPEN
        )
        self._scalars: MemoryView[tuple[Any, ...], Placed[ScalarIndex]] = view(
            "scalar_indexes", weigh=placed_bytes, most=_MOST_OPEN
        )
        self._columns: MemoryView[Hashable, HotColumn] = view("columns", weigh=column_bytes)
        self._bitmaps: MemoryView[Hashable, Bitmap] = view(
            "filters", weigh=array_bytes, most=_MOST_BITMAPS, grows=False, most_bytes=_BITMAP_BYTES
        )
        self._paths: MemoryView[Hashable, JsonValues] = view("json_paths", weigh=array_bytes, grows=False)
        self._postings: MemoryView[tuple[Any, ...], Placed[Postings]] = view("postings", weigh=postings_bytes)
        self._row_ids: MemoryView[str, KeyLookup] = view("row_ids", weigh=lookup_bytes, most=_MOST_OPEN)
        self._takes: MemoryView[Hashable, itertools.count[int]] = view("takes", most=_MOST_OPEN)
        self._lists: MemoryView[Hashable, VectorLists] = view("lists", weigh=array_bytes, grows=False)
        self._vectors: MemoryView[tuple[Any, ...], Vectors] = view(
            "vectors", weigh=vectors_bytes, most=_MOST_OPEN, grows=False
        )
        self._codes: MemoryView[Hashable, ScanCodes | JoinedCodes | None] = view(
            "codes", weigh=codes_bytes, most=_MOST_OPEN, grows=False
        )
        self.codes = Codes(self._codes, self._takes)
        self._tiers.follow(self)
        # What a handle that nobody holds any more had opened goes with it.
        finalize(self, _abandon, self._tiers, tuple(self.caches.values())).atexit = False

    @property
    def tiers(self) -> Tiers:
        """What the process holds."""
        return self._tiers

    def use_source(self, source: TableSource | None) -> None:
        """Open external rows from now on in another source; what is opened stays open."""
        self._source = source

    def reader(self, segment: Segment, schema: Schema) -> SegmentReader:
        """The opened segment as this schema reads it."""
        if isinstance(segment, GrowingSegment):
            return open_rows(self._store, segment, schema)

        def open_segment() -> SegmentReader:
            source, open_file = (
                self._source,
                self.open_files.group_below if self._readers.crowded(key) else self.open_files.group,
            )
            return open_rows(self._store, segment, schema, source=source, open_file=open_file)

        deletes = segment.delete_vector.key if segment.delete_vector else None
        # A version of a schema is one schema along a collection's chain, and column groups are only ever added.
        key = (segment.id, schema.version, len(segment.column_groups), deletes, self._generation)
        return self._readers.get_or(key, open_segment)

    def bulk_reader(self, segment: Segment, schema: Schema) -> SegmentReader:
        """`reader` for whoever reads all rows once: what that fetches does not take the place of what others use."""
        if isinstance(segment, GrowingSegment):
            return open_rows(self._store, segment, schema)

        def open_file(file: FileRef, field_ids: Sequence[int]) -> Residency:
            opened = self.open_files.group(file, field_ids)
            opened.keep = False
            return opened

        return open_rows(self._store, segment, schema, source=self._source, open_file=open_file)

    def streamed_reader(self, segment: Segment, schema: Schema) -> SegmentReader:
        """`bulk_reader` that holds a few blocks: a file that can be read by pieces is not mapped."""
        if isinstance(segment, GrowingSegment):
            return open_rows(self._store, segment, schema)

        def open_file(file: FileRef, field_ids: Sequence[int]) -> Residency:
            if file.key.endswith(ArrowIpcFormat.suffix):
                return open_object(self._store, file.key, size_bytes=file.size_bytes, tier="cold")
            opened = self.open_files.group(file, field_ids)
            opened.keep = False
            return opened

        return open_rows(self._store, segment, schema, source=self._source, open_file=open_file)

    def use_policies(self, policies: Policies) -> None:
        """Open files from now on where these say. What is opened elsewhere goes; a read that began keeps it."""
        before, self.open_files.policies = self.open_files.policies, policies
        self.waits = self._remote or any(map(_is_cold, _every_policy(policies)))
        if before == policies:
            return
        if (before.collection, before.fields) != (policies.collection, policies.fields):
            self._generation += 1
            self._readers.discard(lambda key: key[-1] != self._generation)
        self._vectors.discard(
            lambda key: key[0] == "vectors" and key[-1] is not policies.of_fields((key[2],))
        )
        self._indexes.discard(lambda key: key[-1] is not policies.of_index(key[1]))
        self._scalars.discard(lambda key: key[-1] is not policies.of_index(key[1]))
        self._postings.discard(lambda key: key[0] == "index" and key[-1] is not policies.of_index(key[2]))

    @property
    def policies(self) -> Policies:
        """Where files are opened."""
        return self.open_files.policies

    def moved(self, keys: Collection[str]) -> None:
        """Open some files again when they are used next: they are nearer, or farther, than before."""
        self._indexes.discard(lambda key: key[0] in keys)
        self._scalars.discard(lambda key: key[0] in keys)
        self._postings.discard(lambda key: key[0] == "index" and key[1] in keys)
        # A segment's files are in its folder, or named by its delete vector.
        segments = {key.rsplit("/", 2)[-2] for key in keys if "/segments/" in key}
        self._readers.discard(lambda key: key[0] in segments or key[3] in keys)
        self._vectors.discard(lambda key: key[1] in segments)

    def index(self, build: IndexBuild, spec: IndexSpec) -> Index:
        """The opened index build."""

        def open_index() -> Placed[Index]:
            params = index_params(spec)
            with trace.step("open index", index=spec.name, size_bytes=build.file.size_bytes):
                residency = self.open_files.build(build, "index")
                return Placed(index_kinds.get(params.kind).open(residency, params), residency)

        return self._indexes.get_or(self._index_key(build), open_index).value

    def scalar(self, build: IndexBuild, spec: IndexSpec) -> ScalarIndex:
        """The opened build of a scalar index."""

        def open_index() -> Placed[ScalarIndex]:
            with trace.step("open index", index=spec.name, size_bytes=build.file.size_bytes):
                residency = self.open_files.build(build)
                params = ScalarParams(spec.kind, spec.options)
                return Placed(SCALAR_KINDS[spec.kind].open(residency, params), residency)

        return self._scalars.get_or(self._index_key(build), open_index).value

    def _index_key(self, build: IndexBuild) -> tuple[str, str, TierPolicy]:
        return build.file.key, build.index, self.open_files.policies.of_index(build.index)

    def decoded(self, segment: Segment, schema: Schema, name: str, path: JsonPath = ()) -> bool:
        """Whether a field, or a path of a JSON field, is in memory already."""
        key = _column_key(segment, schema.field(name))
        if path:
            return self._paths.get(("path", *key, path)) is not None
        return self._columns.get(key) is not None

    def postings(self, build: IndexBuild, spec: IndexSpec) -> Postings:
        """The opened build of an inverted index."""

        def open_index() -> Placed[Postings]:
            with trace.step("open index", index=spec.name, size_bytes=build.file.size_bytes):
                residency = self.open_files.build(build)
                return Placed(open_postings(residency), residency)

        return self._postings.get_or(("index", *self._index_key(build)), open_index).value

    def inverted(self, segment: Segment, field: Field, make: Callable[[], Postings]) -> Postings:
        """The inverted index in memory of one field of a segment; kept hot within the budget."""
        key = ("inverted", *_column_key(segment, field))
        return self._kept(self._postings, segment, key, lambda: Placed(make(), None)).value

    def column(self, segment: Segment, schema: Schema, name: str) -> pa.Array:
        """All rows of one field, decoded; kept hot within the budget."""
        return self.hot(segment, schema, name).array

    def hot(self, segment: Segment, schema: Schema, name: str) -> HotColumn:
        """`column` with its lookups."""
        return self._hot(_column_key(segment, schema.field(name)), segment, schema, name)

    def _hot(self, key: Hashable, segment: Segment, schema: Schema, name: str) -> HotColumn:
        def decode() -> HotColumn:
            reader = self.reader(segment, schema)
            with trace.step("decode field", field=name, rows=segment.num_rows) as step:
                chunks = [batch.column(0) for batch in reader.scan([name])]
                if step is not None:
                    trace.note(tier=self.open_files.tier_of_field(segment, schema.field(name)))
                    trace.count(rows_read=segment.num_rows, bytes_decoded=sum(c.nbytes for c in chunks))
            if not chunks:
                return HotColumn(pa.array([], schema.to_arrow([name]).field(0).type))
            column = HotColumn(chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks))
            if column.held_bytes > _LARGE_COLUMN_BYTES:
                chunks.clear()
                release_freed()
            return column

        return self._kept(self._columns, segment, key, decode)

    def json_path(self, segment: Segment, schema: Schema, name: str, path: JsonPath) -> JsonValues:
        """All rows of one path of a JSON field, sorted by type; kept within a budget."""
        key = ("path", *_column_key(segment, schema.field(name)), path)
        return self._kept(self._paths, segment, key, lambda: shred(self.column(segment, schema, name), path))

    def json_numbers(self, segment: Segment, schema: Schema, name: str, path: JsonPath) -> JsonValues:
        """`json_path`, where texts that spell a number are numbers too."""
        key = ("numbers", *_column_key(segment, schema.field(name)), path)
        return self._kept(
            self._paths,
            segment,
            key,
            lambda: numbers_of_texts(self.json_path(segment, schema, name, path)),
        )

    @staticmethod
    def _kept(cache: MemoryView[Any, V], segment: Segment, key: Hashable, make: Callable[[], V]) -> V:
        """From a cache; what comes from rows in memory is kept with them, and goes with them."""
        if not isinstance(segment, GrowingSegment):
            return cache.get_or(key, make)
        if key not in segment.memo:
            segment.memo[key] = make()
        found: V = segment.memo[key]
        return found

    def where(self, segment: Segment, schema: Schema, keys: pa.Array) -> RowIds:
        """See `SegmentKeys.where`."""
        if schema.primary_key is not None:
            return self.hot(segment, schema, schema.primary_key).where(keys)

        def lookup() -> KeyLookup:
            return KeyLookup(pa.array(self.reader(segment, schema).row_ids()))

        return self._row_ids.get_or(segment.id, lookup).where(keys)

    def deleted(self, segment: Segment, schema: Schema) -> Bitmap | None:
        """See `SegmentKeys.deleted`."""
        return self.reader(segment, schema).deleted()

    def sealed(self, grown: Sequence[GrowingSegment], segments: Sequence[Segment], schema: Schema) -> None:
        """See `SegmentKeys.sealed`: what readers had of the rows in memory, they have of the segments soon.

        Codes go over; fields that are hot in other segments are decoded in the background, so that no read pays for it.
        """
        self.codes.carry_over(grown, segments)
        if self._remote or any(map(_is_cold, _every_policy(self.open_files.policies))):
            return
        hot = {key[1] for key in list(self._columns.keys()) if isinstance(key, tuple)}
        names = [
            one.name for one in schema.stored_fields if one.id in hot and not one.type.data_type.dense_vector
        ]
        for segment, name in itertools.product(segments, names):
            later(partial(self._decode_ahead, segment, schema, name))

    def _decode_ahead(self, segment: Segment, schema: Schema, name: str) -> None:
        """Decode a field where there is room for it; whoever reads it does so otherwise."""
        if not self._columns.crowded(_column_key(segment, schema.field(name))):
            with suppress(HeadwaterError):
                self.hot(segment, schema, name)

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
        key = _column_key(segment, field)
        column = self._columns.get(key)
        if column is None:
            if self._cheaper_in_place(key, segment, field):
                taken = self.reader(segment, schema).take([name], rows).column(name)
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
            if self._cheaper_in_place(_column_key(segment, field), segment, field)
        ]
        taken: dict[str, Column] = {}
        if in_place:
            table = self.reader(segment, schema).take(in_place, rows)
            taken = {name: ArrowColumn(table.column(name).combine_chunks()) for name in in_place}
        for name in names:
            if name not in taken:
                taken[name] = self.hot(segment, schema, name).take(rows)
        return taken

    def near(self, segment: Segment, schema: Schema, name: str, build: IndexBuild | None) -> bool:
        """Whether a search of a vector field asks the store nothing: its vectors and their index are here."""
        field = schema.field(name)
        vectors = self._vectors.get(self._vectors_key(segment, field))
        if vectors is None or isinstance(vectors, FetchedVectors):
            return isinstance(segment, GrowingSegment)
        if build is None:
            return True
        placed = self._indexes.get(self._index_key(build))
        return placed is not None and (placed.residency is None or placed.residency.tier != "cold")

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
            selected: of a filter, what `selected` is asked by.
        """
        key = self._vectors_key(segment, field)
        bitmap = [] if selected is None else [self._bitmaps.place(_bitmap_key(segment, *selected))]
        every = (self._indexes.place(self._index_key(build)), self._vectors.place(key), *bitmap)
        here = tuple(place for place in every if place is not None)
        if len(here) < len(every) or not isinstance(self._vectors.get(key), np.ndarray):
            return None
        columns = [self._columns.place(_column_key(segment, schema.field(name))) for name in names]
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

    def _vectors_key(self, segment: Segment, field: Field) -> tuple[Any, ...]:
        return ("vectors", *_column_key(segment, field), self.open_files.policies.of_fields((field.id,)))

    def _cheaper_in_place(self, key: Hashable, segment: Segment, field: Field) -> bool:
        if field.type.data_type.dense_vector:
            return True
        group = next((group for group in segment.column_groups if field.id in group.field_ids), None)
        if group is None:
            return False
        if _is_cold(self.open_files.policies.of_fields(group.field_ids)):
            return True
        if group.file is None:
            # Rows of files that others own come by whole row groups: one read costs what decoding does.
            return False
        return next(self._takes.get_or(key, itertools.count)) < _HOT_TAKES or self._columns.crowded(key)

    def vectors(self, segment: Segment, schema: Schema, name: str) -> Vectors:
        """(num_rows, width) view of a dense vector field, mapped from the file where the format allows it."""
        field = schema.field(name)
        key = self._vectors_key(segment, field)
        if MAPPED.tight:
            MAPPED.look()
        return self._kept(self._vectors, segment, key, lambda: self.reader(segment, schema).vectors(name))

    def streamed_vectors(self, segment: Segment, schema: Schema, name: str) -> Vectors:
        """`vectors` for whoever reads each row about once: by ranges, and nothing that is read is kept."""

        def by_ranges(file: FileRef, _: Sequence[int]) -> Residency:
            return open_object(self._store, file.key, size_bytes=file.size_bytes, tier="cold")

        reader = open_rows(self._store, segment, schema, source=self._source, open_file=by_ranges)
        return reader.streamed_vectors(name)

    def present(self, segment: Segment, schema: Schema, name: str) -> Bitmap | None:
        """(num_rows,) True where a vector field is not null; None where it nowhere is. Kept, its values are not."""
        key = ("present", *_column_key(segment, schema.field(name)))
        nowhere = np.empty(0, np.bool_)

        def make() -> Bitmap:
            found = self.reader(segment, schema).present(name)
            return nowhere if found is None else found

        bitmap = self._kept(self._bitmaps, segment, key, make)
        return bitmap if len(bitmap) else None

    def lists(self, segment: Segment, schema: Schema, field: Field) -> VectorLists:
        """The vectors of a struct array's rows; kept hot within the budget.

        Args:
            segment: of the collection.
            schema: names the struct array.
            field: as `max_sim.list_field` gives it.
        """
        key = ("lists", segment.id, field.id, field.type.fields[0].name, len(segment.column_groups))
        make = partial(_read_lists, self.reader(segment, schema), schema, field)
        return self._kept(self._lists, segment, key, make)

    def read_lists(self, segment: Segment, schema: Schema, field: Field) -> VectorLists:
        """`lists` for whoever reads them once: not kept."""
        return _read_lists(self.streamed_reader(segment, schema), schema, field)

    def selected(
        self, segment: Segment, bound: Hashable, gone: int | None, evaluate: Callable[[], Bitmap]
    ) -> Bitmap:
        """The rows of a segment that a filter selects, deleted ones excluded; kept while the filter is.

        Args:
            segment: the segment.
            bound: names the filter, and what else its answer depends on; None for all rows.
            gone: says which rows are deleted besides those of the delete vector.
            evaluate: makes the bitmap.
        """

        def make() -> Bitmap:
            bitmap = evaluate()
            bitmap.flags.writeable = False
            return bitmap

        return self._bitmaps.get_or(_bitmap_key(segment, bound, gone), make)

    def known_selected(self, segment: Segment, bound: Hashable, gone: int | None) -> Bitmap | None:
        """What `selected` would give; None where it would evaluate."""
        return self._bitmaps.get(_bitmap_key(segment, bound, gone))

    def has_selected(self, segment: Segment, bound: Hashable, gone: int | None) -> bool:
        """Whether `selected` need not evaluate; not a use of what is kept."""
        return _bitmap_key(segment, bound, gone) in self._bitmaps

    @property
    def caches(self) -> Mapping[str, MemoryView[Any, Any]]:
        """Every cache by what it holds."""
        views: list[MemoryView[Any, Any]] = [
            self._readers, self._indexes, self._scalars, self._columns, self._postings, self._paths,
            self._bitmaps, self._row_ids, self._takes, self._vectors, self._lists, self._codes,
        ]  # fmt: skip
        return {view.kind: view for view in views}

    def clear(self) -> None:
        """Forget everything; the next read opens it again."""
        for cache in self.caches.values():
            cache.clear()

    def close(self) -> None:
        """Forget everything, and keep nothing from now on; for a collection that is gone."""
        for cache in self.caches.values():
            cache.close()


def _read_lists(reader: SegmentReader, schema: Schema, field: Field) -> VectorLists:
    name = schema.field_by_id(field.id).name
    batches = [batch.column(0) for batch in reader.scan([name])]
    column = pa.concat_arrays(batches) if batches else pa.array([], schema.to_arrow([name]).field(0).type)
    return vector_lists(column, field)


def _is_cold(policy: TierPolicy) -> bool:
    return policy in (TierPolicy.COLD, TierPolicy.ON_DEMAND)


def _every_policy(policies: Policies) -> tuple[TierPolicy, ...]:
    return (policies.collection, *policies.fields.values(), *policies.indexes.values())


def _column_key(segment: Segment, field: Field) -> tuple[Hashable, ...]:
    return (segment.id, field.id, len(segment.column_groups))


def _bitmap_key(segment: Segment, bound: Hashable, gone: int | None) -> Hashable:
    deletes = segment.delete_vector.key if segment.delete_vector else None
    return (segment.id, len(segment.column_groups), deletes, gone, bound)


def _abandon(tiers: Tiers, views: Sequence[MemoryView[Any, Any]]) -> None:
    for view in views:
        tiers.memory.abandon(view)
