"""All vectors of a column, a block at a time: what a build reads, whose memory is then that of a few blocks.

The next blocks are read while the caller works on one, by as many threads as there are blocks ahead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from headwater.formats.fetched import Vectors
from headwater.types import RowIds

__all__ = ["block_rows", "blocks", "drawn"]

T = TypeVar("T")

_BLOCK_BYTES = 8 << 20
_AHEAD = 2
_NUMBER_BYTES = 4
"""Of a number as it is worked on, however it is stored."""


def block_rows(vectors: Vectors) -> int:
    """Rows of a block, which takes about 8 MiB once its numbers are float32."""
    width: int = vectors.shape[1]
    return max(256, _BLOCK_BYTES // (_NUMBER_BYTES * max(1, width)))


def blocks(vectors: Vectors) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Every row once, in order: (position of the first row, block).

    Args:
        vectors: (n, width) as stored. Blocks of an array are views of it; others are the caller's own.
    """
    size = block_rows(vectors)
    starts = range(0, len(vectors), size)
    if isinstance(vectors, np.ndarray):
        for start in starts:
            yield start, vectors[start : start + size]
        return
    if vectors.scan is not None:
        with closing(_ahead_of(_recut(vectors.scan(), size))) as parts:
            yield from zip(starts, parts, strict=True)
        return
    fetched = vectors

    def reading(start: int) -> Callable[[], npt.NDArray[Any]]:
        return lambda: fetched[start : start + size]

    with closing(_side_by_side(map(reading, starts))) as parts:
        yield from zip(starts, parts, strict=True)


def drawn(vectors: Vectors, rows: RowIds) -> npt.NDArray[Any]:
    """(m, width) of ascending positions; beside them no more memory than a few blocks.

    Args:
        vectors: (n, width) as stored.
        rows: (m,) positions, ascending.
    """
    if isinstance(vectors, np.ndarray):
        return vectors[rows]
    out = np.empty((len(rows), vectors.shape[1]), vectors.dtype)
    if vectors.scan is not None:
        for start, block in blocks(vectors):
            first, last = np.searchsorted(rows, (start, start + len(block)))
            out[first:last] = block[rows[first:last] - start]
        return out
    fetched, size = vectors, block_rows(vectors)

    def reading(start: int) -> Callable[[], npt.NDArray[Any]]:
        return lambda: fetched[rows[start : start + size]]

    starts = range(0, len(rows), size)
    with closing(_side_by_side(map(reading, starts))) as parts:
        for start, part in zip(starts, parts, strict=True):
            out[start : start + len(part)] = part
    return out


def _side_by_side(tasks: Iterable[Callable[[], T]]) -> Generator[T]:
    """The results of tasks, in their order; a few are under way at a time."""
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(_AHEAD, thread_name_prefix="headwater-read") as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(task))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()


def _ahead_of(parts: Iterator[T]) -> Generator[T]:
    """The same, of which the next is made meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="headwater-read") as pool:
        coming = pool.submit(next, parts, None)
        while (part := coming.result()) is not None:
            coming = pool.submit(next, parts, None)
            yield part


def _recut(parts: Iterator[npt.NDArray[Any]], size: int) -> Iterator[npt.NDArray[Any]]:
    """Rows in blocks of `size`, the last one shorter."""
    held: list[npt.NDArray[Any]] = []
    count = 0
    for part in parts:
        rest = part
        while count + len(rest) >= size:
            held.append(rest[: size - count])
            rest = rest[size - count :]
            yield np.concatenate(held)
            held, count = [], 0
        if len(rest):
            held.append(rest)
            count += len(rest)
    if held:
        yield np.concatenate(held)
