"""What writers have in memory is bounded, however many they are, and whatever searches derive from their rows."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from own_memory import NEEDS_PROC, grown_mib

import headwater as hw
from headwater.lake.log import CollectionLog
from headwater.query.coded import wait_for_codes
from headwater.settings import MaintenanceSettings, Settings, WriteSettings

DIM, LIMIT_MIB = 256, 32
ALONE = MaintenanceSettings(automatic=False)
# Rows of a large call would not come into memory.
BOUNDED = Settings(write=WriteSettings(growing_bytes=LIMIT_MIB << 20, bulk_bytes=64 << 20), maintenance=ALONE)

FLOOD = """
import numpy as np, pyarrow as pa
from dataclasses import replace

limit, rows, dim = 32 << 20, 2_000, 512
settings = hw.Settings()
settings = replace(
    settings,
    write=replace(settings.write, growing_bytes=limit),
    maintenance=replace(settings.maintenance, automatic=False),
)
db = hw.connect(sys.argv[1], settings=settings)
made = db.create_collection("t", {"id": hw.Int64, "v": hw.FloatVector(dim)}, "id")
made.create_index("v")

def write(first, count):
    numbers = np.random.default_rng(first).random((rows, dim), dtype=np.float32)
    for number in range(first, first + count):
        vectors = pa.FixedSizeListArray.from_arrays(pa.array((numbers + number).reshape(-1)), dim)
        made.upsert(pa.table({"id": number * rows + np.arange(rows), "v": vectors}))
        made.search(numbers[0], top_k=1)

# What every write, search and seal brings in.
write(0, 2)
made.flush()
with watched():
    writers = [threading.Thread(target=write, args=(1000 * one, 30)) for one in range(1, 5)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
print(made.count())
"""


@NEEDS_PROC
def test_a_process_that_writes_and_searches_without_rest_holds_a_few_times_the_bound(tmp_path: Path) -> None:
    grown, written = grown_mib(FLOOD, str(tmp_path / "lake"))
    assert written == 2_000 * (2 + 4 * 30)
    # Without the bound it is more than 1,100 MiB.
    assert grown < 12 * 32


def _table(number: int, rows: int) -> pa.Table:
    vectors = np.full((rows, DIM), number, np.float32)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM)
    return pa.table({"id": number * rows + np.arange(rows), "v": flat})


def _made(path: Path) -> Any:
    schema = {"id": hw.Int64, "v": hw.FloatVector(DIM)}
    return hw.connect(path, settings=BOUNDED).create_collection("t", schema, "id")


def test_writers_at_once_do_not_pass_the_bound_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, rows = _made(tmp_path), 8_000
    written, seen = CollectionLog.write, []

    def write(log: CollectionLog, *args: Any, **how: Any) -> Any:
        receipts = written(log, *args, **how)
        seen.append(log.backlog[1])
        return receipts

    monkeypatch.setattr(CollectionLog, "write", write)
    together = threading.Barrier(8)

    def insert(number: int) -> None:
        together.wait()
        made.insert(_table(number, rows))

    writers = [threading.Thread(target=insert, args=(number,)) for number in range(8)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    assert len(seen) == 8
    assert max(seen) <= LIMIT_MIB << 20
    assert made.count() == 8 * rows


def test_codes_of_growing_rows_count(tmp_path: Path) -> None:
    made = _made(tmp_path)
    made.create_index("v", "AUTOINDEX", metric_type="L2")
    made.insert(_table(1, 16_000))
    made.search(np.zeros(DIM, np.float32), top_k=1)
    wait_for_codes()
    rows, held = made._log.backlog[1], made._log.held_bytes
    assert held >= rows + 16_000 * DIM // 2
