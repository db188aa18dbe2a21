"""What a parser of JSON does not keep of rows: how a number was written, and that a name stands twice.

Parsing a body this way takes many times as long as parsing it, so that it is done where a look at the bytes says that
there is something to be lost, or where a value does not fit as it was parsed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from decimal import Decimal, DecimalException
from functools import cached_property
from typing import Any

__all__ = ["Written", "integer_of"]

_KINDS = bytes(48 if 48 <= byte < 58 or byte == 45 else 46 if byte == 46 else 120 for byte in range(256))
"""A digit or a sign as 0, and all else but a point as x."""
_TOO_LONG = b"x" + b"0" * 20
"""Integers of 64 bits are shorter, but for a few of the largest; digits behind a point are of none."""
_SPACE = b" \t\r\n"
_NESTED = (dict, list)


class _Real(str):
    """A number that is not written as an integer, as it is written."""

    __slots__ = ()


class _Long(int):
    """An integer that no 64 bits hold."""


_NUMBERS = frozenset((_Real, int))


class _Twice(dict[str, Any]):
    """An object in which a name stands twice."""

    name: str


class Written:
    """A body of rows as it was written.

    Args:
        raw: its bytes.
        parsed: what a parser made of them.
    """

    def __init__(self, raw: bytes, parsed: Any) -> None:
        self._raw = raw
        self.doubtful = _TOO_LONG in raw.translate(_KINDS) or _repeats(raw, parsed)
        """Whether a name may stand twice in an object, or an integer be longer than any that is kept."""

    @cached_property
    def rows(self) -> list[Any]:
        """The rows, their numbers as they were written, without lists of numbers that a parser keeps."""
        body = json.loads(
            self._raw.decode(), parse_float=_Real, parse_int=_integer, object_pairs_hook=_object
        )
        found = next((value for name, value in body.items() if name.lower() == "data"), None)
        return found if isinstance(found, list) else []

    def fault(self, scalars: Collection[str]) -> str | None:
        """What is wrong with the rows in a way that a parser does not tell.

        Args:
            scalars: names of fields whose values have a type of their own, which says what they may be.
        """
        for place, row in enumerate(self.rows):
            if isinstance(row, _Twice):
                return f"data[{place}] declares the key {row.name} twice; JSON object names must be unique"
            for name, value in row.items() if isinstance(row, dict) else ():
                if found := _fault(value, name not in scalars):
                    return f"field {name} {found}"
        return None

    def spelled(self, place: int, names: Iterable[str]) -> dict[str, str]:
        """How numbers of a row are written that no integer of 64 bits holds as they are."""
        row = self.rows[place] if place < len(self.rows) else None
        if not isinstance(row, dict):
            return {}
        found = {name: row[name] for name in names if isinstance(row.get(name), _Real | _Long)}
        return {name: str(value) for name, value in found.items()}


def integer_of(text: str) -> int | None:
    """The integer that a number of JSON is, if it is one: `1e3`, and `9007199254740993.0` to the last digit."""
    try:
        number = Decimal(text)
    except DecimalException:
        return None
    if not number:
        return 0
    if not number.is_finite() or number.adjusted() > 19 or number != number.to_integral_value():
        return None
    return int(number)


def _integer(text: str) -> int:
    value = int(text)
    return value if -(1 << 63) <= value < 1 << 64 else _Long(value)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = {name: None if _is_vector(value) else value for name, value in pairs}
    if len(found) == len(pairs):
        return found
    twice = _Twice(found)
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            twice.name = name
            break
        seen.add(name)
    return twice


def _is_vector(value: Any) -> bool:
    """Whether a value is a list of numbers of which a parser loses nothing that matters: most of a body."""
    return type(value) is list and _NUMBERS.issuperset(map(type, value))


def _fault(value: Any, document: bool) -> str | None:
    """What is wrong within a value; integers of any length are right where a type says what they are."""
    rest = [value]
    while rest:
        each = rest.pop()
        if isinstance(each, _Twice):
            return f"declares the key {each.name} twice; JSON object names must be unique"
        if isinstance(each, dict):
            rest += each.values()
        elif isinstance(each, list):
            rest += each
        elif document and isinstance(each, _Long):
            return (
                f"integer {each} exceeds the 64-bit range supported by the JSON engine, write it as a floating-point "
                "literal or as a string"
            )
    return None


def _repeats(raw: bytes, parsed: Any) -> bool:
    """Whether there are more names than a parser kept; a text that looks like a name counts as one."""
    kept = _names(parsed)
    return raw.count(b":") != kept and raw.translate(None, _SPACE).count(b'":') != kept


def _names(value: Any) -> int:
    """How many names an object has, and those within it. Lists that begin with a number hold no objects."""
    count, rest = 0, [value] if value else []
    while rest:
        each = rest.pop()
        if type(each) is dict:
            count += len(each)
            rest += [inner for inner in each.values() if type(inner) in _NESTED]
        elif each and type(each[0]) in _NESTED:
            rest += [inner for inner in each if type(inner) in _NESTED]
    return count
