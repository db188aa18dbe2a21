"""Bloom filter: says of a value that no row of the segment holds it, from 32 bytes, before anything else is read.

References: Bloom, 1970; Putze, Sanders and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007 (the
split-block filter of Apache Parquet).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.index.artifact import Artifact, ArtifactWriter, open_artifact
from headwater.index.predicates import Answer, HasAll, HasAny, OneOf, Predicate
from headwater.index.scalar.entries import domain_of, elements, keys_of, values
from headwater.index.scalar.pages import Pages, write_pages
from headwater.index.scalar.protocol import ScalarParams
from headwater.index.scalar.spans import ABSENT, WIDE, key_of
from headwater.schema import FieldType
from headwater.tiers import Residency
from headwater.types import NUMBER_TYPES, TEXT_TYPES, DataType

__all__ = ["BloomKind"]

Hashes = npt.NDArray[np.uint64]

_BITS_PER_VALUE = 12
"""About one value in 300 that is not there is taken for one that is."""

_WORDS = 8
_SALT = np.asarray(
    [0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D, 0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31],
    np.uint32,
)
_PRIME = np.uint64(0x100000001B3)
_CHUNK_BYTES = 16 << 20


class BloomKind:
    """See `ScalarIndexKind`."""

    def fits(self, field_type: FieldType) -> bool:
        """See `ScalarIndexKind`."""
        kind = field_type.data_type
        if kind is DataType.ARRAY and field_type.element is not None:
            return self.fits(field_type.element)
        return kind in NUMBER_TYPES or kind in TEXT_TYPES or kind is DataType.TIMESTAMPTZ

    def build(self, column: pa.Array, params: ScalarParams, path: Path) -> None:
        """See `ScalarIndexKind`."""
        lists = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
        held, _ = elements(column) if lists else values(column)
        domain = domain_of(held.type)
        assert domain is not None
        hashes = np.unique(
            _texts_hashed(held) if domain == "text" else _numbers_hashed(keys_of(held), domain)
        )
        blocks = np.zeros((max(1, -(-len(hashes) * _BITS_PER_VALUE // 256)), _WORDS), np.uint32)
        block, bits = _places(hashes, len(blocks))
        np.bitwise_or.at(blocks, block, bits)
        with ArtifactWriter(path, "bloom") as writer:
            write_pages(writer, "blocks", blocks.reshape(-1))
            writer.finish({"num_rows": len(column), "domain": domain, "elements": lists})

    def open(self, source: Residency, params: ScalarParams) -> BloomIndex:
        """See `ScalarIndexKind`."""
        return BloomIndex(open_artifact(source, "bloom"))


class BloomIndex:
    """See `ScalarIndex`. Answers only where no row can satisfy the predicate."""

    def __init__(self, artifact: Artifact) -> None:
        self.num_rows = int(artifact.properties["num_rows"])
        self._domain: str = artifact.properties["domain"]
        self._elements = bool(artifact.properties["elements"])
        self._blocks = Pages(artifact, "blocks", "<u4")

    def select(self, predicate: Predicate, most: int) -> Answer | None:
        """See `ScalarIndex`."""
        if isinstance(predicate, HasAny | HasAll) if self._elements else isinstance(predicate, OneOf):
            there = [self._may_hold(value) for value in predicate.values]  # type: ignore[union-attr]
            impossible = bool(there) and not all(there) if isinstance(predicate, HasAll) else not any(there)
            if impossible:
                return Answer(np.zeros(self.num_rows, np.bool_))
        return None

    def _may_hold(self, value: Any) -> bool:
        key = key_of(self._domain, value)
        if key is None:
            return True
        if key is ABSENT:
            return False
        if self._domain == "text":
            hashed = _texts_hashed(pa.array([key], pa.large_binary()))
        else:
            hashed = _numbers_hashed(np.asarray([key], WIDE[self._domain]), self._domain)
        block, bits = _places(hashed, len(self._blocks) // _WORDS)
        start = int(block[0]) * _WORDS
        held = self._blocks.slice(start, start + _WORDS)
        return bool(((held & bits[0]) == bits[0]).all())


def _numbers_hashed(keys: npt.NDArray[Any], domain: str) -> Hashes:
    if domain in ("single", "float"):
        return _mixed((keys.astype(np.float64) + 0.0).view(np.uint64))
    return _mixed(keys.astype(np.int64).view(np.uint64))


def _texts_hashed(texts: pa.Array) -> Hashes:
    """A polynomial of the bytes of each text, in one pass over all bytes; each text's own whatever is beside it."""
    wide = texts.cast(pa.large_binary())
    if len(wide) == 0:
        return np.empty(0, np.uint64)
    _, raw_offsets, raw = wide.buffers()
    offsets = np.frombuffer(raw_offsets, np.int64)[wide.offset : wide.offset + len(wide) + 1]
    data = np.frombuffer(raw, np.uint8) if raw is not None and raw.size else np.empty(0, np.uint8)
    sizes = np.diff(offsets)
    powers = np.full(int(sizes.max()) + 1, _PRIME, np.uint64)
    powers[0] = 1
    np.multiply.accumulate(powers, out=powers)
    hashed = np.empty(len(wide), np.uint64)
    start = 0
    while start < len(wide):
        stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + _CHUNK_BYTES, "right")) - 1)
        part, first = data[offsets[start] : offsets[stop]], offsets[start]
        within = np.arange(len(part)) - np.repeat(offsets[start:stop] - first, sizes[start:stop])
        sums = np.append(np.uint64(0), np.cumsum((part + np.uint64(1)) * powers[within], dtype=np.uint64))
        hashed[start:stop] = sums[offsets[start + 1 : stop + 1] - first] - sums[offsets[start:stop] - first]
        start = stop
    return _mixed(hashed + sizes.astype(np.uint64))


def _mixed(numbers: Hashes) -> Hashes:
    """The finaliser of SplitMix64."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _places(hashes: Hashes, blocks: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """The block of each hash, and (n, 8) the bit that it sets in each word."""
    block = ((hashes >> np.uint64(32)) * np.uint64(blocks)) >> np.uint64(32)
    low = (hashes & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    bits = np.uint32(1) << ((low[:, None] * _SALT) >> np.uint32(27))
    return block.astype(np.int64), bits.astype(np.uint32)
