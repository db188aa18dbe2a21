"""Making way: a process, or a thread, that the system lets run when nothing more urgent wants to.

Whoever waits for an answer is more urgent than upkeep. A lower priority keeps the cores for those who wait, a bound on
memory lets an allocation of the upkeep fail instead of theirs, and a bound on threads leaves cores alone at all.
"""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import faiss
import pyarrow as pa

from headwater.errors import InvalidArgument, UnsupportedOption
from headwater.settings import Settings
from headwater.store import LOWEST_PRIORITY

try:
    import resource
except ImportError:
    resource = None  # type: ignore[assignment]

__all__ = [
    "PRIORITIES",
    "bound_memory",
    "bound_threads",
    "check_priority",
    "lower_process",
    "lower_process_to",
    "lower_thread",
    "make_way",
    "make_way_on_thread",
]

PRIORITIES = ("normal", "low", "idle")
"""`normal` makes way for nobody; `low` gets what is left and a little more; `idle` only what is left."""

_LOWER = 10
_IO_LOWEST = 2 << 13 | 7
_IO_IDLE = 3 << 13
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_IO_OF_PROCESS = 1
_FIRST_TO_GO = 500

_HELD_BYTES = 256 << 20
"""What is read for maintenance is read once, and must not drive out of caches what is read again and again."""


def make_way(settings: Settings) -> Settings:
    """Have this process, which is for maintenance, make way for others, and keep it within its bounds, from now on.

    Args:
        settings: its own.

    Returns:
        The same with what they come to on this machine.

    Raises:
        InvalidArgument: a bound is none.
    """
    found = settings.maintenance
    threads = found.threads or max(1, (os.cpu_count() or 1) - 1)
    lower_process(found.priority)
    bound_threads(threads)
    bound_memory(found.memory_bytes)
    return replace(
        settings,
        maintenance=replace(found, threads=threads),
        tiers=replace(
            settings.tiers,
            memory_bytes=min(settings.tiers.memory_bytes, _HELD_BYTES),
            disk_bytes=0,
            warmup="disable",
        ),
    )


def check_priority(priority: str) -> None:
    """See that a priority is one.

    Raises:
        InvalidArgument: it is none.
    """
    if priority not in PRIORITIES:
        raise InvalidArgument(f"maintenance.priority={priority!r}: expected one of {', '.join(PRIORITIES)}")


def lower_process(priority: str) -> None:
    """Lower the priority of every thread of this process, and of those to come, for cores and for disks.

    What the system has no means for is left out: priorities are a wish, and nothing depends on them.

    Args:
        priority: one of `PRIORITIES`.

    Raises:
        InvalidArgument: it is none of them.
    """
    check_priority(priority)
    if priority == "normal":
        return
    for thread in _threads():
        with suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, thread, LOWEST_PRIORITY)
        if priority == "idle":
            with suppress(OSError, AttributeError):
                os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
        _lower_io(thread, _IO_IDLE if priority == "idle" else _IO_LOWEST)
    # Where memory runs out, this process is the one to lose: it does its work again.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(f"{_FIRST_TO_GO}\n", encoding="ascii")


def lower_process_to(nice: int) -> None:
    """Have this process give way to others by so many steps; it still gets its share.

    Args:
        nice: 0 to 19, as the system counts.
    """
    for thread in _threads():
        with suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, thread, nice)


def lower_thread() -> None:
    """Lower the priority of the calling thread as far as it goes."""
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)


def make_way_on_thread() -> None:
    """Have the calling thread, and those that its computations start, make way for those of others."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWER)
    # A number of the calling thread alone.
    faiss.omp_set_num_threads(max(1, (os.cpu_count() or 1) - 1))


def bound_threads(threads: int) -> None:
    """Let the libraries of this process compute on so many threads.

    Args:
        threads: for faiss and Arrow, each.
    """
    faiss.omp_set_num_threads(threads)
    pa.set_cpu_count(threads)


def bound_memory(size_bytes: int) -> None:
    """Make allocations fail beyond a bound; files that are mapped do not count, nor what is allocated already.

    Args:
        size_bytes: the bound; 0 for none.

    Raises:
        UnsupportedOption: the system has no such bound.
    """
    if not size_bytes:
        return
    if resource is None:
        raise UnsupportedOption(
            "maintenance.memory_bytes: this system bounds no memory", hint="leave it at 0"
        )
    with suppress(OSError, ValueError):
        held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (held + size_bytes, held + size_bytes))


def _threads() -> list[int]:
    """The threads of this process, as the system numbers them."""
    try:
        return [int(one) for one in os.listdir("/proc/self/task")]
    except OSError:
        return [0]


def _lower_io(thread: int, priority: int) -> None:
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None and os.name == "posix" and platform.system() == "Linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).syscall(number, _IO_OF_PROCESS, thread, priority)
