"""Logs: a line of JSON for programs, or a line of text for people on a terminal; each with the call's request id."""

from __future__ import annotations

import datetime
import json
import logging
import sys
from typing import Any

from headwater.doors.calling import REQUEST_ID
from headwater.settings import ServerSettings

__all__ = ["configure_logs"]

_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


def configure_logs(settings: ServerSettings, worker: int | None = None) -> None:
    """Have this process log as the settings say, on standard error.

    Args:
        settings: level and form.
        worker: which one we are; None for the front.
    """
    form = settings.log_format
    if form == "auto":
        form = "console" if sys.stderr.isatty() else "json"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(worker) if form == "json" else _Console(worker))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    # A line for each call is for the file that `access.audit_path` names, not for this log.
    logging.getLogger("headwater.audit").setLevel("WARNING")
    # What uvicorn says about starting and stopping, the front says too.
    logging.getLogger("uvicorn").setLevel("WARNING")


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    found = {name: value for name, value in vars(record).items() if name not in _ORDINARY}
    request_id = found.get("request_id") or REQUEST_ID.get()
    return {**found, "request_id": request_id} if request_id else found


class _Json(logging.Formatter):
    def __init__(self, worker: int | None) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": when.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._worker is not None:
            line["worker"] = self._worker
        line.update(_extras(record))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _Console(logging.Formatter):
    def __init__(self, worker: int | None) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
        self._prefix = "" if worker is None else f"[{worker}] "

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        record.message = self._prefix + record.message
        extras = " ".join(f"{name}={value}" for name, value in _extras(record).items())
        return f"{super().formatMessage(record)}  {extras}".rstrip()
