"""Inverted lists as byte ranges of an artifact.

The section `lists` holds one block for each list: its codes, then its row positions as int64. The section `directory`
has one entry for each list, in list order; the blocks themselves lie in an order that puts neighbouring lists beside
each other, so that the lists which one query probes coalesce into few ranges.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from headwater.index.artifact import Artifact, ArtifactWriter

__all__ = ["DIRECTORY", "code_bytes", "neighbourly_order", "read_directory", "rows_in_lists", "write_lists"]

DIRECTORY = np.dtype([("offset", "<u8"), ("code_bytes", "<u8"), ("num_rows", "<u4"), ("crc32", "<u4")])
"""One list: where its block begins in the file, bytes of codes before the row positions, rows, CRC-32 of the block."""


def neighbourly_order(centroids: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """An order of the lists in which near centroids are near each other: by cluster of centroids, then by closeness."""
    n, dim = centroids.shape
    groups = int(np.sqrt(n))
    if groups < 2:
        return np.arange(n)
    means = faiss.Kmeans(
        dim, groups, niter=5, seed=1, min_points_per_centroid=1, max_points_per_centroid=10**6
    )
    means.train(centroids)
    distances, group = means.index.search(centroids, 1)
    return np.lexsort((distances[:, 0], _along_a_chain(means.centroids)[group[:, 0]]))


def _along_a_chain(points: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """(n,) place of each point in a chain that goes on to the nearest point not yet in it."""
    apart = faiss.pairwise_distances(points, points)
    place = np.empty(len(points), np.int64)
    current = 0
    for step in range(len(points)):
        place[current] = step
        apart[:, current] = np.inf
        current = int(np.argmin(apart[current]))
    return place


def rows_in_lists(lists: Any, order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(n,) the rows of faiss inverted lists, list by list in an order of the lists."""
    parts = [_contents(lists, number)[1].copy() for number in order.tolist()]
    return np.concatenate([np.empty(0, np.int64), *parts])


def write_lists(
    writer: ArtifactWriter, lists: Any, order: npt.NDArray[np.int64], *, renumbered: bool = False
) -> bytes:
    """Write the section `lists` from faiss inverted lists.

    Args:
        writer: the artifact.
        lists: `ArrayInvertedLists` or `BlockInvertedLists`.
        order: list numbers in the order of their blocks.
        renumbered: whether the rows will lie in the order of the blocks.

    Returns:
        The section `directory`.
    """
    directory = np.zeros(lists.nlist, DIRECTORY)

    def blocks() -> Iterator[bytes]:
        first = 0
        for number in order.tolist():
            codes, rows = _contents(lists, number)
            if renumbered:
                rows = np.arange(first, first + len(rows))
                first += len(rows)
            block = codes.tobytes() + rows.astype("<i8").tobytes()
            directory[number] = (0, codes.nbytes, len(rows), zlib.crc32(block))
            yield block

    directory["offset"][order] = writer.section("lists", blocks())
    return directory.tobytes()


def _contents(lists: Any, number: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    count = lists.list_size(number)
    if count == 0:
        return np.empty(0, np.uint8), np.empty(0, np.int64)
    codes = faiss.rev_swig_ptr(lists.get_codes(number), _code_bytes(lists, count))
    rows = faiss.rev_swig_ptr(lists.get_ids(number), count)
    return codes, rows


def _code_bytes(lists: Any, count: int) -> int:
    """Bytes of the codes of a list: whole blocks of 32 rows where codes are packed for fast-scan."""
    return int(code_bytes(lists, np.array([count]))[0])


def code_bytes(lists: Any, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(n,) bytes of the codes of lists of so many rows, as these inverted lists keep them."""
    if isinstance(lists, faiss.BlockInvertedLists):
        return -(-counts // int(lists.n_per_block)) * int(lists.block_size)
    return counts * int(lists.code_size)


def read_directory(artifact: Artifact, data: memoryview, lists: Any) -> npt.NDArray[Any]:
    """The directory of an artifact, checked against the inverted lists it is for.

    Args:
        artifact: it is the directory of.
        data: the section `directory`.
        lists: faiss's inverted lists, empty, of the codec.

    Raises:
        Corrupt: it does not fit them.
    """
    if len(data) % DIRECTORY.itemsize or len(data) // DIRECTORY.itemsize != lists.nlist:
        raise artifact.corrupt(f"a directory of {len(data)} bytes, expected {lists.nlist} lists")
    directory = np.frombuffer(data, DIRECTORY)
    counts, base = directory["num_rows"].astype(np.int64), artifact.offset("lists")
    sizes, starts = directory["code_bytes"].astype(np.int64), directory["offset"].astype(np.int64) - base
    fits = (sizes == code_bytes(lists, counts)) & (starts >= 0)
    fits &= starts + sizes + 8 * counts <= artifact.size_of("lists")
    wrong = np.flatnonzero(~fits & (counts > 0))
    if len(wrong):
        raise artifact.corrupt(f"list {wrong[0]} does not fit its block")
    return directory
