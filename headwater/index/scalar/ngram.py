"""N-grams: the rows of each run of characters, for `like` and regular expressions.

What a pattern requires of a text literally is cut into grams, and the rows that hold all of them are candidates. Grams
that very many rows hold are remembered without their rows: they would rule out nothing.

Reference: Cox, "Regular Expression Matching with a Trigram Index", 2012.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import InvalidArgument
from headwater.index.artifact import Artifact, ArtifactWriter, open_artifact
from headwater.index.json_paths import shred
from headwater.index.predicates import Answer, IsNull, Matches, Predicate
from headwater.index.scalar.entries import Entries, values
from headwater.index.scalar.inverted import InvertedLayout, InvertedLists
from headwater.index.scalar.json_path import path_of
from headwater.index.scalar.keys import NumberKeys, open_keys
from headwater.index.scalar.patterns import needles_of
from headwater.index.scalar.postings import Nulls, write_nulls
from headwater.index.scalar.protocol import ScalarParams
from headwater.schema import FieldType
from headwater.tiers import Residency
from headwater.types import DataType

__all__ = ["MAX_GRAM", "NgramKind", "ngram_options"]

MAX_GRAM = 8
_DEFAULT = (2, 3)
_COMMON_SHARE = 8
_COMMON_LEAST = 1000
_CHUNK_CHARS = 4_000_000
_MOST_LISTS = 8
_FEW = 32
_ODD = np.uint64(0x9E3779B97F4A7C15)
_HASH_BITS = 42
"""Of the hash of a gram of more than three characters; the texts of a chunk are numbered by the other 22."""

Grams = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.uint32]


def ngram_options(given: dict[str, Any]) -> dict[str, Any]:
    """Take `min_gram` and `max_gram` out of the options given.

    Raises:
        InvalidArgument: they are not 1 <= min_gram <= max_gram <= 8.
    """
    least, most = (
        given.pop(name, default) for name, default in zip(("min_gram", "max_gram"), _DEFAULT, strict=True)
    )
    whole = all(isinstance(one, int) and not isinstance(one, bool) for one in (least, most))
    if not whole or not 1 <= least <= most <= MAX_GRAM:
        raise InvalidArgument(
            f"NGRAM needs integers 1 <= min_gram <= max_gram <= {MAX_GRAM}, got {least!r} and {most!r}"
        )
    return {"min_gram": least, "max_gram": most}


class NgramKind:
    """See `ScalarIndexKind`."""

    def fits(self, field_type: FieldType) -> bool:
        """See `ScalarIndexKind`."""
        return field_type.data_type in (DataType.VARCHAR, DataType.TEXT)

    def build(self, column: pa.Array, params: ScalarParams, path: Path) -> None:
        """See `ScalarIndexKind`."""
        spelled = params.get("json_path")
        texts = column if spelled is None else shred(column, path_of(spelled)).texts
        about = {}
        with ArtifactWriter(path, "ngram") as writer:
            if spelled is None:
                write_nulls(writer, column)
            held, rows = values(texts.cast(pa.large_string()))
            for size in range(params.get("min_gram"), params.get("max_gram") + 1):
                entries = _without_common(_merged(list(_chunks(held, rows, size))), len(column))
                about[str(size)] = InvertedLayout().write(writer, f"{size}.", entries, len(column))
            writer.finish({"num_rows": len(column), "grams": about, "nulls": spelled is None})

    def open(self, source: Residency, params: ScalarParams) -> NgramIndex:
        """See `ScalarIndexKind`."""
        return NgramIndex(open_artifact(source, "ngram"))


def _chunks(texts: pa.Array, rows: Rows, size: int) -> Iterator[tuple[Grams, Rows]]:
    """Grams and their rows, sorted and each once, of some texts after the other."""
    lengths = pc.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    ends = np.cumsum(lengths)
    start = 0
    while start < len(texts):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _CHUNK_CHARS, "right")))
        part = texts.slice(start, stop - start)
        chars = np.frombuffer("".join(part.to_pylist()).encode("utf-32-le"), np.uint32)
        of = np.repeat(np.arange(stop - start, dtype=np.uint64), lengths[start:stop])
        inside = of[: len(of) - size + 1] == of[size - 1 :] if len(of) >= size else np.zeros(0, np.bool_)
        grams, at = _sorted_pairs(chars, size, of, inside)
        yield grams, rows[start:stop][at]
        start = stop


def _packed(chars: npt.NDArray[np.uint32], size: int) -> Grams:
    """One number for each run of `size` characters; the same for different runs only beyond three characters."""
    count = max(len(chars) - size + 1, 0)
    packed = np.zeros(count, np.uint64)
    for at in range(size):
        one = chars[at : at + count].astype(np.uint64)
        packed = (packed << np.uint64(21)) | one if size <= 3 else (packed + one) * _ODD
    return packed if size <= 3 else packed >> np.uint64(64 - _HASH_BITS)


def _sorted_pairs(
    chars: npt.NDArray[np.uint32], size: int, of: Grams, inside: npt.NDArray[np.bool_]
) -> tuple[Grams, npt.NDArray[np.int64]]:
    """Grams and the number of the text of each, sorted and each once.

    Both are sorted as one number, which is some ten times faster than by two keys; to fit in, characters of short grams
    are numbered by those that occur.
    """
    text_bits = int(of[-1]).bit_length() if len(of) else 0
    if size > 3:
        grams = _packed(chars, size)[inside]
        width, alphabet = _HASH_BITS, None
    else:
        seen = np.zeros(0x110000, np.bool_)
        seen[chars] = True
        alphabet = np.flatnonzero(seen).astype(np.uint64)
        number = np.zeros(0x110000, np.uint64)
        number[alphabet] = np.arange(len(alphabet), dtype=np.uint64)
        bits = max(len(alphabet) - 1, 1).bit_length()
        width = bits * size
        codes, count = number[chars], len(inside)
        grams = np.zeros(count, np.uint64)
        for at in range(size):
            grams = (grams << np.uint64(bits)) | codes[at : at + count]
        grams = grams[inside]
    if width + text_bits > 64:
        # Only a chunk with tens of thousands of different characters; the numbers come from its grams themselves.
        every, which = np.unique(grams, return_inverse=True)
        pairs = np.unique((which.astype(np.uint64) << np.uint64(text_bits)) | of[: len(inside)][inside])
        grams = every[(pairs >> np.uint64(text_bits)).astype(np.int64)]
    else:
        pairs = np.sort((grams << np.uint64(text_bits)) | of[: len(inside)][inside])
        pairs = pairs[np.append(True, pairs[1:] != pairs[:-1])[: len(pairs)]]
        grams = pairs >> np.uint64(text_bits)
    texts = (pairs & np.uint64((1 << text_bits) - 1)).astype(np.int64)
    if alphabet is not None:
        mask, spelled = np.uint64((1 << bits) - 1), np.zeros(len(grams), np.uint64)
        for at in reversed(range(size)):
            code = (grams >> np.uint64(bits * at)) & mask
            spelled = (spelled << np.uint64(21)) | alphabet[code.astype(np.int64)]
        grams = spelled
    return grams, texts


def _merged(chunks: list[tuple[Grams, Rows]]) -> Entries:
    """Chunks of ascending rows as one."""
    if not chunks:
        return Entries("gram", np.empty(0, "<u8"), np.zeros(1, np.int64), np.empty(0, np.uint32))
    counted = [np.unique(grams, return_counts=True) for grams, _ in chunks]
    keys = np.unique(np.concatenate([each for each, _ in counted]))
    sizes = np.zeros(len(keys), np.int64)
    for each, counts in counted:
        sizes[np.searchsorted(keys, each)] += counts
    starts = np.append(0, np.cumsum(sizes))
    rows = np.empty(int(starts[-1]), np.uint32)
    free = starts[:-1].copy()
    for (each, counts), (_, held) in zip(counted, chunks, strict=True):
        at = np.searchsorted(keys, each)
        inside = np.arange(len(held)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows[np.repeat(free[at], counts) + inside] = held
        free[at] += counts
    return Entries("gram", keys, starts, rows)


def _without_common(entries: Entries, num_rows: int) -> Entries:
    sizes = np.diff(entries.starts)
    rare = (sizes <= num_rows // _COMMON_SHARE) | (sizes <= _COMMON_LEAST)
    if rare.all():
        return entries
    kept = np.repeat(rare, sizes)
    starts = np.append(0, np.cumsum(np.where(rare, sizes, 0)))
    return Entries(entries.domain, entries.keys, starts, entries.rows[kept])


class NgramIndex:
    """See `ScalarIndex`."""

    def __init__(self, artifact: Artifact) -> None:
        self.num_rows = int(artifact.properties["num_rows"])
        self._nulls = Nulls(artifact, self.num_rows) if artifact.properties["nulls"] else None
        self._keys: dict[int, NumberKeys] = {}
        self._lists: dict[int, InvertedLists] = {}
        for name, about in artifact.properties["grams"].items():
            keys = open_keys(artifact, f"{name}.", about)
            assert isinstance(keys, NumberKeys)
            self._keys[int(name)] = keys
            self._lists[int(name)] = InvertedLists(artifact, f"{name}.")

    def select(self, predicate: Predicate, most: int) -> Answer | None:
        """See `ScalarIndex`."""
        if isinstance(predicate, IsNull) and self._nulls is not None:
            return Answer(self._nulls.rows())
        needles = needles_of(predicate) if isinstance(predicate, Matches) else None
        if needles is None:
            return None
        lists: list[tuple[int, int, int, int]] = []
        for needle in needles.all:
            found = self._lists_of(needle)
            if found is None:
                return Answer(np.zeros(self.num_rows, np.bool_))
            lists += found
        lists = sorted(set(lists))[:_MOST_LISTS]
        if not lists or lists[0][0] > most:
            return None
        held: Rows | None = None
        for _, size, start, stop in lists:
            (rows,) = self._lists[size].rows_of(np.asarray([[start, stop]]))
            held = rows if held is None else _both(held, rows)
            if len(held) < _FEW:
                break
        assert held is not None
        marked = np.zeros(self.num_rows, np.bool_)
        marked[held] = True
        return Answer(marked, exact=False)

    def _lists_of(self, needle: str) -> list[tuple[int, int, int, int]] | None:
        """(rows, size of gram, start, stop) of the lists of a literal's grams; None where no row holds one of them."""
        sizes = [size for size in self._keys if size <= len(needle)]
        if not sizes:
            return []
        size = max(sizes)
        grams = np.unique(_packed(np.frombuffer(needle.encode("utf-32-le"), np.uint32), size))
        keys = self._keys[size]
        starts, stops = keys.at(grams, "left"), keys.at(grams, "right")
        if (stops == starts).any():
            return None
        ranges = self._lists[size].ranges(np.stack([starts, stops], axis=1))
        # A gram without rows is a common one.
        return [(stop - start, size, start, stop) for start, stop in ranges.tolist() if stop > start]


def _both(some: Rows, others: Rows) -> Rows:
    """Rows in both, where `some` is the shorter; each ascending."""
    at = np.minimum(np.searchsorted(others, some), len(others) - 1)
    both: Rows = some[others[at] == some]
    return both
