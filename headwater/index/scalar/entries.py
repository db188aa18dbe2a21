"""The values of a column, sorted, with the rows that hold each: what every kind of postings is written from.

Keys are what values are compared by: numbers as they are (-0.0 as 0.0, no NaN, which nothing equals and nothing is
below), truth values as 0 and 1, moments as microseconds since 1970, texts as their UTF-8 bytes, whose order is that of
their code points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Entries", "domain_of", "elements", "keys_of", "packed", "sort_entries", "values"]


@dataclass(frozen=True)
class Entries:
    """Keys and the rows that hold them.

    Attributes:
        domain: bool, int, single, float, moment or text.
        keys: (k,) distinct, ascending: numbers, or large_binary for text.
        starts: (k + 1,) where the rows of each key begin.
        rows: (n,) uint32, by key, then ascending.
    """

    domain: str
    keys: npt.NDArray[Any] | pa.Array
    starts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.uint32]


def domain_of(kind: pa.DataType) -> str | None:
    """What kind of keys an Arrow type has; None for types without an order of values."""
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_signed_integer(kind):
        return "int"
    if pa.types.is_float32(kind):
        return "single"
    if pa.types.is_float64(kind):
        return "float"
    if pa.types.is_timestamp(kind):
        return "moment"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    return None


def values(column: pa.Array) -> tuple[pa.Array, npt.NDArray[np.uint32]]:
    """A column's values and their rows, without nulls."""
    if column.null_count == 0:
        return column, np.arange(len(column), dtype=np.uint32)
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False)).astype(np.uint32)
    return column.drop_null(), rows


def elements(column: pa.Array) -> tuple[pa.Array, npt.NDArray[np.uint32]]:
    """The elements of a column of lists and the row of each, without nulls."""
    parents = pc.list_parent_indices(column).to_numpy().astype(np.uint32)
    flat = column.flatten()
    if flat.null_count == 0:
        return flat, parents
    return flat.drop_null(), parents[flat.is_valid().to_numpy(zero_copy_only=False)]


def sort_entries(held: pa.Array, rows: npt.NDArray[np.uint32]) -> Entries:
    """Sort values.

    Args:
        held: values of a type that has a domain; none is null.
        rows: (n,) the row of each, ascending.
    """
    domain = domain_of(held.type)
    assert domain is not None
    if domain == "text":
        coded = held.cast(pa.large_string()).dictionary_encode()
        texts = coded.dictionary.cast(pa.large_binary())
        order = pc.sort_indices(texts)
        ranks = np.empty(len(texts), np.uint32)
        ranks[order.to_numpy()] = np.arange(len(texts), dtype=np.uint32)
        codes = ranks[coded.indices.to_numpy(zero_copy_only=False)]
        by_code, starts, sorted_rows = _grouped(codes, rows)
        return Entries(domain, texts.take(order.take(pa.array(by_code))), starts, sorted_rows)
    numbers = keys_of(held)
    if domain in ("single", "float"):
        there = ~np.isnan(numbers)
        if not there.all():
            numbers, rows = numbers[there], rows[there]
        numbers = numbers + numbers.dtype.type(0.0)
    return Entries(domain, *_grouped(numbers, rows))


def keys_of(held: pa.Array) -> npt.NDArray[Any]:
    """The numbers that values other than texts are compared by, in their own width; none of them is null."""
    domain = domain_of(held.type)
    if domain == "bool":
        held = held.cast(pa.uint8())
    elif domain == "moment":
        held = held.cast(pa.timestamp("us", held.type.tz)).cast(pa.int64())
    numbers: npt.NDArray[Any] = held.to_numpy(zero_copy_only=False)
    return numbers.astype(numbers.dtype.newbyteorder("<"), copy=False)


def _grouped(
    keys: npt.NDArray[Any], rows: npt.NDArray[np.uint32]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """Distinct keys, where each one's rows start, and the rows; a row that holds a key twice is in once."""
    order = np.argsort(keys, kind="stable")
    keys, rows = keys[order], rows[order]
    if len(keys):
        new_key = np.concatenate(([True], keys[1:] != keys[:-1]))
        kept = new_key.copy()
        kept[1:] |= rows[1:] != rows[:-1]
        if not kept.all():
            keys, rows, new_key = keys[kept], rows[kept], new_key[kept]
        first = np.flatnonzero(new_key)
    else:
        first = np.empty(0, np.int64)
    return keys[first], np.append(first, len(keys)).astype(np.int64), rows


def packed(marked: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """(rows,) bool as bits, least significant first."""
    return np.packbits(marked, bitorder="little")
