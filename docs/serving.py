"""Writes the tables of `docs/serving.md` that come from the code."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from headwater.doors.serve.metrics import FAMILIES
from headwater.settings import ServerSettings, setting_meanings

PAGE = Path(__file__).parent / "serving.md"


def settings() -> str:
    """Every setting of the server, with what its documentation says."""
    meanings = setting_meanings()
    rows = ["| setting | meaning | default |", "| --- | --- | --- |"]
    for one in fields(ServerSettings):
        default = "" if one.default == "" else f"`{one.default}`"
        rows.append(f"| `server.{one.name}` | {meanings[f'server.{one.name}']} | {default} |")
    return "\n".join(rows)


def metrics() -> str:
    """Every family of figures."""
    rows = ["| family | kind | labels | meaning |", "| --- | --- | --- | --- |"]
    for name, (kind, meaning, labels) in FAMILIES.items():
        shown = f"{name}_total" if kind == "counter" else name
        rows.append(f"| `{shown}` | {kind} | {', '.join(labels)} | {meaning} |")
    return "\n".join(rows)


def page() -> str:
    """The page, with its tables."""
    text = PAGE.read_text()
    for name, table in (("settings", settings()), ("metrics", metrics())):
        block = f"<!-- {name}: begin -->\n\n{table}\n\n<!-- {name}: end -->"
        text = re.sub(
            rf"<!-- {name}: begin -->.*?<!-- {name}: end -->",
            lambda _, made=block: made,
            text,
            flags=re.DOTALL,
        )
    return text


if __name__ == "__main__":
    PAGE.write_text(page())
