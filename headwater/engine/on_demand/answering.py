"""Answering a call: a small header that says what it is, and Arrow batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from headwater.engine.collection import Collection
from headwater.engine.database import Database
from headwater.engine.on_demand.calls import Call
from headwater.engine.on_demand.places import Origin
from headwater.errors import InvalidArgument
from headwater.query import QueryResult, SearchResult
from headwater.query.columns import GeometryColumn
from headwater.settings import Settings
from headwater.store import ReadOnlyStore, open_lake_store
from headwater.tiers import OnDemandTiers, TierPolicy

__all__ = ["Answer", "answer", "open_on_demand", "opened"]

_DATABASE_READS = frozenset(("has_collection", "list_aliases", "list_collections", "list_databases"))
_COLLECTION_READS = frozenset(
    (
        "count",
        "describe",
        "get",
        "history",
        "hybrid_search",
        "num_rows",
        "query",
        "scan",
        "schema",
        "search",
        "to_arrow",
    )
)


@dataclass(frozen=True)
class Answer:
    """What a call answers.

    Attributes:
        header: what the batches are, small values.
        batches: the rows; None where the header says everything.
    """

    header: Mapping[str, Any]
    batches: Iterable[pa.RecordBatch] | None = None


def opened(origin: Origin) -> Database:
    """A database for reading only, of which nothing is kept."""
    given = Settings.from_values(origin.settings, "the settings of the caller")
    kept = replace(given.tiers, policy=str(TierPolicy.ON_DEMAND), warmup="disable", disk_bytes=0, ttl_s=0.0)
    settings = replace(given, tiers=kept)
    store = open_lake_store(origin.url, origin.options, settings.store)
    made = Database(ReadOnlyStore(store), origin.database, settings, tiers=OnDemandTiers(kept))
    made.origin = origin
    return made


def open_on_demand(
    url: str | Path,
    options: Mapping[str, Any] | None = None,
    *,
    database: str = "default",
    settings: Settings | None = None,
) -> Database:
    """A database of a lake for a process that comes, asks and goes: as `connect`, but nothing is kept or written.

    Args:
        url: as of `connect`.
        options: as of `connect`.
        database: which database of the lake.
        settings: limits and defaults; read from ``HEADWATER_*`` variables by default.
    """
    return opened(Origin.of(url, options, database, settings or Settings.from_env()))


def answer(call: Call) -> Answer:
    """Answer a call in this process; rows of a scan are read as they are taken.

    Raises:
        HeadwaterError: what the same call on a `Collection` raises.
    """
    database = opened(call.origin)
    if call.collection is None:
        return Answer({"kind": "value", "value": _read(_DATABASE_READS, database, call)})
    collection = database.collection(call.collection)
    found = _read(_COLLECTION_READS, collection, call)
    if isinstance(found, SearchResult):
        return _search_answer(found)
    if isinstance(found, QueryResult):
        header = {
            "kind": "query",
            "info": found.info,
            "json_fields": found.json_fields,
            "element_indices": found.element_indices,
        }
        return Answer(header, found.to_arrow().to_batches() or [_no_rows(found.to_arrow().schema)])
    if isinstance(found, pa.Table):
        return Answer({"kind": "table"}, found.to_batches() or [_no_rows(found.schema)])
    if isinstance(found, Iterator):
        return Answer({"kind": "scan"}, found)
    return Answer({"kind": "value", "value": found})


def _read(known: frozenset[str], of: Collection | Database, call: Call) -> Any:
    if call.method not in known:
        raise InvalidArgument(f"{call.method} is no read: expected one of {', '.join(sorted(known))}")
    found = getattr(of, call.method)
    return found(*call.args, **call.kwargs) if callable(found) else found


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], one.type) for one in schema], schema=schema)


def _search_answer(found: SearchResult) -> Answer:
    """Columns travel under numbers: an output field may have any name."""
    arrays = [found.keys.to_arrow(), pa.array(found.distances)]
    arrays += [column.to_arrow() for column in found.columns.values()]
    table = pa.Table.from_arrays(arrays, [str(number) for number in range(len(arrays))])
    header = {
        "kind": "search",
        "info": found.info,
        "counts": list(found.counts),
        "fields": list(found.columns),
        "shapes": [name for name, column in found.columns.items() if isinstance(column, GeometryColumn)],
        "json_fields": found.json_fields,
        "leg_scores": found.flat_leg_scores,
        "agg_buckets": found.agg_buckets,
        "elements": found.flat_elements,
    }
    return Answer(header, table.combine_chunks().to_batches() or [_no_rows(table.schema)])
