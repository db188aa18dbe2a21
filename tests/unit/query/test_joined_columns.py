"""Fields of rows from several segments, joined: the same in Python and in Arrow, whatever each part is kept as."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from headwater.query.columns import HotColumn, concatenated, rows_of

VALUES = {
    "texts": ["a", "", "ü", "long" * 20, "e", "f", "g"],
    "texts and none": ["a", None, "ü", "d", None, "f", "g"],
    "numbers": [1, 2, 3, 4, 5, 6, 7],
    "numbers and none": [1, None, 3, 4, 5, None, 7],
    "bits": [True, False, True, True, False, False, True],
    "bytes": [b"a", b"", b"\xff", b"d", b"e", b"f", b"g"],
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("in_memory", [(True, True), (True, False), (False, True), (False, False)])
def test_rows_of_several_segments_come_in_the_order_asked(name: str, in_memory: tuple[bool, bool]) -> None:
    values = VALUES[name]
    first, second = pa.array(values[:4]), pa.array(values[4:])
    dice = np.random.default_rng(3)
    for _ in range(5):
        taken = [dice.integers(0, 4, 6), dice.integers(0, 3, 5)]
        parts = [
            HotColumn(array).take(rows) if decoded else rows_of(array, rows)
            for array, rows, decoded in zip((first, second), taken, in_memory, strict=True)
        ]
        order = dice.permutation(11)
        flat = [values[row] for row in taken[0]] + [values[4 + row] for row in taken[1]]
        wanted = [flat[place] for place in order]
        joined = concatenated(parts, order)
        assert joined.to_pylist() == wanted
        assert joined.to_arrow().to_pylist() == wanted


@pytest.mark.parametrize("texts", [["a", "", "ü€", ""], ["", ""], ["", "b" * 300, ""]])
@pytest.mark.parametrize("sliced", [False, True])
def test_empty_texts_are_cut_at_the_end_of_a_column_too(texts: list[str], sliced: bool) -> None:
    array = pa.array(["before", *texts, "after"]).slice(1, len(texts)) if sliced else pa.array(texts)
    column = HotColumn(array)
    for rows in (np.arange(len(texts)), np.arange(len(texts))[::-1], np.zeros(100, np.int64), np.arange(0)):
        taken = column.take(rows)
        expected = [texts[row] for row in rows.tolist()]
        assert taken.to_pylist() == expected
        assert taken.to_arrow().to_pylist() == expected
