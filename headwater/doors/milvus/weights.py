"""What a read is going to cost, from what it asks for: known before it runs, and good to within a factor of ten.

A search of one vector is what a server is for, and is never heavy. A search of many, a scan, or an answer of many
megabytes is heavy when it compares or brings so much that those beside it would notice.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from headwater.doors.milvus.rpc import Call
from headwater.errors import HeadwaterError
from headwater.lake import Manifest
from headwater.query.opened import LruCache
from headwater.settings import ServerSettings

__all__ = ["Heavy", "Weight", "weigh"]

_FEW = 1000
"""So many rows are nothing, whatever the collection."""

_OF_INDEXED = 50
"""A search compares about one row in so many of those that an index covers."""

_OF_SCANNED = 16
"""A filter looks at so many values in the time in which one vector is compared."""

_HEAVY_SHARE = 16

_FIGURES: LruCache[str, tuple[int, int, int]] = LruCache(1024)
"""By the commit of a version."""


class Weight(NamedTuple):
    """What a call costs.

    Attributes:
        rows: vectors to compare, or as much work.
        size_bytes: of the answer while it is made, about.
    """

    rows: int
    size_bytes: int


class Heavy(Exception):
    """A call is too heavy for the threads it began on.

    Args:
        weight: of it.
    """

    def __init__(self, weight: Weight) -> None:
        super().__init__(weight)
        self.weight = weight


def weigh(call: Call, name: str, request: Any, settings: ServerSettings) -> None:
    """Look at what a call is going to cost; a heavy one leaves by `Heavy`.

    Args:
        call: who asks.
        name: of the call.
        request: its message.
        settings: say what is heavy.
    """
    if name == "Search":
        if request.nq <= 1:
            return
        weight = _of_search(call, [request], request.collection_name)
    elif name == "Query":
        weight = _of_query(call, request)
    elif name == "HybridSearch":
        if all(one.nq <= 1 for one in request.requests):
            return
        weight = _of_search(call, request.requests, request.collection_name)
    else:
        return
    if weight.rows > settings.heavy_rows or weight.size_bytes > settings.heavy_bytes // _HEAVY_SHARE:
        raise Heavy(weight)


def _known(call: Call, name: str) -> Manifest | None:
    """The collection as this process knows it; None where it does not, or there is none: the call says so itself."""
    try:
        return call.db.held(name).known
    except HeadwaterError:
        return None


def _of_search(call: Call, requests: Any, name: str) -> Weight:
    known = _known(call, name)
    if known is None:
        return Weight(0, 0)
    rows, bare, row_bytes = _figures(known)
    compared = brought = 0
    for one in requests:
        pairs = {pair.key: pair.value for pair in one.search_params}
        if pairs.get("iterator", "").lower() == "true":
            # Its state is in this process.
            return Weight(0, 0)
        compared += one.nq * (bare + (rows - bare) // _OF_INDEXED)
        brought += one.nq * min(rows, _number(pairs.get("topk")) or _FEW)
    return Weight(compared, brought * (row_bytes if requests[0].output_fields else 16))


def _of_query(call: Call, request: Any) -> Weight:
    pairs = {pair.key: pair.value for pair in request.query_params}
    limit = _number(pairs.get("limit"))
    light = not request.expr or " in [" in request.expr or " in {" in request.expr
    grouped = "group_by_fields" in pairs or "order_by_fields" in pairs
    if pairs.get("iterator", "").lower() == "true" or (
        light and not grouped and limit is not None and limit <= _FEW
    ):
        return Weight(0, 0)
    counted = [one.lower().replace(" ", "") for one in request.output_fields] == ["count(*)"]
    known = _known(call, request.collection_name)
    if known is None or (counted and not request.expr):
        return Weight(0, 0)
    rows, _, row_bytes = _figures(known)
    work = 0 if light and not grouped else rows // _OF_SCANNED
    if counted or grouped:
        return Weight(work, 0)
    brought = rows if limit is None else min(limit, rows)
    if limit is None and light and request.expr:
        # Rows by their keys: as many as are named.
        brought = min(rows, request.expr.count(",") + _FEW)
    return Weight(work + brought, brought * row_bytes)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _figures(known: Manifest) -> tuple[int, int, int]:
    """Rows, those of them that no index covers, and the bytes of one."""
    found = _FIGURES.get(known.commit_id)
    if found is not None:
        return found
    indexed = {build.segment for build in known.builds}
    rows = bare = 0
    for segment in known.segments:
        rows += segment.num_rows
        bare += segment.num_rows if segment.id not in indexed else 0
    found = rows, bare, known.size_bytes // max(rows, 1)
    _FIGURES.put(known.commit_id, found)
    return found
