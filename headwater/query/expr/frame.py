"""The rows, or the elements of lists, that a condition is evaluated over; narrowed as some of them are decided."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import Internal
from headwater.index.json_paths import JsonPath, JsonValues
from headwater.index.predicates import Answer, Predicate
from headwater.query.expr.rows import FilterRows, TextQuery
from headwater.types import Bitmap, RowIds

__all__ = ["ElementFrame", "Frame", "RowFrame", "bits"]


class Frame(Protocol):
    """What conditions read; positions are the frame's own."""

    @property
    def num_rows(self) -> int:
        """How many rows, or elements."""
        ...

    def column(self, name: str) -> pa.Array:
        """A field."""
        ...

    def json_path(self, name: str, path: JsonPath) -> JsonValues:
        """A path of a JSON field."""
        ...

    def current(self, member: str | None) -> pa.Array:
        """The elements themselves, or one member of each."""
        ...

    def indexed(self, name: str, path: JsonPath, predicate: Predicate) -> Answer | None:
        """See `FilterRows.indexed`."""
        ...

    def matching(self, name: str, query: TextQuery) -> Bitmap:
        """See `FilterRows.matching`."""
        ...

    def sample(self, share: float, seed: int) -> Bitmap:
        """(num_rows,) True for this share of the rows, one at least, the same ones for the same seed."""
        ...

    def narrow(self, chosen: RowIds) -> Frame:
        """Some of the rows.

        Args:
            chosen: (m,) ascending positions.
        """
        ...


def bits(array: pa.Array) -> Bitmap:
    """A truth value per row; null is False."""
    if array.null_count:
        array = pc.fill_null(array, False)
    found: Bitmap = array.to_numpy(zero_copy_only=False)
    return found


class RowFrame:
    """Rows of a collection.

    Args:
        rows: where columns come from.
        chosen: (m,) ascending positions; None for all rows.
    """

    def __init__(self, rows: FilterRows, chosen: RowIds | None = None) -> None:
        self._rows = rows
        self._chosen = chosen
        self._taken: dict[object, pa.Array] = {}

    @property
    def num_rows(self) -> int:
        """See `Frame`."""
        return self._rows.num_rows if self._chosen is None else len(self._chosen)

    def column(self, name: str) -> pa.Array:
        """See `Frame`."""
        if self._chosen is None:
            return self._rows.column(name)
        if name not in self._taken:
            self._taken[name] = self._rows.some(name, self._chosen)
        return self._taken[name]

    def json_path(self, name: str, path: JsonPath) -> JsonValues:
        """See `Frame`."""
        if self._chosen is None:
            return self._rows.json_path(name, path)
        return self._rows.some_json(name, path, self._chosen)

    def current(self, member: str | None) -> pa.Array:
        """See `Frame`."""
        raise Internal("a condition on elements was evaluated over rows")

    def indexed(self, name: str, path: JsonPath, predicate: Predicate) -> Answer | None:
        """See `Frame`."""
        answer = self._rows.indexed(name, path, predicate)
        if answer is None or self._chosen is None:
            return answer
        return Answer(answer.rows[self._chosen], answer.exact)

    def matching(self, name: str, query: TextQuery) -> Bitmap:
        """See `Frame`."""
        found = self._rows.matching(name, query)
        return found if self._chosen is None else found[self._chosen]

    def sample(self, share: float, seed: int) -> Bitmap:
        """See `Frame`."""
        positions = np.arange(self._rows.num_rows) if self._chosen is None else self._chosen
        found: Bitmap = np.zeros(len(positions), np.bool_)
        count = min(max(1, int(len(positions) * share)), len(positions))
        if count:
            lots = _mixed(positions.astype(np.uint64), self._rows.seed ^ seed)
            found[np.argpartition(lots, count - 1)[:count]] = True
        return found

    def narrow(self, chosen: RowIds) -> Frame:
        """See `Frame`."""
        return RowFrame(self._rows, chosen if self._chosen is None else self._chosen[chosen])


class ElementFrame:
    """Elements of lists, one after the other.

    Args:
        elements: structs, the elements of an array, or JSON.
    """

    def __init__(self, elements: pa.Array | JsonValues) -> None:
        self._elements = elements

    @property
    def num_rows(self) -> int:
        """See `Frame`."""
        return len(self._elements)

    def column(self, name: str) -> pa.Array:
        """See `Frame`."""
        raise Internal(f"field {name!r} was read in a condition on elements")

    def json_path(self, name: str, path: JsonPath) -> JsonValues:
        """See `Frame`; of JSON, the elements themselves."""
        if not isinstance(self._elements, JsonValues) or path:
            raise Internal(f"field {name!r} was read in a condition on elements")
        return self._elements

    def current(self, member: str | None) -> pa.Array:
        """See `Frame`."""
        if isinstance(self._elements, JsonValues):
            raise Internal("elements that are JSON were read as an array")
        return self._elements if member is None else pc.struct_field(self._elements, member)

    def indexed(self, name: str, path: JsonPath, predicate: Predicate) -> Answer | None:
        """See `Frame`."""
        return None

    def matching(self, name: str, query: TextQuery) -> Bitmap:
        """See `Frame`."""
        raise Internal(f"field {name!r} was searched in a condition on elements")

    def sample(self, share: float, seed: int) -> Bitmap:
        """See `Frame`."""
        raise Internal("elements were sampled")

    def narrow(self, chosen: RowIds) -> Frame:
        """See `Frame`."""
        if isinstance(self._elements, JsonValues):
            return ElementFrame(self._elements.take(chosen))
        return ElementFrame(self._elements.take(pa.array(chosen)))


def _mixed(numbers: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """Numbers as good as random ones, the same for the same numbers and seed.

    Reference: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014 (SplitMix64).
    """
    with np.errstate(over="ignore"):
        mixed = (numbers + np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: npt.NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return found
