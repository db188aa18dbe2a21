"""A question to a lake as a value, and the result that its answer stands for."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.engine.on_demand.places import Origin
from headwater.errors import Internal
from headwater.query import QueryResult, SearchResult
from headwater.query.columns import ArrowColumn, Column, GeometryColumn

__all__ = ["Call", "bounded", "result_of"]


@dataclass(frozen=True)
class Call:
    """One read.

    Attributes:
        origin: the database.
        collection: the collection's name; None asks the database.
        method: of `Collection` or `Database`.
        args: in order.
        kwargs: by name.
    """

    origin: Origin
    collection: str | None
    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} on {self.collection!r}" if self.collection else self.method


def result_of(answer: Generator[Any, None, None]) -> Any:
    """An answer as the call itself returns it.

    Args:
        answer: its header, and then the batches of its rows; taken to the end, but for those of a scan.

    Raises:
        HeadwaterError: what the answer raises; it is closed then.
    """
    try:
        return _result(next(answer), answer)
    except BaseException:
        answer.close()
        raise


def _result(header: Mapping[str, Any], batches: Iterator[pa.RecordBatch]) -> Any:
    kind = header["kind"]
    if kind == "value":
        for _ in batches:
            raise Internal("a worker sent rows after a value")
        return header["value"]
    if kind == "scan":
        return batches
    table = pa.Table.from_batches(list(batches))
    if kind == "table":
        return table
    if kind == "query":
        elements = header["element_indices"]
        return QueryResult(table, header["info"], header["json_fields"], element_indices=elements)
    return _search_result(header, table)


def _search_result(header: Mapping[str, Any], table: pa.Table) -> SearchResult:
    arrays = [pa.concat_arrays(one.chunks) for one in table.columns]
    fields: dict[str, Column] = {
        name: GeometryColumn(ArrowColumn(array)) if name in header["shapes"] else ArrowColumn(array)
        for name, array in zip(header["fields"], arrays[2:], strict=True)
    }
    found = SearchResult(
        ArrowColumn(arrays[0]),
        np.asarray(arrays[1], np.float32),
        fields,
        header["counts"],
        header["info"],
        header["json_fields"],
        leg_scores=header["leg_scores"],
        agg_buckets=header["agg_buckets"],
    )
    found.flat_elements = header["elements"]
    return found


def bounded(origin: Origin, memory_bytes: int | None) -> Origin:
    """The same database, whose caches leave half of a worker's memory to what a call itself needs."""
    if memory_bytes is None:
        return origin
    tiers = dict(origin.settings.get("tiers", {}))
    tiers["memory_bytes"] = min(int(tiers.get("memory_bytes", memory_bytes)), memory_bytes // 2)
    return replace(origin, settings={**origin.settings, "tiers": tiers})
