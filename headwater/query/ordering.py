"""Orders that rows are wanted in: by fields, paths in JSON fields and keys of dynamic rows; and where nulls stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.index.json_paths import JsonValues, shred
from headwater.lake import Segment
from headwater.query.paths import FieldPath, stored_at
from headwater.query.snapshot import Snapshot
from headwater.types import RowIds

__all__ = ["OrderBy", "json_sort_columns", "sort_columns", "sorted_places"]


class OrderBy(NamedTuple):
    """One column of an order.

    Attributes:
        name: of the column.
        descending: largest first.
        nulls_first: whether rows without a value come before all others, or after them.
    """

    name: str
    descending: bool = False
    nulls_first: bool = False

    @property
    def direction(self) -> str:
        """As Arrow names it."""
        return "descending" if self.descending else "ascending"

    @property
    def nulls(self) -> str:
        """Where nulls stand, as Arrow names it."""
        return "at_start" if self.nulls_first else "at_end"


def sort_columns(
    snapshot: Snapshot,
    segments: Sequence[Segment],
    which: npt.NDArray[np.int32],
    rows: RowIds,
    path: FieldPath,
) -> list[pa.Array | pa.ChunkedArray]:
    """The columns by which rows are sorted to be in the order of a field or a path, the most significant first."""
    column = stored_at(snapshot, segments, which, rows, path)
    return [column] if path.path is None else json_sort_columns(shred(column, path.path))


def json_sort_columns(values: JsonValues) -> list[pa.Array]:
    """The columns by which values of JSON are sorted, the most significant first.

    They may be of several types: truth values come first, then numbers, then texts; what has no order counts as null.
    """
    numbers = pc.coalesce(values.numbers, values.bools.cast(pa.float64()))
    ranks = [(values.bools, 0), (values.numbers, 1), (values.texts, 2)]
    kind = pc.coalesce(*(pc.if_else(pc.is_valid(one), rank, None).cast(pa.int8()) for one, rank in ranks))
    return [kind, numbers, values.texts]


def sorted_places(
    before: Sequence[pa.Array], order_by: Sequence[tuple[OrderBy, Sequence[pa.Array | pa.ChunkedArray]]]
) -> npt.NDArray[np.int64]:
    """(n,) positions in order; those that are equal stay as they are.

    Args:
        before: columns that order first, ascending.
        order_by: the orders, each with its columns.
    """
    columns, keys = list(before), [("ascending", "at_end")] * len(before)
    for one, parts in order_by:
        columns += parts
        keys += [(one.direction, one.nulls)] * len(parts)
    columns.append(pa.array(np.arange(len(columns[0]))))
    keys.append(("ascending", "at_end"))
    names = [str(i) for i in range(len(columns))]
    by = [(name, *key) for name, key in zip(names, keys, strict=True)]
    places: npt.NDArray[np.int64] = pc.sort_indices(pa.table(columns, names=names), sort_keys=by).to_numpy()
    return places.astype(np.int64)
