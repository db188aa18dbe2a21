"""Commands that say where bytes are, where they are wanted, and bring them there."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.progress import DownloadColumn, ProgressColumn, TaskProgressColumn, TimeRemainingColumn
from rich.table import Table

from headwater.doors.cli.app import AsJson, Name, app, chosen_names, lake_url, open_lake
from headwater.doors.cli.showing import console, progress_bar, show
from headwater.doors.connecting import SERVERS
from headwater.engine import CollectionTiers
from headwater.errors import InvalidArgument
from headwater.tiers import TiersReport

__all__ = ["tiers", "warmup"]

_UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


@app.command()
def tiers(
    name: Annotated[str, typer.Argument(help="The collection; budgets and counts without one.")] = "",
    policy: Annotated[
        str,
        typer.Option("--set", help="auto, hot, warm, cold or on_demand; `none` for what holds around it."),
    ] = "",
    mode: Annotated[
        str,
        typer.Option(
            "--warmup", help="sync, async or disable, when loaded; `none` for what holds around it."
        ),
    ] = "",
    field: Annotated[str, typer.Option(help="Set it of this field.")] = "",
    index: Annotated[str, typer.Option(help="Set it of this index.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show where bytes are wanted and where they are, or say where they are wanted.

    A command has nothing open: give `--lake` a server's address to see what that server holds.
    """
    if not name and (policy or mode or field or index):
        raise InvalidArgument("--set, --warmup, --field and --index need the name of a collection")
    with open_lake() as db:
        if not name:
            report = db.tiers.report()
            _print_json(report.to_json()) if as_json else _show_report(report)
            return
        collection, place = db.collection(name), {"field": field or None, "index": index or None}
        if policy:
            collection.set_tier(None if policy == "none" else policy, **place)
        if mode:
            collection.set_warmup(None if mode == "none" else mode, **place)
        told = collection.tiers()
        _print_json(told.to_json()) if as_json else _show_collection(name, told)


@app.command()
def warmup(
    name: Name,
    fields: Annotated[str, typer.Option(help="Only these, comma-separated, and their indexes.")] = "",
    partitions: Annotated[str, typer.Option(help="Only these, comma-separated.")] = "",
    as_json: AsJson = False,
) -> None:
    """Bring a collection's files to their tiers now.

    Of a lake that is opened here it fills what outlives the command: the disk cache of a remote store and the system's
    page cache. Of a server (`--lake http://host:19530`) it fills the server's memory too.
    """
    served = lake_url().startswith(SERVERS)
    # A server tells a share of the work, an opened lake bytes.
    figures: tuple[ProgressColumn, ...] = (
        (TaskProgressColumn(),) if served else (DownloadColumn(), TimeRemainingColumn())
    )
    with open_lake() as db, progress_bar("warming up", *figures, as_json=as_json) as progress:
        report = db.collection(name).warm_up(
            fields=chosen_names(fields), partitions=chosen_names(partitions), progress=progress
        )
    show([asdict(report)], as_json=as_json)


def _print_json(data: dict[str, Any]) -> None:
    typer.echo(json.dumps(data))


def _size(size_bytes: float) -> str:
    for unit, scale in _UNITS:
        if size_bytes >= scale:
            return f"{size_bytes / scale:,.3g} {unit}"
    return f"{size_bytes:,.0f} B"


def _table(title: str, *columns: str, left: int = 1) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position < left else "right", overflow="fold")
    return table


def _show_collection(name: str, told: CollectionTiers) -> None:
    table = _table(
        f"{name}: wanted {told.policy}", "what", "wanted", "warmup", "tier", "where", "files", "bytes", left=5
    )
    groups: dict[tuple[str, ...], tuple[int, int]] = {}
    for one in told.files:
        where = "the store" if one.tier in (None, "cold") else one.where
        where = where if where in ("the store", "memory") else "local files"
        key: tuple[str, ...] = (
            f"{one.kind} {', '.join(one.names)}",
            one.policy.value,
            one.warmup,
            one.tier or "closed",
            where,
        )
        files, size_bytes = groups.get(key, (0, 0))
        groups[key] = files + 1, size_bytes + one.size_bytes
    for key, (files, size_bytes) in groups.items():
        table.add_row(*key, f"{files:,}", _size(size_bytes))
    console.print(table)


def _show_report(report: TiersReport) -> None:
    budgets = _table("budgets", "place", "held", "of", "hits", "misses", "evictions", "expired")
    memory, disk, mapped = report.memory, report.disk, report.mapped
    counts = [
        f"{sum(getattr(one, figure) for one in memory.kinds):,}"
        for figure in ("hits", "misses", "evictions", "expired")
    ]
    budgets.add_row("memory", _size(memory.used_bytes), _size(memory.budget_bytes), *counts)
    disk_counts = [f"{one:,}" for one in (disk.hits, disk.misses, disk.evictions, disk.expired)]
    path = disk.path or "none"
    budgets.add_row(f"disk ({path})", _size(disk.used_bytes), _size(disk.budget_bytes), *disk_counts)
    budgets.add_row("mapped", _size(mapped.resident_bytes), _size(mapped.budget_bytes), "", "", "", "")
    console.print(budgets)
    groups: dict[tuple[str, str, str], list[int]] = {}
    for one in report.objects:
        found = groups.setdefault((one.collection, one.kind, one.tier), [0, 0, 0])
        found[0] += 1
        found[1] += one.memory_bytes
        found[2] += one.disk_bytes
    held = _table("held", "collection", "kind", "tier", "objects", "memory", "disk", left=3)
    for place, (count, memory_bytes, disk_bytes) in groups.items():
        held.add_row(*place, f"{count:,}", _size(memory_bytes), _size(disk_bytes))
    console.print(held)
    moves = report.moves
    console.print(
        f"{moves.promotions:,} promotions, {moves.demotions:,} demotions, {moves.waiting:,} waiting, "
        f"{disk.damaged_pages:,} damaged pages read again, {disk.degradations:,} times without the disk"
    )
