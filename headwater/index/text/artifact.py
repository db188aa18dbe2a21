"""Postings as one artifact. Specified in `docs/format/text.md`.

Every term's postings are one run of bytes with a checksum of their own, so that a search reads the runs of its terms
and nothing else: from the map where the file is local, by one range each where it is not.
"""

from __future__ import annotations

import itertools
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.index.artifact import Artifact, ArtifactWriter, open_artifact
from headwater.index.text import varint
from headwater.index.text.postings import KeptTotals, MemoryPostings, Vocabulary, next_serial
from headwater.tiers import Residency
from headwater.types import ByteRange

__all__ = ["KIND", "MappedPostings", "open_postings", "write_postings"]

KIND = "postings"

_DIRECTORY = np.dtype(
    [
        ("count", "<u4"),
        ("row_bytes", "<u4"),
        ("start", "<u8"),
        ("crc32", "<u4"),
        ("position_crc32", "<u4"),
        ("position_start", "<u8"),
    ]
)
"""One term: rows that hold it, bytes of the first part of its run, where its run begins in the section `postings`, the
checksum of the run, and the same of its run in the section `positions`. One more entry ends the last runs."""

Int32s = npt.NDArray[np.int32]


def write_postings(postings: MemoryPostings, path: Path) -> None:
    """Write one artifact at a path that does not exist yet."""
    directory = np.zeros(len(postings.vocabulary) + 1, _DIRECTORY)
    directory["count"][:-1] = np.diff(postings.starts)
    runs = _runs(postings, directory)
    text = postings.lengths is not None
    with ArtifactWriter(path, KIND) as writer:
        writer.section("terms", _term_parts(postings.vocabulary))
        offsets = [writer.section("postings", [runs])[0]]
        if text:
            offsets.append(writer.section("positions", [_position_runs(postings, directory)])[0])
            writer.section("lengths", [postings.lengths])
        writer.section("directory", [directory])
        writer.finish(
            {
                "num_rows": postings.num_rows,
                "num_terms": len(postings.vocabulary),
                "term_bytes": int(_text_bytes(postings.vocabulary).size) if text else 0,
                "text": text,
            }
        )


def _text_bytes(vocabulary: Vocabulary) -> Any:
    assert isinstance(vocabulary.terms, pa.Array)
    data = vocabulary.terms.buffers()[2]
    return pa.py_buffer(b"") if data is None else data


def _term_parts(vocabulary: Vocabulary) -> list[Any]:
    if isinstance(vocabulary.terms, np.ndarray):
        return [vocabulary.terms]
    # A copy has no offset and no bytes of other terms.
    terms = pa.concat_arrays([vocabulary.terms, pa.array([], pa.string())])
    vocabulary.terms = terms
    offsets = terms.buffers()[1]
    return [np.zeros(1, np.int32) if offsets is None else offsets, _text_bytes(vocabulary)]


def _runs(postings: MemoryPostings, directory: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """All terms' runs: distances between rows, each with a bit that says whether a count follows; then the counts."""
    starts, rows, values = postings.starts, postings.rows, postings.values
    gaps = np.diff(rows, prepend=np.int32(0)).astype(np.int64)
    begins = starts[:-1][np.diff(starts) > 0]
    gaps[begins] = rows[begins]
    if postings.lengths is None:
        first, first_at = varint.encode(gaps)
        second, second_at = values.astype("<f4").view(np.uint8), np.arange(len(values) + 1) * 4
    else:
        several = np.flatnonzero(values > 1)
        first, first_at = varint.encode(gaps * 2 + (values > 1))
        second, packed_at = varint.encode(values[several] - 2)
        second_at = packed_at[np.searchsorted(several, np.arange(len(values) + 1))]
    first_bytes, second_bytes = np.diff(first_at[starts]), np.diff(second_at[starts])
    directory["row_bytes"][:-1] = first_bytes
    begin = np.zeros(len(directory), np.int64)
    np.cumsum(first_bytes + second_bytes, out=begin[1:])
    directory["start"] = begin
    out = np.empty(int(begin[-1]), np.uint8)
    _scatter(out, begin[:-1], first, first_at[starts])
    _scatter(out, begin[:-1] + first_bytes, second, second_at[starts])
    directory["crc32"][:-1] = _checksums(out, begin)
    return out


def _scatter(
    out: npt.NDArray[np.uint8], into: npt.NDArray[Any], data: npt.NDArray[np.uint8], at: npt.NDArray[Any]
) -> None:
    """Copy the pieces `data[at[i]:at[i + 1]]` to the places `into[i]`."""
    shift = np.repeat(into - at[:-1], np.diff(at))
    out[shift + np.arange(len(data))] = data


def _checksums(data: npt.NDArray[np.uint8], begin: npt.NDArray[np.int64]) -> list[int]:
    view, edges = memoryview(data.data), begin.tolist()
    return [zlib.crc32(view[start:stop]) for start, stop in itertools.pairwise(edges)]


def _position_runs(postings: MemoryPostings, directory: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """All terms' positions: the first in a row as it is, the others as distances."""
    assert postings.all_positions is not None
    gaps = np.diff(postings.all_positions, prepend=np.int32(0)).astype(np.int64)
    ends = np.cumsum(postings.values, dtype=np.int64)
    first = ends - postings.values
    gaps[first] = postings.all_positions[first]
    data, at = varint.encode(gaps)
    begin = at[postings.position_starts]
    directory["position_start"] = begin
    directory["position_crc32"][:-1] = _checksums(data, begin)
    return data


class MappedPostings(KeptTotals):
    """`Postings` of an artifact; nothing is decoded before it is asked for.

    Args:
        source: the file.
        artifact: its footer.
    """

    def __init__(self, source: Residency, artifact: Artifact) -> None:
        self.serial = next_serial()
        self._source, self._artifact = source, artifact
        properties = artifact.properties
        self.num_rows = int(properties["num_rows"])
        text = bool(properties["text"])
        self._directory = np.frombuffer(artifact.section("directory"), _DIRECTORY)
        if len(self._directory) != properties["num_terms"] + 1:
            raise artifact.corrupt(
                f"{len(self._directory)} directory entries for {properties['num_terms']} terms"
            )
        terms = artifact.section("terms")
        self.vocabulary = Vocabulary(_texts(terms, properties) if text else np.frombuffer(terms, np.uint32))
        self.lengths: Int32s | None = np.frombuffer(artifact.section("lengths"), np.int32) if text else None
        self._postings_at = artifact.offset("postings")
        self._positions_at = artifact.offset("positions") if text else 0
        self.size_bytes = 0 if source.tier == "warm" else int(self._directory.nbytes) + len(terms)

    def count(self, number: int) -> int:
        """See `Postings`."""
        return int(self._directory["count"][number])

    def postings(self, number: int) -> tuple[Int32s, npt.NDArray[Any]]:
        """See `Postings`."""
        entry = self._directory[number]
        data = self._run(self._postings_at, "start", "crc32", number)
        size = int(entry["row_bytes"])
        numbers = varint.decode(data[:size])
        if self.lengths is None:
            rows = np.cumsum(numbers, dtype=np.int32)
            values: npt.NDArray[Any] = np.frombuffer(data[size:].tobytes(), "<f4")
        else:
            rows = np.cumsum(numbers >> np.uint32(1), dtype=np.int32)
            several = np.flatnonzero(numbers & np.uint32(1))
            counts = varint.decode(data[size:]) + np.uint32(2)
            small = len(counts) == 0 or int(counts.max()) < 256
            values = np.ones(len(rows), np.uint8 if small else np.uint32)
            values[several] = counts
        if len(rows) != int(entry["count"]) or len(values) != len(rows):
            raise self._artifact.corrupt(f"term {number}: {len(rows)} rows, expected {entry['count']}")
        return rows, values

    def positions(self, number: int) -> Int32s:
        """See `Postings`."""
        gaps = varint.decode(self._run(self._positions_at, "position_start", "position_crc32", number))
        counts = self.postings(number)[1].astype(np.int64)
        ends = np.cumsum(counts)
        sums = np.cumsum(gaps, dtype=np.int64)
        before = np.where(ends - counts > 0, sums[ends - counts - 1], 0)
        positions: Int32s = (sums - np.repeat(before, counts)).astype(np.int32)
        return positions

    def _run(self, at: int, start: str, crc: str, number: int) -> npt.NDArray[np.uint8]:
        begin, end = int(self._directory[start][number]), int(self._directory[start][number + 1])
        if self._source.tier == "warm":
            whole = memoryview(self._source.buffer()).cast("B")
            data = whole[at + begin : at + end]
        else:
            data = self._source.read(ByteRange(at + begin, at + end))
        if zlib.crc32(data) != int(self._directory[crc][number]):
            raise self._artifact.corrupt(f"term {number}: its {start.removesuffix('_start')} run is altered")
        return np.frombuffer(data, np.uint8)


def _texts(data: memoryview, properties: Any) -> pa.StringArray:
    count, size = int(properties["num_terms"]), int(properties["term_bytes"])
    offsets = pa.py_buffer(data[: (count + 1) * 4])
    texts = pa.py_buffer(data[len(data) - size :]) if size else pa.py_buffer(b"")
    return pa.StringArray.from_buffers(count, offsets, texts)


def open_postings(source: Residency) -> MappedPostings:
    """Open an artifact.

    Raises:
        Corrupt: it is torn or of another kind.
    """
    if source.tier == "warm":
        source.buffer()
    return MappedPostings(source, open_artifact(source, KIND))
