"""Servers of other people in processes of their own, on free ports of this machine, for tests."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from headwater.errors import MissingExtra, Timeout

__all__ = ["free_port", "needed", "server_process"]

_PORTS = range(20_000, 32_000)
_START_S = 120.0
_STOP_S = 10.0


@contextmanager
def free_port() -> Iterator[int]:
    """A port that nothing listens on, and that no other process is given here until the block ends.

    Whoever has it holds the port of the same number of another protocol meanwhile. It is below those that systems take
    for connections, and for who asks for any port.

    Raises:
        OSError: none is free.
    """
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket(type=socket.SOCK_DGRAM) as held:
            try:
                held.bind(("127.0.0.1", port))
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            yield port
            return
    raise OSError(f"no port from {_PORTS.start} to {_PORTS.stop - 1} is free")


def needed(program: str, *, hint: str) -> str:
    """The path of a program.

    Raises:
        MissingExtra: it is not installed.
    """
    found = shutil.which(program)
    if found is None:
        raise MissingExtra(f"{program} is not installed", hint=hint)
    return found


@contextmanager
def server_process(
    command: Sequence[str | Path],
    ready: Callable[[], bool],
    *,
    start_s: float = _START_S,
    log: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends.

    Args:
        command: what to run.
        ready: whether it answers yet; asked until it does.
        start_s: how long to wait for that.
        log: where its output goes; nowhere by default.

    Raises:
        MissingExtra: it ended instead of starting.
        Timeout: it does not answer in time.
    """
    with (log or Path("/dev/null")).open("ab") as output:
        process = subprocess.Popen([*map(str, command)], stdout=output, stderr=output)  # noqa: S603
    try:
        began = time.monotonic()
        while not ready():
            if process.poll() is not None:
                raise MissingExtra(
                    f"{command[0]} ended with exit status {process.returncode} instead of starting"
                    + (f": {log.read_text()[-2000:]}" if log else "")
                )
            if time.monotonic() - began > start_s:
                raise Timeout(f"{command[0]} did not answer within {start_s:.0f} s")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
