"""Parquet files of others that are a request away: footers are kept, and all that a step reads comes at once."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from headwater.lake.external.source import SourceFile
from headwater.store import ObjectStore
from headwater.types import ByteRange

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = ["Footers", "ObjectFile", "chunk_ranges", "is_of"]

_MOST_FOOTERS = 512


class Footers:
    """The footers that were read last, by file as it was. Safe between threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int, str | None, int], pq.FileMetaData] = OrderedDict()
        self._lock = threading.Lock()

    def get_or(self, file: SourceFile, read: Callable[[], pq.FileMetaData]) -> pq.FileMetaData:
        """A file's footer, read where it is not known."""
        key = (file.path, file.size_bytes, file.etag, file.modified_ms)
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
                return found
        made = read()
        with self._lock:
            self._known[key] = made
            while len(self._known) > _MOST_FOOTERS:
                self._known.popitem(last=False)
        return made


def is_of(path: str, names: Collection[str]) -> bool:
    """Whether a column, or one inside of it, has this path; names may have dots.

    Args:
        path: of a leaf.
        names: of columns of the schema.
    """
    parts = path.split(".")
    return any(".".join(parts[:end]) in names for end in range(1, len(parts) + 1))


def chunk_ranges(
    metadata: pq.FileMetaData, groups: Sequence[int], names: Collection[str], size_bytes: int
) -> list[ByteRange]:
    """Where the columns of some names lie, of some row groups.

    Args:
        metadata: the footer.
        groups: row groups.
        names: columns of the schema; those inside them are meant too.
        size_bytes: of the file.
    """
    spans = []
    for group in groups:
        row_group = metadata.row_group(group)
        for leaf in range(row_group.num_columns):
            column = row_group.column(leaf)
            if not is_of(column.path_in_schema, names):
                continue
            first = column.data_page_offset
            if column.has_dictionary_page and column.dictionary_page_offset:
                first = min(first, column.dictionary_page_offset)
            stop = min(first + column.total_compressed_size, size_bytes)
            spans.append(ByteRange(first, max(first, stop)))
    return spans


class ObjectFile(io.RawIOBase):
    """An object as a seekable file, for the Parquet reader; each read is a range request, but of what is held.

    Args:
        store: where the object is.
        key: its key there.
        size: its length.
        counted: told how many bytes each request brought.
        held: ranges to fetch now, all at once; a read inside one of them asks the store nothing.
        etag: of the object that is meant; a read of another one that took its place is `SourceChanged`.
    """

    def __init__(
        self,
        store: ObjectStore,
        key: str,
        size: int,
        counted: Callable[[int], None],
        held: Sequence[ByteRange] = (),
        *,
        etag: str | None = None,
    ) -> None:
        self._store, self._key, self._size, self._counted = store, key, size, counted
        self._etag = etag
        self._position = 0
        views = store.get_ranges(key, held, etag=etag) if held else []
        self._held = list(zip(held, views, strict=True))
        counted(sum(span.size_bytes for span in held))

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Bytes from the position on."""
        start = self._position
        stop = self._size if size is None or size < 0 else min(self._size, start + size)
        if stop <= start:
            return b""
        self._position = stop
        for span, view in self._held:
            if span.start <= start and stop <= span.stop:
                return bytes(view[start - span.start : stop - span.start])
        data = bytes(self._store.get_ranges(self._key, [ByteRange(start, stop)], etag=self._etag)[0])
        self._counted(len(data))
        return data
