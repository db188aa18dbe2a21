"""Files written past the system's cache hold what was written, whatever the file system makes of it."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.errors import QuotaExceeded
from headwater.formats.writing import ChecksummedFile
from headwater.store import DirectWriter, LocalObjectStore

MB = 1 << 20
DATA = np.random.default_rng(0).integers(0, 256, 9 * MB, np.uint8).tobytes()
LENGTHS = st.one_of(
    st.integers(0, 5000),
    st.sampled_from([4095, 4096, 4097, MB - 1, MB, MB + 1, 2 * MB - 1, 2 * MB, 2 * MB + 1, 2 * MB + 4096]),
)


def written(path: Path, lengths: list[int]) -> None:
    """Write the first bytes of `DATA` in pieces."""
    at = 0
    with path.open("wb", buffering=0) as file, DirectWriter(file.fileno()) as writer:
        for length in lengths:
            writer.write(memoryview(DATA)[at : at + length])
            at += length


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(LENGTHS, max_size=4))
def test_pieces_of_any_length_make_the_file(tmp_path: Path, lengths: list[int]) -> None:
    written(tmp_path / "file", lengths)
    assert (tmp_path / "file").read_bytes() == DATA[: sum(lengths)]


@pytest.fixture
def modes(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each write that was made since, whether it went past the cache."""
    found: list[bool] = []
    write = os.write

    def watched(descriptor: int, data: bytes) -> int:
        found.append(bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", watched)
    return found


def test_only_what_is_large_goes_past_the_cache(tmp_path: Path, modes: list[bool]) -> None:
    written(tmp_path / "small", [MB])
    assert modes == [False]
    modes.clear()
    written(tmp_path / "large", [5 * MB + 100])
    if True not in modes:
        pytest.skip("this file system does not write past its cache")
    assert modes == [True, True, True, False]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_that_refuses_is_written_to_through_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    control = fcntl.fcntl

    def refusing(descriptor: int, command: int, flags: int = 0) -> int:
        if command == fcntl.F_SETFL and flags & os.O_DIRECT:
            raise OSError(code, "not here")
        return control(descriptor, command, flags)

    monkeypatch.setattr(fcntl, "fcntl", refusing)
    written(tmp_path / "file", [5 * MB + 1])
    assert (tmp_path / "file").read_bytes() == DATA[: 5 * MB + 1]


@pytest.mark.parametrize("taken", [0, 512, 5000])
def test_one_that_refuses_later_or_takes_less_is_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    """A file system may let the flag be set and refuse the write, or take a part of it and then refuse the rest."""
    write, asked = os.write, []

    def refusing(descriptor: int, data: bytes) -> int:
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        if not flags & os.O_DIRECT:
            return write(descriptor, data)
        asked.append(len(data))
        if taken and len(asked) == 1:
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)
            done = write(descriptor, memoryview(data)[:taken])
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
            return done
        raise OSError(errno.EINVAL, "not whole blocks")

    monkeypatch.setattr(os, "write", refusing)
    written(tmp_path / "file", [5 * MB + 1])
    assert (tmp_path / "file").read_bytes() == DATA[: 5 * MB + 1]
    assert len(asked) == (2 if taken else 1), "what is refused once is not tried again"


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = LocalObjectStore(tmp_path)
    store.put("before", b"x")
    monkeypatch.setattr(os, "write", full)
    for put in (store.put, store.create):
        call: Callable[[str, bytes], object] = put
        with pytest.raises(QuotaExceeded):
            call("large", DATA[: 3 * MB])
    monkeypatch.undo()
    assert [one.key for one in store.list()] == ["before"]
    store.create("large", DATA[: 3 * MB])
    assert store.get("large") == DATA[: 3 * MB]


def test_writers_at_once_do_not_share_their_memory(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)

    def put(number: int) -> None:
        store.create(f"{number}", DATA[number * MB // 4 :][: 3 * MB + number])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(put, range(16)))
    for number in range(16):
        assert store.get(f"{number}") == DATA[number * MB // 4 :][: 3 * MB + number]


def test_a_process_that_is_forked_off_shares_no_memory(tmp_path: Path) -> None:
    """Not even what was kept for the next writer before the fork."""
    store = LocalObjectStore(tmp_path)

    def put(name: str, start: int) -> None:
        for number in range(30):
            store.create(f"{name}-{number}", DATA[start : start + 3 * MB])

    store.create("first", DATA[: 3 * MB])
    child = multiprocessing.get_context("fork").Process(target=put, args=("child", 4 * MB))
    child.start()
    put("parent", 0)
    child.join(60)
    assert child.exitcode == 0
    for number in range(30):
        assert store.get(f"parent-{number}") == DATA[: 3 * MB]
        assert store.get(f"child-{number}") == DATA[4 * MB : 7 * MB]


@pytest.mark.parametrize("cached", [True, False])
def test_a_file_with_a_checksum_is_the_same_either_way(tmp_path: Path, cached: bool) -> None:
    with ChecksummedFile(tmp_path / "file", cached=cached) as file:
        for start in range(0, len(DATA), 3 * MB):
            assert file.write(DATA[start : start + 3 * MB]) == 3 * MB
    assert (tmp_path / "file").read_bytes() == DATA
    stats = file.stats(1)
    assert (stats.size_bytes, stats.checksum) == (len(DATA), f"crc32:{zlib.crc32(DATA):08x}")
