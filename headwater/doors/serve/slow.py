"""The log of slow calls: what was asked, and which steps took the time. Never a vector, never a row."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from headwater.doors.milvus.record import Record

__all__ = ["asked", "slow_calls"]

_log = logging.getLogger("headwater.slow")
_TEXT = 2000


def slow_calls(after_s: float) -> Callable[[Record], None]:
    """An observer that logs calls that took longer."""

    def observe(record: Record) -> None:
        if record.total_s < after_s:
            return
        steps: dict[str, Any] = {
            "queue_s": round(record.queue_s, 6),
            "parse_s": round(record.parse_s, 6),
            "run_s": round(record.run_s, 6),
            "serialise_s": round(record.serialise_s, 6),
        }
        if record.step is not None:
            steps["engine"] = record.step.to_json().get("steps", [])
        _log.warning(
            "%s took %.3f s",
            record.name,
            record.total_s,
            extra={
                "request_id": record.request_id,
                "rpc": record.name,
                "database": record.database,
                **asked(record.request),
                "code": record.code,
                "seconds": round(record.total_s, 6),
                "steps": steps,
            },
        )

    return observe


def asked(request: Any) -> dict[str, Any]:
    """What a request asks for, as far as it can be told in a line."""
    found: dict[str, Any] = {}
    if request is None:
        return found
    names = request.DESCRIPTOR.fields_by_name
    for field, key in (
        ("collection_name", "collection"),
        ("dsl", "filter"),
        ("expr", "filter"),
        ("nq", "nq"),
        ("num_rows", "rows"),
    ):
        value = getattr(request, field) if field in names else None
        if value:
            found[key] = value[:_TEXT] if isinstance(value, str) else value
    for field in ("partition_names", "output_fields"):
        if field in names and getattr(request, field):
            found[field] = list(getattr(request, field))[:64]
    if "search_params" in names:
        found.update(_parameters(request.search_params))
    if "query_params" in names:
        found.update(_parameters(request.query_params))
    if "requests" in names:
        found["searches"] = [asked(one) for one in list(request.requests)[:16]]
    return found


def _parameters(pairs: Any) -> dict[str, str]:
    renamed = {
        "topk": "top_k",
        "limit": "limit",
        "offset": "offset",
        "anns_field": "field",
        "params": "params",
    }
    return {renamed[pair.key]: pair.value[:_TEXT] for pair in pairs if pair.key in renamed}
