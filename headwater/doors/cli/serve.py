"""The command that serves a lake, and the one that shows the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from headwater.doors.cli.app import AsJson, app, lake_url
from headwater.doors.cli.showing import show
from headwater.doors.serve import running
from headwater.errors import InvalidArgument
from headwater.extras import load_extra
from headwater.settings import load_settings, setting_meanings, setting_value

__all__ = ["Config", "assignments", "serve", "settings"]

Config = Annotated[Path | None, typer.Option("--config", help="TOML file of settings.")]


@app.command()
def serve(
    lake: Annotated[str, typer.Option("--lake", help="Folder or URL of the lake.")] = "",
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port for gRPC and HTTP.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that answer.")] = None,
    idle_exit: Annotated[
        float | None, typer.Option(help="End when nobody has called for so many seconds; 0 for never.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, such as --set server.slow_query_s=1.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond this machine without authorization.")
    ] = False,
) -> None:
    """Serve the lake to Milvus clients: gRPC and HTTP on one port."""
    load_extra("uvicorn", "server", need="serving")
    flags: dict[str, Any] = {
        "server.host": host,
        "server.port": port,
        "server.workers": workers,
        "server.idle_exit_s": idle_exit,
    }
    flags.update(assignments(overrides or []))
    found, _ = load_settings(config, flags=flags)

    def ready(at: str, number: int) -> None:
        typer.echo(f"headwater serves {lake or lake_url()} on {at}:{number}")

    raise typer.Exit(running.serve(lake or lake_url(), found, insecure=insecure, ready=ready))


def assignments(given: list[str]) -> dict[str, Any]:
    """Settings by name from words such as `server.port=1`."""
    found = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals:
            raise InvalidArgument(
                f"--set {one!r}: expected a name and a value", hint="such as --set server.port=19531"
            )
        found[name.strip()] = setting_value(name.strip(), text.strip(), f"--set {one}")
    return found


@app.command()
def settings(config: Config = None, as_json: AsJson = False) -> None:
    """Show every setting, its value, and where that came from."""
    found, sources = load_settings(config)
    meanings = setting_meanings()
    rows = []
    for group, values in vars(found).items():
        for name, value in vars(values).items():
            dotted = f"{group}.{name}"
            shown = "***" if value and name.endswith(("password", "secret", "token")) else value
            row = {"setting": dotted, "value": shown, "from": sources.get(dotted, "default")}
            rows.append({**row, "meaning": meanings.get(dotted, "")} if as_json else row)
    show(rows, as_json=as_json, title="settings")
