"""Measuring a collection's store and searches, when a report of costs is to have them measured.

The collection is opened once more with nothing kept, and runs a few searches that a counting store watches.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.errors import InvalidArgument
from headwater.lake import Lake
from headwater.lake.lake import manifest_key
from headwater.query import Opened
from headwater.query.cost import Reads
from headwater.schema import Field, arrow_type
from headwater.settings import TierSettings
from headwater.store import MeteredStore, ObjectStore
from headwater.tiers import Residency, TierPolicy, Tiers
from headwater.types import DataType

if TYPE_CHECKING:
    from headwater.engine.collection import Collection

__all__ = ["is_vector", "probe_searches", "round_trip_s"]

_PROBES = 5
"""Fewer searches than takes after which a field is decoded as a whole, which is no longer a cold search."""

_LEAST_S = 0.01


def is_vector(kind: DataType) -> bool:
    """Whether values are vectors, dense or sparse."""
    return kind.dense_vector or kind is DataType.SPARSE_FLOAT_VECTOR


def round_trip_s(collection: Collection) -> float:
    """The middle of a few requests for the newest manifest's size."""
    lake, waits = collection._lake, []
    manifest = collection.manifest
    for _ in range(_PROBES):
        began = time.perf_counter()
        lake.store.head(manifest_key(lake.root, manifest.version))
        waits.append(time.perf_counter() - began)
    return statistics.median(waits)


class _AllCold(Tiers):
    """Opens every file by ranges, whatever its policy is, and keeps nothing on disk."""

    def __init__(self, settings: TierSettings) -> None:
        super().__init__(replace(settings, disk_bytes=0))

    def open(
        self, store: ObjectStore, key: str, *, policy: TierPolicy = TierPolicy.ON_DEMAND, **how: Any
    ) -> Residency:
        return super().open(store, key, policy=TierPolicy.ON_DEMAND, **how)


def probe_searches(collection: Collection, field: Field) -> tuple[Reads, Reads]:
    """What the first search of a process asks of the store, and what those after it do on average."""
    queries = _query_vectors(collection, field)
    store = MeteredStore(collection._lake.store, least_s=_LEAST_S)
    again = type(collection)(
        collection.name,
        Lake(store, collection.root),
        collection._settings,
        collection._source_options,
        collection._functions,
        _AllCold(collection._settings.tiers),
    )
    wanted = [one.name for one in again.manifest.schema.fields if not is_vector(one.type.data_type)]
    seen = []
    for query in queries:
        again.search([query], anns_field=field.name, top_k=10, output_fields=wanted)
        seen.append(Reads(store.requests, store.bytes_read, store.round_trips))
        store.reset()
    later = seen[1:]
    return seen[0], Reads(
        statistics.fmean(one.requests for one in later),
        statistics.fmean(one.size_bytes for one in later),
        float(statistics.median_high([one.round_trips for one in later])),
    )


def _query_vectors(collection: Collection, field: Field) -> list[Any]:
    """Vectors of a few rows, read by themselves."""
    opened = Opened(
        collection._lake.store, source=collection._source, tiers=_AllCold(collection._settings.tiers)
    )
    manifest = collection.manifest
    segment = max(manifest.segments, key=lambda one: one.num_rows)
    rows = np.linspace(0, segment.num_rows - 1, _PROBES + 1).astype(np.int64)
    column = opened.readers.of(segment, manifest.schema).take([field.name], rows).column(field.name)
    found = [one for one in column.to_pylist() if one is not None]
    if not found:
        raise InvalidArgument(f"field {field.name!r}: the rows that a probe looks at have no vectors")
    return [np.asarray(one, arrow_type(field.type).value_type.to_pandas_dtype()) for one in found]
