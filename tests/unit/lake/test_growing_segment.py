"""Rows of the log as segments in memory."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from headwater.lake.log.growing_segment import growing_segment


def _pieces(number: int, rows: int) -> pa.Table:
    """Rows in several pieces that are too large to be joined when the segment is made."""
    values = [pa.array(np.random.default_rng(one).normal(size=rows)) for one in range(number)]
    return pa.table({"1": pa.chunked_array(values)})


@pytest.mark.parametrize(("rows", "in_arrows_pool"), [(8_000, False), (200_000, True)])
def test_few_rows_are_joined_in_memory_that_is_used_again(rows: int, in_arrows_pool: bool) -> None:
    pieces = _pieces(3, rows)
    segment = growing_segment(pieces, [(0, 3 * rows)])
    before = pa.total_allocated_bytes()
    whole = segment.whole()
    assert whole.column("1").num_chunks == 1
    assert whole.equals(pieces)
    assert segment.whole() is whole
    assert (pa.total_allocated_bytes() - before >= pieces.nbytes) is in_arrows_pool


def test_pieces_that_cost_more_than_one_are_joined_at_once() -> None:
    pieces = _pieces(10, 100)
    segment = growing_segment(pieces, [(0, 1000)])
    assert segment.rows.column("1").num_chunks == 1
    assert segment.rows.equals(pieces)
