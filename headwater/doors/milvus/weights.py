"""What a read is going to cost, from what it asks for: known before it runs, and good to within a factor of ten.

A search of one vector is what a server is for, and is never heavy. A search of many, a scan, or an answer of many
megabytes is heavy when it compares or brings so much that those beside it would notice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from headwater.doors.milvus.rpc import Call
from headwater.errors import HeadwaterError
from headwater.lake import Manifest
from headwater.query.lru import LruCache
from headwater.settings import ServerSettings

__all__ = ["Weight", "weigh"]

_FEW = 1000
"""So many rows are nothing, whatever the collection."""

_OF_INDEXED = 50
"""A search compares about one row in so many of those that an index covers."""

_OF_SCANNED = 16
"""A filter looks at so many values in the time in which one vector is compared."""

_HEAVY_ANSWER_BYTES = 1 << 20
"""Writing an answer holds up every other thread of the process, about 5 ms a megabyte."""

_ROW_BYTES = 64
"""Of what is told of a row beside vectors, about."""

_FIGURES: LruCache[str, tuple[int, int]] = LruCache(1024)
"""By the commit of a version."""


class Weight(NamedTuple):
    """What a call costs.

    Attributes:
        rows: vectors to compare, or as much work.
        size_bytes: of the answer while it is made, about.
    """

    rows: int
    size_bytes: int


def weigh(call: Call, name: str, request: Any, settings: ServerSettings) -> Weight | None:
    """Look at what a call is going to cost.

    Args:
        call: who asks.
        name: of the call.
        request: its message.
        settings: say what is heavy.

    Returns:
        Its weight; None where it is not heavy.
    """
    if name == "Search":
        if request.nq <= 1:
            return None
        weight = _of_search(call, [request], request.collection_name, request.output_fields)
    elif name == "Query":
        weight = _of_query(call, request)
    elif name == "HybridSearch":
        if all(one.nq <= 1 for one in request.requests):
            return None
        weight = _of_search(call, request.requests, request.collection_name, request.output_fields)
    else:
        return None
    if weight.rows > settings.heavy_rows or weight.size_bytes > _HEAVY_ANSWER_BYTES:
        return weight
    return None


def _known(call: Call, name: str) -> Manifest | None:
    """The collection as this process knows it; None where it does not, or there is none: the call says so itself."""
    try:
        return call.db.held(name).known
    except HeadwaterError:
        return None


def _of_search(call: Call, requests: Any, name: str, output_fields: Sequence[str]) -> Weight:
    known = _known(call, name)
    if known is None:
        return Weight(0, 0)
    rows, bare = _figures(known)
    compared = brought = 0
    for one in requests:
        pairs = {pair.key: pair.value for pair in one.search_params}
        if pairs.get("iterator", "").lower() == "true":
            # Its state is in this process.
            return Weight(0, 0)
        compared += one.nq * (bare + (rows - bare) // _OF_INDEXED)
        brought += one.nq * min(rows, _number(pairs.get("topk")) or _FEW)
    return Weight(compared, brought * _row_bytes(known, output_fields))


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
    rows, _ = _figures(known)
    work = 0 if light and not grouped else rows // _OF_SCANNED
    if counted or grouped:
        return Weight(work, 0)
    brought = rows if limit is None else min(limit, rows)
    if limit is None and light and request.expr:
        # Rows by their keys: as many as are named.
        brought = min(rows, request.expr.count(",") + _FEW)
    return Weight(work + brought, brought * _row_bytes(known, request.output_fields))


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _row_bytes(known: Manifest, names: Sequence[str]) -> int:
    """Bytes of a row as it is told: what vectors take, and what the rest does, about."""
    total = _ROW_BYTES
    for field in known.schema.fields:
        if field.type.dim and (field.name in names or "*" in names):
            total += 4 * field.type.dim
    return total


def _figures(known: Manifest) -> tuple[int, int]:
    """Rows, and those of them that no index covers."""
    found = _FIGURES.get(known.commit_id)
    if found is not None:
        return found
    indexed = {build.segment for build in known.builds}
    rows = bare = 0
    for segment in known.segments:
        rows += segment.num_rows
        bare += segment.num_rows if segment.id not in indexed else 0
    found = rows, bare
    _FIGURES.put(known.commit_id, found)
    return found
