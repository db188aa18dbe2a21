"""Folders for files on their way to a store.

Each is locked by the process that made it, for as long as it uses it. One that nobody holds was left behind by a
process that was killed, and the next process that needs a folder removes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

__all__ = ["scratch_folder"]

_PREFIX = "headwater-tmp-"
_SETTLED_S = 60.0
"""A folder younger than this may not be locked yet."""


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """A folder of one's own, gone at the end.

    Unlike `tempfile.TemporaryDirectory` it is not removed by an exiting interpreter while a background thread still
    writes to it, and it does not stay for good where the process is killed.

    Args:
        purpose: a word for its name.
    """
    _remove_abandoned(tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{purpose}-"))
    lock = os.open(folder, os.O_RDONLY)
    try:
        # A file system without locks lets nobody lock it, so nobody removes it either.
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@cache
def _remove_abandoned(parent: str) -> None:
    """Remove the folders that killed processes left; once in a process is enough."""
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX):
                # Gone meanwhile, another user's, or in use.
                with suppress(OSError):
                    _remove_unlocked(entry)


def _remove_unlocked(entry: os.DirEntry[str]) -> None:
    found = entry.stat(follow_symlinks=False)
    if found.st_uid != os.geteuid() or time.time() - found.st_mtime < _SETTLED_S:
        return
    lock = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(entry.path, ignore_errors=True)
    finally:
        os.close(lock)
