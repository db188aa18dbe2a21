"""How good an index still is: what it covers, what of it is deleted, and what it finds of what is there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from headwater.formats import Vectors
from headwater.index import exact_search
from headwater.index.exact import to_float32
from headwater.index.text import INVERTED_KINDS
from headwater.lake import IndexSpec, Segment
from headwater.query.max_sim import indexed_field, single_metric
from headwater.query.snapshot import Snapshot
from headwater.schema import Field
from headwater.types import Bitmap, DataType, MetricType

__all__ = ["IndexHealth", "index_health"]

_TOP_K = 10


@dataclass(frozen=True)
class IndexHealth:
    """The state of one index.

    Attributes:
        index: its name.
        coverage: share of all rows, in the log too, that are under an artifact.
        unindexed_rows: rows that are searched exactly.
        deleted_share: share of the rows under artifacts that are deleted.
        recall: recall@10 of the artifacts against exact search, over sampled rows as queries; 1.0 where there is none.
        sampled: how many queries that is measured with.
    """

    index: str
    coverage: float
    unindexed_rows: int
    deleted_share: float
    recall: float
    sampled: int

    def to_dict(self) -> dict[str, Any]:
        """The same as a plain dict."""
        return asdict(self)


def index_health(snapshot: Snapshot, spec: IndexSpec, *, queries: int = 64) -> IndexHealth:
    """Measure an index.

    Args:
        snapshot: what to look at.
        spec: the index.
        queries: rows to search for, spread over the segments.
    """
    covered = [segment for segment in snapshot.segments if snapshot.build_of(spec, segment) is not None]
    rows = sum(segment.num_rows for segment in covered)
    deleted = sum(segment.num_deleted for segment in covered)
    every = sum(segment.num_rows - segment.num_deleted for segment in snapshot.segments)
    indexed = rows - deleted
    if not spec.metric or spec.kind in INVERTED_KINDS:
        # A scalar index finds what a scan finds, an inverted one what scoring every row finds.
        queries = 0
    dice = np.random.default_rng(0)
    found = wanted = sampled = 0
    for segment in covered if queries else ():
        count = min(segment.num_rows, max(1, round(queries * segment.num_rows / rows)))
        hits, most, asked = _hits(snapshot, spec, segment, count, dice)
        found, wanted, sampled = found + hits, wanted + most, sampled + asked
    return IndexHealth(
        index=spec.name,
        coverage=indexed / every if every else 1.0,
        unindexed_rows=every - indexed,
        deleted_share=deleted / rows if rows else 0.0,
        recall=found / wanted if wanted else 1.0,
        sampled=sampled,
    )


def _hits(
    snapshot: Snapshot, spec: IndexSpec, segment: Segment, count: int, dice: np.random.Generator
) -> tuple[int, int, int]:
    """Hits that the artifact has in common with exact search, how many there could be, and of how many queries."""
    field = indexed_field(snapshot.schema, spec)
    build = snapshot.build_of(spec, segment)
    assert build is not None
    vectors, allowed = _compared(snapshot, segment, field)
    count = min(count, len(vectors))
    if not count:
        return 0, 0, 0
    queries = np.ascontiguousarray(vectors[np.sort(dice.choice(len(vectors), count, replace=False))])
    queries = queries if queries.dtype == np.uint8 else to_float32(queries)
    metric = single_metric(MetricType(spec.metric))
    _, exact = exact_search(vectors, queries, _TOP_K, metric, allowed=allowed)
    _, near = snapshot.opened.indexes.vector(build, spec).search(
        queries, _TOP_K, allowed=allowed, vectors=vectors, options={}
    )
    hits = sum(
        len(set(a[a >= 0].tolist()) & set(b[b >= 0].tolist())) for a, b in zip(exact, near, strict=True)
    )
    return hits, int((exact >= 0).sum()), count


def _compared(snapshot: Snapshot, segment: Segment, field: Field) -> tuple[Vectors, Bitmap | None]:
    """The vectors of a segment, those of elements for a struct array, and which of them may be found; None for all."""
    opened, schema, deleted = snapshot.opened, snapshot.schema, snapshot.deleted(segment)
    allowed = None if deleted is None else ~deleted
    if field.type.data_type is DataType.STRUCT_ARRAY:
        lists = opened.vectors.lists(segment, schema, field)
        return lists.vectors, None if allowed is None else np.repeat(allowed, np.diff(lists.offsets))
    present = snapshot.present(segment, field)
    if present is not None:
        allowed = present if allowed is None else allowed & present
    return opened.vectors.of(segment, schema, field.name), allowed
