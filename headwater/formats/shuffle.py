"""Rows in another order, without holding them: parted into ranges of where they go, each put in order by itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
import pyarrow as pa

from headwater.store import scratch_folder
from headwater.types import RowIds

__all__ = ["shuffled"]

_PART_BYTES = 2 << 20
"""Of rows that are put in order at once."""

_MOST_PARTS = 200


def shuffled(batches: Iterator[pa.RecordBatch], order: RowIds) -> Iterator[pa.RecordBatch]:
    """The same rows in another order.

    Args:
        batches: n rows.
        order: (n,) for each row of the result, which row of the input it is.
    """
    head = next(batches, None)
    if head is None:
        return
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    size = len(order) * head.nbytes // max(1, head.num_rows)
    parts = int(min(_MOST_PARTS, max(1, -(-size // _PART_BYTES)), len(order)))
    if parts == 1:
        table = pa.Table.from_batches([head, *batches])
        yield from table.combine_chunks().take(pa.array(order)).to_batches()
        return
    bounds = np.linspace(0, len(order), parts + 1).astype(np.int64)
    with scratch_folder("order") as folder:
        paths = [folder / f"part-{number}.arrow" for number in range(parts)]
        writers = [pa.ipc.new_stream(str(path), head.schema) for path in paths]
        arrived: list[list[RowIds]] = [[] for _ in range(parts)]
        start = 0
        for batch in chain([head], batches):
            here = place[start : start + batch.num_rows]
            start += batch.num_rows
            ascending = np.argsort(here)
            taken, here = batch.take(pa.array(ascending)), here[ascending]
            cuts = np.searchsorted(here, bounds)
            for number in np.flatnonzero(np.diff(cuts)).tolist():
                first, last = int(cuts[number]), int(cuts[number + 1])
                writers[number].write_batch(taken.slice(first, last - first))
                arrived[number].append(here[first:last])
        for writer in writers:
            writer.close()
        for path, places in zip(paths, arrived, strict=True):
            with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
                part = stream.read_all()
            path.unlink()
            back = np.argsort(np.concatenate([np.empty(0, np.int64), *places]))
            yield from part.combine_chunks().take(pa.array(back)).to_batches()
