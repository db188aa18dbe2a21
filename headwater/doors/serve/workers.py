"""The processes of a server as the front sees them: started, watched, started again, and one of them told to write.

Workers answer calls. A writer, or processes for analytics, answer what workers hand them. A process for maintenance
answers none: it is started when the others answer, and told by them, through the front, what has changed.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headwater.doors.serve.loop import READ, Loop
from headwater.doors.serve.sniff import Protocol

__all__ = ["Worker", "Workers"]

_log = logging.getLogger("headwater.server")

_BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""How long a worker that died is left before it is started again, by how often it has died within a minute."""


_ANSWERS, _MAINTAINS = "headwater.doors.serve.worker", "headwater.doors.serve.maintenance"
_MAINTENANCE_AFTER_S = 1.0
_MOST_UNTOLD = 10_000


class Worker:
    """One process.

    Args:
        role: `worker`, `writer`, `analytics`, or `maintenance`.
        index: its place among the processes, which its successor takes.
        process: started.
        control: our end of the pair of sockets that it was given.
        socket_path: where it answers gRPC.
    """

    def __init__(
        self,
        role: str,
        index: int,
        process: subprocess.Popen[bytes],
        control: socket.socket,
        socket_path: str,
    ) -> None:
        self.role = role
        self.index = index
        self.process = process
        self.pid = process.pid
        self.control = control
        self.socket = socket_path
        self.ready = False
        self.writer = False
        self.given = self.closed = 0
        self.buffer = b""

    @property
    def name(self) -> str:
        """What logs call it."""
        return f"worker {self.index}" if self.role == "worker" else f"the process for {self.role}"

    def tell(self, **message: Any) -> None:
        """Send the worker a message."""
        self._send(message, [])

    @property
    def connections(self) -> int:
        """Connections of gRPC that it has, as far as it has told."""
        return self.given - self.closed

    def give(self, sock: socket.socket, protocol: Protocol) -> None:
        """Give the worker an accepted connection, and keep nothing of it."""
        self.given += protocol == "grpc"
        self._send({"connection": protocol}, [sock.fileno()])
        sock.close()

    def _send(self, message: Mapping[str, Any], fds: list[int]) -> None:
        line = json.dumps(message).encode() + b"\n"
        try:
            sent = socket.send_fds(self.control, [line], fds)
            if sent < len(line):
                self.control.sendall(line[sent:])
        except OSError as error:
            _log.warning("%s does not listen: %s", self.name, error)


class Workers:
    """All processes.

    Args:
        loop: calls us.
        roles: of the processes; those of workers come first.
        folder: private to us, for their sockets.
        start: what each is told first: the lake and the settings.
    """

    def __init__(self, loop: Loop, roles: Sequence[str], folder: Path, start: Mapping[str, Any]) -> None:
        self._loop = loop
        self._folder = folder
        self._start = {
            **start,
            "folder": str(folder),
            "secret": secrets.token_hex(32),
            "workers": len(roles) - roles.count("maintenance"),
        }
        self._workers: dict[int, Worker] = {}
        self._roles = list(roles)
        self._died: dict[int, list[float]] = {index: [] for index in range(len(self._roles))}
        self._due: dict[int, float] = {}
        self._stopping = False
        self._seen_ready = False
        self.active_s = time.monotonic()
        self._failed = False
        self._untold: dict[tuple[str, str], bool] = {}
        self.reason = ""
        (folder / "changes").write_bytes(bytes(8))
        loop.every_tick(self._tick)
        for index, role in enumerate(self._roles):
            if role != "maintenance":
                self._launch(index)

    @property
    def ready(self) -> bool:
        """Whether all who answer calls do."""
        needed = len(self._roles) - self._roles.count("maintenance")
        return sum(one.ready and one.role != "maintenance" for one in self._workers.values()) == needed

    @property
    def failed(self) -> bool:
        """Whether a worker ended before any had ever answered: the lake or a setting is wrong."""
        return self._failed

    @property
    def gone(self) -> bool:
        """Whether no process is left."""
        return not self._workers

    @property
    def connections(self) -> int:
        """Connections of gRPC that workers have."""
        return sum(one.connections for one in self._workers.values())

    def least_busy(self) -> Worker | None:
        """The worker with the fewest connections."""
        return min(self._answering(), key=lambda one: one.connections, default=None)

    def _answering(self) -> list[Worker]:
        return [one for one in self._workers.values() if one.ready and one.role == "worker"]

    def stop(self, grace_s: float) -> None:
        """Let every worker finish what it does."""
        self._stopping = True
        self._due.clear()
        for worker in self._workers.values():
            if worker.ready:
                worker.tell(stop=grace_s)
            else:
                # It has not begun to answer, so there is nothing to finish.
                worker.process.kill()

    def kill(self) -> None:
        """End every worker at once."""
        self._stopping = True
        for worker in self._workers.values():
            worker.process.kill()

    def _launch(self, index: int) -> None:
        role = self._roles[index]
        ours, theirs = socket.socketpair()
        path = str(self._folder / f"{index}-{secrets.token_hex(4)}.sock")
        # A new process group: a terminal's Ctrl-C is for the front, which tells the workers.
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", _MAINTAINS if role == "maintenance" else _ANSWERS, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            process_group=0,
        )
        theirs.close()
        worker = Worker(role, index, process, ours, path)
        place = self._roles[:index].count(role)
        worker.tell(**self._start, role=role, place=place, index=index, socket=path)
        ours.setblocking(False)
        self._workers[index] = worker
        self._loop.watch(ours.fileno(), READ, lambda events: self._heard(worker, events))

    def _heard(self, worker: Worker, events: int) -> None:
        try:
            data = worker.control.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._ended(worker)
            return
        *lines, worker.buffer = (worker.buffer + data).split(b"\n")
        for line in lines:
            self._message(worker, json.loads(line))

    def _message(self, worker: Worker, message: Mapping[str, Any]) -> None:
        if message.get("ready"):
            worker.ready = self._seen_ready = True
            if worker.role == "maintenance":
                self._pass_on()
            else:
                self._choose_writer()
                self._plan_maintenance()
        if "closed" in message:
            worker.closed = message["closed"]
        if message.get("active"):
            self.active_s = time.monotonic()
        if "tend" in message and len(self._untold) < _MOST_UNTOLD:
            database, collection = message["tend"]
            place = database, collection
            self._untold[place] = message["asked"] or self._untold.get(place, False)
            self._pass_on()
        if "build_failed" in message:
            for one in self._workers.values():
                if one.ready and one.role in ("worker", "writer"):
                    one.tell(**message)
        if "failed" in message:
            self.reason = message["failed"]
            _log.error("%s: %s", worker.name, message["failed"])

    def _plan_maintenance(self) -> None:
        """Start what maintains the lake a moment after the workers, which are waited for."""
        running = {one.index for one in self._workers.values()}
        for index, role in enumerate(self._roles):
            if role == "maintenance" and index not in running and self.ready and not self._stopping:
                self._due.setdefault(index, time.monotonic() + _MAINTENANCE_AFTER_S)

    def _pass_on(self) -> None:
        """Tell the process for maintenance what has changed; before there is one, start it."""
        found = next((one for one in self._workers.values() if one.role == "maintenance" and one.ready), None)
        if found is not None:
            for place, asked in self._untold.items():
                found.tell(tend=place, asked=asked)
            self._untold.clear()

    def _choose_writer(self) -> None:
        if any(one.writer for one in self._workers.values()) or self._stopping:
            return
        role = "writer" if "writer" in self._roles else "worker"
        answering = [one for one in self._workers.values() if one.ready and one.role == role]
        if answering:
            chosen = min(answering, key=lambda one: one.index)
            chosen.writer = True
            chosen.tell(writer=True)
            if len(self._roles) - self._roles.count("maintenance") > 1:
                _log.info("%s writes (process %d)", chosen.name, chosen.pid)

    def _ended(self, worker: Worker) -> None:
        self._loop.forget(worker.control.fileno())
        worker.control.close()
        # Its end of the pair is closed by its death alone; it may be a moment away.
        code = _exit_code(worker.process)
        del self._workers[worker.index]
        Path(worker.socket).unlink(missing_ok=True)
        if self._stopping:
            return
        if not self._seen_ready:
            self._failed = True
            self.kill()
            return
        now = time.monotonic()
        recent = [one for one in self._died[worker.index] if now - one < 60.0]
        self._died[worker.index] = [*recent, now]
        wait = _BACKOFF_S[min(len(recent), len(_BACKOFF_S) - 1)]
        self._due[worker.index] = now + wait
        _log.error(
            "%s ended with status %s; another is started in %.1f s",
            worker.name, code, wait, extra={"worker_pid": worker.pid},
        )  # fmt: skip
        self._choose_writer()
        self._tick()

    def _tick(self) -> None:
        now = time.monotonic()
        for index, due in list(self._due.items()):
            if now >= due and not self._stopping:
                del self._due[index]
                self._launch(index)


def _exit_code(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        return process.wait()
