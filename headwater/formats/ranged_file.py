"""A cold object as a seekable file, with bytes fetched ahead in one parallel request."""

from __future__ import annotations

import io
from collections.abc import Sequence

from headwater.tiers import Residency
from headwater.types import ByteRange

__all__ = ["RangedFile"]


class RangedFile(io.RawIOBase):
    """Reads an object by ranges; not shared between threads.

    Args:
        source: the object.
        ahead: ranges to fetch now; a read inside one of them asks the store nothing.
    """

    def __init__(self, source: Residency, ahead: Sequence[ByteRange] = ()) -> None:
        super().__init__()
        self._source = source
        self._at = 0
        self._held = list(zip(ahead, source.read_ranges(ahead), strict=True)) if ahead else []

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The current position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position; it may lie past the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size_bytes}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes from the current position."""
        start = min(self._at, self._source.size_bytes)
        stop = self._source.size_bytes if size < 0 else min(start + size, self._source.size_bytes)
        self._at = stop
        for span, data in self._held:
            if span.start <= start and stop <= span.stop:
                return bytes(data[start - span.start : stop - span.start])
        return bytes(self._source.read(ByteRange(start, stop)))

    def readall(self) -> bytes:
        """Everything from the current position."""
        return self.read()
