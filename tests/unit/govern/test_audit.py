"""The audit file: lines in order, older files kept aside, no call held up."""

from __future__ import annotations

import json
import logging
import stat
import threading
import time
from pathlib import Path

import pytest

from headwater.govern import AuditFile, AuditRecord, audit_file
from headwater.govern.audit import AUDIT_LOGGER
from headwater.settings import AccessSettings


def _record(number: int) -> AuditRecord:
    return AuditRecord(
        time=1_700_000_000.5,
        user="ann",
        peer="ipv4:127.0.0.1:1",
        request_id=str(number),
        call="Search",
        database="default",
        collection="docs",
        outcome="ok",
        code=0,
        latency_ms=1.23456,
    )


def _made(number: int) -> logging.LogRecord:
    return logging.LogRecord(AUDIT_LOGGER, logging.INFO, "", 0, _record(number), None, None)


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _text(path: Path) -> str:
    """What a file holds; nothing where it was put aside since it was listed."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _settle(made: AuditFile, number: int) -> None:
    """Wait until a record is written."""
    last = f'"request_id": "{number}"'
    until = time.monotonic() + 60
    while not any(last in _text(path) for path in made.path.parent.iterdir()):
        assert time.monotonic() < until, f"record {number} is not written"
        time.sleep(0.002)


def test_a_line_says_who_did_what(tmp_path: Path) -> None:
    made = audit_file(AccessSettings(audit_path=str(tmp_path / "deep" / "audit.log")))
    assert made is not None
    logger = logging.getLogger(AUDIT_LOGGER)
    assert logger.isEnabledFor(logging.INFO)
    logger.info(_record(7))
    made.close()
    [line] = _lines(made.path)
    assert line == {
        "time": "2023-11-14T22:13:20.500+00:00",
        "user": "ann",
        "peer": "ipv4:127.0.0.1:1",
        "request_id": "7",
        "call": "Search",
        "database": "default",
        "collection": "docs",
        "outcome": "ok",
        "code": 0,
        "latency_ms": 1.235,
    }
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert made not in logger.handlers
    assert (logger.level, logger.propagate) == (logging.NOTSET, True)


def test_no_file_without_a_path() -> None:
    assert audit_file(AccessSettings()) is None


def test_files_are_put_aside_and_only_so_many_kept(tmp_path: Path) -> None:
    made = AuditFile(tmp_path / "audit.log", rotate_bytes=1000, keep=2, waiting=10_000)
    for number in range(60):
        made.emit(_made(number))
        if number % 5 == 0:
            _settle(made, number)
    made.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["audit.log", "audit.log.1", "audit.log.2"]
    kept = [line["request_id"] for name in reversed(names) for line in _lines(tmp_path / name)]
    assert kept == [str(number) for number in range(60 - len(kept), 60)]
    assert len(kept) > 10


def test_what_cannot_be_written_in_time_is_counted_and_no_caller_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = AuditFile(tmp_path / "audit.log", rotate_bytes=1 << 20, keep=1, waiting=10)
    append, all_said = made._append, threading.Event()

    def stuck(lines: list[str]) -> None:
        all_said.wait(60)
        append(lines)

    monkeypatch.setattr(made, "_append", stuck)
    for number in range(500):
        made.emit(_made(number))
    all_said.set()
    made.close()
    lines = _lines(made.path)
    written = sum("request_id" in line for line in lines)
    dropped = sum(int(str(line.get("dropped", 0))) for line in lines)
    assert written + dropped == 500
    assert dropped > 400


def test_two_processes_may_write_one_file(tmp_path: Path) -> None:
    first = AuditFile(tmp_path / "audit.log", rotate_bytes=500, keep=50, waiting=1000)
    second = AuditFile(tmp_path / "audit.log", rotate_bytes=500, keep=50, waiting=1000)
    for number in range(20):
        (first if number % 2 else second).emit(_made(number))
        _settle(first, number)
    first.close()
    second.close()
    lines = [line["request_id"] for path in tmp_path.iterdir() for line in _lines(path)]
    assert sorted(map(int, map(str, lines))) == list(range(20))
