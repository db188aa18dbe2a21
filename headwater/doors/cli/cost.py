"""The command that says what a collection costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from headwater.doors.cli.app import AsJson, Name, app, open_database
from headwater.doors.cli.showing import console, counted
from headwater.errors import InvalidArgument

if TYPE_CHECKING:
    from headwater.query.cost import CostReport

__all__ = ["cost"]

_PARTS = ("storage", "requests", "transfer", "memory", "ssd", "cores")


@app.command()
def cost(
    name: Name,
    prices: Annotated[
        Path | None, typer.Option(help="TOML file of your prices; an example's by default.")
    ] = None,
    queries_per_second: Annotated[
        float, typer.Option("--queries-per-second", "-q", help="Of the month, on average.")
    ] = 1.0,
    policy: Annotated[
        list[str], typer.Option(help="hot, warm, auto, cold or on_demand; may be repeated; all by default.")
    ] = [],  # noqa: B006
    workload: Annotated[
        list[str],
        typer.Option(help="NAME=VALUE, such as hit_share=0.9 or replicas=2; may be repeated."),
    ] = [],  # noqa: B006
    probe: Annotated[
        bool, typer.Option("--probe", help="Measure the store and a few searches: some dozens of requests.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is stored, what queries read, and what a month costs at each policy."""
    report = open_database().cost(
        name,
        prices=prices,
        workload={"queries_per_second": queries_per_second, **dict(map(_figure, workload))},
        policies=policy,
        probe=probe,
    )
    if as_json:
        typer.echo(json.dumps(report.to_dict()))
        return
    console.print(
        f"[bold]{name}[/], version {report.version}: {report.shape.rows:,} rows in "
        f"{counted(report.shape.segments, 'segment')}, {_size(report.stored_bytes)} in {report.objects:,} objects"
    )
    for table in (_stored(report), _asked(report), _months(report)):
        console.print(table)
    console.print(report.advice)
    console.print(
        f"[dim]Prices: {report.prices.as_of}. Latency: "
        f"{'a measured' if report.probed else 'an assumed'} round trip of {_time(report.machine.round_trip_s)}, "
        f"{_size(report.machine.bandwidth_bytes_s)}/s.[/]"
    )


def _figure(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, int(value) if value.isdecimal() else float(value)
    except ValueError:
        raise InvalidArgument(f"--workload {text!r}: expected NAME=NUMBER, such as replicas=2") from None


def _size(size_bytes: float) -> str:
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:,.3g} {unit}"
    return f"{size_bytes:,.0f} B"


def _money(amount: float) -> str:
    return "<0.01" if 0 < amount < 0.005 else f"{amount:,.2f}"


def _time(seconds: float) -> str:
    return f"{seconds:,.3g} s" if seconds >= 1 else f"{seconds * 1000:,.3g} ms"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position == 0 else "right")
    return table


def _stored(report: CostReport) -> Table:
    table = _table("stored", "kind", "bytes", "share")
    whole = max(1, report.stored_bytes)
    for kind, size in sorted(report.stored.items(), key=lambda one: -one[1]):
        table.add_row(kind, _size(size), f"{size / whole:.1%}")
    if report.external_bytes:
        table.add_row("files of others, not stored here", _size(report.external_bytes), "")
    for kind, size in report.held.items():
        table.add_row(f"held by this process: {kind}", _size(size), "")
    return table


def _asked(report: CostReport) -> Table:
    table = _table("what a query asks of the store", "case", "requests", "bytes", "round trips", "")
    for one in report.queries:
        asked = one.reads
        table.add_row(
            one.case, f"{asked.requests:,.3g}", _size(asked.size_bytes), f"{asked.round_trips:g}", one.source
        )
    return table


def _months(report: CostReport) -> Table:
    rate = report.workload.queries_per_second
    least = min(one.total for one in report.bills)
    queries = "1 query" if rate == 1 else f"{rate:g} queries"
    table = _table(f"a month at {queries} a second, {report.prices.currency}", "")
    for one in report.bills:
        now = " (now)" if one.policy is report.policy else ""
        table.add_column(
            f"{one.policy.value}{now}", justify="right", style="bold green" if one.total == least else ""
        )
    for part in _PARTS:
        table.add_row(part, *[_money(one.parts[part]) for one in report.bills])
    table.add_row("total", *[f"{one.total:,.2f}" for one in report.bills], end_section=True)
    table.add_row("a query takes", *[_time(one.latency_s) for one in report.bills])
    table.add_row("memory held", *[_size(one.memory_bytes) for one in report.bills])
    table.add_row("disk held", *[_size(one.ssd_bytes) for one in report.bills])
    return table
