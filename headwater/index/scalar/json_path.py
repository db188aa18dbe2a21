"""JSON paths: the values at one path, each under its own type, so that no value is made into what it is not.

Integers and fractions have keys of their own, compare with both, and are merged in the answer; the same holds for the
elements of arrays. An index that is declared for one type answers for that type only, and leaves the rest to the scan.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.errors import InvalidArgument
from headwater.index.artifact import Artifact, ArtifactWriter, open_artifact
from headwater.index.json_paths import JsonKind, JsonPath, JsonValues, numbers_of_texts, shred
from headwater.index.predicates import Answer, HasAll, HasAny, IsNull, Matches, OneOf, Predicate, Range
from headwater.index.scalar.entries import sort_entries, values
from headwater.index.scalar.postings import Nulls, Postings, write_nulls, write_postings
from headwater.index.scalar.protocol import ScalarParams
from headwater.schema import FieldType
from headwater.tiers import Residency
from headwater.types import DataType

__all__ = ["CAST_TYPES", "JsonPathKind", "parse_json_path", "path_of", "spell_json_path"]

_FAMILIES = {"BOOL": ("bool",), "DOUBLE": ("int", "float"), "VARCHAR": ("text",)}
_EVERY = ("bool", "int", "float", "text")
CAST_TYPES: dict[str, tuple[str, ...]] = {
    **_FAMILIES,
    **{f"ARRAY_{name}": tuple(f"elements.{one}" for one in parts) for name, parts in _FAMILIES.items()},
    "JSON": (*_EVERY, *(f"elements.{one}" for one in _EVERY)),
}
"""Milvus's names of what a path is taken for, and the parts that an index of it has; JSON takes each value as it is."""

_LOW_CARDINALITY = 100
_STEP = re.compile(r"""\[\s*(?:(\d+)|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\s*\]""", re.DOTALL)


def parse_json_path(text: str, field_name: str, *, dynamic: bool = False) -> JsonPath:
    """The steps of a path as a user writes it.

    Args:
        text: ``meta['a'][0]`` with the field's name, or ``/a/0``, where a number is a position in an array.
        field_name: of the JSON field.
        dynamic: the field holds undeclared fields, so that a path may begin with the name of one: ``color['shade']``.

    Raises:
        InvalidArgument: it is neither, or it belongs to another field.
    """
    hint = f"write {field_name}['a']['b'] or /a/b"
    if text.startswith("/"):
        steps = [part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")]
        return tuple(int(one) if one.isdecimal() else one for one in steps)
    name, bracket, rest = text.partition("[")
    name, rest = name.strip(), bracket + rest
    found: list[str | int] = []
    at = 0
    while at < len(rest):
        step = _STEP.match(rest, at)
        if step is None:
            raise InvalidArgument(f"json_path {text!r} is not understood at {rest[at:]!r}", hint=hint)
        number, double, single = step.groups()
        if number is not None:
            found.append(int(number))
        else:
            found.append(_unquoted(double if double is not None else single))
        at = step.end()
    if name != field_name:
        if not dynamic or not name:
            raise InvalidArgument(f"json_path {text!r} is not one of field {field_name!r}", hint=hint)
        found.insert(0, name)
    if not found:
        raise InvalidArgument(f"json_path {text!r} is the whole of field {field_name!r}", hint=hint)
    return tuple(found)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def spell_json_path(path: JsonPath) -> str:
    """The one spelling of a path that is stored: ``["a"][0]``."""
    return "".join(f"[{json.dumps(step, ensure_ascii=False)}]" for step in path)


@lru_cache(maxsize=1024)
def path_of(spelled: str) -> JsonPath:
    """The inverse of `spell_json_path`."""
    found: list[str | int] = []
    decoder, at = json.JSONDecoder(), 0
    while at < len(spelled):
        step, stop = decoder.raw_decode(spelled, at + 1)
        found.append(step)
        at = stop + 1
    return tuple(found)


class JsonPathKind:
    """See `ScalarIndexKind`."""

    def fits(self, field_type: FieldType) -> bool:
        """See `ScalarIndexKind`."""
        return field_type.data_type is DataType.JSON

    def build(self, column: pa.Array, params: ScalarParams, path: Path) -> None:
        """See `ScalarIndexKind`."""
        found = shred(column, path_of(params.get("json_path")))
        if params.get("json_cast_function") is not None:
            found = numbers_of_texts(found)
        parts: dict[str, Any] = {}
        with ArtifactWriter(path, "json_path") as writer:
            write_nulls(writer, pa.array(np.ones(len(column), np.bool_), mask=~found.present))
            for name in CAST_TYPES[params.get("json_cast_type")]:
                parts[name] = _write_part(writer, name, found)
            writer.finish({"num_rows": len(column), "parts": parts})

    def open(self, source: Residency, params: ScalarParams) -> JsonPathIndex:
        """See `ScalarIndexKind`."""
        return JsonPathIndex(open_artifact(source, "json_path"))


def _write_part(writer: ArtifactWriter, name: str, found: JsonValues) -> dict[str, Any] | None:
    """One type's keys; None where no row has such a value."""
    family = name.removeprefix("elements.")
    rows: Any = None
    if family != name:
        if JsonKind.ARRAY not in found.kinds:
            return None
        lists = found.lists
        held, at = values(_of_family(lists.elements, family))
        rows = lists.rows[at].astype(np.uint32)
    else:
        held, rows = values(_of_family(found, family))
    if len(held) == 0:
        return None
    entries = sort_entries(held, rows)
    few = len(entries.keys) <= _LOW_CARDINALITY
    layout = "bitmap" if few else "inverted" if family == "text" or family != name else "sorted"
    return write_postings(writer, f"{name}.", entries, layout, len(found))


def _of_family(found: JsonValues, family: str) -> pa.Array:
    if family == "float":
        return pa.array(
            found.numbers.to_numpy(zero_copy_only=False), mask=found.kind != np.uint8(JsonKind.DOUBLE)
        )
    chosen: pa.Array = {"bool": found.bools, "int": found.integers, "text": found.texts}[family]
    return chosen


class JsonPathIndex:
    """See `ScalarIndex`."""

    def __init__(self, artifact: Artifact) -> None:
        self.num_rows = int(artifact.properties["num_rows"])
        self._nulls = Nulls(artifact, self.num_rows)
        self._parts = {
            name: None if about is None else Postings(artifact, f"{name}.", about, self.num_rows)
            for name, about in artifact.properties["parts"].items()
        }

    def select(self, predicate: Predicate, most: int) -> Answer | None:
        """See `ScalarIndex`."""
        if isinstance(predicate, IsNull):
            return Answer(self._nulls.rows())
        if isinstance(predicate, OneOf):
            return self._one_of(predicate.values, "", most)
        if isinstance(predicate, HasAny):
            return self._one_of(predicate.values, "elements.", most)
        if isinstance(predicate, HasAll):
            return self._has_all(predicate.values, most)
        if isinstance(predicate, Matches):
            return self._merged([("text", predicate)], most)
        if isinstance(predicate, Range):
            return self._between(predicate, most)
        return None

    def _between(self, bounds: Range, most: int) -> Answer | None:
        given = [bound for bound in (bounds.low, bounds.high) if bound is not None]
        families = {_family(bound) for bound in given}
        if families == {"text"}:
            return self._merged([("text", bounds)], most)
        if families == {"number"}:
            return self._merged([("int", bounds), ("float", bounds)], most)
        return None

    def _one_of(self, wanted: tuple[Any, ...], prefix: str, most: int) -> Answer | None:
        by_family: dict[str, list[Any]] = {}
        for value in wanted:
            by_family.setdefault(_family(value), []).append(value)
        asked: list[tuple[str, OneOf | Range | Matches]] = []
        for family, some in by_family.items():
            names = ("int", "float") if family == "number" else (family,)
            asked += [(prefix + name, OneOf(tuple(some))) for name in names]
        return self._merged(asked, most)

    def _has_all(self, wanted: tuple[Any, ...], most: int) -> Answer | None:
        if not wanted:
            return None
        held: Answer | None = None
        for value in wanted:
            one = self._one_of((value,), "elements.", self.num_rows if held is not None else most)
            if one is None:
                return None
            held = one if held is None else Answer(held.rows & one.rows)
        return held

    def _merged(self, asked: list[tuple[str, OneOf | Range | Matches]], most: int) -> Answer | None:
        rows, exact = np.zeros(self.num_rows, np.bool_), True
        for name, predicate in asked:
            if name not in self._parts:
                return None
            part = self._parts[name]
            if part is None:
                continue
            found = part.select(predicate, most)
            if found is None:
                return None
            rows |= found.rows
            exact = exact and found.exact
        return Answer(rows, exact)


def _family(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "other"
