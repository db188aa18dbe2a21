"""What commands show: tables and bars for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from rich.table import Table

from headwater.doors.cli.rows import json_text
from headwater.jobs import Progress as Report

__all__ = ["bars", "console", "counted", "plain", "progress_bar", "share", "show"]

console = Console()


def plain(value: Any) -> Any:
    """A value that JSON has not as one that it has."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def show(rows: list[dict[str, Any]], *, as_json: bool, title: str | None = None) -> None:
    """Print rows: a table for people, JSON for programs."""
    if as_json:
        typer.echo(json_text(rows, plain))
        return
    if not rows:
        console.print("nothing")
        return
    names = list(dict.fromkeys(name for row in rows for name in row))
    if len(rows) == 1 and sum(len(name) + 3 for name in names) > console.width:
        # Headings that would be cut stand beside their values instead.
        table = Table(title=title, show_header=False)
        for name, value in rows[0].items():
            table.add_row(name, _cell(value))
        console.print(table)
        return
    table = Table(title=title)
    for name in names:
        number = all(isinstance(row.get(name), int | float) for row in rows)
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*[_cell(row.get(name)) for name in names])
    console.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, tuple):
        return ", ".join(map(_cell, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}={_cell(one)}" for name, one in value.items())
    if isinstance(value, list) and len(value) > 4:
        return f"[{', '.join(_cell(one) for one in value[:3])}, … {len(value)}]"
    text = "" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def counted(number: int, what: str) -> str:
    """A number of things: 1 segment, 2 segments."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def share(part: float) -> str:
    """A share in percent that is 100 % only where it is the whole."""
    return f"{int(part * 1000) / 10:g}%"


def bars(*columns: ProgressColumn, as_json: bool) -> Progress:
    """Bars of work that is under way; nothing where no person looks on.

    Args:
        columns: of each bar.
        as_json: whether the command answers a program.
    """
    hidden = as_json or not console.is_terminal
    return Progress(*columns, console=console, disable=hidden, transient=True)


@contextmanager
def progress_bar(what: str, *figures: ProgressColumn, as_json: bool) -> Iterator[Report]:
    """A bar of one piece of work, and the function that it reports `(done, total)` to.

    Args:
        what: is being done.
        figures: what stands behind the bar.
        as_json: whether the command answers a program.
    """
    with bars(TextColumn(what), BarColumn(), *figures, as_json=as_json) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
