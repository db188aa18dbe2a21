"""Sorted keys in an artifact: where a value stands among them, without reading them all.

Beside the keys is a short section of fences, the first key of every block, so that a look-up reads the fences once and
then one block.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.index.artifact import Artifact, ArtifactWriter
from headwater.index.scalar.pages import PAGE_BYTES, Pages, write_pages

__all__ = ["Keys", "NumberKeys", "Side", "TextKeys", "open_keys", "write_keys"]

Side = Literal["left", "right"]
Positions = npt.NDArray[np.int64]

_TEXTS_PER_BLOCK = 128
_FEW = 32
"""Look-ups, at most, that go by blocks; more of them read all keys."""


def write_keys(
    writer: ArtifactWriter, prefix: str, keys: npt.NDArray[Any] | pa.Array
) -> dict[str, int | str]:
    """Write ascending keys.

    Args:
        writer: of the artifact.
        prefix: of the names of the sections.
        keys: numbers, or large_binary.

    Returns:
        What `open_keys` needs.
    """
    if isinstance(keys, np.ndarray):
        write_pages(writer, prefix + "keys", keys)
        per_block = PAGE_BYTES // keys.itemsize
        fences = np.ascontiguousarray(keys[::per_block])
        writer.section(prefix + "fences", [fences] if len(fences) else [])
        return {"dtype": keys.dtype.str, "keys": len(keys)}
    offsets, data = _buffers(keys)
    write_pages(writer, prefix + "keys", data)
    write_pages(writer, prefix + "offsets", offsets)
    fence_offsets, fence_data = _buffers(keys.take(pa.array(np.arange(0, len(keys), _TEXTS_PER_BLOCK))))
    writer.section(prefix + "fence_offsets", [fence_offsets])
    writer.section(prefix + "fences", [fence_data] if len(fence_data) else [])
    return {"dtype": "text", "keys": len(keys)}


def _buffers(keys: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Offsets from 0, and bytes."""
    if len(keys) == 0:
        return np.zeros(1, "<i8"), np.empty(0, np.uint8)
    _, raw_offsets, raw_data = keys.buffers()
    offsets = np.frombuffer(raw_offsets, "<i8")[keys.offset : keys.offset + len(keys) + 1]
    data = (
        np.frombuffer(raw_data, np.uint8) if raw_data is not None and raw_data.size else np.empty(0, np.uint8)
    )
    return offsets - offsets[0], data[offsets[0] : offsets[-1]]


def open_keys(artifact: Artifact, prefix: str, about: dict[str, Any]) -> NumberKeys | TextKeys:
    """What `write_keys` wrote."""
    if about["dtype"] == "text":
        return TextKeys(artifact, prefix, about["keys"])
    return NumberKeys(artifact, prefix, np.dtype(about["dtype"]))


class NumberKeys:
    """Ascending numbers.

    Args:
        artifact: the file.
        prefix: of the names of the sections.
        dtype: of the numbers.
    """

    def __init__(self, artifact: Artifact, prefix: str, dtype: np.dtype[Any]) -> None:
        self._artifact = artifact
        self._prefix = prefix
        self._dtype = dtype
        self._pages = Pages(artifact, prefix + "keys", dtype)
        self._known_fences: npt.NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self._pages)

    @property
    def _fences(self) -> npt.NDArray[Any]:
        # Not a cached property, whose lock all instances share: see `Pages`.
        if self._known_fences is None:
            self._known_fences = np.frombuffer(self._artifact.section(self._prefix + "fences"), self._dtype)
        return self._known_fences

    @property
    def near(self) -> bool:
        """Whether looking up costs no request."""
        return self._pages.near

    def around(self, low: Any | None, high: Any | None) -> tuple[int, int]:
        """Positions between which all keys from `low` to `high` are, as far as the fences tell."""
        per_block = PAGE_BYTES // self._dtype.itemsize
        start = 0 if low is None else max(int(np.searchsorted(self._fences, low, "left")) - 1, 0)
        stop = len(self._fences) if high is None else int(np.searchsorted(self._fences, high, "right"))
        return start * per_block, min(max(stop, start + 1) * per_block, len(self))

    def at(self, wanted: npt.NDArray[Any], side: Side) -> Positions:
        """How many keys are less than each value (`left`), or not greater (`right`).

        Args:
            wanted: (n,) numbers that compare with the keys exactly.
            side: which.
        """
        if len(self) == 0:
            return np.zeros(len(wanted), np.int64)
        if len(wanted) > _FEW and self._pages.near:
            return np.searchsorted(self._pages.whole(), wanted, side).astype(np.int64)
        per_block = PAGE_BYTES // self._dtype.itemsize
        blocks = np.maximum(np.searchsorted(self._fences, wanted, side) - 1, 0)
        which, of = np.unique(blocks, return_inverse=True)
        spans = [(b * per_block, min((b + 1) * per_block, len(self))) for b in which.tolist()]
        parts = self._pages.slices(spans)
        found = [
            spans[at][0] + int(np.searchsorted(parts[at], value, side))
            for value, at in zip(wanted, of.tolist(), strict=True)
        ]
        return np.asarray(found, np.int64)


class TextKeys:
    """Ascending texts, as bytes.

    Args:
        artifact: the file.
        prefix: of the names of the sections.
        count: how many.
    """

    def __init__(self, artifact: Artifact, prefix: str, count: int) -> None:
        self._artifact = artifact
        self._prefix = prefix
        self._count = count
        self._data = Pages(artifact, prefix + "keys", np.uint8)
        self._offsets = Pages(artifact, prefix + "offsets", "<i8")
        if len(self._offsets) != count + 1:
            raise artifact.corrupt(f"{len(self._offsets)} offsets of {count} keys")
        self._known_fences: list[bytes] | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def _fences(self) -> list[bytes]:
        if self._known_fences is None:
            raw, held = self._artifact.sections([self._prefix + "fence_offsets", self._prefix + "fences"])
            offsets, data = np.frombuffer(raw, "<i8").tolist(), bytes(held)
            self._known_fences = [data[a:b] for a, b in itertools.pairwise(offsets)]
        return self._known_fences

    def at(self, wanted: Sequence[bytes], side: Side) -> Positions:
        """How many keys are less than each value (`left`), or not greater (`right`)."""
        if self._count == 0:
            return np.zeros(len(wanted), np.int64)
        place = bisect.bisect_left if side == "left" else bisect.bisect_right
        blocks = [max(place(self._fences, value) - 1, 0) for value in wanted]
        which = sorted(set(blocks))
        spans = [(b * _TEXTS_PER_BLOCK, min((b + 1) * _TEXTS_PER_BLOCK, self._count)) for b in which]
        offsets = self._offsets.slices([(start, stop + 1) for start, stop in spans])
        texts = self._data.slices([(int(part[0]), int(part[-1])) for part in offsets])
        held = {
            block: (start, _cut(part.tolist(), text.tobytes()))
            for block, (start, _), part, text in zip(which, spans, offsets, texts, strict=True)
        }
        return np.asarray(
            [held[b][0] + place(held[b][1], value) for b, value in zip(blocks, wanted, strict=True)], np.int64
        )

    def texts(self) -> pa.Array:
        """All of them as large_string; a view of the file where it is mapped."""
        offsets, data = self._offsets.whole(), self._data.whole()
        return pa.Array.from_buffers(
            pa.large_string(), self._count, [None, pa.py_buffer(offsets), pa.py_buffer(data)]
        )


Keys = NumberKeys | TextKeys


def _cut(offsets: list[int], data: bytes) -> list[bytes]:
    base = offsets[0]
    return [data[a - base : b - base] for a, b in itertools.pairwise(offsets)]
