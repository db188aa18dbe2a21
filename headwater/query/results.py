"""What a search or a query answers, and what it is an answer to.

Results stay Arrow until a caller asks for Python objects: `SearchResult` is the list-of-hits form that pymilvus users
know, made from one Arrow table on first use, and `to_arrow()` is that table itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.errors import SchemaMismatch
from headwater.extras import load_extra
from headwater.query.columns import WKB, ArrowColumn, Column, GeometryColumn
from headwater.query.showing import SHOWN_ROWS, html_table, row_lines
from headwater.schema import bfloat16_numbers
from headwater.types import RowIds

__all__ = ["Hit", "QueryResult", "ResultInfo", "SearchResult", "python_values"]

Hit = dict[str, Any]
"""`{"id": key, "distance": float, "entity": {field: value}}`, as in pymilvus.

A hit that is an element of a row's array has its position there too, as `offset`.
"""


class ResultInfo(NamedTuple):
    """What an answer is an answer to.

    Attributes:
        version: the snapshot that was read.
        age_s: seconds since that snapshot was committed.
        index_coverage: share of the collection's rows under an index of the searched field, in [0, 1]; 1.0 when no
            vector field was searched.
        segments_total: segments in the snapshot.
        segments_pruned: segments that statistics ruled out; nothing of them was read.
        rows_total: rows in the snapshot, deleted ones excluded.
        elapsed_s: wall time of the call.
    """

    version: int
    age_s: float
    index_coverage: float
    segments_total: int
    segments_pruned: int
    rows_total: int
    elapsed_s: float

    def to_dict(self) -> dict[str, Any]:
        """The same as a plain dict."""
        return self._asdict()

    def shortly(self) -> str:
        """The version, where it is known, and the time it took."""
        version = f", version {self.version}" if self.version >= 0 else ""
        return f"{version}, {self.elapsed_s * 1000:.3g} ms"


_ARROW = (pa.Array, pa.ChunkedArray)


def _holds_bits(kind: pa.DataType) -> bool:
    """Whether values are bfloat16 vectors: nothing else is kept as lists of uint16."""
    return bool(pa.types.is_fixed_size_list(kind) and pa.types.is_uint16(kind.value_type))


def _bfloat16_lists(array: pa.Array | pa.ChunkedArray) -> list[Any]:
    return [
        None if bits is None else bfloat16_numbers(np.array(bits, np.uint16)).tolist()
        for bits in array.to_pylist()
    ]


def python_values(name: str, column: Column | pa.ChunkedArray, *, parse_json: bool) -> list[Any]:
    """A field of a few rows as Python objects; JSON parsed where asked.

    Raises:
        SchemaMismatch: a text is not JSON, as it may be in files of others.
    """
    array = column.array if isinstance(column, ArrowColumn) else column
    if isinstance(array, _ARROW) and array.type.num_fields and _holds_bits(array.type):
        return _bfloat16_lists(array)
    values: list[Any] = column.to_pylist()
    return [_parsed(name, value) for value in values] if parse_json else values


def _parsed(name: str, text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise SchemaMismatch(
            f'field "{name}": expected JSON, got {text[:80]!r}: {error}',
            hint="to_arrow() shows the texts as they are; mend the file that holds it, and refresh",
            column=name,
        ) from error


def _shown(table: pa.Table, name: str) -> Column | pa.ChunkedArray:
    """A column as Python shows it: geometries as WKT."""
    column = table.column(name)
    metadata = table.schema.field(name).metadata or {}
    shape = metadata.get(b"ARROW:extension:name") == WKB["ARROW:extension:name"].encode()
    return GeometryColumn(column) if shape else column


class SearchResult(Sequence[list[Hit]]):
    """One list of hits per query, best first.

    Args:
        ids: keys of the hits, by query, best first.
        distances: (n,) float32 values of the metric.
        fields: the output fields by name.
        counts: hits of each query.
        info: what this is an answer to.
        json_fields: output fields that hold JSON text; hits show them parsed.
        leg_scores: (n, legs) float32, of a hybrid search: what each leg said, NaN where it did not find the row.
        agg_buckets: of an aggregating search: for each query its `AggregationBucket`s; such a search has no hits.

    Attributes:
        info: what this is an answer to.
        keys: primary keys of the hits, by query, best first.
        distances: (n,) float32 values of the metric.
        columns: the output fields by name, not yet Python objects.
        counts: hits of each query.
        json_fields: output fields that hold JSON text; hits show them parsed.
        flat_leg_scores: `leg_scores` of all queries in one (n, legs) float32 array; None where there was one leg.
        agg_buckets: of an aggregating search, see above; None of any other.
        flat_elements: of hits that are elements of struct arrays the position of each in its row's array, of all
            queries in one (n,) int64 array; None where hits are rows.
    """

    def __init__(
        self,
        ids: Column,
        distances: npt.NDArray[np.float32],
        fields: Mapping[str, Column],
        counts: Sequence[int],
        info: ResultInfo,
        json_fields: frozenset[str] = frozenset(),
        *,
        leg_scores: npt.NDArray[np.float32] | None = None,
        agg_buckets: Sequence[Any] | None = None,
    ) -> None:
        self.keys = ids
        self.distances = distances
        self.columns = fields
        self.json_fields = json_fields
        self.counts = counts
        self._hits: list[list[Hit]] | None = None
        self.flat_leg_scores = leg_scores
        self.agg_buckets = agg_buckets
        self.info = info
        self.flat_elements: RowIds | None = None

    @property
    def element_indices(self) -> list[list[int]] | None:
        """By query, of hits that are elements, the position of each in its row's array; None where hits are rows."""
        if self.flat_elements is None:
            return None
        stops = accumulate(self.counts, initial=0)
        return [self.flat_elements[a:b].tolist() for a, b in pairwise(stops)]

    @property
    def leg_scores(self) -> list[npt.NDArray[np.float32]]:
        """For each query (hits, legs) float32: the distance that each leg measured, NaN where it did not find the row.

        A search of one leg has that leg's distances, before any reranker.
        """
        scores = self.distances[:, None] if self.flat_leg_scores is None else self.flat_leg_scores
        return np.split(scores, list(accumulate(self.counts))[:-1])

    def to_arrow(self) -> pa.Table:
        """All hits as one table: `query` (int32), `id`, `distance` (float32), then the output fields.

        Where hits are elements, `offset` (int64) comes after the distance. The types are those of the collection's own
        `to_arrow`; texts of 2 GiB and more together are `large_string`.
        """
        query = np.repeat(np.arange(len(self.counts), dtype=np.int32), self.counts)
        key, *fields = (_narrow(column.to_arrow()) for column in (self.keys, *self.columns.values()))
        offset = {} if self.flat_elements is None else {"offset": pa.array(self.flat_elements)}
        return pa.Table.from_arrays(
            [pa.array(query), key, pa.array(self.distances), *offset.values(), *fields],
            names=["query", "id", "distance", *offset, *self.columns],
        )

    def to_pandas(self) -> Any:
        """`to_arrow()` as a pandas DataFrame; needs the `pandas` extra."""
        load_extra("pandas", "pandas", need="to_pandas()")
        return self.to_arrow().to_pandas()

    def to_polars(self) -> Any:
        """`to_arrow()` as a Polars DataFrame; needs the `polars` extra."""
        return load_extra("polars", "polars", need="to_polars()").from_arrow(self.to_arrow())

    def _materialised(self) -> list[list[Hit]]:
        if self._hits is None:
            keys, distances = self.keys.to_pylist(), self.distances.tolist()
            if len(self.columns) == 1:
                [(name, column)] = self.columns.items()
                values = python_values(name, column, parse_json=name in self.json_fields)
                flat: list[Hit] = [
                    {"id": key, "distance": distance, "entity": {name: value}}
                    for key, distance, value in zip(keys, distances, values, strict=True)
                ]
            else:
                flat = [
                    {"id": key, "distance": distance, "entity": entity}
                    for key, distance, entity in zip(keys, distances, self._entities(), strict=True)
                ]
            if self.flat_elements is not None:
                for hit, offset in zip(flat, self.flat_elements.tolist(), strict=True):
                    hit["offset"] = offset
            if len(self.counts) == 1:
                self._hits = [flat]
            else:
                stops = accumulate(self.counts, initial=0)
                self._hits = [flat[a:b] for a, b in pairwise(stops)]
        return self._hits

    def _entities(self) -> list[dict[str, Any]]:
        columns = [
            python_values(name, column, parse_json=name in self.json_fields)
            for name, column in self.columns.items()
        ]
        if not columns:
            return [{} for _ in self.distances]
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*columns, strict=True)]

    def spread(self, asked: Sequence[bool]) -> SearchResult:
        """The same hits where only some of the queries were searched for: the others have none.

        Args:
            asked: of each query, whether it is among those of this result, in order.
        """
        counts = iter(self.counts)
        buckets = None if self.agg_buckets is None else iter(self.agg_buckets)
        whole = SearchResult(
            self.keys,
            self.distances,
            self.columns,
            [next(counts) if one else 0 for one in asked],
            self.info,
            self.json_fields,
            leg_scores=self.flat_leg_scores,
            agg_buckets=None if buckets is None else [next(buckets) if one else [] for one in asked],
        )
        whole.flat_elements = self.flat_elements
        return whole

    def __len__(self) -> int:
        return len(self.counts)

    @overload
    def __getitem__(self, item: int) -> list[Hit]: ...
    @overload
    def __getitem__(self, item: slice) -> list[list[Hit]]: ...
    def __getitem__(self, item: int | slice) -> list[Hit] | list[list[Hit]]:
        return self._materialised()[item]

    def __iter__(self) -> Iterator[list[Hit]]:
        return iter(self._materialised())

    def __eq__(self, other: object) -> bool:
        return self._materialised() == (list(other) if isinstance(other, SearchResult) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """A line about the whole, and the best hits."""
        rows, left_out = self._first_hits()
        return "\n".join([f"<{self._title()}>", *row_lines(rows, left_out)])

    def _repr_html_(self) -> str:
        """The same as notebooks show it."""
        rows, left_out = self._first_hits()
        flat = [{**{name: row[name] for name in row if name != "entity"}, **row["entity"]} for row in rows]
        return html_table(self._title(), flat, left_out)

    def _title(self) -> str:
        buckets = self.agg_buckets
        found, what = (sum(self.counts), "hit") if buckets is None else (sum(map(len, buckets)), "bucket")
        asked = "" if len(self.counts) == 1 else f" of {len(self.counts):,} queries"
        return f"SearchResult: {found:,} {what}{'' if found == 1 else 's'}{asked}{self.info.shortly()}"

    def _first_hits(self) -> tuple[list[dict[str, Any]], int]:
        """The first hits, with their query where there are several, and the number of the others."""
        several = len(self.counts) > 1
        rows: list[dict[str, Any]] = []
        for number, hits in enumerate(self._materialised()):
            rows += [
                {**({"query": number} if several else {}), **hit} for hit in hits[: SHOWN_ROWS - len(rows)]
            ]
        return rows, sum(self.counts) - len(rows)


_NARROW = {pa.large_string(): pa.string(), pa.large_binary(): pa.binary()}


def _narrow(array: pa.Array) -> pa.Array:
    """Texts as they are stored, whatever they were read through."""
    narrow = _NARROW.get(array.type)
    return array if narrow is None or array.nbytes > 0x7FFFFFFF else array.cast(narrow)


class QueryResult(Sequence[dict[str, Any]]):
    """Rows as dicts, in the order asked.

    Args:
        table: the output fields.
        info: what this is an answer to.
        json_fields: output fields that hold JSON text; rows show them parsed.
        element_indices: of a filter with `element_filter`, by row: the positions of the elements that satisfy it.

    Attributes:
        info: what this is an answer to.
        json_fields: see above.
        element_indices: see above; None of any other query.
    """

    def __init__(
        self,
        table: pa.Table,
        info: ResultInfo,
        json_fields: frozenset[str] = frozenset(),
        *,
        element_indices: list[list[int]] | None = None,
    ) -> None:
        self._table = table
        self.json_fields = json_fields
        self._rows: list[dict[str, Any]] | None = None
        self.info = info
        self.element_indices = element_indices

    def to_arrow(self) -> pa.Table:
        """The rows as a table."""
        return self._table

    def to_pandas(self) -> Any:
        """The rows as a pandas DataFrame; needs the `pandas` extra."""
        load_extra("pandas", "pandas", need="to_pandas()")
        return self._table.to_pandas()

    def to_polars(self) -> Any:
        """The rows as a Polars DataFrame; needs the `polars` extra."""
        return load_extra("polars", "polars", need="to_polars()").from_arrow(self._table)

    def _materialised(self) -> list[dict[str, Any]]:
        if self._rows is None:
            self._rows = self._python_rows(self._table)
        return self._rows

    def _python_rows(self, table: pa.Table) -> list[dict[str, Any]]:
        names = table.column_names
        columns = [
            python_values(name, _shown(table, name), parse_json=name in self.json_fields) for name in names
        ]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, item: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, item: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, item: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        return self._materialised()[item]

    def __eq__(self, other: object) -> bool:
        return self._materialised() == (list(other) if isinstance(other, QueryResult) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """A line about the whole, and the first rows."""
        rows = self._python_rows(self._table.slice(0, SHOWN_ROWS))
        return "\n".join([f"<{self._title()}>", *row_lines(rows, len(self) - len(rows))])

    def _repr_html_(self) -> str:
        """The same as notebooks show it."""
        rows = self._python_rows(self._table.slice(0, SHOWN_ROWS))
        return html_table(self._title(), rows, len(self) - len(rows))

    def _title(self) -> str:
        return f"QueryResult: {len(self):,} row{'' if len(self) == 1 else 's'}{self.info.shortly()}"
