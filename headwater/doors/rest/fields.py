"""What a JSON body may hold, as values: read with errors that name the field, and told as JSON Schema.

A body is read against a `Record` of `Field`s; nothing it holds is ignored. Names are matched as Milvus matches them:
exactly, or else regardless of case. A `null` is as good as nothing.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from headwater.doors.rest.errors import BAD_FORMAT, MISSING, Refused

__all__ = [
    "ANY",
    "FLAG",
    "INT32",
    "INT64",
    "NUMBER",
    "OBJECT",
    "PROPERTIES",
    "TEXT",
    "TEXTS",
    "Field",
    "Kind",
    "Listed",
    "Mapped",
    "Record",
    "Schema",
    "need",
]

Schema = dict[str, Any]
"""A JSON Schema."""


class Kind(Protocol):
    """A type of value."""

    def read(self, value: Any, at: str) -> Any:
        """The value, checked.

        Args:
            value: as JSON gave it; never None.
            at: where it stands in the body, for errors.
        """
        ...

    def schema(self) -> Schema:
        """The same, for the OpenAPI document."""
        ...


def _wrong(at: str, expected: str, value: Any) -> Refused:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", float: "a number"}
    found = "null" if value is None else names.get(type(value), "an integer")
    shown = f" {value!r}" if isinstance(value, int | float) else ""
    return Refused.of(BAD_FORMAT, f"{at or 'the body'}: expected {expected}, got {found}{shown}")


@dataclass(frozen=True)
class _Text:
    def read(self, value: Any, at: str) -> str:
        if not isinstance(value, str):
            raise _wrong(at, "a string", value)
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Refused.of(BAD_FORMAT, f"{at}: the string is not valid UTF-8") from None
        return value

    def schema(self) -> Schema:
        return {"type": "string"}


@dataclass(frozen=True)
class _Integer:
    bits: int

    def read(self, value: Any, at: str) -> int:
        if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong(at, "an integer", value)
        if not -(1 << self.bits - 1) <= value < 1 << self.bits - 1:
            raise _wrong(at, f"an integer of {self.bits} bits", value)
        return value

    def schema(self) -> Schema:
        return {"type": "integer", "format": f"int{self.bits}"}


@dataclass(frozen=True)
class _Number:
    def read(self, value: Any, at: str) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise _wrong(at, "a number", value)
        return value

    def schema(self) -> Schema:
        return {"type": "number"}


@dataclass(frozen=True)
class _Flag:
    def read(self, value: Any, at: str) -> bool:
        if not isinstance(value, bool):
            raise _wrong(at, "a boolean", value)
        return value

    def schema(self) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True)
class _Anything:
    def read(self, value: Any, at: str) -> Any:
        return value

    def schema(self) -> Schema:
        return {}


@dataclass(frozen=True)
class Listed:
    """An array.

    Attributes:
        of: what stands in it.
    """

    of: Kind

    def read(self, value: Any, at: str) -> list[Any]:
        """The values of the array, each checked."""
        if not isinstance(value, list):
            raise _wrong(at, "an array", value)
        if isinstance(self.of, _Anything):
            return value
        return [self._one(item, f"{at}[{place}]") for place, item in enumerate(value)]

    def _one(self, item: Any, at: str) -> Any:
        if item is None:
            raise Refused.of(BAD_FORMAT, f"{at}: expected a value, got null")
        return self.of.read(item, at)

    def schema(self) -> Schema:
        """As JSON Schema."""
        return {"type": "array", "items": self.of.schema()}


@dataclass(frozen=True)
class Mapped:
    """An object whose names are the caller's.

    Attributes:
        of: what stands under each name.
        nulls: whether a null is as good as nothing; it is refused otherwise.
    """

    of: Kind
    nulls: bool = True

    def read(self, value: Any, at: str) -> dict[str, Any]:
        """The values by name, each checked."""
        if not isinstance(value, dict):
            raise _wrong(at, "an object", value)
        for name, item in value.items():
            TEXT.read(name, f"{at}: a name")
            if item is None and not self.nulls:
                raise _wrong(f"{at}.{name}", "a value", None)
        if isinstance(self.of, _Anything):
            return value
        return {name: self.of.read(item, f"{at}.{name}") for name, item in value.items() if item is not None}

    def schema(self) -> Schema:
        """As JSON Schema."""
        return {"type": "object", "additionalProperties": self.of.schema() or True}


TEXT, FLAG, NUMBER, ANY = _Text(), _Flag(), _Number(), _Anything()
INT32, INT64 = _Integer(32), _Integer(64)
TEXTS, OBJECT, PROPERTIES = Listed(TEXT), Mapped(ANY), Mapped(ANY)


@dataclass(frozen=True)
class Field:
    """One name of an object.

    Attributes:
        name: as JSON has it.
        kind: of its value.
        required: whether it must be there, and not be empty.
        default: what it is when it is not there.
        about: one line for the document.
        also: other names that clients know it by; the document has the first alone.
    """

    name: str
    kind: Kind = TEXT
    required: bool = False
    default: Any = None
    about: str = ""
    also: tuple[str, ...] = ()

    def schema(self) -> Schema:
        """As JSON Schema."""
        told = self.kind.schema()
        if self.about:
            told["description"] = self.about
        if self.default is not None:
            told["default"] = self.default
        return told


def need(name: str, kind: Kind = TEXT, about: str = "") -> Field:
    """A field that must be there."""
    return Field(name, kind, required=True, about=about)


@dataclass(frozen=True)
class Record:
    """An object with known names.

    Attributes:
        name: in errors and in the OpenAPI document.
        fields: its names.
    """

    name: str
    fields: tuple[Field, ...]
    _names: Mapping[str, Field] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        names = {name.lower(): each for each in self.fields for name in (*each.also, each.name)}
        object.__setattr__(self, "_names", names | {each.name: each for each in self.fields})

    def read(self, value: Any, at: str = "") -> dict[str, Any]:
        """Values by field name; a field that is not there has its default.

        What does not fit is `Refused` with 1801, a field that is missing with 1802.
        """
        if not isinstance(value, dict):
            raise _wrong(at, "an object", value)
        found = {each.name: each.default for each in self.fields}
        for name, item in value.items():
            each = self._names.get(name) or self._names.get(name.lower())
            where = f"{at}.{name}" if at else name
            if each is None:
                raise self._unknown(name, where)
            if item is not None:
                found[each.name] = each.kind.read(item, where)
        missing = [each.name for each in self.fields if each.required and found[each.name] in (None, "")]
        if missing:
            raise Refused.of(MISSING, "; ".join(self._lacks(name, at) for name in missing))
        return found

    def _lacks(self, name: str, at: str) -> str:
        tall = name[:1].upper() + name[1:]
        where = f"{at}.{name}" if at else name
        return f"Key: '{where}' Error:Field validation for '{tall}' failed on the 'required' tag"

    def _unknown(self, name: str, where: str) -> Refused:
        near = difflib.get_close_matches(name, [each.name for each in self.fields], n=1)
        known = f"; did you mean {near[0]}?" if near else ", ".join(["", *(f.name for f in self.fields)])
        known = known if near else f"; known are {known[2:]}" if known else "; it takes none"
        return Refused.of(BAD_FORMAT, f"{where[:200]!r} is not a parameter of this request{known}")

    def schema(self) -> Schema:
        """A reference to the record in the OpenAPI document."""
        return {"$ref": f"#/components/schemas/{self.name}"}

    def described(self) -> Schema:
        """The record itself, as JSON Schema."""
        told: Schema = {
            "type": "object",
            "properties": {each.name: each.schema() for each in self.fields},
            "additionalProperties": False,
        }
        if required := [each.name for each in self.fields if each.required]:
            told["required"] = required
        return told
