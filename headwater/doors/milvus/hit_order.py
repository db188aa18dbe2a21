"""Orders and groups of hits and rows as clients write them, checked in Milvus's words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from headwater.doors.milvus.codes import FIELD_NOT_FOUND, MilvusError, invalid, unexpected
from headwater.doors.milvus.index_types import DATA_TYPE_NAMES
from headwater.errors import FieldNotFound, InvalidArgument
from headwater.query.group import GROUPED_TYPES
from headwater.query.paths import field_path
from headwater.schema import Schema
from headwater.types import ORDERED_TYPES, DataType

__all__ = [
    "MAX_GROUP_SIZE",
    "SEGCORE_NAMES",
    "check_group_field",
    "check_group_size",
    "query_order",
    "search_order",
]

MAX_GROUP_SIZE = 10
"""Most hits of a group that a client may ask for: the default of Milvus's `quotaAndLimits.limits.maxGroupSize`."""

SEGCORE_NAMES = {
    **{kind: name.upper() for kind, name in DATA_TYPE_NAMES.items()},
    DataType.FLOAT_VECTOR: "VECTOR_FLOAT",
    DataType.BINARY_VECTOR: "VECTOR_BINARY",
    DataType.FLOAT16_VECTOR: "VECTOR_FLOAT16",
    DataType.BFLOAT16_VECTOR: "VECTOR_BFLOAT16",
    DataType.INT8_VECTOR: "VECTOR_INT8",
    DataType.SPARSE_FLOAT_VECTOR: "VECTOR_SPARSE_U32_F32",
    DataType.STRUCT_ARRAY: "VECTOR_ARRAY",
}
"""Types as Milvus's core spells them in its errors."""

_DIRECTIONS = {"": "asc", "asc": "asc", "ascending": "asc", "desc": "desc", "descending": "desc"}
_NULLS = ("nulls_first", "nulls_last")
_IDENTIFIER = re.compile(r"[^\W\d][\w$]*(?:\s*\[.*\])?")

Order = tuple[str, str, str]
"""A field or path, `asc` or `desc`, and where nulls stand."""


def search_order(schema: Schema, text: str) -> list[Order]:
    """The order of a search's hits: nulls come first where it ascends, and last where it descends.

    Args:
        schema: the collection's.
        text: such as ``price:asc,meta["rank"]:desc``.

    Raises:
        MilvusError: 1100, a field is not there or has no order, or a direction is none.
    """
    orders = []
    for name, direction, nulls in _items(text):
        if direction not in _DIRECTIONS:
            raise invalid(
                f"invalid order direction '{direction}' for field '{name}', expected 'asc' or 'desc'"
            )
        _check_search_field(schema, name)
        down = _DIRECTIONS[direction]
        orders.append((name, down, nulls or ("nulls_first" if down == "asc" else "nulls_last")))
    return orders


def _check_search_field(schema: Schema, name: str) -> None:
    try:
        path = field_path(schema, name, "order_by_fields")
    except (FieldNotFound, InvalidArgument) as error:
        base = name.partition("[")[0]
        if name.endswith("]") and base in schema.names:
            text = f"order_by field '{name}' has brackets but is not a JSON type"
        else:
            text = f"order_by field '{name}' does not exist in collection schema"
        raise invalid(text) from error
    kind = path.data_type
    if path.path is None and kind is not None and kind not in ORDERED_TYPES:
        text = (
            f"order_by field '{name}' has unsortable type {DATA_TYPE_NAMES.get(kind, kind)}; supported types: bool, "
            'int8/16/32/64, float, double, string, varchar; for JSON fields use path syntax like field["key"]'
        )
        raise invalid(text) from InvalidArgument(text)


def query_order(schema: Schema | None, text: str, *, only_fields: bool = False) -> list[Order]:
    """The order of a query's rows: nulls come last where it ascends, and first where it descends.

    Args:
        schema: the collection's; None where the order is of an aggregating query's columns.
        text: such as ``price:asc,rank:desc:nulls_last``.
        only_fields: whether paths and keys of dynamic rows are refused, as Milvus does.

    Raises:
        MilvusError: 1100, a field is not there or has no order, or a direction is none.
    """
    orders = []
    for name, direction, nulls in _items(text):
        if direction not in _DIRECTIONS:
            raise invalid(
                f"invalid order direction '{direction}' for field '{name}', must be 'asc' or 'desc'"
            )
        field = None if schema is None or name not in schema.names else schema.field(name)
        if only_fields and field is None:
            raise invalid(f"order_by field '{name}' does not exist in collection schema")
        kind = None if field is None else field.type.data_type
        if kind is not None and kind not in ORDERED_TYPES:
            text = f"order_by field '{name}' has type {DATA_TYPE_NAMES.get(kind, kind)} which is not sortable"
            raise invalid(text) from InvalidArgument(text)
        down = _DIRECTIONS[direction]
        orders.append((name, down, nulls or ("nulls_last" if down == "asc" else "nulls_first")))
    return orders


def _items(text: str) -> Iterator[tuple[str, str, str]]:
    """Name, direction and place of nulls of each item, the latter two as far as they are given."""
    depth, begun, items = 0, 0, []
    for place, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            items.append(text[begun:place])
            begun = place + 1
    for item in (*items, text[begun:]):
        if not item.strip():
            continue
        steps = item.rfind("]") + 1
        if item.count("[") != item.count("]"):
            yield item.strip(), "", ""
            continue
        word, *said = item[steps:].split(":")
        nulls = said[1].strip().lower() if len(said) > 1 else ""
        if nulls and nulls not in _NULLS:
            raise invalid(f"invalid null ordering '{nulls}', must be 'nulls_first' or 'nulls_last'")
        yield (item[:steps] + word).strip(), (said[0].strip().lower() if said else ""), nulls


def check_group_field(schema: Schema, name: str) -> None:
    """Check what hits are grouped by.

    Raises:
        MilvusError: 1700, there is no such field; 65535, its values are not grouped by, or it is no name.
    """
    if schema.dynamic and not _IDENTIFIER.fullmatch(name):
        raise unexpected(f"cannot parse identifier: {name}") from InvalidArgument(name)
    try:
        path = field_path(schema, name, "group_by_field")
    except FieldNotFound as error:
        raise MilvusError(FIELD_NOT_FOUND, "groupBy field not found in schema", field=name) from error
    except InvalidArgument as error:
        if name.partition("[")[0] in schema.names:
            raise
        raise MilvusError(FIELD_NOT_FOUND, "groupBy field not found in schema", field=name) from error
    kind = path.data_type
    if kind is not None and kind not in GROUPED_TYPES:
        text = f"unsupported data type {SEGCORE_NAMES.get(kind, kind)} for group by operator"
        raise unexpected(text) from InvalidArgument(f"group_by_field {name!r} is {kind}")


def check_group_size(size: int) -> None:
    """Check how many hits a group may have.

    Raises:
        MilvusError: 1100, it is out of range.
    """
    if size <= 0:
        raise invalid(f"input group size:{size} is negative, failed to do search_groupby")
    if size > MAX_GROUP_SIZE:
        raise invalid(f"input group size:{size} exceeds configured max group size:{MAX_GROUP_SIZE}")
