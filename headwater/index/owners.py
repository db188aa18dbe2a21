"""Which list each row is in: what a search with a filter needs to know of all lists, without reading them.

The section `owners` has one number for each row, u16 where there are at most 65,536 lists and u32 else: first the low
bytes of all rows, then the next ones, and so on, compressed by zstd where that makes it smaller by a tenth. Files
without the section are older; the rows of every list are then read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.index.artifact import Artifact, ArtifactWriter
from headwater.index.placed_lists import FaissLists, RowLists
from headwater.types import RowIds

__all__ = ["owners_in", "read_owners", "write_owners"]

_SAVES = 0.9


def owners_in(lists: RowLists, num_rows: int) -> npt.NDArray[Any]:
    """(num_rows,) the list that each row is in, from the lists themselves.

    Args:
        lists: all of which are read.
        num_rows: in them.
    """
    sizes = lists.sizes
    owners = np.zeros(num_rows, _dtype(len(sizes)))
    with lists.holding(np.arange(len(sizes))):
        for number in np.flatnonzero(sizes).tolist():
            owners[lists.rows_of(number)] = number
    return owners


def write_owners(writer: ArtifactWriter, index: Any, rows: RowIds | None = None) -> dict[str, Any]:
    """Write the section.

    Args:
        writer: of the artifact.
        index: faiss's inverted file, filled.
        rows: (n,) for each row as the section numbers it, which one of the index it is; itself, where left out.

    Returns:
        Properties that `read_owners` needs.
    """
    owners = owners_in(FaissLists(index), int(index.ntotal))
    owners = owners if rows is None else owners[rows]
    width = owners.dtype.itemsize
    planes = np.ascontiguousarray(owners.view(np.uint8).reshape(-1, width).T).tobytes()
    packed = pa.Codec("zstd").compress(planes, asbytes=True)
    pays = len(packed) < _SAVES * len(planes)
    writer.section("owners", [packed if pays else planes])
    return {"owners": "zstd" if pays else "plain"}


def read_owners(artifact: Artifact, num_lists: int) -> npt.NDArray[Any]:
    """(num_rows,) what `write_owners` wrote; one request where the file is cold.

    Args:
        artifact: that has the section.
        num_lists: of it.

    Raises:
        Corrupt: the section is altered.
    """
    dtype, num_rows = _dtype(num_lists), int(artifact.properties["num_rows"])
    size = num_rows * dtype.itemsize
    data: Any = artifact.section("owners")
    if artifact.properties["owners"] == "zstd":
        try:
            data = pa.Codec("zstd").decompress(data, size, asbytes=True)
        except OSError as error:
            raise artifact.corrupt(f"section 'owners': {error}") from error
    if len(data) != size:
        raise artifact.corrupt(f"section 'owners' has {len(data)} bytes for {num_rows} rows")
    planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, num_rows)
    owners: npt.NDArray[Any] = np.ascontiguousarray(planes.T).view(dtype).reshape(-1)
    if num_rows and int(owners.max()) >= num_lists:
        raise artifact.corrupt(f"section 'owners' names list {owners.max()} of {num_lists}")
    return owners


def _dtype(num_lists: int) -> np.dtype[Any]:
    return np.dtype("<u2" if num_lists <= 1 << 16 else "<u4")
