"""Workers as processes of this machine: one for a call, bounded, and ended when nobody waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import suppress
from typing import Any, BinaryIO

from headwater.engine.on_demand.calls import Call, result_of
from headwater.engine.on_demand.messages import packed_call, read_answer, write_frame
from headwater.engine.on_demand.places import Bounds, resident_bytes, too_much
from headwater.engine.on_demand.workers import Workers
from headwater.errors import HeadwaterError, Timeout, WorkerLost

__all__ = ["Processes"]

_LOOK_S = 0.02
_TAIL_BYTES = 2000


class _Worker:
    """One process and the pipe that its answer comes through.

    Args:
        call: what it is asked.
        bounds: what it may take.
        until: the moment when its time is up.
    """

    def __init__(self, call: Call, bounds: Bounds, until: float) -> None:
        self._call = call
        self._bounds = bounds
        self._why: HeadwaterError | None = None
        self._done = threading.Event()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
        ours, theirs = os.pipe()
        try:
            self.process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "headwater.engine.on_demand.worker", str(theirs)],
                stdin=subprocess.PIPE,
                stdout=self._said,
                stderr=self._said,
                pass_fds=[theirs],
                process_group=0,
            )
        except OSError:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self.source: BinaryIO = os.fdopen(ours, "rb", buffering=1 << 20)
        if bounds.memory_bytes is not None or until != float("inf"):
            threading.Thread(target=self._watch, args=(until,), name="headwater-worker", daemon=True).start()

    def ask(self, packed: bytes) -> None:
        """Send the call; a worker that died before it listened says so by the end of its answer."""
        with suppress(BrokenPipeError):
            write_frame(self._stdin, b"C", packed)

    @property
    def _stdin(self) -> BinaryIO:
        assert self.process.stdin is not None
        return self.process.stdin  # type: ignore[return-value]

    def _watch(self, until: float) -> None:
        limit = self._bounds.memory_bytes
        while not self._done.wait(_LOOK_S):
            if time.monotonic() > until:
                self.end(Timeout(f"{self._call}: no answer within {self._bounds.timeout_s:g} s"))
                return
            used = 0 if limit is None else resident_bytes(self.process.pid)
            if limit is not None and used > limit:
                self.end(too_much(self._call, used, limit))
                return

    def end(self, why: HeadwaterError | None = None) -> None:
        """End the process at once; what waits for it raises `why`."""
        self._why = self._why or why
        self._done.set()
        self.process.kill()

    def close(self) -> None:
        """Leave nothing behind."""
        self._done.set()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.source.close()
        with suppress(BrokenPipeError):
            self._stdin.close()
        self._said.close()

    def lost(self) -> HeadwaterError:
        """Why the answer ended before its end."""
        try:
            status = self.process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        if self._why is not None:
            return self._why
        how = f"exit status {status}"
        hint = "the same call may succeed again"
        if status < 0:
            how = f"signal {-status} ({signal.Signals(-status).name})"
            if -status == signal.SIGKILL:
                hint = "the system may have run out of memory: bound the worker with memory_bytes, or ask for less"
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - _TAIL_BYTES))
        said = self._said.read().decode(errors="replace").strip()
        return WorkerLost(
            f"{self._call}: its worker (process {self.process.pid}) was ended by {how} before it had answered"
            + (f"; it said: {said.splitlines()[-1]}" if said else ""),
            hint=hint,
            status=status,
            output=said,
        )


class Processes:
    """Starts a process for each call.

    Args:
        bounds: what each may take.
        max_workers: so many at a time; further calls wait, and their time runs.
    """

    def __init__(self, bounds: Bounds, max_workers: int) -> None:
        self._bounds = bounds
        self._workers: Workers[_Worker] = Workers(bounds, max_workers, _Worker.close)

    def run(self, call: Call) -> Any:
        """Answer a call in a process of its own.

        Raises:
            HeadwaterError: what the same call raises here.
            Timeout: it took longer than it may.
            QuotaExceeded: it took more memory than it may.
            WorkerLost: the process died, or `close` ended it.
        """
        return result_of(self._answer(call, packed_call(call)))

    def _answer(self, call: Call, packed: bytes) -> Generator[Any, None, None]:
        """First the header, then each batch; the process is gone when this ends, however it ends."""
        with self._workers.one(call, lambda until: _Worker(call, self._bounds, until)) as (worker, _):
            try:
                worker.ask(packed)
                header, batches = read_answer(worker.source)
                yield header
                yield from batches
            except EOFError:
                raise worker.lost() from None

    def close(self) -> None:
        """End every worker; calls that wait for one raise `WorkerLost`."""
        for worker in self._workers.close():
            worker.end(WorkerLost("the worker was ended: its handle was closed before it had answered"))
