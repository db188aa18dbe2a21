"""Rows as a person sees them, in a terminal or a notebook: the first of them, and of long values the beginning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["SHOWN_ROWS", "html_table", "row_lines", "shortly"]

SHOWN_ROWS = 10
"""Rows that are shown of a result."""

_CHARACTERS = 60
_ITEMS = 4


def shortly(value: Any) -> str:
    """A value in a few words, as Python writes it but for what is left out."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {shortly(one)}' for key, one in value.items())}}}"
    if isinstance(value, list | tuple):
        cut = len(value) > _ITEMS
        shown = [shortly(one) for one in value[: _ITEMS - cut]]
        return f"[{', '.join([*shown, *[f'... {len(value):,}'] * cut])}]"
    text = repr(value)
    return text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 3]}..."


def row_lines(rows: Iterable[Mapping[str, Any]], left_out: int) -> list[str]:
    """Rows, a line for each, and how many there are besides."""
    return [*(f"  {shortly(row)}" for row in rows), *[f"  ... {left_out:,} more"] * bool(left_out)]


def html_table(title: str, rows: Sequence[Mapping[str, Any]], left_out: int) -> str:
    """Rows as a table of HTML, as notebooks show it."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{_escaped(name)}</th>" for name in names)
    cells = ["".join(f"<td>{_cell(row.get(name))}</td>" for name in names) for row in rows]
    body = "".join(f"<tr>{one}</tr>" for one in cells)
    more = f"<p>{left_out:,} more</p>" if left_out else ""
    return f"<p>{_escaped(title)}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return _escaped(value if len(value) <= _CHARACTERS else f"{value[: _CHARACTERS - 3]}...")
    return _escaped("" if value is None else shortly(value))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
