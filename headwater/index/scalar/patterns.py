"""What every text that matches a pattern must hold: the literal parts of a `like` pattern or a regular expression.

Where a pattern is not understood for certain, less is required of a text, and nothing is where nothing is certain.
"""

from __future__ import annotations

from dataclasses import dataclass

from headwater.index.predicates import Matches

__all__ = ["Needles", "needles_of"]


@dataclass(frozen=True)
class Needles:
    """Literal parts of a pattern.

    Attributes:
        prefix: the text begins with it; empty for nothing required.
        inner: the text holds each of these.
        suffix: the text ends with it.
        exactly: equal, prefix, suffix or inside where the pattern says that and no more; None where it says more.
            `equal` is to the prefix.
    """

    prefix: str = ""
    inner: tuple[str, ...] = ()
    suffix: str = ""
    exactly: str | None = None

    @property
    def all(self) -> tuple[str, ...]:
        """Every literal part."""
        return tuple(part for part in (self.prefix, *self.inner, self.suffix) if part)


def needles_of(pattern: Matches) -> Needles | None:
    """The literal parts of a pattern; None where nothing is required for certain."""
    found = _of_regex(pattern.pattern) if pattern.regex else _of_like(pattern.pattern)
    return found if found is not None and (found.all or found.exactly) else None


_ANY, _ONE, _UNSURE = object(), object(), object()


def _of_like(pattern: str) -> Needles | None:
    """Parts between wildcards; an escape of anything but a wildcard or a backslash counts as one."""
    parts: list[object] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            after = pattern[at + 1 : at + 2]
            parts.append(after if after in ("%", "_", "\\") and after else _UNSURE)
            at += 2
            continue
        parts.append(_ANY if char == "%" else _ONE if char == "_" else char)
        at += 1
    runs = _literal_runs(parts)
    if _UNSURE in parts:
        return Needles(inner=tuple(runs))
    sure = _ONE not in parts
    first, last = parts[:1] != [_ANY] and parts[:1] != [_ONE], parts[-1:] != [_ANY] and parts[-1:] != [_ONE]
    if not any(part is _ANY or part is _ONE for part in parts):
        return Needles(prefix="".join(map(str, parts)), exactly="equal")
    if not runs:
        return None
    anys = len(runs) == 1 and sure
    prefix = runs.pop(0) if first else ""
    suffix = runs.pop() if last and runs else ""
    exactly = None
    if anys:
        exactly = "prefix" if prefix else "suffix" if suffix else "inside"
    return Needles(prefix, tuple(runs), suffix, exactly)


def _literal_runs(parts: list[object]) -> list[str]:
    runs, run = [], ""
    for part in [*parts, _ANY]:
        if isinstance(part, str):
            run += part
        elif run:
            runs.append(run)
            run = ""
    return runs


_META = frozenset(".^$*+?{}[]|()\\")


def _of_regex(pattern: str) -> Needles | None:
    """Literal runs outside of groups, sets and choices; None where flags may change what a letter means."""
    runs: list[str] = []
    run = ""
    at, size = 0, len(pattern)
    while at < size:
        char = pattern[at]
        step, literal = 1, ""
        if char == "|":
            return None
        if char in "([":
            if pattern.startswith("(?", at) and not pattern.startswith(("(?:", "(?P<"), at):
                return None
            stop = _group_end(pattern, at) if char == "(" else _set_end(pattern, at)
            if stop is None:
                return None
            step = stop - at
        elif char == "\\":
            after = pattern[at + 1 : at + 2]
            if not after or after in "QECpPx0123456789":
                return None
            step, literal = 2, "" if after.isalnum() else after
        elif char not in _META:
            literal = char
        at += step
        quantifier = pattern[at : at + 1]
        if literal and quantifier not in ("*", "?", "{"):
            run += literal
            if quantifier != "+":
                continue
        if run:
            runs.append(run)
            run = ""
        if quantifier == "{" and (char not in "^$"):
            stop_at = pattern.find("}", at)
            if stop_at < 0:
                return None
            at = stop_at + 1
    if run:
        runs.append(run)
    plain = len(runs) == 1 and runs[0] == pattern
    return Needles(inner=tuple(runs), exactly="inside" if plain else None)


def _set_end(pattern: str, at: int) -> int | None:
    """After a set such as `[^]a-z]`."""
    at += 1
    if pattern[at : at + 1] == "^":
        at += 1
    first = True
    while at < len(pattern):
        char = pattern[at]
        if char == "]" and not first:
            return at + 1
        if char == "[" and pattern.startswith("[:", at):
            stop = pattern.find(":]", at)
            if stop < 0:
                return None
            at = stop + 2
        else:
            at += 2 if char == "\\" else 1
        first = False
    return None


def _group_end(pattern: str, at: int) -> int | None:
    """After a group, whatever is in it; None where a flag is set in it."""
    depth = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "[":
            stop = _set_end(pattern, at)
            if stop is None:
                return None
            at = stop
            continue
        if char == "\\":
            if pattern[at + 1 : at + 2] == "Q":
                return None
            at += 2
            continue
        if char == "(":
            if pattern.startswith("(?", at) and not pattern.startswith(("(?:", "(?P<"), at):
                return None
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return None
