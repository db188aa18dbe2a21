"""A real ext4 whose power goes: what was acknowledged is there, and no name is there without all of its bytes."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headwater.errors import HeadwaterError
from headwater.store import LocalObjectStore, local
from headwater.store.write_back import names_follow_bytes

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("mkfs.ext4") is None,
    reason="needs root on Linux and mkfs.ext4",
)

CUTS, WRITERS = 12, 3

_SHUTDOWN = 0x8004587D
_WITHOUT_FLUSHING_THE_JOURNAL = 2


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An empty file system."""
    made = tmp_path / "image"
    with made.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(made)], check=True)
    return made


@contextmanager
def mounted(image: Path) -> Iterator[Path]:
    """The file system; where it cannot be mounted there is nothing to test."""
    folder = image.parent / "mounted"
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=False, capture_output=True)
    if done.returncode:
        pytest.skip(f"mount: {done.stderr.decode()}")
    try:
        yield folder
    finally:
        for _ in range(100):
            if not subprocess.run(["umount", str(folder)], check=False, capture_output=True).returncode:
                break
            time.sleep(0.05)


def cut_power(folder: Path) -> None:
    """From here on nothing reaches the disk: what is not in the journal on it is lost."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSHING_THE_JOURNAL))
    finally:
        os.close(descriptor)


def content(number: int) -> bytes:
    """Bytes of up to a few pages that are those of a number only."""
    return f"{number:08d}".encode() * random.Random(number).randint(10, 6000)


def written_until_the_cut(folder: Path, numbers: Iterator[int]) -> set[int]:
    """Have writers put objects in place, others sync meanwhile, and the power go; what was acknowledged before."""
    store, acknowledged, gone = LocalObjectStore(folder / "lake"), [], threading.Event()
    store.put("log/first", b"")
    if not names_follow_bytes(os.stat(folder).st_dev):
        pytest.skip("the system does not write back")

    def write() -> None:
        while not gone.is_set():
            number = next(numbers)
            try:
                store.create(f"log/{number:012d}", content(number))
            except HeadwaterError:
                return
            acknowledged.append(number)

    def sync_others() -> None:
        # What has nothing to do with them commits the journal at moments of its own.
        for turn in range(1_000_000):
            if gone.wait(0.0005):
                return
            try:
                with (folder / f"other-{turn % 5}").open("wb") as file:
                    file.write(b"other" * 1000)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                return

    threads = [
        *(threading.Thread(target=write) for _ in range(WRITERS)),
        threading.Thread(target=sync_others),
    ]
    for one in threads:
        one.start()
    time.sleep(random.uniform(0.1, 0.4))
    before = set(acknowledged)
    cut_power(folder)
    gone.set()
    for one in threads:
        one.join()
    return before


def check(folder: Path, acknowledged: set[int]) -> list[int]:
    """What is there is whole, but for the numbers returned; what was acknowledged is there."""
    found = {int(path.name): path.read_bytes() for path in (folder / "lake/log").glob("[0-9]*")}
    assert not acknowledged - found.keys()
    return [number for number, data in found.items() if data != content(number)]


def test_a_power_cut_leaves_acknowledged_objects_and_no_torn_ones(image: Path) -> None:
    written = 0
    for cut in range(CUTS):
        with mounted(image) as folder:
            LocalObjectStore(folder / "lake").delete(
                [f"log/{path.name}" for path in folder.glob("lake/log/*")]
            )
            acknowledged = written_until_the_cut(folder, iter(range(cut * 10**6, 10**9)))
        with mounted(image) as folder:
            assert check(folder, acknowledged) == []
        written += len(acknowledged)
    assert written > CUTS


def test_the_test_sees_what_is_lost_without_a_sync(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mounted(image) as folder:
        (folder / "lake").mkdir()
        os.sync()
        with monkeypatch.context() as patched:
            patched.setattr(local.os, "fsync", lambda descriptor: None)
            acknowledged = written_until_the_cut(folder, iter(range(10**9)))
    assert acknowledged
    with mounted(image) as folder, pytest.raises(AssertionError):
        check(folder, acknowledged)
