"""Which call a thread runs; known to logs as well as to the doors, and to the command line without any door."""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ["REQUEST_ID"]

REQUEST_ID: ContextVar[str] = ContextVar("headwater_request_id", default="")
"""The id of the call that this thread runs."""
