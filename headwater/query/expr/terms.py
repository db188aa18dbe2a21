"""A filter bound to a schema: values with types, and conditions over them; what evaluation and pruning walk.

Values know their kind. Conditions are true, false or unknown for a row; `evaluate.holds` asks for one of the first two.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa

from headwater.query.expr.rows import TextQuery
from headwater.schema import FieldType
from headwater.types import DataType

__all__ = [
    "All",
    "Arithmetic",
    "Between",
    "Cast",
    "Column",
    "Compare",
    "Condition",
    "Const",
    "Constant",
    "Contains",
    "Current",
    "ElementAt",
    "Empty",
    "Holds",
    "JsonAt",
    "Kind",
    "Length",
    "Member",
    "Members",
    "Negated",
    "NullTest",
    "Pattern",
    "Quantified",
    "Sample",
    "Shifted",
    "Some",
    "Spatial",
    "Texts",
    "Truth",
    "Valid",
    "Value",
    "element_kind",
    "fields_of",
    "kind_of_type",
    "same",
    "shown",
    "type_of",
]


class Kind(StrEnum):
    """What a value is, as far as comparing goes. JSON: known only by row."""

    INTEGER = "integer"
    DOUBLE = "number"
    TEXT = "text"
    BOOL = "bool"
    JSON = "json"
    MOMENT = "timestamp"
    INTERVAL = "interval"
    GEOMETRY = "geometry"
    LIST = "array"
    STRUCTS = "struct array"
    OTHER = "value that filters do not compare"

    @property
    def number(self) -> bool:
        """Whether it is a number."""
        return self in (Kind.INTEGER, Kind.DOUBLE)


_KINDS = {
    DataType.BOOL: Kind.BOOL,
    DataType.INT8: Kind.INTEGER,
    DataType.INT16: Kind.INTEGER,
    DataType.INT32: Kind.INTEGER,
    DataType.INT64: Kind.INTEGER,
    DataType.FLOAT: Kind.DOUBLE,
    DataType.DOUBLE: Kind.DOUBLE,
    DataType.VARCHAR: Kind.TEXT,
    DataType.TEXT: Kind.TEXT,
    DataType.JSON: Kind.JSON,
    DataType.TIMESTAMPTZ: Kind.MOMENT,
    DataType.GEOMETRY: Kind.GEOMETRY,
    DataType.ARRAY: Kind.LIST,
    DataType.STRUCT_ARRAY: Kind.STRUCTS,
}


_TYPES = {
    Kind.INTEGER: DataType.INT64,
    Kind.DOUBLE: DataType.DOUBLE,
    Kind.TEXT: DataType.VARCHAR,
    Kind.BOOL: DataType.BOOL,
    Kind.MOMENT: DataType.TIMESTAMPTZ,
    Kind.GEOMETRY: DataType.GEOMETRY,
    Kind.LIST: DataType.ARRAY,
    Kind.STRUCTS: DataType.STRUCT_ARRAY,
}


def kind_of_type(field_type: FieldType) -> Kind:
    """The kind of a field's values."""
    return _KINDS.get(field_type.data_type, Kind.OTHER)


# -- values -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Const:
    """A literal: int, float, str, bool, a tuple of them, microseconds since 1970, or an `Interval`."""

    value: Any
    kind: Kind
    position: int


@dataclass(frozen=True)
class Column:
    """A field."""

    name: str
    type: FieldType
    position: int

    @property
    def kind(self) -> Kind:
        """See `Kind`."""
        return kind_of_type(self.type)


@dataclass(frozen=True)
class JsonAt:
    """A path of a JSON field."""

    name: str
    path: tuple[str | int, ...]
    position: int
    kind: Kind = Kind.JSON


@dataclass(frozen=True)
class Members:
    """`structs[member]`: the list of one member of a struct array."""

    name: str
    member: str
    type: FieldType
    position: int
    kind: Kind = Kind.LIST


@dataclass(frozen=True)
class ElementAt:
    """`list[index]`; null where the list is shorter."""

    of: Column | Members
    index: int
    type: FieldType
    position: int

    @property
    def kind(self) -> Kind:
        """See `Kind`."""
        return kind_of_type(self.type)


@dataclass(frozen=True)
class Current:
    """`$[member]`, or `$` where `member` is None: the element that a condition on elements is about."""

    member: str | None
    type: FieldType
    position: int

    @property
    def kind(self) -> Kind:
        """See `Kind`."""
        return kind_of_type(self.type)


@dataclass(frozen=True)
class Arithmetic:
    """`left op right`: integers where `kind` says so, as long as they fit 64 bits; otherwise numbers of either kind."""

    op: str
    left: Value
    right: Value
    kind: Kind
    position: int


@dataclass(frozen=True)
class Shifted:
    """A timestamp moved by calendar months, then by microseconds."""

    of: Value
    months: int
    microseconds: int
    position: int
    kind: Kind = Kind.MOMENT


@dataclass(frozen=True)
class Length:
    """Number of elements of a list."""

    of: Value
    position: int
    kind: Kind = Kind.INTEGER


@dataclass(frozen=True)
class Cast:
    """A value as another kind; null where it cannot be."""

    of: Value
    kind: Kind
    position: int


@dataclass(frozen=True)
class Truth:
    """A condition as a value."""

    condition: Condition
    position: int
    kind: Kind = Kind.BOOL


Value = Const | Column | JsonAt | Members | ElementAt | Current | Arithmetic | Shifted | Length | Cast | Truth


# -- conditions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Constant:
    """True or false for every row."""

    value: bool


@dataclass(frozen=True)
class All:
    """Every item holds."""

    items: tuple[Condition, ...]


@dataclass(frozen=True)
class Some:
    """Some item holds."""

    items: tuple[Condition, ...]


@dataclass(frozen=True)
class Negated:
    """The item is false."""

    item: Condition


@dataclass(frozen=True)
class Compare:
    """`left op right`; a literal is on the right."""

    op: str
    left: Value
    right: Value


@dataclass(frozen=True)
class Between:
    """A lower and an upper bound on one value."""

    of: Value
    low: Const
    high: Const
    low_inclusive: bool
    high_inclusive: bool


@dataclass(frozen=True, eq=False)
class Member:
    """The value is one of some.

    Attributes:
        of: the value.
        values: they, of the kind of `of`, or of several where that is JSON.
        value_set: of `of`'s Arrow type; None for JSON.
    """

    of: Value
    values: tuple[Any, ...]
    value_set: pa.Array | None


@dataclass(frozen=True)
class Pattern:
    """The text matches `like` or a regular expression."""

    of: Value
    pattern: str
    regex: bool


@dataclass(frozen=True)
class NullTest:
    """There is no value; never unknown."""

    of: Value


@dataclass(frozen=True)
class Holds:
    """A truth value, true."""

    of: Value


@dataclass(frozen=True)
class Empty:
    """The text has no characters."""

    of: Value


@dataclass(frozen=True)
class Contains:
    """The list has one of `values` among its elements, or all of them.

    Attributes:
        of: a list, or JSON.
        values: the elements looked for.
        every: all of them.
    """

    of: Value
    values: tuple[Any, ...]
    every: bool


@dataclass(frozen=True)
class Quantified:
    """So many elements of a list satisfy a condition.

    Attributes:
        name: the field.
        condition: on `Current`; on the field's path `()` where the list is JSON.
        least: fewest; None for all elements.
        most: most; None for no bound.
        chosen: whether it is `element_filter`, which says which elements are meant too.
        path: where in a JSON field the list is; None of another field.
    """

    name: str
    condition: Condition
    least: int | None
    most: int | None
    chosen: bool = False
    path: tuple[str | int, ...] | None = None


@dataclass(frozen=True)
class Texts:
    """The analysed text of a field matches."""

    name: str
    query: TextQuery


@dataclass(frozen=True)
class Spatial:
    """A geometry stands in a relation to another; see `index.predicates.Spatial`."""

    name: str
    relation: str
    wkb: bytes
    distance_m: float | None


@dataclass(frozen=True)
class Valid:
    """A geometry is valid."""

    name: str


@dataclass(frozen=True)
class Sample:
    """A share of the rows that the other conjuncts select.

    Attributes:
        share: between 0 and 1.
        seed: says which rows; the same of the same segments.
    """

    share: float
    seed: int


Condition = (
    Constant
    | All
    | Some
    | Negated
    | Compare
    | Between
    | Member
    | Pattern
    | NullTest
    | Holds
    | Empty
    | Contains
    | Quantified
    | Texts
    | Spatial
    | Valid
    | Sample
)


def element_kind(value: Value) -> Kind | None:
    """The kind of the elements of a field of lists; None of other values."""
    if isinstance(value, Column | Members) and value.type.element is not None:
        return kind_of_type(value.type.element)
    return None


def type_of(value: Value) -> DataType:
    """The type of a field that would hold a value; JSON where only the row tells it."""
    if isinstance(value, Column | ElementAt | Current):
        return value.type.data_type
    return _TYPES.get(value.kind, DataType.JSON)


def same(left: Any, right: Any) -> bool:
    """Whether two literals are equal; a truth value is no number."""
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def shown(value: Value) -> str:
    """A value as errors name it."""
    if isinstance(value, Column):
        return f"field {value.name!r} ({value.kind})"
    if isinstance(value, Const):
        return repr(value.value) if value.kind is not Kind.MOMENT else "a timestamp"
    return f"a {value.kind}"


def fields_of(term: Any) -> set[str]:
    """Names of the fields that a condition or a value reads."""
    found: set[str] = set()
    for attribute in fields(term):
        held = getattr(term, attribute.name)
        if attribute.name == "name":
            found.add(held)
        for one in held if isinstance(held, tuple) else (held,):
            if type(one).__module__ == __name__ and is_dataclass(one):
                found |= fields_of(one)
    return found
