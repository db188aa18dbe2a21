"""Scratch folders go away: at their end, and after a process that was killed while it used one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from headwater.store import scratch, scratch_folder

_USER = """
import sys, tempfile
from headwater.store import scratch_folder
tempfile.tempdir = sys.argv[1]
with scratch_folder("test") as folder:
    (folder / "part").write_bytes(b"x" * 1000)
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def _another(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that uses a folder, which looks as if it had done so for an hour."""
    call = [sys.executable, "-c", _USER, str(parent)]
    process = subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    os.utime(folder, (folder.stat().st_mtime - 3600,) * 2)
    return process, folder


def _used() -> None:
    scratch._remove_abandoned.cache_clear()
    with scratch_folder("test"):
        pass


def test_a_folder_is_gone_at_its_end(parent: Path) -> None:
    with scratch_folder("test") as folder:
        (folder / "part").write_bytes(b"x")
    assert not list(parent.iterdir())


def test_what_a_killed_process_left_is_removed_by_the_next(parent: Path) -> None:
    process, folder = _another(parent)
    process.kill()
    process.communicate()
    assert (folder / "part").exists()
    _used()
    assert not folder.exists()


def test_what_another_process_uses_stays(parent: Path) -> None:
    process, folder = _another(parent)
    try:
        _used()
        assert (folder / "part").exists()
    finally:
        process.communicate("")
    assert not folder.exists()


def test_what_is_not_known_to_be_abandoned_stays(parent: Path) -> None:
    elsewhere = parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_bytes(b"x")
    link, young = parent / "headwater-tmp-link", parent / "headwater-scratch-young"
    link.symlink_to(elsewhere)
    os.utime(link, (0, 0), follow_symlinks=False)
    young.mkdir()
    _used()
    assert young.exists()
    assert link.is_symlink()
    assert (elsewhere / "kept").exists()
