"""The server in a process of its own, as an operator starts it."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MAIN = [sys.executable, "-c", "from headwater.doors.cli import main; main()"]


@contextmanager
def serving(lake: Path, *arguments: str, **options: Any) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A running server and its port; killed at the end unless it has ended."""
    command = [*MAIN, "serve", "--lake", str(lake), "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert "serves" in line, line
        yield process, int(line.rsplit(":", 1)[1])
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def get(port: int, path: str) -> tuple[int, bytes]:
    """The status and the body of a page."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return answer.status, answer.read()
