"""Literals of the language: strings with C escapes, raw strings, numbers in four bases."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["integer", "listed", "real", "unquoted", "value"]

_ESCAPE = re.compile(
    r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]+)|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(\r?\n)|(.))", re.DOTALL
)
_LISTED = re.compile(
    r"""(?:([+-])\s*+)?((?:u8|[uULrR])?(?:"(?:\\.|[^"\\])*+"|'(?:\\.|[^'\\])*+')|[^]["',\s+-]++(?:[+-]\d++)?)""",
    re.DOTALL,
)
_REAL = re.compile(r"\.|[pP]|^\d+[eE]")
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def unquoted(token: str) -> str:
    """The text of a string literal.

    An escape that C does not know keeps its backslash: that of a per cent sign reaches `like` as written.

    Raises:
        ValueError: not a text: an escape is no character.
    """
    if token[0] in "rR":
        return token[2:-1]
    start = token.index(token[-1])
    body = token[start + 1 : -1]
    return _ESCAPE.sub(_unescaped, body) if "\\" in body else body


def _unescaped(match: re.Match[str]) -> str:
    octal, hexadecimal, short, long, newline, other = match.groups()
    if newline is not None:
        return ""
    if other is not None:
        return _PLAIN.get(other, other if other in "'\"?\\" else "\\" + other)
    code = int(octal, 8) if octal is not None else int(hexadecimal or short or long, 16)
    if 0xD800 <= code < 0xE000 or code > 0x10FFFF:
        raise ValueError(f"not a text ({match.group()} is no character)")
    return chr(code)


def integer(token: str) -> int:
    """The value of an integer literal: decimal, `0x` hexadecimal, `0b` binary, or octal after a `0`.

    Raises:
        ValueError: not an integer: a digit does not belong to its base, or there are more than 400 digits.
    """
    if len(token) > 400:
        raise ValueError(f"not an integer (an integer of {len(token)} digits)")
    octal = len(token) > 1 and token[0] == "0" and token[1].isdigit()
    try:
        return int(token, 8 if octal else 0)
    except ValueError as error:
        raise ValueError(f"not an integer ({error})") from error


def real(token: str) -> float:
    """The value of a floating literal, decimal or hexadecimal."""
    return float.fromhex(token) if token[:2] in ("0x", "0X") else float(token)


def listed(token: str) -> Iterator[re.Match[str]]:
    """The literals of a list of nothing else, as the grammar reads it: of each its sign, and what follows."""
    return _LISTED.finditer(token)


def value(sign: str | None, token: str) -> bool | int | float | str:
    """What one of a list stands for.

    Raises:
        ValueError: as `integer` and `unquoted`, or an integer does not fit 64 bits.
    """
    if token[-1] in "\"'":
        return unquoted(token)
    if token[0] in "tTfF":
        return token[0] in "tT"
    if _REAL.search(token):
        return -real(token) if sign == "-" else real(token)
    whole = -integer(token) if sign == "-" else integer(token)
    if not -(2**63) <= whole < 2**63:
        raise ValueError(f"integer {whole} does not fit 64 bits")
    return whole
