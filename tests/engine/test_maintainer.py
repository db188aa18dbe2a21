"""The thread that tends what was written to: it ends with its work, and neither holds up a program nor floods a log."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

import headwater as hw
from headwater.settings import MaintenanceSettings, Settings, WriteSettings

OFTEN = Settings(maintenance=MaintenanceSettings(interval_s=0.01))


def test_it_ends_with_the_last_collection(tmp_path: Path) -> None:
    db = hw.connect(tmp_path, settings=OFTEN)
    notes = db.create_collection("notes", {"id": hw.Int64}, "id")
    notes.insert([{"id": 1}])
    maintainer = db._maintainer
    thread = maintainer._thread
    assert thread is not None
    thread.join(0.2)
    assert thread.is_alive(), "a collection that is in use is tended"
    del notes, db
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()
    again = hw.connect(tmp_path, settings=OFTEN).collection("notes")
    maintainer.written(again)
    assert maintainer._thread is not None, "a thread that ended is begun again"
    maintainer.close()


def test_what_fails_is_tried_less_often_and_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    db = hw.connect(tmp_path, settings=OFTEN)
    broken = db.create_collection("broken", {"id": hw.Int64}, "id")
    sound = db.create_collection("sound", {"id": hw.Int64}, "id")
    tended: list[str] = []
    failed_s: list[float] = []

    def fail(**how: object) -> bool:
        tended.append("broken")
        failed_s.append(time.monotonic())
        raise hw.errors.Unavailable("the store is away")

    def work(**how: object) -> bool:
        tended.append("sound")
        return True

    monkeypatch.setattr(broken, "_tend", fail)
    monkeypatch.setattr(sound, "_tend", work)
    broken.insert([{"id": 1}])
    sound.insert([{"id": 1}])
    until = time.monotonic() + 60
    while len(failed_s) < 6 or tended.count("sound") <= len(failed_s):
        assert time.monotonic() < until, tended
        time.sleep(0.01)
    db.close(seal=False)
    pauses = [later - earlier for earlier, later in pairwise(failed_s)]
    assert all(pause >= 0.01 * 2**number for number, pause in enumerate(pauses)), "twice as long each time"
    assert db._maintainer.failures == tended.count("broken")
    assert "maintenance of collection 'broken' failed; it is tried again in" in caplog.text


def test_a_program_that_ends_waits_for_all_upkeep_at_once(tmp_path: Path) -> None:
    program = """
import sys, time
import headwater as hw
from headwater.engine import maintainer
from headwater.engine.collection import Collection
from headwater.settings import MaintenanceSettings, Settings
maintainer._EXIT_S = 0.5
started = []
def hang(self, **how):
    started.append(self)
    time.sleep(600)
Collection._tend = hang
often = Settings(maintenance=MaintenanceSettings(interval_s=0.01))
lakes = [hw.connect(f"{sys.argv[1]}/{number}", settings=often) for number in range(8)]
for lake in lakes:
    lake.create_collection("notes", {"id": hw.Int64}, "id").insert([{"id": 1}])
while len(started) < len(lakes):
    time.sleep(0.01)
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=120)


def test_whoever_wrote_last_seals_and_others_what_is_left_behind(tmp_path: Path) -> None:
    alone = Settings(write=WriteSettings(seal_entries=4), maintenance=MaintenanceSettings(automatic=False))
    first = hw.connect(tmp_path, settings=alone).create_collection("notes", {"id": hw.Int64}, "id")
    first.insert([{"id": 0}])
    writer = hw.connect(tmp_path, settings=alone).collection("notes")
    for number in range(1, 4):
        writer.insert([{"id": number}])
    assert first.count() == 4
    assert writer._due()
    assert not first._due()
    writer.insert([{"id": 4}])
    assert first.count() == 5
    assert not first._due()
    writer.insert([{"id": 5}])
    assert first.count() == 6
    assert first._due(), "a writer that is gone does not leave the log to grow"
    first._tend()
    assert first._live().pinned.num_entries == 0
    assert sorted(row["id"] for row in writer.query("id >= 0")) == list(range(6))
