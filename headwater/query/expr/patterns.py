"""`like` and regular expressions over arrays of texts."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["like_parts", "like_regex", "matches"]


def like_parts(pattern: str) -> list[str | None] | None:
    """A `like` pattern as literal texts and None for each run of `%`; None where it has a `_`."""
    parts: list[str | None] = []
    literal = ""
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "_":
            return None
        if char == "%":
            parts += [literal] if literal else []
            parts += [None] if not parts or parts[-1] is not None else []
            literal = ""
            continue
        if char == "\\" and at < len(pattern):
            char = pattern[at]
            at += 1
        literal += char
    return [*parts, literal] if literal else parts


def like_regex(pattern: str) -> str:
    """A `like` pattern as a regular expression of RE2 over the whole text."""
    found, at = "", 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "%":
            found += ".*"
        elif char == "_":
            found += "."
        else:
            if char == "\\" and at < len(pattern):
                char = pattern[at]
                at += 1
            found += re.escape(char) if char.isascii() else char
    return f"^(?s:{found})$"


def matches(texts: pa.Array, pattern: str, *, regex: bool) -> pa.Array:
    """Whether each text matches; null where there is none.

    Args:
        texts: (n,) texts.
        pattern: of `like`, or a regular expression that may match anywhere in the text; its dot is any character, the
            end of a line too.
        regex: which of the two.
    """
    if regex:
        return pc.match_substring_regex(texts, f"(?s){pattern}")
    parts = like_parts(pattern)
    if parts is not None and len(parts) <= 3:
        match parts:
            case []:
                return pc.equal(texts, pa.scalar("", texts.type))
            case [None]:
                return pc.if_else(texts.is_valid(), pa.scalar(True), pa.scalar(None, pa.bool_()))
            case [str() as whole]:
                return pc.equal(texts, pa.scalar(whole, texts.type))
            case [str() as start, None]:
                return pc.starts_with(texts, start)
            case [None, str() as end]:
                return pc.ends_with(texts, end)
            case [None, str() as middle, None]:
                return pc.match_substring(texts, middle)
    return pc.match_substring_regex(texts, like_regex(pattern))
