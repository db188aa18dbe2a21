"""Parquet files that others own, read in place and never written.

Every open checks the file's size and etag against the fragment that names it, so rows come from the very bytes that the
version was made from, or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import Corrupt, HeadwaterError, ObjectNotFound, SchemaMismatch, SourceChanged
from headwater.formats.rows import check_rows
from headwater.lake.external.away import Footers, ObjectFile, chunk_ranges, is_of
from headwater.lake.external.footers import Footer, FooterReader, fragments_in
from headwater.lake.external.places import folder_column, folder_schema, means
from headwater.lake.external.source import FoundFragment, Progress, SourceFile
from headwater.lake.manifest import Fragment
from headwater.schema import Field, arrow_type, cast_column
from headwater.store import ObjectMeta, ObjectStore, RetryingStore, ahead, open_store, together
from headwater.types import Bitmap, RowIds

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = ["ParquetFiles"]

_GLOB = set("*?[")
_PART_BYTES = 4 << 20
"""A row group of many more bytes, in the columns that are read, is read in parts of so many."""

_FEW_PARTS = 4
_MOST_HELD = 64 << 20
"""Of a remote file, more bytes than this are read row group by row group."""

_BUFFER_BYTES = 4 << 20
_AT_ONCE = 16
"""Footers that are read at once."""

_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_INT96_UNIT = "us"
"""Of the times of Hive and older Sparks, whose 9999-12-31 as nanoseconds would be some other day."""


class ParquetFiles:
    """Parquet in folders, globs and files of any store, as a `TableSource`.

    Args:
        roots: (store, base URL, patterns) for each part of the source; patterns are relative to the store's root.
    """

    name: ClassVar[str] = "parquet"

    @classmethod
    def of(cls, urls: Sequence[str], options: Mapping[str, Any] | None = None) -> ParquetFiles:
        """The files of folders, globs and single files.

        Args:
            urls: where they are.
            options: configuration of their store.
        """
        patterns: dict[str, list[str]] = {}
        for url in urls:
            base, pattern = _root(url)
            patterns.setdefault(base, []).append(pattern)
        return cls([(_store(base, options), base, found) for base, found in patterns.items()])

    def __init__(self, roots: Sequence[tuple[ObjectStore, str, Sequence[str]]]) -> None:
        self._roots = list(roots)
        self._footers = Footers()
        self._told: dict[SourceFile, Footer] = {}
        self.bytes_read = 0

    def list_files(self) -> list[SourceFile]:
        """The Parquet files there are now, sorted by path, each once."""
        found: dict[str, SourceFile] = {}
        for store, base, patterns in self._roots:
            names = {pattern for pattern in patterns if not _is_glob(pattern)}
            globs = [pattern for pattern in patterns if pattern not in names]
            for meta in store.list():
                if meta.key in names or any(means(pattern, meta.key) for pattern in globs):
                    file = _source_file(base, meta)
                    found[file.path] = file
        return [found[path] for path in sorted(found)]

    def _locate(self, path: str) -> tuple[ObjectStore, str]:
        for store, base, _ in self._roots:
            if path.startswith(f"{base}/"):
                return store, path[len(base) + 1 :]
        raise SourceChanged(f"{path!r} is not under any part of the source", path=path)

    def parquet(self, file: SourceFile, *, buffer_bytes: int = 0) -> pq.ParquetFile:
        """An opened file; only its footer is read.

        Args:
            file: which.
            buffer_bytes: columns of a row group are read so much at a time; 0 to have them at once.

        Raises:
            Corrupt: it is not readable Parquet; names the file.
        """
        import pyarrow.parquet as pq

        store, key = self._locate(file.path)
        try:
            local = store.local_path(key)
            # Not mapped: a file that its owner cuts short while it is read would end this process.
            opened = pq.ParquetFile(
                ObjectFile(store, key, file.size_bytes, self._count, etag=file.etag)
                if local is None
                else local,
                pre_buffer=not buffer_bytes,
                buffer_size=buffer_bytes,
                coerce_int96_timestamp_unit=_INT96_UNIT,
            )
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise SourceChanged(f"{file.path!r} vanished from the source", path=file.path) from error
            raise Corrupt(f"{file.path!r} is not readable Parquet: {error}", path=file.path) from error
        if local is not None:
            self.bytes_read += opened.metadata.serialized_size
        return opened

    def _count(self, size_bytes: int) -> None:
        self.bytes_read += size_bytes

    def is_near(self, fragment: Fragment) -> bool:
        """Whether a fragment's file is on this machine."""
        store, key = self._locate(fragment.path)
        return store.local_path(key) is not None

    def fetched(self, fragment: Fragment, names: Collection[str], wanted: Bitmap | None) -> pq.ParquetFile:
        """A remote file, opened, with what will be read of it here; its footer is kept.

        Args:
            fragment: whose rows are read.
            names: columns.
            wanted: (num_rows,) rows of the fragment; None for all.

        Raises:
            Corrupt: it is not readable Parquet; names the file.
            ObjectNotFound: it vanished.
        """
        import pyarrow.parquet as pq

        store, key = self._locate(fragment.path)
        file = SourceFile(fragment.path, fragment.size_bytes, fragment.etag, fragment.modified_ms)
        metadata = self._footers.get_or(file, lambda: self.parquet(file).metadata)
        groups, done = [], 0
        for number in fragment.row_groups:
            size = metadata.row_group(number).num_rows
            if wanted is None or wanted[done : done + size].any():
                groups.append(number)
            done += size
        held = chunk_ranges(metadata, groups, names, file.size_bytes)
        if sum(span.size_bytes for span in held) > _MOST_HELD:
            held = []
        return pq.ParquetFile(
            ObjectFile(store, key, file.size_bytes, self._count, held, etag=file.etag),
            metadata=metadata,
            coerce_int96_timestamp_unit=_INT96_UNIT,
        )

    def arrow_schema(self, files: Sequence[SourceFile], *, progress: Progress | None = None) -> pa.Schema:
        """See `TableSource.arrow_schema`; the footers are read in parallel, and kept for `fragments`."""
        missed = self._missed([file.path for file in files])
        if missed:
            raise ObjectNotFound(
                f"no Parquet file matches {', '.join(missed)}",
                hint="a folder, a glob or files that end in .parquet",
            )
        self._told = dict(zip(files, self._footers_of(files, FooterReader(), progress), strict=True))
        # In the order of the files, each schema once.
        schemas = list({id(one.schema): one.schema for one in self._told.values()}.values())
        columns: dict[str, pa.DataType] = {}
        for schema in schemas:
            if len(set(schema.names)) < len(schema.names):
                return schema
            for column in schema:
                columns[column.name] = _common(columns.get(column.name, column.type), column.type)
        folders = [one for one in folder_schema(file.path for file in files) if one.name not in columns]
        return pa.schema([*columns.items(), *folders])

    def _missed(self, paths: Sequence[str]) -> list[str]:
        """The parts of the source that mean none of some files."""
        there, missed = set(paths), []
        for _, base, patterns in self._roots:
            keys = [path.removeprefix(f"{base}/") for path in paths if path.startswith(f"{base}/")]
            for pattern in patterns:
                whole = f"{base}/{pattern}"
                if not (any(means(pattern, key) for key in keys) if _is_glob(pattern) else whole in there):
                    missed.append(whole)
        return missed

    def _footers_of(
        self, files: Sequence[SourceFile], reader: FooterReader, progress: Progress | None
    ) -> Iterator[Footer]:
        """The footers of files, read in parallel."""

        def read(file: SourceFile) -> Footer:
            with self.parquet(file) as opened:
                return reader.read(opened)

        # One that is read here costs no thread.
        if len(files) < 2:
            footers: Iterable[Footer] = map(read, files)
            yield from _counted(footers, len(files), progress)
            return
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            try:
                yield from _counted(pool.map(read, files), len(files), progress)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def fragments(
        self,
        files: Sequence[SourceFile],
        fields: Sequence[Field],
        *,
        segment_rows: int,
        mapped: bool = False,
        progress: Progress | None = None,
    ) -> list[FoundFragment]:
        """See `TableSource.fragments`; footers are read in parallel, and a file is split between row groups."""
        told, self._told = self._told, {}
        unknown = [file for file in files if file not in told]
        reader = FooterReader({field.source or field.name for field in fields})
        read = self._footers_of(unknown, reader, progress)
        return [
            found
            for file in files
            for found in fragments_in(file, told.get(file) or next(read), fields, segment_rows, mapped=mapped)
        ]

    def check(self, fragment: Fragment) -> SourceFile:
        """The fragment's file, unchanged.

        Raises:
            SourceChanged: it changed or vanished since the version was made.
        """
        store, key = self._locate(fragment.path)
        try:
            file = _source_file(fragment.path[: -len(key) - 1], store.head(key))
        except ObjectNotFound as error:
            raise SourceChanged(
                f"{fragment.path!r} vanished from the source",
                hint="refresh the collection, or restore the file",
            ) from error
        if not file.same_as(fragment):
            raise SourceChanged(
                f"{fragment.path!r} changed since this version: expected {fragment.size_bytes} bytes with etag "
                f"{fragment.etag}, found {file.size_bytes} bytes with etag {file.etag}",
                hint="refresh the collection, or restore the file",
            )
        return file

    def open(self, fragments: Sequence[Fragment], fields: Sequence[Field]) -> FragmentReader:
        """See `TableSource.open`."""
        return FragmentReader(self, fragments, fields)


class FragmentReader:
    """External rows as a column-group reader."""

    def __init__(self, source: ParquetFiles, fragments: Sequence[Fragment], fields: Sequence[Field]) -> None:
        self._source = source
        self._fragments = list(fragments)
        self._fields = {field.name: field for field in fields}
        self.num_rows = sum(fragment.num_rows for fragment in fragments)

    def scan(self, columns: Sequence[str], rows: Bitmap | None = None) -> Iterator[pa.RecordBatch]:
        """Columns in row order; fragments and row groups without a wanted row are not read."""
        types = pa.schema([pa.field(name, arrow_type(self._fields[name].type)) for name in columns])
        start = 0
        for fragment in self._fragments:
            wanted = None if rows is None else rows[start : start + fragment.num_rows]
            start += fragment.num_rows
            if wanted is not None and not wanted.any():
                continue
            yield from self._read(fragment, columns, types, wanted)

    def _read(
        self, fragment: Fragment, columns: Sequence[str], types: pa.Schema, wanted: Bitmap | None
    ) -> Iterator[pa.RecordBatch]:
        unchanged = partial(self._source.check, fragment) if self._source.is_near(fragment) else None
        file, parquet = self._opened(fragment, columns, wanted)
        present = set(parquet.schema_arrow.names)
        fields = [self._fields[name] for name in columns]
        names = list(dict.fromkeys(f.source or f.name for f in fields if (f.source or f.name) in present))
        done = 0
        for number in fragment.row_groups:
            size = parquet.metadata.row_group(number).num_rows
            mask = None if wanted is None else wanted[done : done + size]
            done += size
            if mask is not None and not mask.any():
                continue
            try:
                for table, part in self._tables(file, parquet, number, names):
                    if unchanged is not None:
                        unchanged()
                    rows = table.num_rows if names else size
                    chosen = None if mask is None else mask[part : part + rows]
                    count = rows if chosen is None else int(np.count_nonzero(chosen))
                    if count == 0 and rows:
                        continue
                    kept = table if chosen is None else table.filter(pa.array(chosen))
                    arrays = [_column(field, kept, fragment.path, count) for field in fields]
                    yield from pa.Table.from_arrays(arrays, schema=types).combine_chunks().to_batches()
            except (pa.ArrowException, OSError) as error:
                if unchanged is not None:
                    unchanged()
                raise Corrupt(
                    f"{fragment.path!r}, row group {number}: {error}", path=fragment.path
                ) from error

    def _opened(
        self, fragment: Fragment, columns: Sequence[str], wanted: Bitmap | None
    ) -> tuple[SourceFile, pq.ParquetFile]:
        """A fragment's file, unchanged; a remote one is asked for while what is wanted of it is read."""
        if self._source.is_near(fragment):
            file = SourceFile(fragment.path, fragment.size_bytes, fragment.etag, fragment.modified_ms)
            try:
                parquet = self._source.parquet(file)
            finally:
                # Opened, and then looked at: what was put in its place before is seen. Its owner may also write over it
                # later, which `_read` sees.
                self._source.check(fragment)
            return file, parquet
        checked = ahead(partial(self._source.check, fragment))
        names = {self._fields[name].source or name for name in columns}
        try:
            parquet = self._source.fetched(fragment, names, wanted)
        except HeadwaterError:
            # Of a file that changed, that is what is wrong.
            checked.result()
            raise
        return checked.result(), parquet

    def _tables(
        self, file: SourceFile, parquet: pq.ParquetFile, number: int, names: Sequence[str]
    ) -> Iterator[tuple[pa.Table, int]]:
        """A row group with the position of its first row; a large one in parts, so that it is never here as a whole."""
        metadata = parquet.metadata.row_group(number)
        chunks = [metadata.column(i) for i in range(metadata.num_columns)]
        size = sum(c.total_uncompressed_size for c in chunks if is_of(c.path_in_schema, names))
        if size <= _FEW_PARTS * _PART_BYTES:
            yield parquet.read_row_group(number, columns=list(names)), 0
            return
        streamed = self._source.parquet(file, buffer_bytes=_BUFFER_BYTES)
        each, done = max(1, _PART_BYTES * metadata.num_rows // size), 0
        for batch in streamed.iter_batches(each, [number], list(names)):
            yield pa.Table.from_batches([batch]), done
            done += batch.num_rows

    def take(self, columns: Sequence[str], rows: RowIds) -> pa.RecordBatch:
        """Rows at given positions, in the order asked; whole row groups are read to get them."""
        check_rows(rows, self.num_rows, what="external rows")
        types = pa.schema([pa.field(name, arrow_type(self._fields[name].type)) for name in columns])
        if len(rows) == 0:
            return pa.RecordBatch.from_pylist([], types)
        unique, back = np.unique(rows, return_inverse=True)
        wanted = np.zeros(self.num_rows, np.bool_)
        wanted[unique] = True
        starts = np.cumsum([0, *(fragment.num_rows for fragment in self._fragments)])
        calls = [
            partial(self._taken, fragment, columns, types, wanted[start : start + fragment.num_rows])
            for fragment, start in zip(self._fragments, starts.tolist(), strict=False)
            if wanted[start : start + fragment.num_rows].any()
        ]
        near = self._source.is_near(self._fragments[0])
        parts = [call() for call in calls] if near else together(calls)
        table = pa.Table.from_batches([one for part in parts for one in part], types).combine_chunks()
        return table.take(pa.array(back)).combine_chunks().to_batches()[0]

    def _taken(
        self, fragment: Fragment, columns: Sequence[str], types: pa.Schema, wanted: Bitmap
    ) -> list[pa.RecordBatch]:
        return list(self._read(fragment, columns, types, wanted))


def _column(field: Field, table: pa.Table, path: str, count: int) -> pa.ChunkedArray:
    name = field.source or field.name
    if name not in table.column_names:
        told = folder_column(field, path, count)
        if told is not None:
            return pa.chunked_array([told])
        if not field.nullable and field.default is None:
            raise SchemaMismatch(f"{path!r} has no column {name!r}", path=path, column=name)
        return pa.chunked_array([pa.array([field.default] * count, arrow_type(field.type))])
    return cast_column(field, _in_microseconds(table.column(name)), where=repr(path))


def _in_microseconds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times in nanoseconds, and lists of them, as of the microsecond that each is in; all else as it is."""
    kind = column.type
    if any(check(kind) for check in _LISTS) and _is_nanoseconds(kind.value_type):
        lists = column.combine_chunks()
        sizes = pc.fill_null(pc.list_value_length(lists), 0)
        offsets = np.append(0, np.cumsum(sizes)).astype(np.int32)
        items = _in_microseconds(pa.chunked_array([pc.list_flatten(lists)])).combine_chunks()
        return pa.chunked_array([pa.ListArray.from_arrays(offsets, items, mask=lists.is_null())])
    if not _is_nanoseconds(kind):
        return column
    # As moments of no zone: those of one would be rounded by its clocks.
    utc = column.cast(pa.int64()).cast(pa.timestamp("ns"))
    return pc.floor_temporal(utc, unit="microsecond").cast(pa.timestamp("us"))


def _is_nanoseconds(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind)) and kind.unit == "ns"


def _counted(found: Iterable[Footer], total: int, progress: Progress | None) -> Iterator[Footer]:
    """The same, and how many there were is told after each."""
    for done, one in enumerate(found, 1):
        if progress is not None:
            progress(done, total)
        yield one


def _source_file(base: str, meta: ObjectMeta) -> SourceFile:
    modified = int(meta.modified.timestamp() * 1000)
    return SourceFile(f"{base}/{meta.key}", meta.size_bytes, meta.etag, modified)


def _is_glob(text: str) -> bool:
    return not _GLOB.isdisjoint(text)


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type of a column that files have with two types: one that holds both, or the first where none does."""
    if one == other or pa.types.is_null(other) or pa.types.is_fixed_size_list(one):
        return one
    if pa.types.is_null(one) or pa.types.is_fixed_size_list(other):
        return other
    try:
        pair = [pa.schema([("", one)]), pa.schema([("", other)])]
        return pa.unify_schemas(pair, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return one


def _root(url: str) -> tuple[str, str]:
    """The longest part of a URL without a wildcard, and the pattern under it."""
    scheme, rest = url.split("://", 1) if "://" in url else ("file", url)
    parts = rest.rstrip("/").split("/")
    fixed = next((i for i, part in enumerate(parts) if _is_glob(part)), len(parts))
    if fixed == len(parts):
        if PurePosixPath(rest).suffix.lower() in (".parquet", ".pq"):
            fixed -= 1
        else:
            parts.append("**")
    return f"{scheme}://{'/'.join(parts[:fixed])}", "/".join(parts[fixed:])


def _store(base: str, options: Mapping[str, Any] | None) -> ObjectStore:
    scheme, path = base.split("://", 1)
    return RetryingStore(open_store(Path(path) if scheme == "file" else base, options))
