"""Parquet files that others own, read in place and never written.

Every open checks the file's size and etag against the fragment that names it, so rows come from the very bytes that the
version was made from, or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from headwater.errors import Corrupt, HeadwaterError, ObjectNotFound, SchemaMismatch, SourceChanged
from headwater.formats.rows import check_rows
from headwater.lake.external.away import Footers, ObjectFile, chunk_ranges
from headwater.lake.external.places import folder_column, folder_schema, folder_stats, means
from headwater.lake.external.source import FoundFragment, SourceFile
from headwater.lake.manifest import FieldStats, Fragment
from headwater.schema import Field, arrow_type, cast_column, same_kind
from headwater.store import ObjectMeta, ObjectStore, RetryingStore, ahead, open_store, together
from headwater.types import Bitmap, DataType, RowIds

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
                ObjectFile(store, key, file.size_bytes, self._count) if local is None else local,
                pre_buffer=not buffer_bytes,
                buffer_size=buffer_bytes,
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
        return pq.ParquetFile(ObjectFile(store, key, file.size_bytes, self._count, held), metadata=metadata)

    def arrow_schema(self) -> pa.Schema:
        """See `TableSource.arrow_schema`."""
        listed = self.list_files()
        missed = self._missed([file.path for file in listed])
        if missed:
            raise ObjectNotFound(
                f"no Parquet file matches {', '.join(missed)}",
                hint="a folder, a glob or files that end in .parquet",
            )
        schemas = [parquet.schema_arrow for parquet in self._opened(listed)]
        columns: dict[str, pa.DataType] = {}
        for schema in schemas:
            if len(set(schema.names)) < len(schema.names):
                return schema
            for column in schema:
                columns[column.name] = _common(columns.get(column.name, column.type), column.type)
        folders = [one for one in folder_schema(file.path for file in listed) if one.name not in columns]
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

    def _opened(self, files: Sequence[SourceFile]) -> list[pq.ParquetFile]:
        """Files with their footers, which are read in parallel."""
        if len(files) < 2:
            return [self.parquet(file) for file in files]
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(self.parquet, files))

    def fragments(
        self,
        files: Sequence[SourceFile],
        fields: Sequence[Field],
        *,
        segment_rows: int,
        mapped: bool = False,
    ) -> list[FoundFragment]:
        """See `TableSource.fragments`; footers are read in parallel, and a file is split between row groups."""
        return [
            found
            for file, parquet in zip(files, self._opened(files), strict=True)
            for found in _fragments(file, parquet, fields, segment_rows, mapped=mapped)
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
        size = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] in names)
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
    return cast_column(field, table.column(name), where=repr(path))


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


def _fragments(
    file: SourceFile, parquet: pq.ParquetFile, fields: Sequence[Field], segment_rows: int, *, mapped: bool
) -> list[FoundFragment]:
    _check_schema(file, parquet, fields, mapped=mapped)
    parts: list[FoundFragment] = []
    groups: list[int] = []
    rows = 0
    total = parquet.metadata.num_row_groups
    for number in range(total):
        size = parquet.metadata.row_group(number).num_rows
        if groups and rows + size > segment_rows:
            parts.append(_fragment(file, parquet, fields, groups, rows))
            groups, rows = [], 0
        groups.append(number)
        rows += size
    parts.append(_fragment(file, parquet, fields, groups, rows))
    return parts


def _check_schema(
    file: SourceFile, parquet: pq.ParquetFile, fields: Sequence[Field], *, mapped: bool
) -> None:
    arrow = parquet.schema_arrow
    for field in fields:
        name = field.source or field.name
        if name not in arrow.names:
            if folder_column(field, file.path, 1) is not None:
                continue
            if (mapped or not field.nullable) and field.default is None:
                raise SchemaMismatch(
                    f"{file.path!r} has no column {name!r}",
                    hint=f"columns: {', '.join(arrow.names)}",
                    path=file.path,
                )
            continue
        found, kind = arrow.field(name).type, field.type.data_type
        if (
            not kind.dense_vector
            and (kind is not DataType.JSON or (mapped and not _holds_json(found)))
            and not (kind is DataType.GEOMETRY and pa.types.is_string(found))
            and not _fits(found, arrow_type(field.type))
        ):
            raise SchemaMismatch(
                f"{file.path!r}, column {name!r}: expected {field.type}, got {found}",
                path=file.path,
                column=name,
            )
        cast_column(replace(field, nullable=True), _ends(parquet, name, found, field), where=repr(file.path))


def _fits(kind: pa.DataType, held: pa.DataType) -> bool:
    """Whether values are of the kind that a field holds, and so are the elements of lists."""
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if any(check(kind) for check in lists) and any(check(held) for check in lists):
        return same_kind(kind.value_type, held.value_type)
    return same_kind(kind, held)


def _holds_json(kind: pa.DataType) -> bool:
    """Whether a column is of texts or of nested values."""
    return same_kind(kind, pa.string()) or same_kind(kind, pa.struct([]))


def _ends(parquet: pq.ParquetFile, name: str, kind: pa.DataType, field: Field) -> pa.Array:
    """The least and the largest number of a column as the footer tells them, for a field of another whole type."""
    held = arrow_type(field.type)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if not number or not pa.types.is_integer(held) or kind == held:
        return pa.array([], kind)
    metadata = parquet.metadata
    column = next(i for i in range(metadata.num_columns) if metadata.schema.column(i).path == name)
    told = [metadata.row_group(group).column(column).statistics for group in range(metadata.num_row_groups)]
    return pa.array([end for s in told if s is not None and s.has_min_max for end in (s.min, s.max)], kind)


def _fragment(
    file: SourceFile, parquet: pq.ParquetFile, fields: Sequence[Field], groups: Sequence[int], rows: int
) -> FoundFragment:
    fragment = Fragment(file.path, file.size_bytes, file.etag, file.modified_ms, rows, tuple(groups))
    metadata = parquet.metadata
    paths = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    stats = {}
    for field in fields:
        column = paths.get(field.source or field.name)
        if column is not None:
            found = _footer_stats(metadata, groups, column)
            if found is not None:
                stats[field.id] = found
            continue
        told = folder_stats(field, file.path, rows)
        if told is not None:
            stats[field.id] = told
            continue
        prefix = f"{field.source or field.name}."
        numbers = [i for path, i in paths.items() if path.startswith(prefix)]
        if field.type.data_type.dense_vector and len(numbers) == 1:
            # Where no number is null, no vector is; where some are, they may be of null vectors or not.
            found = _footer_stats(metadata, groups, numbers[0])
            if found is not None and found.null_count == 0:
                stats[field.id] = FieldStats(None, None, 0)
    return FoundFragment(fragment, stats)


def _footer_stats(metadata: pq.FileMetaData, groups: Sequence[int], column: int) -> FieldStats | None:
    """Statistics of integers from the footer; other types are left unknown, since writers truncate or skip NaN."""
    found = [metadata.row_group(number).column(column).statistics for number in groups]
    if not found or any(s is None or not s.has_null_count for s in found):
        return None
    nulls = sum(s.null_count for s in found)
    integers = all(s.has_min_max and type(s.min) is int and type(s.max) is int for s in found)
    if not integers:
        return FieldStats(None, None, nulls)
    return FieldStats(min(s.min for s in found), max(s.max for s in found), nulls)
