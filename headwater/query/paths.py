"""Scalar values by the words a caller names them with: a field, a path in a JSON field, a key of a dynamic schema.

Values of a JSON path may be of any type, so they come as compact JSON text, equal where the values are equal; `shown`
turns them back. JSON's null and a missing path are null.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import InvalidArgument
from headwater.index.json_paths import JsonKind, JsonPath, JsonValues, shred
from headwater.lake import Segment
from headwater.query.fetch import fetch
from headwater.query.snapshot import ROW_ID, Snapshot
from headwater.schema import DYNAMIC_FIELD, Schema
from headwater.types import ORDERED_TYPES, DataType, RowIds

__all__ = [
    "FieldPath",
    "column_of",
    "field_path",
    "numbers_at",
    "numbers_of",
    "ordered_path",
    "shown",
    "stored_at",
    "values_of",
]

_WORD = re.compile(r"\s*([^\[\]\"']+?)\s*((?:\[[^\]]*\]\s*)*)")
_STEP = re.compile(r"""\[\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|(\d+))\s*\]\s*""")
_LARGEST_EXACT = float(1 << 53)
_CASTS = {
    DataType.BOOL: 0,
    DataType.INT8: 7,
    DataType.INT16: 15,
    DataType.INT32: 31,
    DataType.INT64: 63,
    DataType.VARCHAR: 0,
}
"""Types that values of a JSON path are read as, and the bits of those that are integers."""


@dataclass(frozen=True)
class FieldPath:
    """Where a value is.

    Attributes:
        text: as the caller wrote it.
        field: the field that holds it.
        path: in that field's JSON; None where the field itself is the value.
        data_type: of the field; None for the row id.
        as_type: what values of a JSON path are read as; None as what they are.
        strict: whether only values of that very type are; otherwise those that can be told as one are too.
    """

    text: str
    field: str
    path: JsonPath | None
    data_type: DataType | None
    as_type: DataType | None = None
    strict: bool = False

    def cast(self, kind: DataType | str, *, strict: bool) -> FieldPath:
        """The same place, its values read as one type; null where they are of another.

        Args:
            kind: bool, an integer type or varchar.
            strict: whether values of other types that can be told as one (``"7"`` and 7.0 as 7) are left out too.

        Raises:
            InvalidArgument: it is no JSON path, or values cannot be read as that.
        """
        if self.path is None:
            raise InvalidArgument(f"json_type: {self.text!r} is no path in a JSON field")
        if kind not in _CASTS:
            known = ", ".join(_CASTS)
            raise InvalidArgument(f"json_type {str(kind)!r}: expected one of {known}")
        return replace(self, as_type=DataType(kind), strict=strict)


def field_path(schema: Schema, text: Any, purpose: str) -> FieldPath:
    """The place that a text such as ``lang`` or ``meta["region"]`` names.

    Args:
        schema: the snapshot's.
        text: a field, or a JSON field and the steps into it.
        purpose: what asks, for messages.

    Raises:
        FieldNotFound: there is no such field.
        InvalidArgument: it is no path, or the field is no JSON.
    """
    whole = _WORD.fullmatch(text) if isinstance(text, str) else None
    steps = "" if whole is None else whole.group(2)
    found = list(_STEP.finditer(steps))
    if whole is None or "".join(step.group() for step in found) != steps:
        raise InvalidArgument(f'{purpose}: expected a field, or a path such as meta["region"], got {text!r}')
    name = whole.group(1)
    path = tuple(
        int(step[3]) if step[3] is not None else re.sub(r"\\(.)", r"\1", step[1] or step[2] or "")
        for step in found
    )
    if name == ROW_ID and name not in schema.names and not path:
        return FieldPath(text, name, None, None)
    if name not in schema.names and schema.dynamic:
        return FieldPath(text, DYNAMIC_FIELD, (name, *path) if name != DYNAMIC_FIELD else path, DataType.JSON)
    kind = schema.field(name).type.data_type
    if path and kind is not DataType.JSON:
        raise InvalidArgument(f"{purpose}: field {name!r} is {kind}, so it has no path {steps}")
    return FieldPath(text, name, path or None, kind)


def ordered_path(schema: Schema, text: Any, purpose: str) -> FieldPath:
    """`field_path` of what rows are ordered by.

    Raises:
        FieldNotFound: there is no such field.
        InvalidArgument: it is no path, or its values have no order.
    """
    path = field_path(schema, text, purpose)
    if path.path is None and path.data_type is not None and path.data_type not in ORDERED_TYPES:
        raise InvalidArgument(f"{purpose}: field {text!r} is {path.data_type}, which has no order")
    return path


def column_of(snapshot: Snapshot, segment: Segment, path: FieldPath) -> pa.Array:
    """(num_rows,) values of a whole segment, deleted rows included."""
    if path.data_type is None:
        return pa.array(snapshot.opened.readers.of(segment, snapshot.schema).row_ids())
    if path.path is None:
        return snapshot.opened.fields.column(segment, snapshot.schema, path.field)
    return _typed(snapshot.opened.fields.json_path(segment, snapshot.schema, path.field, path.path), path)


def numbers_of(snapshot: Snapshot, segment: Segment, path: FieldPath) -> pa.Array:
    """`column_of`, as numbers: of a JSON path those values that are, null elsewhere."""
    if path.path is None:
        return column_of(snapshot, segment, path)
    return snapshot.opened.fields.json_path(segment, snapshot.schema, path.field, path.path).numbers


def stored_at(
    snapshot: Snapshot,
    segments: Sequence[Segment],
    which: npt.NDArray[np.int32],
    rows: RowIds,
    path: FieldPath,
) -> pa.Array:
    """The path's field of rows across segments, in the order given, whatever the path takes of it."""
    return fetch(snapshot, segments, which, rows, [path.field])[path.field].to_arrow()


def values_of(
    snapshot: Snapshot,
    segments: Sequence[Segment],
    which: npt.NDArray[np.int32],
    rows: RowIds,
    path: FieldPath,
) -> pa.Array:
    """Values of rows across segments, in the order given."""
    column = stored_at(snapshot, segments, which, rows, path)
    return column if path.path is None else _typed(shred(column, path.path), path)


def numbers_at(
    snapshot: Snapshot,
    segments: Sequence[Segment],
    which: npt.NDArray[np.int32],
    rows: RowIds,
    path: FieldPath,
) -> pa.Array:
    """`values_of`, as numbers: of a JSON path those values that are, null elsewhere."""
    column = stored_at(snapshot, segments, which, rows, path)
    return column if path.path is None else shred(column, path.path).numbers


def shown(values: pa.Array, path: FieldPath) -> list[Any]:
    """Values as Python objects."""
    listed: list[Any] = values.to_pylist()
    if path.path is None:
        return listed
    return [None if value is None else json.loads(value) for value in listed]


def _typed(values: JsonValues, path: FieldPath) -> pa.Array:
    """`_canonical` of the values, read as the type that the path says."""
    texts = _canonical(values)
    kind = path.as_type
    if kind is None:
        return texts
    if kind is DataType.VARCHAR:
        quoted = _quoted(values.texts)
        return quoted if path.strict else pc.coalesce(quoted, _quoted(texts))
    if kind is DataType.BOOL:
        bools = values.bools.cast(pa.large_string())
        told = pc.if_else(
            pc.is_in(values.texts, pa.array(["true", "false"], pa.large_string())), values.texts, None
        )
        return bools if path.strict else pc.coalesce(bools, told)
    whole = values.integers
    if not path.strict:
        exact = pc.and_(
            pc.equal(values.numbers, pc.floor(values.numbers)),
            pc.less(pc.abs(values.numbers), _LARGEST_EXACT),
        )
        spelt = pc.match_substring_regex(values.texts, r"^-?[0-9]{1,18}$")
        whole = pc.coalesce(
            whole,
            pc.if_else(exact, values.numbers, None).cast(pa.int64()),
            pc.if_else(spelt, values.texts, None).cast(pa.int64()),
        )
    bound = (1 << _CASTS[kind]) - 1
    fits = pc.and_(pc.greater_equal(whole, -bound - 1), pc.less_equal(whole, bound))
    return pc.if_else(fits, whole, None).cast(pa.large_string())


def _quoted(texts: pa.Array) -> pa.Array:
    """(n,) large_string: texts as JSON spells them."""
    # A text that needs escapes is written by the one who knows them all; few do.
    quote, nothing = (pa.scalar(text, pa.large_string()) for text in ('"', ""))
    plain = pc.binary_join_element_wise(quote, texts, quote, nothing)
    odd = pc.fill_null(pc.match_substring_regex(texts, r'[\x00-\x1f"\\]'), False)
    if pc.any(odd).as_py():
        written = [json.dumps(text, ensure_ascii=False) for text in texts.filter(odd).to_pylist()]
        plain = pc.replace_with_mask(plain, odd, pa.array(written, pa.large_string()))
    return plain


def _canonical(values: JsonValues) -> pa.Array:
    """(n,) large_string, equal where the values are; null where there is none."""
    texts = pa.nulls(len(values), pa.large_string())
    kinds = values.kinds
    if JsonKind.DOUBLE in kinds:
        whole = pc.and_(
            pc.equal(values.numbers, pc.floor(values.numbers)),
            pc.less(pc.abs(values.numbers), _LARGEST_EXACT),
        )
        integral = pc.if_else(whole, values.numbers, None).cast(pa.int64()).cast(pa.large_string())
        texts = pc.coalesce(integral, values.numbers.cast(pa.large_string()))
    if JsonKind.INTEGER in kinds:
        texts = pc.coalesce(values.integers.cast(pa.large_string()), texts)
    if JsonKind.BOOL in kinds:
        texts = pc.coalesce(values.bools.cast(pa.large_string()), texts)
    if JsonKind.TEXT in kinds:
        texts = pc.coalesce(_quoted(values.texts), texts)
    if JsonKind.ARRAY in kinds or JsonKind.OBJECT in kinds:
        texts = pc.coalesce(values.raw, texts)
    return texts
