"""Opening a collection by its name: one handle for all threads of a process."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater.engine import Database


def test_threads_that_open_a_collection_at_the_same_time_get_one_handle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hw.connect(tmp_path) as db:
        db.create_collection("docs", {"id": hw.Int64, "v": hw.FloatVector(2)}, "id")
    threads, handle = 4, Database._handle
    all_here = threading.Barrier(threads)

    def slow(*words: Any) -> hw.Collection:
        made = handle(*words)
        all_here.wait(30)
        return made

    monkeypatch.setattr(Database, "_handle", slow)
    with hw.connect(tmp_path) as db, ThreadPoolExecutor(threads) as pool:
        handles = list(pool.map(lambda _: db.collection("docs"), range(threads)))
        assert all(one is db.collection("docs") for one in handles)
