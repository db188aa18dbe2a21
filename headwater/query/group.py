"""Grouping: hits that share a value count once, and `limit` counts the groups.

The nearest rows are found first. While a query has too few groups and rows are left, it searches again among the rows
of groups not seen yet, so each round brings a new one: there are fewer groups than asked only where the collection has
no more. A strict group that is not full is searched for by itself in the same way. Rows whose value is null are one
group, as in Milvus.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import InvalidArgument
from headwater.lake import Segment
from headwater.query.found import Found
from headwater.query.fuse import Candidates, Floats, Scores
from headwater.query.paths import FieldPath, column_of, values_of
from headwater.query.runs import places_in_runs
from headwater.query.search import find
from headwater.query.search_plan import MAX_TOP_K, SearchPlan
from headwater.query.snapshot import Snapshot
from headwater.types import Bitmap, DataType

__all__ = ["GROUPED_TYPES", "Grouping", "arranged", "distinct", "find_groups", "group_numbers", "members"]

_FIRST_DEPTH = 4
"""Hits looked at for each one wanted, before the search narrows to new groups."""

GROUPED_TYPES = frozenset(
    (
        DataType.BOOL,
        DataType.INT8,
        DataType.INT16,
        DataType.INT32,
        DataType.INT64,
        DataType.VARCHAR,
        DataType.TEXT,
        DataType.TIMESTAMPTZ,
        DataType.JSON,
    )
)
"""Types of fields that hits are grouped by."""

_SCORERS = ("max", "sum", "avg")


@dataclass(frozen=True)
class Grouping:
    """How hits are grouped.

    Attributes:
        paths: the fields whose values a group shares.
        size: hits of a group, at most.
        strict: whether groups are searched for until they are full.
        scorer: what orders groups: the best (max), sum or avg of their hits' scores.

    Raises:
        InvalidArgument: a field cannot be grouped by, or a number is out of range.
    """

    paths: tuple[FieldPath, ...]
    size: int = 1
    strict: bool = False
    scorer: str = "max"

    def __post_init__(self) -> None:
        for path in self.paths:
            if path.data_type is not None and path.data_type not in GROUPED_TYPES:
                raise InvalidArgument(
                    f"group_by_field {path.text!r} is {path.data_type}: expected an integer, bool, text or timestamp "
                    "field, or a JSON path"
                )
        whole = isinstance(self.size, int) and not isinstance(self.size, bool)
        if not whole or not 1 <= self.size <= MAX_TOP_K:
            raise InvalidArgument(f"group_size must be an integer from 1 to {MAX_TOP_K}, got {self.size!r}")
        if self.scorer not in _SCORERS:
            raise InvalidArgument(f"rank_group_scorer {self.scorer!r}: expected one of {', '.join(_SCORERS)}")


def find_groups(snapshot: Snapshot, plan: SearchPlan, queries: Any, grouping: Grouping, groups: int) -> Found:
    """The nearest hits of the nearest groups of each query.

    Args:
        snapshot: what to read.
        plan: what to find; its `top_k` is not used.
        queries: one for each question.
        grouping: what makes a group.
        groups: how many are wanted.

    Returns:
        Hits by query, best first; more than were asked for, of more groups than asked for, where they were come across.
    """
    depth = min(MAX_TOP_K, max(64, _FIRST_DEPTH * groups * grouping.size))
    first = find(snapshot, replace(plan, top_k=depth), queries)
    stops = np.cumsum([0, *first.counts])
    parts = []
    for query in range(len(first.counts)):
        here = _Hits(
            snapshot, grouping, plan, queries[query : query + 1], first, slice(*stops[query : query + 2])
        )
        if first.counts[query] == depth:
            here.widen(groups)
        if grouping.strict and grouping.size > 1 and first.counts[query] == depth:
            here.fill(groups)
        parts.append(here)
    if not parts:
        return first
    return Found.joined([part.found for part in parts], [len(part.found.rows) for part in parts])


class _Hits:
    """The hits of one query, and the groups they are of."""

    def __init__(
        self,
        snapshot: Snapshot,
        grouping: Grouping,
        plan: SearchPlan,
        query: Any,
        found: Found,
        part: slice,
    ) -> None:
        self._snapshot, self._grouping, self._plan, self._query = snapshot, grouping, plan, query
        self.found = found.taken(part, [])

    def widen(self, groups: int) -> None:
        """Search on until there are so many groups, or no more rows."""
        while True:
            keys, _ = self._keys()
            missing = groups - keys.num_rows
            if missing <= 0:
                return
            depth = min(MAX_TOP_K, max(64, _FIRST_DEPTH * missing * self._grouping.size))
            found = self._search(depth, partial(self._outside, keys))
            self._add(found)
            if len(found.rows) < depth:
                return

    def fill(self, groups: int) -> None:
        """Search for the hits of the best groups that are not full, until they are or have no more rows."""
        size = self._grouping.size
        keys, codes = self._keys()
        counts = np.bincount(codes, minlength=keys.num_rows)
        wanted = np.arange(keys.num_rows)[:groups]
        unfilled = wanted[counts[wanted] < size]
        while len(unfilled):
            batch = unfilled[: max(1, MAX_TOP_K // size)]
            depth = min(MAX_TOP_K, max(64, 2 * len(batch) * size))
            chosen = keys.take(pa.array(batch))
            found = self._search(depth, partial(self._among, chosen))
            self._add(found)
            if len(found.rows) < depth:
                unfilled = unfilled[len(batch) :]
                continue
            full = self._among_rows(found, chosen, size)
            unfilled = np.concatenate([batch[~full], unfilled[len(batch) :]])

    def _keys(self) -> tuple[pa.Table, npt.NDArray[np.int64]]:
        """The groups in order of their first hit, and which of them each hit is of."""
        return distinct(self._values(self.found.which, self.found.rows))

    def _values(self, which: npt.NDArray[np.int32], rows: npt.NDArray[np.int64]) -> pa.Table:
        at = (self._snapshot, self.found.segments, which, rows)
        return _table([values_of(*at, path) for path in self._grouping.paths])

    def _search(self, depth: int, within: Callable[[Segment], Bitmap]) -> Found:
        return find(self._snapshot, replace(self._plan, top_k=depth, within=within), self._query)

    def _add(self, found: Found) -> None:
        """Hits that are new, in order of distance."""
        every = Found.joined([self.found, found], [])
        _, once = np.unique(every.places, axis=1, return_index=True)
        distances = every.distances
        nearest = -distances[once] if self._plan.metric.larger_is_closer else distances[once]
        self.found = every.taken(once[np.lexsort((once, nearest))], [])

    def _outside(self, keys: pa.Table, segment: Segment) -> Bitmap:
        return ~self._among(keys, segment)

    def _among(self, keys: pa.Table, segment: Segment) -> Bitmap:
        """(num_rows,) True for rows of some groups."""
        paths = self._grouping.paths
        columns = [column_of(self._snapshot, segment, path) for path in paths]
        return members(columns, keys)

    def _among_rows(self, found: Found, keys: pa.Table, size: int) -> npt.NDArray[np.bool_]:
        """(groups,) True for groups of which so many hits were found."""
        values = self._values(found.which, found.rows)
        codes = _codes([column.combine_chunks() for column in values.columns], keys)
        full: npt.NDArray[np.bool_] = np.bincount(codes[codes >= 0], minlength=keys.num_rows) >= size
        return full


def group_numbers(hits: Candidates, grouping: Grouping) -> npt.NDArray[np.int64]:
    """(n,) the group of each hit within its query; groups are numbered by their first hits."""
    at = (hits.snapshot, hits.segments, hits.which, hits.rows)
    _, group = distinct(_table([pa.array(hits.query), *(values_of(*at, path) for path in grouping.paths)]))
    return group


def _table(columns: list[pa.Array]) -> pa.Table:
    return pa.table(columns, names=[str(i) for i in range(len(columns))])


def distinct(values: pa.Table) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """Distinct rows of a table in order of appearance, and which of them each row is."""
    code = np.zeros(values.num_rows, np.int64)
    for column in values.columns:
        one = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        encoded = one.dictionary_encode(null_encoding="encode")
        code = code * (len(encoded.dictionary) + 1) + encoded.indices.to_numpy(zero_copy_only=False)
        _, code = np.unique(code, return_inverse=True)
    _, first, inverse = np.unique(code, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return values.take(pa.array(first[order])), place[inverse]


def members(columns: list[pa.Array], keys: pa.Table) -> Bitmap:
    """(n,) True for rows whose values are one of `keys`."""
    if len(columns) == 1:
        wanted = keys.column(0).combine_chunks().cast(columns[0].type)
        member: Bitmap = pc.is_in(columns[0], value_set=wanted).to_numpy(zero_copy_only=False)
        return member
    return _codes(columns, keys) >= 0


def _codes(columns: list[pa.Array], keys: pa.Table) -> npt.NDArray[np.int64]:
    """(n,) which of `keys` a row's values are, -1 for none."""
    rows = np.zeros(len(columns[0]), np.int64)
    known = np.zeros(keys.num_rows, np.int64)
    outside = np.zeros(len(columns[0]), np.bool_)
    for column, wanted in zip(columns, keys.columns, strict=True):
        distinct = wanted.combine_chunks().cast(column.type).unique()
        at = pc.index_in(column, value_set=distinct)
        outside |= at.is_null().to_numpy(zero_copy_only=False)
        rows = rows * len(distinct) + pc.fill_null(at, 0).to_numpy()
        known = (
            known * len(distinct)
            + pc.index_in(wanted.combine_chunks().cast(column.type), value_set=distinct).to_numpy()
        )
        # Kept dense, so that many fields do not overflow.
        both = np.unique(np.concatenate([rows, known]), return_inverse=True)[1]
        rows, known = both[: len(rows)], both[len(rows) :]
    order = np.argsort(known)
    at = np.minimum(np.searchsorted(known[order], rows), len(known) - 1)
    match = order[at]
    return np.where(outside | (known[match] != rows), -1, match)


def arranged(
    candidates: Candidates,
    scores: Scores,
    grouping: Grouping,
    order: npt.NDArray[np.int64],
    page: tuple[int, int],
) -> npt.NDArray[np.int64]:
    """Positions of the hits of some groups of each query: group by group, best first in each.

    Args:
        candidates: the hits.
        scores: of each.
        grouping: what makes a group.
        order: positions of all candidates, best first, by query.
        page: first group of each query, and one past the last.
    """
    offset, stop = page
    query, group = candidates.query[order], group_numbers(candidates.take(order), grouping)
    by_group = np.argsort(group, kind="stable")
    place = np.empty(len(order), np.int64)
    place[by_group] = places_in_runs(group[by_group])
    order, query, group, place = (one[place < grouping.size] for one in (order, query, group, place))
    standing = _standing(scores._replace(values=scores.values[order]), grouping.scorer, query, group)
    kept = (standing >= offset) & (standing < stop)
    order, query, standing, place = (one[kept] for one in (order, query, standing, place))
    chosen: npt.NDArray[np.int64] = order[np.lexsort((place, standing, query))]
    return chosen


def _standing(
    scores: Scores, scorer: str, query: npt.NDArray[np.int64], group: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """(n,) place of each hit's group among the groups of its query; equal ones by their best hit."""
    if not len(group):
        return group
    size = int(group.max()) + 1
    owner = np.zeros(size, np.int64)
    owner[group] = query
    # Groups are numbered by their best hit, so the number alone orders by it.
    badness: Floats = np.zeros(size)
    if scorer != "max":
        summed: Floats = np.zeros(size)
        np.add.at(summed, group, np.nan_to_num(scores.values))
        worth = summed if scorer == "sum" else summed / np.maximum(np.bincount(group, minlength=size), 1)
        badness = -worth if scores.descending else worth
    order = np.lexsort((np.arange(size), badness, owner))
    standing = np.empty(size, np.int64)
    standing[order] = places_in_runs(owner[order])
    place: npt.NDArray[np.int64] = standing[group]
    return place
