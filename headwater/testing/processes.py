"""Servers of other people in processes of their own, on free ports of this machine, for tests."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from headwater.errors import MissingExtra, Timeout

__all__ = ["free_port", "needed", "server_process"]

_STOP_S = 10.0


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
    start_s: float = 60.0,
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
