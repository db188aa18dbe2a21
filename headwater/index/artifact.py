"""The file that every index kind writes: sections of bytes, then a footer that says where each one is.

    magic "HWINDEX1" | sections, each at a multiple of 64 | footer (JSON) | footer length u32 | footer crc32 u32 | magic

All integers are little-endian. The footer holds what the kind needs to open the index and, for each section, its
offset, size and CRC-32, so that a cold reader needs one request for the footer and one range for each section, and so
that a torn or altered file is `Corrupt` and never a wrong answer. Specified in `docs/format/indexes.md`.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from headwater.errors import Corrupt
from headwater.tiers import Residency
from headwater.types import ByteRange

__all__ = ["Artifact", "ArtifactWriter", "open_artifact", "opening_bytes"]

MAGIC = b"HWINDEX1"
_ALIGNMENT = 64
_TAIL = struct.Struct("<II8s")
_FOOTER_GUESS = 4096
_COLD_GUESS = 64 * 1024
"""Bytes at the end of a cold file that the first request reads: no dearer than fewer, and small files come whole."""

_STEP_BYTES = 64 * 1024 * 1024
"""A large section is read so much at a time, which bounds the memory beside where it goes."""

_PART_BYTES = 8 * 1024 * 1024


class ArtifactWriter:
    """Writes one artifact, section by section; a context manager that closes the file.

    Args:
        path: a local path that does not exist yet.
        kind: the index kind, checked when the artifact is opened.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self._file: BinaryIO = path.open("xb")
        self._kind = kind
        self._sections: dict[str, tuple[int, int, int]] = {}
        self._file.write(MAGIC)

    def __enter__(self) -> ArtifactWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def section(self, name: str, parts: Iterable[Any]) -> list[int]:
        """Write a section from parts, each anything with a buffer; each part begins at a multiple of 64.

        Returns:
            The offset of each part in the file.
        """
        self._align()
        start, checksum, offsets = self._file.tell(), 0, []
        for part in parts:
            checksum = zlib.crc32(self._align(), checksum)
            offsets.append(self._file.tell())
            data = memoryview(part).cast("B")
            self._file.write(data)
            checksum = zlib.crc32(data, checksum)
        self._sections[name] = (start, self._file.tell() - start, checksum)
        return offsets

    def section_from(self, name: str, write_all: Callable[[Callable[[bytes], int]], Any]) -> None:
        """Write a section that comes piece by piece and is never held as a whole.

        Args:
            name: of the section.
            write_all: is given what takes the next bytes, and gives it all of them.
        """
        self._align()
        start, checksum = self._file.tell(), 0

        def write(data: bytes) -> int:
            nonlocal checksum
            checksum = zlib.crc32(data, checksum)
            return self._file.write(data)

        write_all(write)
        self._sections[name] = (start, self._file.tell() - start, checksum)

    def _align(self) -> bytes:
        padding = bytes(-self._file.tell() % _ALIGNMENT)
        self._file.write(padding)
        return padding

    def finish(self, properties: Mapping[str, Any]) -> None:
        """Write the footer.

        Args:
            properties: JSON values that the kind reads back from `Artifact.properties`.
        """
        footer = {"kind": self._kind, "properties": dict(properties), "sections": self._sections}
        data = json.dumps(footer, sort_keys=True, separators=(",", ":")).encode()
        self._file.write(data + _TAIL.pack(len(data), zlib.crc32(data), MAGIC))


class Artifact:
    """An opened artifact.

    Attributes:
        properties: what the kind gave to `ArtifactWriter.finish`.
    """

    def __init__(
        self,
        source: Residency,
        properties: Mapping[str, Any],
        sections: Mapping[str, tuple[int, int, int]],
        tail: memoryview,
    ) -> None:
        self._source = source
        self._sections = sections
        self._tail: memoryview | None = tail
        self.properties = properties

    def section(self, name: str) -> memoryview:
        """A section's bytes, checked.

        Raises:
            Corrupt: the section is absent, or its checksum differs.
        """
        data = self._read([name])[0]
        self._check(name, zlib.crc32(data))
        return data

    def sections(self, names: Sequence[str]) -> list[memoryview]:
        """Several sections, checked, in one round of requests; none for those that came with the footer.

        Raises:
            Corrupt: a section is absent, or its checksum differs.
        """
        found = self._read(names)
        # What came with the footer has served its purpose.
        self._tail = None
        for name, data in zip(names, found, strict=True):
            self._check(name, zlib.crc32(data))
        return found

    def read_into(self, name: str, target: npt.NDArray[np.uint8]) -> None:
        """Read a section to where it belongs, a part at a time, checked.

        Args:
            name: of the section.
            target: (size,) bytes to fill.

        Raises:
            Corrupt: the section is absent, or its checksum differs.
        """
        offset, size, _ = self._placed(name)
        checksum = 0
        for begin in range(0, size, _STEP_BYTES):
            end = min(size, begin + _STEP_BYTES)
            spans = [(at, min(end, at + _PART_BYTES)) for at in range(begin, end, _PART_BYTES)]
            ranges = [ByteRange(offset + start, offset + stop) for start, stop in spans]
            for (start, stop), data in zip(spans, self._source.read_ranges(ranges), strict=True):
                checksum = zlib.crc32(data, checksum)
                target[start:stop] = np.frombuffer(data, np.uint8)
        self._check(name, checksum)

    def _read(self, names: Sequence[str]) -> list[memoryview]:
        found: dict[str, memoryview] = {}
        missing: dict[str, ByteRange] = {}
        known = b"" if self._tail is None else self._tail
        known_from = self._source.size_bytes - len(known)
        for name in names:
            offset, size, _ = self._placed(name)
            if size == 0:
                found[name] = memoryview(b"")
            elif offset >= known_from:
                found[name] = memoryview(known)[offset - known_from : offset - known_from + size]
            else:
                missing[name] = ByteRange(offset, offset + size)
        if missing:
            ranges = list(missing.values())
            found.update(zip(missing, self._source.read_ranges(ranges), strict=True))
        return [found[name] for name in names]

    def _check(self, name: str, found: int) -> None:
        offset, _, checksum = self._placed(name)
        if found != checksum:
            raise self.corrupt(f"section {name!r} at {offset}: checksum {found:08x}, not {checksum:08x}")

    def offset(self, name: str) -> int:
        """Where a section begins in the file."""
        return self._placed(name)[0]

    def size_of(self, name: str) -> int:
        """Bytes of a section."""
        return self._placed(name)[1]

    def has(self, name: str) -> bool:
        """Whether there is such a section."""
        return name in self._sections

    @property
    def mapped(self) -> bool:
        """Whether the file is mapped, or in memory: its parts are then views of it."""
        return self._source.tier == "warm" or self._source.held_bytes > 0

    @property
    def source(self) -> Residency:
        """The file."""
        return self._source

    def parts(self, name: str, spans: Sequence[tuple[int, int]]) -> list[memoryview]:
        """Bytes of a section, unchecked: views of the map of a local file, else one store call for all.

        Args:
            name: of the section.
            spans: (start, stop) bytes in it.
        """
        offset, size, _ = self._placed(name)
        if any(stop > size for _, stop in spans):
            raise self.corrupt(f"section {name!r} has {size} bytes, too few")
        known = self._tail
        if known is not None and offset >= (start_of := self._source.size_bytes - len(known)):
            return [known[offset - start_of + start : offset - start_of + stop] for start, stop in spans]
        if self.mapped:
            self._source.buffer()
        return self._source.read_ranges([ByteRange(offset + start, offset + stop) for start, stop in spans])

    def parts_of(self, places: Sequence[tuple[str, int, int]]) -> list[memoryview]:
        """`parts` of several sections, by name, start and stop; one store call for all."""
        sizes = {name: self._placed(name) for name, _, _ in places}
        if any(stop > sizes[name][1] for name, _, stop in places):
            raise self.corrupt("a section has too few bytes")
        if self._tail is not None or self.mapped:
            return [self.parts(name, [(start, stop)])[0] for name, start, stop in places]
        return self._source.read_ranges(
            [ByteRange(sizes[name][0] + start, sizes[name][0] + stop) for name, start, stop in places]
        )

    def _placed(self, name: str) -> tuple[int, int, int]:
        if name not in self._sections:
            raise self.corrupt(f"no section {name!r}")
        return self._sections[name]

    def corrupt(self, why: str) -> Corrupt:
        """The error that says what is wrong with this file."""
        return _corrupt(self._source, why)


def _corrupt(source: Residency, why: str) -> Corrupt:
    return Corrupt(
        f"index file {source.key!r}: {why}",
        hint="drop the index and create it again; the rows are not affected",
        key=source.key,
    )


def opening_bytes(path: Path, first: str = "directory") -> int:
    """How many bytes at the end of a local artifact hold all that opening it reads; 0 where that is not known.

    Args:
        path: the file.
        first: the section that begins them.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(-_TAIL.size, os.SEEK_END)
        length, _, _ = _TAIL.unpack(file.read())
        file.seek(-_TAIL.size - length, os.SEEK_END)
        sections = json.loads(file.read(length))["sections"]
    return size - int(sections[first][0]) if first in sections else 0


def open_artifact(source: Residency, kind: str, *, guess: int = 0) -> Artifact:
    """Read an artifact's footer.

    Args:
        source: the file.
        kind: what it must be.
        guess: bytes at the end of a cold file that its kind needs at once: the first request asks for them.

    Raises:
        Corrupt: it is torn, altered, or of another kind.
    """
    size = source.size_bytes
    if size < len(MAGIC) + _TAIL.size:
        raise _corrupt(source, f"{size} bytes are too few")
    wanted = max(_COLD_GUESS, guess) if source.tier == "cold" else _FOOTER_GUESS
    tail = source.read(ByteRange(max(0, size - wanted), size))
    length, checksum, magic = _TAIL.unpack(tail[-_TAIL.size :])
    if magic != MAGIC:
        raise _corrupt(source, "it does not end as an index file does: it was cut short or is something else")
    stop = size - _TAIL.size
    if length > stop - len(MAGIC):
        raise _corrupt(source, f"a footer of {length} bytes does not fit into {size}")
    known = tail[: -_TAIL.size]
    data = known[-length:] if length <= len(known) else source.read(ByteRange(stop - length, stop))
    if zlib.crc32(data) != checksum:
        raise _corrupt(source, f"footer checksum {zlib.crc32(data):08x}, not {checksum:08x}")
    footer = json.loads(bytes(data))
    if footer["kind"] != kind:
        raise _corrupt(source, f"it is of kind {footer['kind']!r}, the manifest says {kind!r}")
    sections = {name: (one[0], one[1], one[2]) for name, one in footer["sections"].items()}
    for name, (offset, length, _) in sections.items():
        if offset + length > stop:
            raise _corrupt(source, f"section {name!r} ends at {offset + length}, after the footer")
    return Artifact(source, footer["properties"], sections, tail)
