"""Commands that write rows and keep collections in good form."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import MofNCompleteColumn

from headwater.doors.cli.app import AsJson, Name, app, open_database
from headwater.doors.cli.showing import console, counted, progress_bar, show

__all__ = ["changes", "flush", "health", "insert", "optimize"]


@app.command()
def insert(
    name: Name,
    file: Annotated[Path, typer.Argument(help="A Parquet file of rows.")],
    upsert: Annotated[
        bool, typer.Option("--upsert", help="Replace rows that have the same primary key.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Insert the rows of a Parquet file."""
    with open_database() as db:
        collection = db.collection(name)
        written = collection.upsert(file) if upsert else collection.insert(file)
        show([{"rows": written.count, "timestamp": written.timestamp}], as_json=as_json)


@app.command()
def flush(name: Name, as_json: AsJson = False) -> None:
    """Seal the rows that are in the log only, as a new version."""
    show([{"version": open_database().collection(name).flush()}], as_json=as_json)


@app.command()
def optimize(
    name: Name,
    cluster_by: Annotated[str, typer.Option(help="Sort all rows by this field.")] = "",
    as_json: AsJson = False,
) -> None:
    """Merge small segments, drop deleted rows, and index everything, now."""
    with progress_bar("optimizing", MofNCompleteColumn(), as_json=as_json) as progress:
        collection = open_database().collection(name)
        report = collection.optimize(cluster_by=cluster_by or None, progress=progress)
    figures = asdict(report)
    compactions = figures.pop("compactions")
    figures["compactions"] = len(compactions)
    figures["rows_dropped"] = sum(one["rows_dropped"] for one in compactions)
    show([figures], as_json=as_json)


@app.command()
def health(name: Name, as_json: AsJson = False) -> None:
    """Show what is in the log, what is deleted, and the measured recall of each index."""
    about = open_database().collection(name).health()
    indexes, shards = about.pop("indexes"), about.pop("shards")
    if as_json:
        show([{**about, "indexes": indexes, "shards": shards}], as_json=True)
        return
    show([{"figure": key, "value": value} for key, value in about.items()], as_json=False, title=name)
    show(shards, as_json=False, title="shards")
    if indexes:
        show(indexes, as_json=False, title="indexes")


@app.command()
def changes(
    name: Name,
    since: Annotated[int, typer.Option(help="The older version; 0 for the beginning.")] = 0,
    until: Annotated[int | None, typer.Option(help="The newer version; the newest by default.")] = None,
    limit: Annotated[int, typer.Option(help="Most rows to show in a table; --json has all of them.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the rows inserted, updated and deleted between two versions."""
    found = open_database().collection(name).changes(since, until).to_arrow()
    shown = found if as_json else found.slice(0, limit)
    show(shown.to_pylist(), as_json=as_json)
    if found.num_rows > shown.num_rows:
        console.print(f"{shown.num_rows:,} of {counted(found.num_rows, 'row')}; --limit shows more")
