"""Registering and refreshing lakes of many files: each footer is read once, and how far it is is told."""

from __future__ import annotations

import io
import resource
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headwater as hw
from headwater.lake.external import parquet_files
from headwater.store import ObjectStore, open_store
from headwater.testing.rounds import RoundsStore

FILES = 40


def content(number: int, **more: list[int]) -> bytes:
    buffer = io.BytesIO()
    table = pa.table({"id": [number], "text": [f"row {number}"], **more})
    pq.write_table(table, buffer)
    return buffer.getvalue()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[RoundsStore]:
    """The stores of sources that were opened."""
    opened: list[RoundsStore] = []

    def counting(url: Any, options: Any = None) -> ObjectStore:
        opened.append(RoundsStore(open_store(url, options), latency_s=0))
        return opened[-1]

    monkeypatch.setattr(parquet_files, "open_store", counting)
    return opened


def requests(asked: list[RoundsStore]) -> Counter[str]:
    found = Counter(request.verb for store in asked for request in store.requests)
    for store in asked:
        store.reset()
    return found


def test_each_footer_is_read_once(tmp_path: Path, asked: list[RoundsStore]) -> None:
    url = f"memory://{uuid.uuid4().hex}"
    store = open_store(url)
    for number in range(FILES):
        store.put(f"{number:03d}.parquet", content(number))
    db = hw.connect(tmp_path)
    told: list[tuple[int, int]] = []
    docs = db.create_external_collection(
        "docs", url, primary_key="id", progress=lambda done, total: told.append((done, total))
    )
    assert requests(asked) == {"list": 1, "get_ranges": FILES}
    assert told == [(done, FILES) for done in range(1, FILES + 1)]

    told.clear()
    for number in range(5):
        store.put(f"{number:03d}.parquet", content(100 + number, more=[7]))
    docs.refresh(progress=lambda done, total: told.append((done, total)))
    assert requests(asked) == {"list": 1, "get_ranges": 5}
    assert told == [(done, 5) for done in range(1, 6)]

    # A column that files have got since, or two of them: the footers of those that stay are looked into once.
    for name in ("more", "other"):
        docs.add_field(hw.Field(name, hw.Int64, nullable=True))
    requests(asked)
    docs.refresh()
    assert requests(asked) == {"list": 1, "get_ranges": FILES}
    assert docs.count("more == 7") == 5
    assert docs.num_rows == FILES


def test_a_folder_may_have_more_files_than_a_process_may_have_open(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for number in range(200):
        (tmp_path / f"source/{number:03d}.parquet").write_bytes(content(number))
    db = hw.connect(tmp_path / "lake")
    most, never = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 100, never))
    try:
        docs = db.create_external_collection("docs", tmp_path / "source")
        assert docs.count("id >= 100") == 100
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, never))
