"""Which scalar index, with which options: checked once, when an index is declared; and which one for AUTOINDEX."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import InvalidArgument, UnsupportedOption
from headwater.index.scalar.json_path import CAST_TYPES, parse_json_path, spell_json_path
from headwater.index.scalar.ngram import ngram_options
from headwater.index.scalar.protocol import ScalarIndexKind, ScalarParams, options_of
from headwater.schema import DYNAMIC_FIELD, Field, FieldType
from headwater.types import DataType

__all__ = ["SCALAR_INDEX_TYPES", "SAMPLE_ROWS", "chosen_kind", "parse_scalar"]

SCALAR_INDEX_TYPES = {
    "STL_SORT": "sorted",
    "INVERTED": "inverted",
    "TRIE": "inverted",
    "BITMAP": "bitmap",
    "NGRAM": "ngram",
    "RTREE": "rtree",
    "BLOOM": "bloom",
}
"""Names of index types, Milvus's where it has the kind, and the words stored in manifests."""

_AUTOMATIC = ("", "AUTOINDEX", "HYBRID")

SAMPLE_ROWS = 100_000
"""Rows that AUTOINDEX looks at."""

_LOW_CARDINALITY = 100
"""Distinct values, at most, that get bitmaps; Milvus's bound."""


def chosen_kind(field_type: FieldType, sample: pa.Array | None) -> str:
    """What AUTOINDEX is for a field.

    Args:
        field_type: of the field.
        sample: some of its values; None or empty where there are none yet.
    """
    kind = field_type.data_type
    if kind is DataType.JSON:
        return "json_path"
    if kind is DataType.GEOMETRY:
        return "rtree"
    if kind is DataType.BOOL:
        return "bitmap"
    if kind is DataType.TIMESTAMPTZ:
        return "sorted"
    if kind is DataType.ARRAY and field_type.element is not None:
        flat = None if sample is None else sample.flatten()
        return "bitmap" if chosen_kind(field_type.element, flat) == "bitmap" else "inverted"
    fractions = kind in (DataType.FLOAT, DataType.DOUBLE)
    if not fractions and sample is not None and _few_values(sample):
        return "bitmap"
    return "inverted" if kind in (DataType.VARCHAR, DataType.TEXT) else "sorted"


def _few_values(sample: pa.Array) -> bool:
    distinct: int = pc.count_distinct(sample.slice(0, SAMPLE_ROWS), mode="only_valid").as_py()
    return 0 < distinct <= _LOW_CARDINALITY


def parse_scalar(
    index_type: str,
    params: Mapping[str, Any],
    field: Field,
    kinds: Mapping[str, ScalarIndexKind],
    sample: pa.Array | None = None,
) -> ScalarParams:
    """Check the declaration of a scalar index.

    Args:
        index_type: a name of `SCALAR_INDEX_TYPES`, any case; AUTOINDEX, HYBRID or empty to choose from the data.
        params: build options.
        field: the field.
        kinds: by the word stored in manifests.
        sample: some of its values, for AUTOINDEX.

    Raises:
        UnsupportedOption: an unknown type or option.
        InvalidArgument: the type does not fit the field, or a value does not fit.
    """
    name = index_type.upper()
    fitting = [one for one, kind in SCALAR_INDEX_TYPES.items() if _fits(one, kind, field.type, kinds)]
    if name not in _AUTOMATIC and name not in SCALAR_INDEX_TYPES:
        near = difflib.get_close_matches(name, SCALAR_INDEX_TYPES, n=1)
        hint = (
            f"did you mean {near[0]}?"
            if near
            else f"of field {field.name!r}: AUTOINDEX, {', '.join(fitting)}"
        )
        raise UnsupportedOption(f"unknown index_type {index_type!r}", hint=hint)
    if not fitting:
        raise InvalidArgument(f"field {field.name!r} is {field.type}, which no index is for")
    if name not in _AUTOMATIC and name not in fitting:
        raise InvalidArgument(
            f"index_type {name} does not fit field {field.name!r}, which is {field.type}",
            hint=f"those that do: AUTOINDEX, {', '.join(fitting)}",
        )
    given = dict(params)
    options: dict[str, Any] = {}
    if field.type.data_type is DataType.JSON:
        options = _json_options(given, field, name)
    kind = chosen_kind(field.type, sample) if name in _AUTOMATIC else _word(name, field.type)
    options |= ngram_options(given) if kind == "ngram" else {}
    if given:
        known: tuple[str, ...] = _JSON_OPTIONS if field.type.data_type is DataType.JSON else ()
        known += ("min_gram", "max_gram") if kind == "ngram" else ()
        raise UnsupportedOption(
            f"{kind} has no build option {min(given)!r}", hint=f"options: {', '.join(known) or 'none'}"
        )
    if name in _AUTOMATIC:
        options["auto"] = True
    return ScalarParams(kind, options_of(options))


def _fits(name: str, kind: str, field_type: FieldType, kinds: Mapping[str, ScalarIndexKind]) -> bool:
    if field_type.data_type is DataType.JSON:
        return name in ("INVERTED", "NGRAM")
    if name == "TRIE" and field_type.data_type not in (DataType.VARCHAR, DataType.TEXT):
        return False
    return kinds[kind].fits(field_type)


def _word(name: str, field_type: FieldType) -> str:
    if field_type.data_type is DataType.JSON and name == "INVERTED":
        return "json_path"
    return SCALAR_INDEX_TYPES[name]


CAST_FUNCTION = "STRING_TO_DOUBLE"
"""Texts at the index's path that spell a number are numbers to every filter, whether or not the index is built."""

_JSON_OPTIONS = ("json_path", "json_cast_type", "json_cast_function")


def _json_options(given: dict[str, Any], field: Field, name: str) -> dict[str, Any]:
    path = given.pop("json_path", None)
    if not isinstance(path, str):
        raise InvalidArgument(
            f"an index of JSON field {field.name!r} is of one path, got json_path {path!r}",
            hint=f"params={{'json_path': \"{field.name}['a']['b']\", 'json_cast_type': 'JSON'}}",
        )
    steps = parse_json_path(path, field.name, dynamic=field.name == DYNAMIC_FIELD)
    cast = given.pop("json_cast_type", "VARCHAR" if name == "NGRAM" else "JSON")
    if not isinstance(cast, str) or cast.upper() not in CAST_TYPES:
        raise InvalidArgument(
            f"unknown json_cast_type {cast!r}",
            hint=f"known: {', '.join(CAST_TYPES)}; JSON takes each value as it is",
        )
    if name == "NGRAM" and cast.upper() != "VARCHAR":
        raise InvalidArgument(f"NGRAM over a JSON path is of text: json_cast_type VARCHAR, got {cast!r}")
    function = given.pop("json_cast_function", None)
    if function is None:
        return {"json_path": spell_json_path(steps), "json_cast_type": cast.upper()}
    if function != CAST_FUNCTION or cast.upper() != "DOUBLE":
        raise UnsupportedOption(
            f"json_cast_function {function!r} with json_cast_type {cast} is not supported",
            hint=f"{CAST_FUNCTION}, with DOUBLE",
        )
    return {
        "json_path": spell_json_path(steps),
        "json_cast_type": "DOUBLE",
        "json_cast_function": CAST_FUNCTION,
    }
