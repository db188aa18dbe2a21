"""Build an index before the segment that it is of: its rows are then written in the order of their lists.

The candidates of a search come from few lists, so their vectors lie in few places of the file: a cold search asks for
fewer ranges, and a warm one touches fewer pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater import index as index_kinds
from headwater.index import SCALAR_KINDS, SupportsOrder
from headwater.index.text import INVERTED_KINDS
from headwater.jobs.build_index import share_of, usable_cores
from headwater.jobs.live_rows import LiveRows
from headwater.lake import SCAN_KIND, IndexSpec
from headwater.query.opened import index_params
from headwater.store import local_errors
from headwater.types import RowIds

__all__ = ["BuiltAhead", "build_ahead"]


@dataclass(frozen=True)
class BuiltAhead:
    """An index of a segment that is still to be written.

    Attributes:
        spec: which index.
        path: its file.
        order: (n,) the rows in the order in which the segment has to have them.
    """

    spec: IndexSpec
    path: Path
    order: RowIds


def build_ahead(
    rows: LiveRows, specs: Sequence[IndexSpec], folder: Path, threads: int | None
) -> BuiltAhead | None:
    """Build the first index by which rows can be ordered; None where there is none.

    Args:
        rows: all rows of the segment.
        specs: indexes that it gets.
        folder: where the file is made.
        threads: cores to use; all by default.
    """
    for spec in specs:
        field = rows.snapshot.schema.field_by_id(spec.field_id)
        other = spec.kind == SCAN_KIND or spec.kind in SCALAR_KINDS or spec.kind in INVERTED_KINDS
        if other or spec.path or not field.type.data_type.dense_vector or field.name not in rows.names:
            continue
        params = index_params(spec, share_of(rows.num_rows, rows.snapshot.manifest))
        kind = index_kinds.get(params.kind)
        if not isinstance(kind, SupportsOrder):
            continue
        path = folder / "index.hwx"
        vectors, present = rows.vectors(field)
        with local_errors("write", str(path)):
            order = kind.build_ordered(
                vectors, params, path, present=present, threads=threads or usable_cores()
            )
        return BuiltAhead(spec, path, order)
    return None
