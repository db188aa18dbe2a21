"""The values at one path of a column of JSON texts, sorted by type into arrays.

DuckDB's JSON functions (yyjson inside) parse a column in one scan and hand back each row's value as JSON text; the
first byte of that text says its type, and the rest is done by whole arrays. Nothing here looks at a row from Python.

What counts: texts that are not JSON hold nothing; of a key that an object names twice the first counts; an integer
beyond 64 bits is a double; `j["0"]` is a key and `j[0]` is an array element.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.types import Bitmap, RowIds

__all__ = ["JsonKind", "JsonLists", "JsonPath", "JsonValues", "json_values", "numbers_of_texts", "shred"]

JsonPath = tuple[str | int, ...]
"""Keys of objects and positions in arrays, outermost first; empty for the whole document."""

_MAX_THREADS = 4
_ROWS_PER_BATCH = 1 << 16


class JsonKind(IntEnum):
    """Type of a value at a path. MISSING: there is no such path; NULL: it holds JSON's null."""

    MISSING = 0
    NULL = 1
    BOOL = 2
    INTEGER = 3
    DOUBLE = 4
    TEXT = 5
    ARRAY = 6
    OBJECT = 7


_KIND_OF_BYTE = np.full(256, JsonKind.DOUBLE, np.uint8)
for _bytes, _kind in (
    (b"n", JsonKind.NULL),
    (b"tf", JsonKind.BOOL),
    (b'"', JsonKind.TEXT),
    (b"[", JsonKind.ARRAY),
    (b"{", JsonKind.OBJECT),
):
    _KIND_OF_BYTE[list(_bytes)] = _kind


@dataclass(frozen=True, eq=False)
class JsonLists:
    """JSON arrays, taken apart.

    Attributes:
        lengths: (n,) int64: elements of each row; -1 where the row is no array.
        starts: (n,) int64: where a row's elements begin in `elements`.
        elements: of all rows, one after the other.
    """

    lengths: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    elements: JsonValues

    @cached_property
    def rows(self) -> RowIds:
        """(elements,) int64: the row of each element."""
        return np.repeat(np.arange(len(self.lengths)), np.maximum(self.lengths, 0))


@dataclass(frozen=True, eq=False)
class JsonValues:
    """One value per row.

    Attributes:
        kind: (n,) uint8, a `JsonKind` each.
        integers: (n,) int64, null where the value is no integer of 64 bits.
        numbers: (n,) float64, null where the value is no number; an integer beyond 2^53 is rounded here, not there.
        texts: (n,) large_string, unescaped, null where the value is no text.
        bools: (n,) bool, null where the value is no truth value.
        raw: (n,) large_string: compact JSON text of arrays and objects, null elsewhere.
    """

    kind: npt.NDArray[np.uint8]
    integers: pa.Array
    numbers: pa.Array
    texts: pa.Array
    bools: pa.Array
    raw: pa.Array

    def __len__(self) -> int:
        return len(self.kind)

    @cached_property
    def kinds(self) -> frozenset[int]:
        """The kinds that occur."""
        return frozenset(np.flatnonzero(np.bincount(self.kind, minlength=8)).tolist())

    @cached_property
    def lists(self) -> JsonLists:
        """The rows that are arrays, taken apart; made once."""
        return _lists(self)

    @property
    def present(self) -> Bitmap:
        """(n,) True where there is a value that is not null."""
        return self.kind > JsonKind.NULL

    @property
    def nbytes(self) -> int:
        """Bytes in memory, `lists` included as far as it may be made."""
        own = int(self.kind.nbytes) + sum(
            int(array.nbytes) for array in (self.integers, self.numbers, self.texts, self.bools, self.raw)
        )
        return own + (2 * int(self.raw.nbytes) + 16 * len(self) if JsonKind.ARRAY in self.kinds else 0)

    def take(self, rows: RowIds) -> JsonValues:
        """Some rows, in the order asked; a negative position gives a missing value.

        Args:
            rows: (m,) int64 positions.
        """
        indices = pa.array(rows, mask=rows < 0)
        kind = np.where(rows < 0, np.uint8(JsonKind.MISSING), np.append(self.kind, np.uint8(0))[rows])
        arrays = (self.integers, self.numbers, self.texts, self.bools, self.raw)
        return JsonValues(kind, *(array.take(indices) for array in arrays))


def shred(texts: pa.Array, path: Sequence[str | int]) -> JsonValues:
    """The values at one path of a column of JSON texts.

    Args:
        texts: (n,) JSON documents; nulls and texts that are not JSON hold nothing.
        path: see `JsonPath`.

    Cost: one scan, some four million documents of 80 bytes a second on two cores.
    """
    extracted = "doc"
    for step in _steps(tuple(path)):
        extracted = f"json_extract({extracted}, {step})"
    if len(texts) == 0:
        return json_values(pa.array([], pa.large_string()))
    return json_values(_scan(texts, f"CASE WHEN json_valid(doc) THEN {extracted} END"))


def json_values(texts: pa.Array) -> JsonValues:
    """Compact JSON texts, each one value, sorted by type.

    Args:
        texts: (n,) large_string as DuckDB writes JSON; null where there is no value.
    """
    kind = _kinds(texts)
    numeric = kind == JsonKind.DOUBLE
    integers, numbers = pa.nulls(len(kind), pa.int64()), pa.nulls(len(kind), pa.float64())
    if numeric.any():
        some, integral, doubles = _numbers(texts.filter(pa.array(numeric)))
        kind[numeric] = np.where(integral, np.uint8(JsonKind.INTEGER), np.uint8(JsonKind.DOUBLE))
        integers = _spread(some, kind == JsonKind.INTEGER)
        numbers = _spread(doubles, numeric)
    words = kind == JsonKind.TEXT
    truths = kind == JsonKind.BOOL
    nested = kind >= JsonKind.ARRAY
    return JsonValues(
        kind,
        integers,
        numbers,
        _spread(_unquoted(texts.filter(pa.array(words))), words)
        if words.any()
        else pa.nulls(len(kind), pa.large_string()),
        _spread(pc.equal(texts.filter(pa.array(truths)), "true"), truths)
        if truths.any()
        else pa.nulls(len(kind), pa.bool_()),
        _spread(texts.filter(pa.array(nested)), nested)
        if nested.any()
        else pa.nulls(len(kind), pa.large_string()),
    )


_NUMERAL = r"^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?$"


def numbers_of_texts(values: JsonValues) -> JsonValues:
    """The same, with the texts that spell a number as doubles too; they stay texts beside that."""
    if JsonKind.TEXT not in values.kinds:
        return values
    spelled = pc.fill_null(pc.match_substring_regex(values.texts, _NUMERAL), False)
    if not spelled.true_count:
        return values
    mask: Bitmap = spelled.to_numpy(zero_copy_only=False)
    doubles = values.texts.filter(spelled).cast(pa.string()).cast(pa.float64())
    return replace(
        values,
        kind=np.where(mask, np.uint8(JsonKind.DOUBLE), values.kind),
        numbers=pc.coalesce(values.numbers, _spread(doubles, mask)),
    )


@lru_cache(maxsize=1)
def _database() -> Any:
    import duckdb

    threads = min(_MAX_THREADS, os.cpu_count() or 1)
    # In a process that ends with it open, and with threads beside, DuckDB tells of all that it leaves.
    atexit.register(_database.cache_clear)
    return duckdb.connect(":memory:", config={"threads": threads})


def _scan(texts: pa.Array, what: str) -> pa.Array:
    """An expression over `doc`, a column of texts, as one array; rows keep their order."""
    table = pa.table({"doc": texts})
    parts = [table.slice(start, _ROWS_PER_BATCH) for start in range(0, len(texts), _ROWS_PER_BATCH)]
    cursor = _database().cursor()
    try:
        cursor.register("docs", pa.concat_tables(parts))
        found = cursor.sql(f"SELECT {what} AS found FROM docs").to_arrow_table().column(0)  # noqa: S608
    finally:
        cursor.close()
    wide = _wide(found.type)
    return pa.concat_arrays([chunk.cast(wide) for chunk in found.chunks])


def _wide(kind: pa.DataType) -> pa.DataType:
    return pa.large_list(pa.large_string()) if pa.types.is_list(kind) else pa.large_string()


def _steps(path: JsonPath) -> list[str]:
    """The path as literals of DuckDB's JSON paths; keys that those cannot spell are JSON pointers."""
    steps: list[str] = []
    spelled = "$"
    for key in path:
        if isinstance(key, str) and key in ("", "*"):
            steps += [spelled] if spelled != "$" else []
            steps.append(f"/{key}")
            spelled = "$"
        elif isinstance(key, str):
            escaped = key.replace("\\", "\\\\").replace('"', '\\"')
            spelled += f'."{escaped}"'
        else:
            spelled += f"[{int(key)}]"
    if spelled != "$" or not steps:
        steps.append(spelled)
    return ["'" + step.replace("'", "''") + "'" for step in steps]


def _kinds(texts: pa.Array) -> npt.NDArray[np.uint8]:
    """Kinds by first byte; numbers are all DOUBLE."""
    kind = np.zeros(len(texts), np.uint8)
    _, offsets, data = texts.buffers()
    if data is None or len(texts) == 0:
        return kind
    starts = np.frombuffer(offsets, np.int64, len(texts) + 1, texts.offset * 8)[:-1]
    valid = texts.is_valid().to_numpy(zero_copy_only=False)
    kind[valid] = _KIND_OF_BYTE[np.frombuffer(data, np.uint8)[starts[valid]]]
    return kind


def _numbers(texts: pa.Array) -> tuple[pa.Array, Bitmap, pa.Array]:
    """Integers of those that are, which those are, and all as doubles."""
    try:
        whole = texts.cast(pa.int64())
        return whole, np.ones(len(texts), np.bool_), whole.cast(pa.float64(), safe=False)
    except pa.ArrowInvalid:
        pass
    doubles = texts.cast(pa.float64())
    size = doubles.to_numpy(zero_copy_only=False)
    integral: Bitmap = np.isfinite(size) & (np.floor(size) == size)
    for sign in ".eE":
        integral &= ~pc.match_substring(texts, sign).to_numpy(zero_copy_only=False)
    # Beyond 64 bits: the text is as long as the longest integer, and the double is past the last one.
    integral &= np.abs(size) <= 2.0**63
    edge = np.flatnonzero(integral & (np.abs(size) == 2.0**63))
    for row in edge.tolist():
        integral[row] = -(2**63) <= int(texts[row].as_py()) < 2**63
    return texts.filter(pa.array(integral)).cast(pa.int64()), integral, doubles


def _unquoted(texts: pa.Array) -> pa.Array:
    """JSON strings without their quotes and escapes."""
    bare = pc.binary_slice(texts.view(pa.large_binary()), 1, -1).view(pa.large_string())
    escaped = pc.match_substring(texts, "\\")
    if not pc.any(escaped).as_py():
        return bare
    return pc.replace_with_mask(bare, escaped, _scan(texts.filter(escaped), "json_extract_string(doc, '$')"))


def _spread(some: pa.Array, mask: Bitmap) -> pa.Array:
    """Values put where the mask is True, nulls elsewhere."""
    if len(some) == len(mask):
        return some
    return some.take(pa.array(np.cumsum(mask) - 1, mask=~mask))


def _lists(values: JsonValues) -> JsonLists:
    mask = values.kind == JsonKind.ARRAY
    lengths = np.full(len(values), -1, np.int64)
    if not mask.any():
        empty = json_values(pa.array([], pa.large_string()))
        return JsonLists(lengths, np.zeros(len(values), np.int64), empty)
    lists = _scan(values.raw.filter(pa.array(mask)), "json_extract(doc, '$[*]')")
    lengths[mask] = pc.list_value_length(lists).to_numpy()
    held = np.maximum(lengths, 0)
    return JsonLists(lengths, np.cumsum(held) - held, json_values(lists.flatten()))
