"""Indexes of scalar fields as clients ask for them, in our terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.doors.milvus.codes import MISSING_PARAMETER, MilvusError, invalid
from headwater.doors.milvus.index_types import DATA_TYPE_NAMES, SCALAR_TYPES, VECTOR_TYPES
from headwater.schema import DYNAMIC_FIELD, Field, Schema
from headwater.types import INTEGER_TYPES, NUMBER_TYPES, TEXT_TYPES, DataType

__all__ = ["AUTOINDEX", "SCAN", "scalar_declaration"]

AUTOINDEX = "AUTOINDEX"

SCAN = "SCAN"
"""Described as an index, and needs no files: what it is on is always scanned."""

_CASTS = ("BOOL", "DOUBLE", "VARCHAR", "ARRAY_BOOL", "ARRAY_DOUBLE", "ARRAY_VARCHAR", "JSON")
_MOST_GRAMS = 8
_SUBSTRINGS = {"min_gram": 2, "max_gram": 3}
"""Grams that serve an FM-index: they rule out rows, and what is left is compared, so that the same rows are found."""

_PLAIN = INTEGER_TYPES | TEXT_TYPES | {DataType.BOOL}


def scalar_declaration(
    schema: Schema, field: Field, asked: str, given: Mapping[str, str]
) -> tuple[str, dict[str, Any]]:
    """The index type and parameters of ours.

    Args:
        schema: of the collection.
        field: not a vector.
        asked: Milvus's index type; empty for AUTOINDEX.
        given: the other parameters, as texts.

    Raises:
        MilvusError: 1100 or 1101, in Milvus's words.
    """
    kind = field.type.data_type
    if asked in VECTOR_TYPES:
        raise invalid(f"index {asked} only supports vector data type")
    if asked == "BITMAP" and field.name == schema.primary_key:
        raise invalid("create bitmap index on primary key not supported")
    if kind is DataType.TEXT:
        raise invalid("TEXT field does not support user-created scalar index")
    _CHECKS.get(asked, _any_type)(field)
    params: dict[str, Any] = {}
    if kind is DataType.JSON:
        params = _json(field, asked, given)
        if not params:
            return SCAN, {}
    if asked == "NGRAM":
        params |= _grams(field, given)
    if asked == "FMINDEX":
        _check_samples(given)
        params = dict(_SUBSTRINGS)
    limit = given.get("bitmap_cardinality_limit")
    if limit is not None and not (limit.isdecimal() and 1 <= int(limit) <= 1000):
        raise invalid(
            "failed to check bitmap cardinality limit, should be larger than 0 and smaller than 1000"
        )
    if kind is DataType.JSON:
        return ("NGRAM" if asked == "NGRAM" else "INVERTED"), params
    return SCALAR_TYPES.get(asked, AUTOINDEX), params


def _any_type(field: Field) -> None:
    if field.type.data_type in (DataType.STRUCT_ARRAY, DataType.BINARY, DataType.REFERENCE):
        raise invalid(
            f"create auto index on type:{DATA_TYPE_NAMES.get(field.type.data_type, 'None')} is not supported",
            expected="supported field",
            actual="unsupported field",
        )


def _unsuited(detail: str) -> MilvusError:
    """A kind of index that the field's type cannot have."""
    return invalid(detail, expected="valid index params", actual="invalid index params")


def _inverted(field: Field) -> None:
    if field.type.data_type in (DataType.GEOMETRY, DataType.STRUCT_ARRAY, DataType.TIMESTAMPTZ):
        raise _unsuited(f"INVERTED are not supported on {DATA_TYPE_NAMES[field.type.data_type]} field")


def _bitmap(field: Field) -> None:
    kind, element = field.type.data_type, field.type.element
    if kind is DataType.JSON:
        return
    if kind not in _PLAIN | {DataType.ARRAY}:
        raise _unsuited("bitmap index are only supported on bool, int, string and array field")
    if kind is DataType.ARRAY and (element is None or element.data_type not in _PLAIN):
        raise _unsuited("bitmap index are only supported on bool, int, string for array field")


def _sorted(field: Field) -> None:
    kind = field.type.data_type
    if kind not in NUMBER_TYPES | TEXT_TYPES | {DataType.TIMESTAMPTZ, DataType.JSON}:
        raise _unsuited(
            "STL_SORT are only supported on numeric, varchar or timestamptz field, "
            f"got {DATA_TYPE_NAMES.get(kind, kind)}"
        )


def _trie(field: Field) -> None:
    if field.type.data_type not in TEXT_TYPES:
        raise _unsuited("TRIE are only supported on varchar field")


def _ngram(field: Field) -> None:
    if field.type.data_type not in TEXT_TYPES | {DataType.JSON}:
        raise _unsuited("ngram index can only be created on VARCHAR or JSON field")


def _fm_index(field: Field) -> None:
    if field.type.data_type is not DataType.VARCHAR:
        raise invalid("FM-index can only be created on VARCHAR field")


def _rtree(field: Field) -> None:
    kind = field.type.data_type
    if kind is not DataType.GEOMETRY:
        raise _unsuited(
            f"RTREE index can only be built on geometry field, got {DATA_TYPE_NAMES.get(kind, kind)}"
        )


_CHECKS = {
    "INVERTED": _inverted,
    "BITMAP": _bitmap,
    "STL_SORT": _sorted,
    "TRIE": _trie,
    "Trie": _trie,
    "NGRAM": _ngram,
    "FMINDEX": _fm_index,
    "RTREE": _rtree,
}


def _json(field: Field, asked: str, given: Mapping[str, str]) -> dict[str, Any]:
    """The path and cast of an index in a JSON field; nothing for one of the whole field."""
    cast, path = given.get("json_cast_type"), given.get("json_path")
    if asked == "NGRAM":
        if cast is None:
            raise MilvusError(MISSING_PARAMETER, "JSON field with ngram index must specify json_cast_type")
        if cast.strip().upper() != "VARCHAR":
            raise invalid(
                f"JSON field with ngram index only supports VARCHAR cast type, got: {cast.strip().upper()}"
            )
        cast = "VARCHAR"
    if cast is None:
        raise MilvusError(
            MISSING_PARAMETER, "json index must specify cast type", missing_param="json_cast_type"
        )
    allowed = {"BITMAP": ("BOOL", "VARCHAR"), "STL_SORT": ("DOUBLE", "VARCHAR")}.get(asked, _CASTS)
    cast = cast.strip().upper()
    if cast not in allowed:
        suffix = f" for {asked} index" if asked in ("BITMAP", "STL_SORT") else ""
        raise invalid(f"json_cast_type {cast} is not supported{suffix}")
    function = given.get("json_cast_function")
    if function is not None and function != "STRING_TO_DOUBLE":
        raise invalid(f"json_cast_function {function} is not supported")
    if function is not None and cast != "DOUBLE":
        raise invalid(f"json_cast_function {function} is not supported for json_cast_type {cast}")
    path = field.name if path is None else path
    if path.strip() in ("", field.name) and field.name != DYNAMIC_FIELD:
        return {}
    casting = {} if function is None else {"json_cast_function": function}
    return {"json_path": path, "json_cast_type": cast, **casting}


def _grams(field: Field, given: Mapping[str, str]) -> dict[str, int]:
    if "min_gram" not in given or "max_gram" not in given:
        raise MilvusError(MISSING_PARAMETER, "Ngram index must specify both min_gram and max_gram")
    sizes = []
    for name in ("min_gram", "max_gram"):
        try:
            sizes.append(int(given[name]))
        except ValueError as error:
            raise invalid(f"{name} for Ngram index must be an integer, got: {given[name]}") from error
    least, most = sizes
    if least <= 0 or most <= 0 or least > most:
        raise invalid(
            f"invalid min_gram or max_gram value for Ngram index, min_gram: {least}, max_gram: {most}"
        )
    # Longer grams than ours goes to find the same rows.
    return {"min_gram": min(least, _MOST_GRAMS), "max_gram": min(most, _MOST_GRAMS)}


def _check_samples(given: Mapping[str, str]) -> None:
    """Sizes of parts of an FM-index: ours has no such parts, and a wrong size is a mistake all the same."""
    rate = _whole(given, "fm_sa_sample_rate")
    if rate is not None and not 4 <= rate <= 256:
        raise invalid(f"fm_sa_sample_rate for FM-index must be in [4, 256], got: {rate}")
    block = _whole(given, "fm_block_bytes")
    if block is not None and block not in (8, 16, 32, 64, 128):
        raise invalid(f"fm_block_bytes for FM-index must be a power of two in [8, 128], got: {block}")


def _whole(given: Mapping[str, str], name: str) -> int | None:
    if name not in given:
        return None
    try:
        return int(given[name])
    except ValueError as error:
        raise invalid(f"{name} for FM-index must be an integer, got: {given[name]}") from error
