"""What one query asks of the store at each tier, and how long that takes.

Requests are those that a store is paid for: ranges of one file that are near each other are one request. Bytes are
those that are sent, the gaps inside such a request included. Round trips are requests that wait for each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from headwater.query.cost.shape import Shape, list_bytes, manifest_bytes, opened_bytes, owner_bytes
from headwater.store.ranges import GAP_BYTES, RUN_BYTES
from headwater.tiers import TierPolicy

__all__ = ["Machine", "Reads", "cpu_s", "latency_s", "reads"]

_FOOTER_BYTES = 4_096
_SPOTS = 0.5
"""Lists that are near each other lie near each other in the file: so many separate places a list probed."""

_OPENING_REQUESTS = 4
"""Of a collection: the catalog, the newest manifest, and the ends of the log."""

_CHECKING_REQUESTS = 0.0
_OPENING_TRIPS = 3
_FIELD_FOOTER_BYTES = 16_384
_FIELD_OPEN_REQUESTS = 2
_FIELD_TAKE_BYTES = 64
_EXACT_SHARE = 0.02
_MOST_REFINED = 3.0


@dataclass(frozen=True)
class Reads:
    """What one query asks of the store.

    Attributes:
        requests: as billed.
        size_bytes: that are sent.
        round_trips: requests that wait for one another, at the least.
    """

    requests: float
    size_bytes: float
    round_trips: float


@dataclass(frozen=True)
class Machine:
    """Where queries run.

    Attributes:
        round_trip_s: from a request of a few bytes to its answer.
        bandwidth_bytes_s: of a query's reads together.
        page_s: from asking a local disk for a page to having it.
        start_s: of a process that is started for a query, until it can open a lake.
    """

    round_trip_s: float = 0.030
    bandwidth_bytes_s: float = 100e6
    page_s: float = 0.0001
    start_s: float = 0.8


def spread(
    count: float, row_bytes: float, file_bytes: float, gap_bytes: int = GAP_BYTES
) -> tuple[float, float]:
    """Requests and bytes for ranges at random places of a file.

    Args:
        count: ranges.
        row_bytes: of each.
        file_bytes: of the file.
        gap_bytes: nearer ones are one request.
    """
    if count <= 1:
        return count, count * row_bytes
    mean = max(0.0, file_bytes / count - row_bytes)
    if mean == 0.0:
        return max(1.0, file_bytes / RUN_BYTES), file_bytes
    apart = math.exp(-gap_bytes / mean)
    inside = mean - apart * (gap_bytes + mean)
    sent = count * row_bytes + (count - 1) * inside
    return max(1 + (count - 1) * apart, sent / RUN_BYTES), sent


def _refined(shape: Shape) -> float:
    """Candidates of a segment whose vectors are read, on average."""
    wanted = shape.top_k * shape.refine_k
    if shape.refined_once:
        wanted /= shape.looked_at
    return min(wanted, shape.segment_rows * shape.selectivity)


def _exact(shape: Shape) -> bool:
    """Whether a segment's selected rows are compared one by one."""
    return not shape.indexed or shape.selectivity < _EXACT_SHARE


def _segment_reads(shape: Shape) -> tuple[float, float]:
    """Requests and bytes of one segment, its files open: lists, and vectors of candidates."""
    file_bytes = shape.segment_rows * shape.vector_bytes
    if _exact(shape):
        return spread(shape.segment_rows * shape.selectivity, shape.vector_bytes, file_bytes)
    probes = shape.probes / math.sqrt(shape.selectivity)
    each = list_bytes(shape)
    spots = max(1.0, probes * _SPOTS)
    requests, sent = spread(spots, each * probes / spots, shape.lists * each)
    vectors, vector_bytes = spread(_refined(shape), shape.vector_bytes, file_bytes)
    return requests + vectors, sent + vector_bytes


def _field_reads(shape: Shape) -> tuple[float, float, float]:
    """Requests, bytes and files of reading the fields of the hits."""
    if not shape.output_files:
        return 0.0, 0.0, 0.0
    held = min(shape.looked_at, shape.top_k)
    each = shape.top_k / held
    file_bytes = shape.segment_rows * shape.output_row_bytes / shape.output_files
    requests, sent = spread(each, _FIELD_TAKE_BYTES + shape.output_row_bytes / shape.output_files, file_bytes)
    files = held * shape.output_files
    return requests * files, sent * files, files


def reads(shape: Shape, policy: TierPolicy, *, first: bool = False, hit_share: float = 0.0) -> Reads:
    """What a query asks of the store.

    Args:
        shape: the collection.
        policy: where its bytes are; of `auto`, `hit_share` of them are near.
        first: the first query of a process, nothing opened yet; else one like it came before.
        hit_share: of what a cold search reads, the share that its cache holds.
    """
    if policy in (TierPolicy.HOT, TierPolicy.WARM) and not first:
        return Reads(0.0, 0.0, 0.0)
    requests, sent = (part * shape.looked_at for part in _segment_reads(shape))
    trips = 1.0 if _exact(shape) else 2.0
    field_requests, field_bytes, files = _field_reads(shape)
    requests, sent = requests + field_requests, sent + field_bytes
    trips += 1.0 if shape.output_files else 0.0
    if first or policy is TierPolicy.ON_DEMAND:
        opened = _opening(shape, files)
        return Reads(requests + opened.requests, sent + opened.size_bytes, trips + opened.round_trips)
    share = 1.0 - hit_share
    return Reads(requests * share + _CHECKING_REQUESTS, sent * share, trips if hit_share < 1.0 else 0.0)


def _opening(shape: Shape, field_files: float) -> Reads:
    """Names, manifest, log, the footers and tables of what is opened, and a filter's columns."""
    parts = 3 if shape.indexed else 0
    per_segment = parts + 1.0
    sent = float(opened_bytes(shape) + 2 * _FOOTER_BYTES)
    if shape.filter_row_bytes:
        per_segment += 2
        sent += shape.segment_rows * shape.filter_row_bytes + owner_bytes(shape)
    requests = _OPENING_REQUESTS + per_segment * shape.looked_at + _FIELD_OPEN_REQUESTS * field_files
    whole = manifest_bytes(shape)[1] + sent * shape.looked_at + _FIELD_FOOTER_BYTES * field_files
    return Reads(requests, whole, _OPENING_TRIPS + 2.0)


_WARM_READS = 2
"""Waits for a local disk, of lists and of vectors, that are not in the page cache; each is asked for as a whole."""

_QUERY_S = 30e-6
_SEGMENT_S = 125e-6
_CODE_S = 0.35e-9
_NUMBER_S = 0.5e-9
_REQUEST_S = 150e-6
_BYTE_S = 0.3e-9
"""A core's time: of a query, of a segment in it, of a number of a row's code, of one of a refined vector, of a request, of a
byte received."""


def cpu_s(shape: Shape, asked: Reads) -> float:
    """Core seconds of a query."""
    if _exact(shape):
        each = shape.segment_rows * shape.selectivity * shape.dim * _NUMBER_S
    else:
        scanned = shape.segment_rows / shape.lists * shape.probes / math.sqrt(shape.selectivity)
        each = scanned * shape.dim * _CODE_S + _refined(shape) * shape.dim * _NUMBER_S
    here = _QUERY_S + shape.looked_at * (_SEGMENT_S + each)
    return here + asked.requests * _REQUEST_S + asked.size_bytes * _BYTE_S


def latency_s(shape: Shape, policy: TierPolicy, machine: Machine, asked: Reads) -> float:
    """How long a query waits: round trips, bytes, the start of its process, and its own computing on one core.

    Args:
        shape: the collection.
        policy: where its bytes are.
        machine: where it runs.
        asked: of the store, by the query.
    """
    waited = asked.round_trips * machine.round_trip_s + asked.size_bytes / machine.bandwidth_bytes_s
    if policy is TierPolicy.ON_DEMAND:
        waited += machine.start_s
    if policy is TierPolicy.WARM:
        waited += _WARM_READS * machine.page_s
    return waited + cpu_s(shape, asked)
