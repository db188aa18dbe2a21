"""Opening a collection by its name: one handle for all threads of a process."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import headwater as hw

THREADS = 4


class LookedAtTogether(dict[str, hw.Collection]):
    """Handles that all threads look for before any of them goes on."""

    def __init__(self) -> None:
        super().__init__()
        self._all_here = threading.Barrier(THREADS)
        self._waited = threading.local()

    def get(self, *words: Any) -> Any:
        found = super().get(*words)
        if not hasattr(self._waited, "once"):
            self._waited.once = True
            self._all_here.wait(30)
        return found


def test_threads_that_open_a_collection_at_the_same_time_get_one_handle(tmp_path: Path) -> None:
    with hw.connect(tmp_path) as db:
        db.create_collection("docs", {"id": hw.Int64, "v": hw.FloatVector(2)}, "id")
    with hw.connect(tmp_path) as db, ThreadPoolExecutor(THREADS) as pool:
        db._handles._open = LookedAtTogether()
        handles = list(pool.map(lambda _: db.collection("docs"), range(THREADS)))
        assert len(set(map(id, handles))) == 1
