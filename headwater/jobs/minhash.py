"""Min-hash signatures of texts: two texts agree in about as many places as their sets of shingles overlap.

Everything is integer arithmetic on whole batches, so a signature is the same in every process and on every machine:

1. A shingle is `shingle_size` characters (code points), or words (runs of letters and digits, lower-cased), in a row; a
   text with fewer is filled up with nothing to one shingle.
2. A shingle's 32-bit hash is folded from those of its parts.
3. Hash *i* of a signature is the least, over the shingles, of `(a_i * hash + b_i mod 2**64) >> 32`, with `a_i` odd.

Reference: Broder, "On the Resemblance and Containment of Documents", 1997; the hashes are those of Dietzfelbinger,
"Universal Hashing and k-Wise Independent Random Variables via Integer Arithmetic without Primes", 1996.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.schema import HASH_BITS, Field, Function

__all__ = ["MinHasher"]

_BLOCK_BYTES = 1 << 17
"""Text hashed at once: its hashes stay in the processor's cache."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FOLD = np.uint64(0x100000001B3)
_NOT_WORD = r"[^\p{L}\p{N}\p{M}]+"

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class MinHasher:
    """How signatures are made.

    Attributes:
        num_hashes: 32-bit hashes in a signature.
        shingle_size: characters or words of a shingle.
        level: `char` or `word`.
        seed: of the hash functions.
        sha1: whether shingles are hashed by SHA-1, one at a time.
    """

    num_hashes: int
    shingle_size: int = 3
    level: str = "word"
    seed: int = 1
    sha1: bool = False

    @classmethod
    def of(cls, function: Function, field: Field) -> MinHasher:
        """Of a MINHASH function and the field that it fills."""
        options = function.options
        return cls(
            num_hashes=(field.type.dim or 0) // HASH_BITS,
            shingle_size=options.get("shingle_size", 3),
            level=options.get("token_level", "word"),
            seed=options.get("seed", 1),
            sha1=options.get("hash_function") == "sha1",
        )

    def signatures(self, texts: Sequence[str] | pa.Array) -> npt.NDArray[np.uint8]:
        """Signatures of texts, none of them null.

        Returns:
            (n, num_hashes * 4) uint8: the hashes, little-endian.
        """
        array = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())
        out = np.empty((len(array), self.num_hashes), "<u4")
        ends = np.cumsum(pc.binary_length(array).to_numpy(zero_copy_only=False).astype(np.int64) + 1)
        start = 0
        while start < len(array):
            before = int(ends[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + _BLOCK_BYTES, "right")))
            out[start:stop] = self._block(array.slice(start, stop - start))
            start = stop
        return out.view(np.uint8).reshape(len(array), self.num_hashes * 4)

    def _block(self, texts: pa.Array) -> npt.NDArray[np.uint32]:
        if self.sha1:
            shingles, starts = _digests(texts, self.shingle_size, self.level)
        else:
            parts, counts = _words(texts) if self.level == "word" else _characters(texts)
            parts, counts = _filled_up(parts, counts, self.shingle_size)
            shingles, starts = _shingles(parts, counts, self.shingle_size)
        out = np.empty((len(texts), self.num_hashes), np.uint32)
        multipliers = _mixed(np.arange(self.num_hashes, dtype=np.uint64) * np.uint64(2), self.seed)
        offsets = _mixed(np.arange(self.num_hashes, dtype=np.uint64) * np.uint64(2) + np.uint64(1), self.seed)
        hashed = np.empty_like(shingles)
        for i in range(self.num_hashes):
            np.multiply(shingles, multipliers[i] | np.uint64(1), out=hashed)
            hashed += offsets[i]
            # The least of the upper halves is the upper half of the least.
            out[:, i] = np.minimum.reduceat(hashed, starts) >> np.uint64(32)
        return out


def _digests(texts: pa.Array, size: int, level: str) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """(s,) the first 32 bits of the SHA-1 of the shingles, by text, and where those of each text start."""
    hashes: list[int] = []
    starts = []
    for text in texts.to_pylist():
        parts = re.findall(r"\w+", text.lower()) if level == "word" else text
        joint = " " if level == "word" else ""
        starts.append(len(hashes))
        for first in range(max(1, len(parts) - size + 1)):
            shingle = joint.join(parts[first : first + size]).encode("utf-8", "surrogatepass")
            digest = hashlib.sha1(shingle, usedforsecurity=False).digest()
            hashes.append(int.from_bytes(digest[:4], "little"))
    return np.array(hashes, np.uint64), np.array(starts, np.int64)


def _mixed(values: Hashes, seed: int = 0) -> Hashes:
    """Values whose bits are stirred (splitmix64)."""
    mixed = values + np.uint64((seed * int(_GOLDEN) + int(_GOLDEN)) % (1 << 64))
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    stirred: Hashes = mixed ^ (mixed >> np.uint64(31))
    return stirred


def _code_points(texts: pa.Array) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """The code points of all texts one after the other, and how many each has."""
    joined = "".join(texts.to_pylist())
    points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    return points, pc.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)


def _characters(texts: pa.Array) -> tuple[Hashes, npt.NDArray[np.int64]]:
    points, counts = _code_points(texts)
    return _mixed(points), counts


def _words(texts: pa.Array) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """A hash of every word, and how many words each text has."""
    split = pc.split_pattern_regex(pc.utf8_lower(texts), _NOT_WORD)
    words, owners = pc.list_flatten(split), pc.list_parent_indices(split).to_numpy()
    there = pc.greater(pc.binary_length(words), 0)
    words = words.filter(there)
    owners = owners[there.to_numpy(zero_copy_only=False)]
    counts = np.bincount(owners, minlength=len(texts)).astype(np.int64)
    points, lengths = _code_points(words)
    if len(words) == 0:
        return np.empty(0, np.uint64), counts
    starts = np.cumsum(lengths) - lengths
    places = np.arange(len(points), dtype=np.int64) - np.repeat(starts, lengths)
    # A sum of what each character is worth at its place tells anagrams apart.
    worth = _mixed(points + (places.astype(np.uint64) << np.uint64(32)))
    return _mixed(np.add.reduceat(worth, starts)), counts


def _filled_up(
    parts: Hashes, counts: npt.NDArray[np.int64], size: int
) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """With zeros after the parts of each text that has fewer than `size`."""
    lacking = np.maximum(size - counts, 0)
    if not lacking.any():
        return parts, counts
    wanted = counts + lacking
    starts = np.cumsum(wanted) - wanted
    out = np.zeros(int(wanted.sum()), np.uint64)
    places = np.arange(len(parts), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
    out[np.repeat(starts, counts) + places] = parts
    return out, wanted


def _shingles(
    parts: Hashes, counts: npt.NDArray[np.int64], size: int
) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """(s,) 32-bit hashes of the shingles, by text, and where those of each text start."""
    windows = len(parts) - size + 1
    folded = np.zeros(windows, np.uint64)
    for place in range(size):
        folded = folded * _FOLD + parts[place : place + windows]
    last = np.cumsum(counts)
    inside = np.ones(windows, np.bool_)
    # A window that starts in the last `size - 1` parts of a text would reach into the next one.
    for back in range(1, size):
        crossing = last - back
        inside[crossing[crossing < windows]] = False
    per_text = counts - size + 1
    return _mixed(folded[inside]) >> np.uint64(32), np.cumsum(per_text) - per_text
