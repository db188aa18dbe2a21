"""Operations that die by SIGKILL at a chosen system call that changes the disk; run in a process of their own."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import headwater as hw
from headwater.lake import Clock, Lake, gc
from headwater.store import local, open_store

DIM = 8
CALLS = ("fsync", "link", "mkdir", "replace", "rmdir", "unlink")


def rows(first: int, count: int) -> pa.Table:
    vectors = np.random.default_rng(first).normal(size=(count, DIM)).astype(np.float32)
    return pa.table(
        {
            "id": pa.array(range(first, first + count), pa.int64()),
            "text": [f"row {i}" for i in range(first, first + count)],
            "v": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM),
        }
    )


def prepare(folder: Path) -> None:
    """A managed collection of three segments and an external one of two files."""
    db = hw.connect(folder / "lake")
    notes = db.create_collection("notes", rows(0, 1).schema, "id")
    for first in (0, 40, 80):
        notes.insert(rows(first, 40))
        notes.flush()
    for name in ("a", "b"):
        open_store(folder / "lake").put(
            f"default/notes/segments/unnamed/{name}.vortex", b"of a writer that died"
        )
    (folder / "source").mkdir()
    for part in range(2):
        pq.write_table(rows(1000 * part, 30), folder / "source" / f"part-{part}.parquet")
    db.create_external_collection("docs", str(folder / "source"), primary_key="id")


def insert(folder: Path) -> None:
    hw.connect(folder / "lake").collection("notes").insert(rows(500, 25))


def insert_large(folder: Path) -> None:
    """As `insert`, of so many rows that they go straight into a segment that the log names."""
    settings = hw.Settings(write=hw.settings.WriteSettings(bulk_bytes=100))
    hw.connect(folder / "lake", settings=settings).collection("notes").insert(rows(500, 25))


def flush(folder: Path) -> None:
    notes = hw.connect(folder / "lake").collection("notes")
    notes.insert(rows(500, 25))
    notes.delete([3, 501])
    notes.upsert(rows(500, 3))
    notes.flush()


def create_index(folder: Path) -> None:
    hw.connect(folder / "lake").collection("notes").create_index("v", "HNSW")


def add_column(folder: Path) -> None:
    hw.connect(folder / "lake").collection("notes").add_column("length", pa.array(range(120), pa.int64()))


def refresh(folder: Path) -> None:
    pq.write_table(rows(2000, 30), folder / "source" / "part-2.parquet")
    hw.connect(folder / "lake").collection("docs").refresh()


def collect_garbage(folder: Path) -> None:
    """As it is an hour from now, when all but the newest version may go."""
    later = Lake(open_store(folder / "lake"), "default/notes", clock=Clock(ahead_s=3600))
    gc(later, retention_s=0.0, grace_s=0.0)


OPERATIONS: dict[str, Callable[[Path], None]] = {
    one.__name__: one
    for one in (insert, insert_large, flush, create_index, add_column, refresh, collect_garbage)
}


def run(operation: str, folder: Path, crash_at: int, when: str) -> None:
    """Run an operation; die before or after its `crash_at`-th call. Leaves `acknowledged` behind when it returned."""
    numbers = itertools.count(1)

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            mine = next(numbers) == crash_at
            if mine and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return call(*args, **kwargs)
            finally:
                if mine:
                    os.kill(os.getpid(), signal.SIGKILL)

        return wrapped

    for name in CALLS:
        setattr(os, name, deadly(getattr(os, name)))
    local.write_back = deadly(local.write_back)
    OPERATIONS[operation](folder)
    descriptor = os.open(folder / "acknowledged", os.O_CREAT | os.O_WRONLY)
    os.close(descriptor)
    os._exit(0)
