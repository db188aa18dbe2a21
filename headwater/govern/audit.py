"""What was asked, by whom, and how it ended: a line of JSON for each call.

Records go to the logger `headwater.audit`. A file of ours is written by a thread of its own, so that no call waits for
a disk: when it cannot keep up, records are dropped, and the next line says how many. A record says which call was
about which collection; it holds neither rows nor queries nor secrets.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from headwater.settings import AccessSettings

__all__ = ["AUDIT_LOGGER", "AuditFile", "AuditRecord", "audit_file"]

AUDIT_LOGGER = "headwater.audit"
_FLUSH_S = 0.5


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One call.

    Attributes:
        time: when it ended, seconds since 1970.
        user: who asked; empty where nobody needs to say, or who said could not be believed.
        peer: from where.
        request_id: of the caller's choosing, or ours.
        call: its name in the protocol.
        database: that it was about.
        collection: that it was about, or several, with commas; empty for calls about none.
        outcome: ok, error, denied or unauthenticated.
        code: Milvus's number for how it ended; 0 for well.
        latency_ms: how long it took.
    """

    time: float
    user: str
    peer: str
    request_id: str
    call: str
    database: str
    collection: str
    outcome: str
    code: int
    latency_ms: float

    def line(self) -> str:
        """The record as JSON."""
        when = datetime.fromtimestamp(self.time, UTC).isoformat(timespec="milliseconds")
        named = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({**named, "time": when, "latency_ms": round(self.latency_ms, 3)})

    def __str__(self) -> str:
        return self.line()


class AuditFile(logging.Handler):
    """A file that audit records are appended to, in the background.

    Args:
        path: the file; older ones are beside it as `path.1`, `path.2`, ...
        rotate_bytes: when a new one is begun.
        keep: how many older ones are kept.
        waiting: records that may wait to be written.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: str | Path, *, rotate_bytes: int, keep: int, waiting: int) -> None:
        super().__init__(logging.INFO)
        self.path = Path(path)
        self._rotate_bytes = rotate_bytes
        self._keep = keep
        self._queue: queue.Queue[logging.LogRecord | None] = queue.Queue(waiting)
        self._dropped = 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._opened()
        self._thread = threading.Thread(target=self._write, name="audit", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record; drop it when too many wait."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Write what waits, and close the file."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        logger = logging.getLogger(AUDIT_LOGGER)
        if self in logger.handlers:
            logger.removeHandler(self)
            logger.setLevel(logging.NOTSET)
            logger.propagate = True
        super().close()

    @property
    def dropped(self) -> int:
        """Records that were dropped since the last line that said so."""
        return self._dropped

    def _opened(self) -> int:
        # Readable by its owner alone: it tells who uses what.
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def _write(self) -> None:
        going = True
        while going:
            lines = []
            with suppress(queue.Empty):
                entry = self._queue.get(timeout=_FLUSH_S)
                while True:
                    if entry is None:
                        going = False
                        break
                    lines.append(str(entry.msg))
                    entry = self._queue.get_nowait()
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                lines.append(json.dumps({"dropped": dropped}))
            if lines:
                self._append(lines)
        os.close(self._file)

    def _append(self, lines: list[str]) -> None:
        try:
            if self._replaced():
                self._reopen()
            elif os.fstat(self._file).st_size >= self._rotate_bytes:
                self._rotate()
            os.write(self._file, ("\n".join(lines) + "\n").encode())
        except OSError:
            # A full disk must not end the thread: the records are counted, and the next lines say how many were lost.
            self._dropped += len(lines)

    def _rotate(self) -> None:
        for number in range(self._keep - 1, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            if older.exists():
                older.replace(self.path.with_name(f"{self.path.name}.{number + 1}"))
        if self._keep > 0:
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        else:
            self.path.unlink()
        self._reopen()

    def _replaced(self) -> bool:
        """Whether another process began a new file."""
        try:
            return self.path.stat().st_ino != os.fstat(self._file).st_ino
        except FileNotFoundError:
            return True

    def _reopen(self) -> None:
        os.close(self._file)
        self._file = self._opened()


def audit_file(settings: AccessSettings) -> AuditFile | None:
    """The file that settings ask for, listening to the logger; None where they ask for none. The caller closes it."""
    if not settings.audit_path:
        return None
    made = AuditFile(
        settings.audit_path,
        rotate_bytes=settings.audit_rotate_bytes,
        keep=settings.audit_keep,
        waiting=settings.audit_queue,
    )
    logger = logging.getLogger(AUDIT_LOGGER)
    logger.addHandler(made)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return made
