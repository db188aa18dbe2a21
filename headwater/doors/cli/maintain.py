"""The command that maintains a lake, on any machine that reaches it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict
from types import FrameType
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from headwater.doors.cli.app import AsJson, app, lake_url
from headwater.doors.cli.serve import Config, assignments
from headwater.doors.cli.showing import bars, show
from headwater.doors.serve.maintenance import stopped_within
from headwater.engine import Upkeep, UpkeepReport, connect, make_way
from headwater.errors import HeadwaterError
from headwater.settings import load_settings

__all__ = ["maintain"]


@app.command()
def maintain(
    names: Annotated[
        list[str] | None, typer.Argument(help="Collections, with --once; all of the lake by default.")
    ] = None,
    lake: Annotated[str, typer.Option("--lake", help="Folder or URL of the lake.")] = "",
    once: Annotated[bool, typer.Option("--once", help="Do what there is to do, and end.")] = False,
    config: Config = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, such as --set maintenance.threads=4.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Index, compact and collect garbage for a lake that others serve and write to.

    What there is to do is in the lake itself, so this runs on any machine that reaches it, may be killed at any
    moment, and may run twice. It seals no log: whoever writes does, and `headwater flush`.

    A server does this in a process of its own; --set server.maintenance=off leaves it to this command. Embedded
    writers leave it to others with HEADWATER_MAINTENANCE_ELSEWHERE=true.

    Until it is stopped: headwater maintain --lake s3://bucket/lake

    One collection, for cron: headwater maintain --lake s3://bucket/lake --once docs

    It takes what others leave of the machine: see the settings maintenance.priority, .threads and .memory_bytes.
    SIGTERM gives up the work at hand, within server.shutdown_grace_s. With --once the status is 1 where it failed.
    """
    settings, _ = load_settings(config, flags=assignments(overrides or []))
    found = make_way(settings)
    if names and not once:
        raise typer.BadParameter("collections are named with --once; without it the whole lake is maintained")
    stopped = _stopped_by_signals()
    database = connect(lake or lake_url(), settings=found)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with bars(*columns, as_json=as_json) as shown:
        if not once and not as_json:
            typer.echo(f"headwater maintains {lake or lake_url()}")
            sys.stdout.flush()
        upkeep = Upkeep(database, notice=_Bar(shown).notice)
        work = (lambda: upkeep.once(names or None)) if once else upkeep.run
        reports = _until_stopped(upkeep, work, stopped, found.server.shutdown_grace_s)
    if once:
        show([_row(report) for report in reports], as_json=as_json, title="maintained")
        if any(report.failure for report in reports):
            raise typer.Exit(1)


def _until_stopped(
    upkeep: Upkeep,
    work: Callable[[], Iterable[UpkeepReport] | None],
    stopped: threading.Event,
    grace_s: float,
) -> list[UpkeepReport]:
    """Work until it is done or told to stop.

    Args:
        upkeep: is told to stop.
        work: of it; gives what it did, where it ends by itself.
        stopped: set by a signal, and by the work when it is done.
        grace_s: how long the work at hand may take when it is told to stop.

    Raises:
        HeadwaterError: the work failed.
    """
    reports: list[UpkeepReport] = []
    failures: list[HeadwaterError] = []

    def worked() -> None:
        try:
            reports.extend(work() or ())
        except HeadwaterError as error:
            failures.append(error)
        finally:
            stopped.set()

    def told() -> float:
        # A wait without an end takes no signals everywhere.
        while not stopped.wait(0.5):
            pass
        return grace_s

    stopped_within(worked, upkeep.stop, told)
    if failures:
        raise failures[0]
    return reports


def _stopped_by_signals() -> threading.Event:
    """An event that the first SIGTERM or SIGINT sets; the second ends the process."""
    stopped = threading.Event()

    def received(number: int, frame: FrameType | None) -> None:
        if stopped.is_set():
            os._exit(128 + number)
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, received)
    return stopped


class _Bar:
    """What is being done, as a bar for each piece of work."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID | None = None
        self._shown = ""

    def notice(self, place: tuple[str, str], what: str, done: int, total: int) -> None:
        """Show how far a piece of work is."""
        said = f"{'.'.join(place)}: {what}"
        if said != self._shown:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task, self._shown = self._bar.add_task(said, total=total), said
        assert self._task is not None
        self._bar.update(self._task, completed=done, total=total)


def _row(report: UpkeepReport) -> dict[str, Any]:
    row = asdict(report)
    row["seconds"] = round(report.seconds, 3)
    return row
