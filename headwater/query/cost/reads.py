"""What one query asks of the store at each tier, and how long that takes.

Requests are those that a store is paid for: ranges of one file that are near each other are one request. Bytes are
those that are sent, the gaps inside such a request included. Round trips are requests that wait for each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from headwater.formats.ipc_texts import KEPT_BYTES, PAGE_BYTES
from headwater.index.cold_costs import BOUND, REQUEST_BYTES, ReadCosts
from headwater.index.faiss_index import better_exact
from headwater.query.cost.shape import (
    Shape,
    list_bytes,
    manifest_bytes,
    opened_bytes,
    owner_bytes,
)
from headwater.store.ranges import AT_ONCE, CUT_BYTES, GAP_BYTES, RUN_BYTES, gap_between
from headwater.tiers import TierPolicy

__all__ = ["Machine", "Reads", "cpu_s", "latency_s", "reads"]

_BESIDE = 0.5
_STEP = 0.5
"""Lists that are near each other lie near each other in the file: so many of those probed come soon after another one,
and each list between them is so likely to be followed by one more. Of probes of 2 to 64 lists, .3 to .8 came within
eight lists of another: .3 of clusters in 4,000 lists, .3 to .75 of texts in 800, .8 of clusters in 300."""

_OPENING_REQUESTS = 6
_OPENING_TRIPS = 2
"""Of a collection: the catalog, the newest manifest, and the ends of the log."""

_FOOTER_REQUESTS = 2
_FOOTER_BYTES = 73_728
"""Of a file of vectors or texts: its head and its end."""

_LEAST_END_BYTES = 64 * 1024
_OFFSET_BYTES = 4
_PIECE_BYTES = 1 << 20
_SCALAR_FOOTER_BYTES = 65_536
_READ = {"ivf_flat": 0.0, "ivf_sq8": 1.2}
_READ_ELSE = 4.5
"""Vectors read for a hit, of all segments together: 3.9 to 5.5 of clusters, 2.3 of texts."""


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
    count: float, row_bytes: float, file_bytes: float, near_bytes: int | None = None
) -> tuple[float, float]:
    """Requests and bytes for ranges at random places of a file, asked for together.

    Args:
        count: ranges.
        row_bytes: of each.
        file_bytes: of the file.
        near_bytes: how close they are one request, where they are few; by their size where nothing is said.
    """
    if count <= 1:
        return count, count * row_bytes
    mean = max(0.0, file_bytes / count - row_bytes)
    if mean == 0.0:
        return max(1.0, file_bytes / RUN_BYTES), file_bytes
    # Gaps between places drawn at random are exponentially distributed; `store.ranges` says which are read.
    gaps, gap_bytes = count - 1, gap_between(row_bytes) if near_bytes is None else near_bytes
    if gaps * math.exp(-gap_bytes / mean) >= AT_ONCE:
        gap_bytes = GAP_BYTES
    apart = math.exp(-gap_bytes / mean)
    inside = gaps * (mean - apart * (gap_bytes + mean))
    left = AT_ONCE - 1
    if gap_bytes == GAP_BYTES and gaps * apart < left < gaps:
        # Not all of these, but the shortest, until no more are left.
        apart, inside = left / gaps, mean * (gaps - left - left * math.log((gaps + 0.5) / (left + 0.5)))
    sent = count * row_bytes + inside
    return max(1 + gaps * apart, sent / RUN_BYTES), sent


def _refined(shape: Shape, *, cold: bool) -> float:
    """Candidates of a segment whose vectors are compared, on average; cold ones are chosen among all segments'."""
    wanted = shape.top_k * shape.refine_k
    if cold:
        wanted = shape.top_k * _READ.get(shape.kind, _READ_ELSE) / shape.looked_at
    return min(wanted, shape.segment_rows * shape.selectivity)


def _probes(shape: Shape) -> float:
    """Lists of a segment that a search probes inside its filter."""
    return min(shape.probes / math.sqrt(shape.selectivity), shape.lists)


def _exact(shape: Shape) -> bool:
    """Whether a hot or warm segment's selected rows are compared one by one."""
    count = int(shape.segment_rows * shape.selectivity)
    return not shape.indexed or better_exact(shape.segment_rows, count, min(shape.top_k, count))


def _exact_cold(shape: Shape) -> bool:
    """Whether fetching a cold segment's selected rows costs less than fetching lists and candidates."""
    if not shape.indexed:
        return True
    share = 0.0 if shape.kind == "ivf_flat" else 1.0 / shape.looked_at
    costs = ReadCosts.of_lists(list_bytes(shape) * shape.lists, shape.lists, shape.vector_bytes, share)
    requests, sent = _every_row(shape)
    through = costs.of(min(_probes(shape), BOUND * shape.probes), shape.top_k * shape.refine_k)
    return requests * REQUEST_BYTES + sent <= through


def _every_row(shape: Shape) -> tuple[float, float]:
    """Requests and bytes of all the selected rows of a segment."""
    count, size_bytes = shape.segment_rows * shape.selectivity, shape.segment_rows * shape.vector_bytes
    return spread(count, shape.vector_bytes, size_bytes)


def _segment_reads(shape: Shape) -> tuple[float, float]:
    """Requests and bytes of one segment, its files open: lists, and vectors of candidates."""
    if _exact_cold(shape):
        return _every_row(shape)
    probes, file_bytes = _probes(shape), shape.segment_rows * shape.vector_bytes
    requests, sent = _list_reads(probes, list_bytes(shape), shape.lists)
    vectors, vector_bytes = spread(_refined(shape, cold=True), shape.vector_bytes, file_bytes)
    return requests + vectors, sent + vector_bytes


def _list_reads(probes: float, each: float, lists: int) -> tuple[float, float]:
    """Requests and bytes of lists that are probed, some of them soon after another one in the file."""
    beside = max(0.0, probes - 1) * _BESIDE
    first = probes - beside
    near_bytes = gap_between(each)
    requests, sent = spread(first, each * probes / first, lists * each, near_bytes)
    within = near_bytes // max(1, int(each))
    passed = sum(between * (1 - _STEP) * _STEP**between for between in range(within + 1))
    return requests + beside * _STEP ** (within + 1), min(sent + beside * passed * each, lists * each)


def _field_reads(shape: Shape, *, first: bool) -> Reads:
    """Requests, bytes and round trips of reading the texts of the hits: where they are, then themselves.

    Pages that say where texts are stay, as many as there is room for. Numbers and keys are read in pieces of their file
    that stay with its reader: they are of the first query.
    """
    if not shape.output_text_bytes:
        return Reads(0.0, 0.0, 0.0)
    held = min(shape.looked_at, shape.top_k)
    each = shape.top_k / held
    offsets = shape.segment_rows * _OFFSET_BYTES
    every = -(-offsets // PAGE_BYTES)
    absent = 1.0 if first else max(0.0, 1.0 - KEPT_BYTES / (offsets * shape.segments))
    pages = absent * every * (1 - (1 - 1 / every) ** each)
    places, place_bytes = spread(pages, min(PAGE_BYTES, offsets), offsets)
    row_bytes = shape.output_text_bytes
    texts, text_bytes = spread(each, row_bytes, shape.segment_rows * row_bytes)
    trips = 2.0 if absent and not _fields_ahead(shape) else 1.0
    return Reads((places + texts) * held, (place_bytes + text_bytes) * held, trips)


def _fields_ahead(shape: Shape) -> bool:
    """Whether the fields of likely hits are begun with while vectors are read."""
    return not _exact_cold(shape) and shape.kind != "ivf_flat"


def _first_fields(shape: Shape) -> Reads:
    """Opening the files of the hits' fields, and the pieces of numbers and keys."""
    held = min(shape.looked_at, shape.top_k)
    requests = sent = trips = 0.0
    if shape.output_text_bytes:
        requests, sent = requests + _FOOTER_REQUESTS, sent + _FOOTER_BYTES
    if shape.output_scalar_bytes:
        whole = shape.segment_rows * shape.output_scalar_bytes
        pieces = whole / _PIECE_BYTES
        hit = pieces * (1 - (1 - 1 / pieces) ** (shape.top_k / held)) if pieces > 1 else pieces
        more = max(0.0, min(whole, hit * _PIECE_BYTES) - _SCALAR_FOOTER_BYTES)
        requests, sent = requests + 1, sent + min(whole, _SCALAR_FOOTER_BYTES) + more
        if more:
            requests += max(1.0, hit / 2)
            trips = 0.0 if shape.output_text_bytes or _fields_ahead(shape) else 1.0
    return Reads(requests * held, sent * held, trips)


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
    fields = _field_reads(shape, first=first or policy is TierPolicy.ON_DEMAND)
    requests, sent = requests + fields.requests, sent + fields.size_bytes
    trips = (1.0 if _exact_cold(shape) else 2.0) + fields.round_trips
    if first or policy is TierPolicy.ON_DEMAND:
        opened = _opening(shape)
        return Reads(requests + opened.requests, sent + opened.size_bytes, trips + opened.round_trips)
    share = 1.0 - hit_share
    return Reads(requests * share, sent * share, trips if hit_share < 1.0 else 0.0)


def _opening(shape: Shape) -> Reads:
    """Names, manifest, log, the footers and tables of what is opened, and a filter's columns."""
    requests, sent, trips = float(_FOOTER_REQUESTS), float(_FOOTER_BYTES), _OPENING_TRIPS + 1.0
    if shape.indexed:
        # The manifest says how much of a file's end opening takes; what is long comes by several requests.
        end = max(opened_bytes(shape), _LEAST_END_BYTES)
        requests, sent = requests + (math.ceil(end / CUT_BYTES) if end < RUN_BYTES else 1), sent + end
    if shape.filter_row_bytes:
        requests, sent = requests + 2, sent + shape.segment_rows * shape.filter_row_bytes + owner_bytes(shape)
    fields = _first_fields(shape)
    return Reads(
        _OPENING_REQUESTS + requests * shape.looked_at + fields.requests,
        manifest_bytes(shape)[1] + sent * shape.looked_at + fields.size_bytes,
        trips + fields.round_trips,
    )


_WARM_READS = 2
"""Waits for a local disk, of lists and of vectors, that are not in the page cache; each is asked for as a whole."""

_QUERY_S = 20e-6
_SEGMENT_S = 80e-6
_HANDED_S = 80e-6
_CODE_S = 0.35e-9
_NUMBER_S = 0.5e-9
_REQUEST_S = 150e-6
_BYTE_S = 0.3e-9
"""A core's time: of a query, a segment in it, one handed to a thread, a number of a row's code, one of a refined
vector, a request, a byte."""


def cpu_s(shape: Shape, asked: Reads) -> float:
    """Core seconds of a query."""
    if _exact_cold(shape) if asked.requests else _exact(shape):
        each = shape.segment_rows * shape.selectivity * shape.dim * _NUMBER_S
    else:
        scanned = shape.segment_rows / shape.lists * _probes(shape)
        each = (
            scanned * shape.dim * _CODE_S + _refined(shape, cold=bool(asked.requests)) * shape.dim * _NUMBER_S
        )
    handed = _HANDED_S if shape.looked_at > 1 else 0.0
    here = _QUERY_S + shape.looked_at * (_SEGMENT_S + handed + each)
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
