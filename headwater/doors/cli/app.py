"""The application that commands are added to: options that they share, and the lake that the command line names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from headwater import __version__
from headwater.doors.cli.group import AnywhereGroup
from headwater.doors.connecting import SERVERS, connect
from headwater.engine import Database
from headwater.query import explain

__all__ = [
    "AsJson",
    "Fields",
    "Filter",
    "Name",
    "Output",
    "app",
    "chosen_names",
    "compute_with",
    "lake_url",
    "open_database",
    "open_lake",
]

app = typer.Typer(
    cls=AnywhereGroup,
    help="Headwater: one lake table, indexed once, searched in place.",
    no_args_is_help=True,
    add_completion=False,
)

Name = Annotated[str, typer.Argument(help="The collection.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Filter = Annotated[str, typer.Option("--filter", "-f", help="Boolean expression, such as 'year >= 2020'.")]
Fields = Annotated[str, typer.Option("--fields", help="Output fields, comma-separated; * for all.")]
Output = Annotated[
    str,
    typer.Option(
        "--output", "-o", help="Rows to FILE.parquet, .arrow or .jsonl; - for standard output, also -.arrow."
    ),
]
_state: dict[str, str] = {}
_computing: list[Database] = []


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"headwater {__version__}")
        raise typer.Exit


@app.callback()
def lake(
    context: typer.Context,
    url: Annotated[
        str,
        typer.Option(
            "--lake",
            envvar="HEADWATER_LAKE",
            help="Folder or URL of the lake, or a server's, http://host:19530.",
        ),
    ] = "./lake",
    token: Annotated[
        str, typer.Option(envvar="HEADWATER_TOKEN", help="Of a server: user:password, or an API token.")
    ] = "",
    explained: Annotated[
        bool,
        typer.Option("--explain", help="Say on stderr what the command's reads did: steps, bytes, times."),
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Say which version this is.")
    ] = False,
) -> None:
    """Open a lake."""
    _state.update(lake=url, token=token)
    _computing.clear()
    if explained:
        context.with_resource(_explanation_on_stderr())


@contextmanager
def _explanation_on_stderr() -> Iterator[None]:
    with explain() as explanation:
        yield
    typer.echo(str(explanation), err=True)


def lake_url() -> str:
    """The folder or URL of the lake that the command line names."""
    return _state["lake"]


def compute_with(database: Any) -> None:
    """Let the command that follows read through this, which has the reads of a database."""
    _computing[:] = [database]


def open_database() -> Database:
    """The lake that the command line names, by what reads it."""
    if _computing:
        return _computing[0]
    return open_lake()


def open_lake() -> Database:
    """The lake that the command line names, here or behind a server."""
    served = _state["lake"].startswith(SERVERS)
    return connect(_state["lake"], token=_state["token"] if served else "")


def chosen_names(text: str) -> list[str] | None:
    """Names from a list with commas; None for none."""
    return [name.strip() for name in text.split(",") if name.strip()] or None
