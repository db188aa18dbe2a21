"""Bytes of a file on their way to the disk before the file has a name, so that one sync does for both.

A file that is put in place whole takes two syncs anywhere: of its bytes before it has its name, and of the folder
after. Each makes the disk flush what it holds, and that is most of what a small write takes. A file system with one
journal for names, sizes and places of bytes needs only one: where the bytes are on their way and have their place
before the name is given, a name that survives a power cut comes with all of the bytes, and a sync of the file after it
brings the name along.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from headwater.store.making_way import makes_way

__all__ = ["PART_BYTES", "PAUSE_S", "names_follow_bytes", "write_back", "write_back_in_parts"]

_IN_ORDER = ("ext4",)
"""File systems of which this holds, and is tested. Others may have several logs, or hand on to an unknown one."""

_WAIT_WRITE_WAIT = 1 | 2 | 4

PART_BYTES = 256 << 10
PAUSE_S = 0.001
"""Between parts. With 20 MB synced at once beside them, writes of 50 KB took 12 ms instead of 1.4; with these, 1.1."""

_IDLE_S = 0.00005

_UNKNOWN_HERE = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ESPIPE)


def _sync_file_range() -> Callable[..., Any] | None:
    try:
        found = ctypes.CDLL(None, use_errno=True).sync_file_range
    except (OSError, AttributeError, TypeError):
        return None
    found.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return found


_SYNC_FILE_RANGE = _sync_file_range()


@lru_cache(maxsize=64)
def names_follow_bytes(device: int) -> bool:
    """Whether a sync of a file makes its name durable too, and names come to the disk after what was written before.

    Args:
        device: number of the file system's, as `os.stat` has it.
    """
    if _SYNC_FILE_RANGE is None:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    # Fields, an unknown number of options, a dash, and the file system's type.
    kinds = {line.partition(" - ")[2].split(" ")[0] for line in lines if line.split(" ")[2] == number}
    return len(kinds) == 1 and kinds <= set(_IN_ORDER) and _has_journal(number)


def _has_journal(number: str) -> bool:
    """Whether an ext4 has a journal, as all but those made without one do."""
    try:
        name = os.path.basename(os.path.realpath(f"/sys/dev/block/{number}"))
        return "none" not in Path(f"/sys/fs/ext4/{name}/journal_task").read_text()
    except OSError:
        return False


def write_back(descriptor: int) -> None:
    """Write a file's bytes to the disk and wait for it, without having the disk flush them.

    Raises:
        OSError: they could not be written.
    """
    _write_back_range(descriptor, 0, 0)


def write_back_in_parts(descriptor: int) -> None:
    """`write_back` with pauses, in which small writes of others pass, for a thread that makes way.

    Nothing happens where the system has no such call. A sync has to follow in any case.

    Raises:
        OSError: the bytes could not be written. A sync of the same descriptor would not tell of it again.
    """
    if _SYNC_FILE_RANGE is None:
        return
    for start in range(0, os.fstat(descriptor).st_size, PART_BYTES):
        if not makes_way():
            return  # Somebody has come to wait for the file: the rest goes at once.
        began = time.monotonic()
        try:
            _write_back_range(descriptor, start, PART_BYTES)
        except OSError as error:
            if error.errno in _UNKNOWN_HERE:
                return
            raise
        # What is on the disk already, as a file that was written past the cache is, takes no time.
        if time.monotonic() - began > _IDLE_S:
            time.sleep(PAUSE_S)


def _write_back_range(descriptor: int, start: int, size_bytes: int) -> None:
    """Write a range of a file back; up to the end where its size is 0."""
    assert _SYNC_FILE_RANGE is not None
    if _SYNC_FILE_RANGE(descriptor, start, size_bytes, _WAIT_WRITE_WAIT):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
