"""Writes the pages of `docs/reference/` from the code; `make docs` runs it, and a test fails when they differ."""

from __future__ import annotations

import csv
import inspect
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer

import headwater
from headwater import errors
from headwater.doors.cli import app
from headwater.settings import setting_meanings

HERE = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/reference.py. -->\n"
_SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Yields", "Cost", "Reference")


def _body(value: Any) -> str:
    """A docstring as Markdown."""
    text = inspect.getdoc(value) or ""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        section = re.fullmatch(rf"({'|'.join(_SECTIONS)}):", line)
        if section:
            lines += ["", f"**{section.group(1)}**", ""]
            inside = True
        elif inside and (entry := re.fullmatch(r" {4}(\*{0,2}\w+): (.*)", line)):
            lines.append(f"- `{entry.group(1)}`: {entry.group(2)}")
        elif inside and line.startswith("    "):
            lines.append(f"  {line.strip()}")
        else:
            inside = inside and not line
            lines.append(line)
    return "\n".join(lines).replace("``", "`").strip()


def _signature(name: str, value: Callable[..., Any]) -> str:
    try:
        found = str(inspect.signature(value))
    except (TypeError, ValueError):
        found = "(...)"
    found = re.sub(r" at 0x[0-9a-f]+", "", found).replace("headwater.", "").replace("'", "")
    return f"```text\n{name}{found}\n```"


def python() -> str:
    """Every public name."""
    parts = [NOTE, "# Python\n", "Everything below is in `headwater`; nothing else is public.\n"]
    kinds = []
    for name in headwater.__all__:
        value = getattr(headwater, name)
        if inspect.isclass(value):
            parts += [f"## {name}\n", _signature(name, value), "", _body(value), ""]
            for member, method in _methods(value):
                parts += [f"### {name}.{member}\n", _signature(member, method), "", _body(method), ""]
        elif inspect.isfunction(value):
            parts += [f"## {name}\n", _signature(name, value), "", _body(value), ""]
        elif not inspect.ismodule(value):
            kinds.append(name)
    names = ", ".join(f"`{name}`" for name in kinds)
    parts += ["## Types without parameters\n", f"{names}: see [Managed collections](../managed.md).", ""]
    parts += ["## errors\n", "The module of [every error](errors.md).", ""]
    return "\n".join(parts)


def _methods(cls: type) -> list[tuple[str, Any]]:
    found = []
    for name in dir(cls):
        value = inspect.getattr_static(cls, name)
        if name.startswith("_") or not cls.__module__.startswith("headwater"):
            continue
        if isinstance(value, classmethod | staticmethod):
            value = value.__func__
        if inspect.isfunction(value) and value.__module__.startswith("headwater"):
            found.append((name, value))
    return found


def cli() -> str:
    """Every command and option."""
    parts = [NOTE, "# Command line\n"]
    group: Any = typer.main.get_command(app)
    parts += [f"{group.help}\n", _options(group)]
    for name, command in sorted(group.commands.items()):
        parts += [f"## {name}\n", f"{inspect.cleandoc(command.help or '')}\n", _options(command)]
    return "\n".join(parts)


def _options(command: Any) -> str:
    rows = ["| option | meaning | default |", "| --- | --- | --- |"]
    for one in command.params:
        names = (
            ", ".join(f"`{word}`" for word in one.opts)
            if one.param_type_name == "option"
            else f"`{one.name.upper()}`"
        )
        default = "" if one.default in (None, "", False) or one.required else f"`{one.default}`"
        rows.append(f"| {names} | {getattr(one, 'help', '') or ''} | {default} |")
    return "\n".join(rows) + "\n" if len(rows) > 2 else ""


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def settings() -> str:
    """Every setting."""
    parts = [NOTE, "# Settings\n", f"{inspect.getdoc(inspect.getmodule(headwater.Settings))}\n"]
    parts += ["| variable | in Python | meaning | default |", "| --- | --- | --- | --- |"]
    meanings = setting_meanings()
    for group in fields(headwater.Settings):
        value = getattr(headwater.Settings(), group.name)
        for one in fields(value):
            variable = f"HEADWATER_{group.name}_{one.name}".upper()
            name = f"{group.name}.{one.name}"
            parts.append(
                f"| `{variable}` | `{name}` | {meanings[name]} | {_shown(getattr(value, one.name))} |"
            )
    parts.append("| `HEADWATER_LAKE` | | the command line's lake | ./lake |")
    parts.append("| `HEADWATER_CONFIG` | | a TOML file of settings | |")
    return "\n".join(parts) + "\n"


def every_error() -> str:
    """Every error, with its code."""
    parts = [
        NOTE,
        "# Errors\n",
        f"{inspect.getdoc(errors)}\n",
        "| code | error | a kind of | when |",
        "| --- | --- | --- | --- |",
    ]
    found = sorted((getattr(errors, name) for name in errors.__all__), key=lambda cls: int(cls.code[2:]))
    for cls in found:
        bases = ", ".join(f"`{base.__name__}`" for base in cls.__bases__ if base is not Exception)
        meaning = (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ")
        parts.append(
            f"| {cls.code} | `{cls.__name__}` | {bases} | {meaning}{' Retryable.' if cls.retryable else ''} |"
        )
    return "\n".join(parts) + "\n"


def milvus() -> str:
    """What of Milvus there is, with the test that shows it."""
    tables = sorted((HERE.parent / "milvus").glob("*.tsv"))
    rows: dict[str, list[list[str]]] = {}
    for table in tables:
        with table.open(newline="") as lines:
            for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
                note = (row["note"] or "").replace("|", "\\|")
                shown = [row["feature"].replace("|", "\\|"), row["support"], note, f"`{row['test']}`"]
                rows.setdefault(row["group"], []).append(shown)
    parts = [NOTE, (HERE.parent / "milvus" / "intro.txt").read_text()]
    for group, lines in sorted(rows.items()):
        parts += [f"## {group}\n", "| feature | support | note | test |", "| --- | --- | --- | --- |"]
        parts += [f"| {' | '.join(cells)} |" for cells in lines]
        parts.append("")
    return "\n".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    "python.md": python,
    "cli.md": cli,
    "settings.md": settings,
    "errors.md": every_error,
    "milvus.md": milvus,
}


def main() -> None:
    """Write the pages."""
    HERE.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (HERE / name).write_text(page().rstrip() + "\n")


if __name__ == "__main__":
    main()
