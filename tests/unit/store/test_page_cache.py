"""What a bulk reader brings into the page cache goes again; what others brought in stays."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from headwater.store.page_cache import BorrowedPages, resident_pages

PAGES = 1024


def evicted(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(os.urandom(PAGES * mmap.PAGESIZE - 5))
    evicted(made)
    found = resident_pages(made)
    if found is None or found.any():
        pytest.skip("this file system is memory itself")
    return made


def test_only_the_pages_that_were_borrowed_are_given_back(path: Path) -> None:
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        os.pread(file.fileno(), 100 * mmap.PAGESIZE, 50 * mmap.PAGESIZE)
    held = resident_pages(path)
    assert held is not None
    assert held[50:150].all()
    assert not held[200:].any()
    pages = BorrowedPages([path, path.parent / "absent"])
    path.read_bytes()
    full = resident_pages(path)
    assert full is not None
    assert full.all()
    pages.give_back()
    after = resident_pages(path)
    assert after is not None
    assert after[held].all()
    assert np.count_nonzero(after & ~held) == 0


def test_an_empty_and_an_absent_file_are_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    found = resident_pages(tmp_path / "empty")
    assert found is not None
    assert len(found) == 0
    assert resident_pages(tmp_path / "absent") is None
