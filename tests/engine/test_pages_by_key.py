"""Pages in the order of keys: what sorting every row gives, from the segments that can hold such keys."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import headwater as hw

SEGMENTS, ROWS = 5, 40


def collection(folder: Path, keys: list[list[Any]]) -> hw.Collection:
    """One segment for each list of keys, in the order given."""
    kind = hw.Int64 if isinstance(keys[0][0], int) else hw.VarChar(64)
    docs = hw.connect(folder).create_collection("docs", {"key": kind, "n": hw.Int64}, "key")
    for some in keys:
        docs.insert({"key": some, "n": [number(key) for key in some]})
        docs.flush()
    return docs


def number(key: Any) -> int:
    return int(str(key).removeprefix("key "))


def shuffled(overlapping: bool, text: bool) -> list[list[Any]]:
    drawn = random.Random(7)
    numbers = drawn.sample(range(100_000, 200_000), SEGMENTS * ROWS)
    numbers = numbers if overlapping else sorted(numbers)
    keys: list[Any] = [f"key {one}" if text else one for one in numbers]
    parts = [keys[start : start + ROWS] for start in range(0, len(keys), ROWS)]
    for part in parts:
        drawn.shuffle(part)
    drawn.shuffle(parts)
    return parts


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("overlapping", [False, True])
def test_a_page_is_that_of_all_rows_sorted(tmp_path: Path, overlapping: bool, text: bool) -> None:
    parts = shuffled(overlapping, text)
    docs = collection(tmp_path, parts)
    gone = {key for part in parts for key in part[::5]}
    docs.delete(sorted(gone))
    late = "key 150000" if text else 150_000
    docs.upsert({"key": [late], "n": [1]})
    kept = {key: number(key) for part in parts for key in part if key not in gone} | {late: 1}
    for descending in (False, True):
        for filter, fits in ((None, lambda n: True), ("n % 3 == 1", lambda n: n % 3 == 1)):
            expected = sorted((key for key, n in kept.items() if fits(n)), reverse=descending)
            for offset, limit in ((0, 1), (0, 7), (5, 50), (30, 1000), (500, 3), (0, 0)):
                page = docs.query(
                    filter, order_by="-key" if descending else "key", offset=offset, limit=limit
                )
                assert [row["key"] for row in page] == expected[offset : offset + limit]


def test_segments_whose_keys_all_come_later_are_not_read(tmp_path: Path) -> None:
    docs = collection(tmp_path, shuffled(overlapping=False, text=False))

    def read(**page: Any) -> int:
        with hw.explain() as what:
            docs.query(**page)
        [number] = [step.details["segments_read"] for step in what.root.walk() if "by_key" in step.details]
        return int(number)

    assert read(order_by="key", limit=10) == 1
    assert read(order_by="-key", limit=10) == 1
    assert read(order_by="key", limit=ROWS) == 1
    assert read(order_by="key", limit=10, offset=ROWS) == 2
    assert read(order_by="key", limit=SEGMENTS * ROWS) == SEGMENTS
