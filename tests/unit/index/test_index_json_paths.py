"""JSON paths beside Python's own reader of JSON."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.index.json_paths import JsonKind, JsonValues, shred

MISSING = object()
KEYS = ["a", "b.c", "d/e", 'q"q', "", "*", "$", "é", "back\\slash", "0", "it's", "x]y", "~1", "new\nline"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**53 + 1, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 0, -1]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
    st.sampled_from(['"', "\\", "\u0000", "\U0001f600", "[1]", "true", '{"a":1}']),
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=8,
)
PATHS = st.lists(st.one_of(st.sampled_from(KEYS), st.integers(0, 2)), max_size=3).map(tuple)


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        if (isinstance(key, str) and isinstance(value, dict) and key in value) or (
            isinstance(key, int) and isinstance(value, list) and key < len(value)
        ):
            value = value[key]
        else:
            return MISSING
    return value


def kind(value: Any) -> JsonKind:
    if value is MISSING:
        return JsonKind.MISSING
    if value is None:
        return JsonKind.NULL
    if isinstance(value, bool):
        return JsonKind.BOOL
    if isinstance(value, int):
        return JsonKind.INTEGER if -(2**63) <= value < 2**63 else JsonKind.DOUBLE
    names = {float: JsonKind.DOUBLE, str: JsonKind.TEXT, list: JsonKind.ARRAY, dict: JsonKind.OBJECT}
    return names[type(value)]


def held(values: JsonValues, row: int) -> Any:
    columns = {
        JsonKind.BOOL: values.bools,
        JsonKind.INTEGER: values.integers,
        JsonKind.DOUBLE: values.numbers,
        JsonKind.TEXT: values.texts,
    }
    which = JsonKind(values.kind[row])
    if which is JsonKind.MISSING:
        return MISSING
    if which is JsonKind.NULL:
        return None
    if which in columns:
        return columns[which][row].as_py()
    return json.loads(values.raw[row].as_py())


def narrowed(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value


@settings(max_examples=300)
@given(documents=st.lists(DOCUMENTS, min_size=1, max_size=6), path=PATHS, plain=st.booleans())
def test_a_path_holds_what_python_finds_there(
    documents: list[Any], path: tuple[str | int, ...], plain: bool
) -> None:
    texts = pa.array([json.dumps(one, ensure_ascii=plain) for one in documents])
    values = shred(texts, path)
    expected = [at(one, path) for one in documents]
    assert [JsonKind(one) for one in values.kind] == [kind(one) for one in expected]
    for row, one in enumerate(expected):
        assert held(values, row) == (narrowed(one) if not isinstance(one, list | dict) else one)
        number = isinstance(one, int | float) and not isinstance(one, bool)
        assert values.numbers[row].as_py() == (float(one) if number else None)
    lists = values.lists
    assert lists.lengths.tolist() == [len(one) if isinstance(one, list) else -1 for one in expected]
    flat = [item for one in expected if isinstance(one, list) for item in one]
    assert [held(lists.elements, row) for row in range(len(flat))] == [
        item if isinstance(item, list | dict) else narrowed(item) for item in flat
    ]
    assert lists.rows.tolist() == [r for r, one in enumerate(expected) if isinstance(one, list) for _ in one]


def test_what_is_not_json_holds_nothing() -> None:
    texts = pa.array(["{bad", "", None, "[1", '{"a" 1}', "nul", '{"a":1}'])
    assert shred(texts, ("a",)).kind.tolist() == [0, 0, 0, 0, 0, 0, JsonKind.INTEGER]
    assert shred(pa.array([], pa.string()), ("a",)).kind.tolist() == []
    assert shred(pa.nulls(3, pa.large_string()), ()).kind.tolist() == [0, 0, 0]


def test_the_first_of_two_equal_keys_counts() -> None:
    assert shred(pa.array(['{"a":1,"a":2}']), ("a",)).integers.to_pylist() == [1]


def test_rows_are_taken_and_absent_ones_are_missing() -> None:
    values = shred(pa.array(['{"a":1}', '{"a":"x"}', '{"a":[1,2]}']), ("a",))
    taken = values.take(np.array([2, -1, 1]))
    assert taken.kind.tolist() == [JsonKind.ARRAY, JsonKind.MISSING, JsonKind.TEXT]
    assert taken.texts.to_pylist() == [None, None, "x"]
    assert taken.lists.elements.integers.to_pylist() == [1, 2]


@pytest.mark.parametrize("count", [1, 70_000, 200_000])
def test_rows_keep_their_order_over_batches_and_threads(count: int) -> None:
    texts = pa.array([f'{{"n":{row}}}' for row in range(count)])
    results: list[JsonValues] = []
    threads = [threading.Thread(target=lambda: results.append(shred(texts, ("n",)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for values in results:
        assert np.array_equal(values.integers.to_numpy(), np.arange(count))
    assert len(results) == 4
