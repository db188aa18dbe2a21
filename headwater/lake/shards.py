"""Shards: the write streams of a collection. A key belongs to the shard whose range holds its hash.

A shard owns a log. What of that log is in segments already is a number in the manifest (`sealed`), so sealing and
truncating are one commit. Splitting a shard closes its log and opens two, and moves no row.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.errors import Internal, InvalidArgument

__all__ = [
    "HASH_SPACE",
    "ROW_ID_BITS",
    "Shard",
    "descends",
    "halves",
    "key_hashes",
    "new_shards",
    "owners",
    "whole_shard",
]

HASH_SPACE = 1 << 32
"""Keys hash to [0, HASH_SPACE)."""

ROW_ID_BITS = 40
"""A shard gives row ids from `number << ROW_ID_BITS` on, so that two shards never give the same one."""


@dataclass(frozen=True)
class Shard:
    """A write stream.

    Attributes:
        number: unique in the collection and never used again.
        log: name of its log's folder.
        first_hash: least hash of its keys.
        last_hash: greatest hash of its keys.
        sealed: sequence number of the last log entry whose rows are in segments; 0 for none.
        epoch: the writer's epoch at that entry.
        timestamp: hybrid timestamp of that entry.
        next_row_id: the row id after the last one given up to that entry.
        owns: shard numbers whose row ids are deleted here: its own, and those of the shards it continues.
    """

    number: int
    log: str
    first_hash: int
    last_hash: int
    sealed: int = 0
    epoch: int = 0
    timestamp: int = 0
    next_row_id: int = 0
    owns: tuple[int, ...] = ()


def whole_shard(*, log: str = "0", next_row_id: int = 0) -> Shard:
    """A shard of every key."""
    return Shard(0, log, 0, HASH_SPACE - 1, next_row_id=next_row_id, owns=(0,))


def halves(shard: Shard, names: tuple[str, str]) -> tuple[Shard, Shard]:
    """The two shards that a shard's keys divide into; the first also continues its row ids.

    Shards are numbered as the nodes of a binary heap, so that two splits at once cannot give the same number.

    Args:
        shard: what to divide.
        names: a log folder for each half.

    Raises:
        InvalidArgument: the shard has been divided too often to be divided again.
    """
    numbers = (2 * shard.number + 1, 2 * shard.number + 2)
    middle = (shard.first_hash + shard.last_hash) // 2
    if numbers[1] >= 1 << (63 - ROW_ID_BITS) or shard.first_hash == shard.last_hash:
        raise InvalidArgument(f"shard {shard.number} is as small as shards get, and cannot be split")
    ranges = ((shard.first_hash, middle), (middle + 1, shard.last_hash))
    owned: tuple[tuple[int, ...], ...] = ((numbers[0], *shard.owns), (numbers[1],))
    first, second = (
        Shard(number, name, *span, timestamp=shard.timestamp, next_row_id=number << ROW_ID_BITS, owns=owns)
        for number, name, span, owns in zip(numbers, names, ranges, owned, strict=True)
    )
    return first, second


def descends(number: int, ancestor: int) -> bool:
    """Whether a shard came, at once or in the end, from a split of another."""
    while number > ancestor:
        number = (number - 1) // 2
        if number == ancestor:
            return True
    return False


def new_shards(count: int, names: Sequence[str]) -> tuple[Shard, ...]:
    """The shards of a new collection: equal ranges of the hash space.

    Args:
        count: how many.
        names: a log folder for each.
    """
    if count == 1:
        return (whole_shard(log=names[0]),)
    level = 1 << (count - 1).bit_length()
    bounds = [HASH_SPACE * part // count for part in range(count + 1)]
    return tuple(
        Shard(
            number=level - 1 + part,
            log=names[part],
            first_hash=bounds[part],
            last_hash=bounds[part + 1] - 1,
            next_row_id=(level - 1 + part) << ROW_ID_BITS,
            owns=(level - 1 + part,),
        )
        for part in range(count)
    )


def key_hashes(keys: pa.Array) -> npt.NDArray[np.uint32]:
    """(n,) hashes of integer or text keys, the same in every process and release.

    Reference: integers by the finaliser of SplitMix64 (Steele, Lea, Flood, 2014), texts by CRC-32 of their UTF-8.
    """
    if pa.types.is_integer(keys.type):
        mixed = keys.cast(pa.int64()).to_numpy(zero_copy_only=False).astype(np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        low: npt.NDArray[np.uint32] = (mixed ^ (mixed >> np.uint64(31))).astype(np.uint32)
        return low
    hashes = (zlib.crc32(text.encode()) for text in keys.to_pylist())
    return np.fromiter(hashes, np.uint32, count=len(keys))


def owners(shards: Sequence[Shard], keys: pa.Array, *, row_ids: bool = False) -> npt.NDArray[np.int64]:
    """(n,) position in `shards` of each key's shard.

    Args:
        shards: the open shards.
        keys: keys, or row ids.
        row_ids: whether they are row ids, which belong to the shard that gave them or to the one that continues it.
    """
    if len(shards) == 1:
        return np.zeros(len(keys), np.int64)
    if row_ids:
        givers = keys.to_numpy().astype(np.int64) >> ROW_ID_BITS
        by_number = {number: place for place, shard in enumerate(shards) for number in shard.owns}
        return np.array([by_number.get(number, 0) for number in givers.tolist()], np.int64)
    order = sorted(range(len(shards)), key=lambda place: shards[place].first_hash)
    bounds = np.array([shards[place].last_hash for place in order], np.uint64)
    found = np.searchsorted(bounds, key_hashes(keys).astype(np.uint64))
    if len(found) and int(found.max()) >= len(order):
        raise Internal("the shards of the collection do not cover every key")
    return np.array(order, np.int64)[found]
