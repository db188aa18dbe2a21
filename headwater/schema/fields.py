"""Field types and fields: frozen values, no I/O."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from headwater.errors import InvalidArgument
from headwater.types import DataType

__all__ = [
    "JSON",
    "Array",
    "BFloat16Vector",
    "Binary",
    "BinaryVector",
    "Bool",
    "Double",
    "Field",
    "FieldType",
    "Float",
    "Float16Vector",
    "FloatVector",
    "Geometry",
    "Int8",
    "Int8Vector",
    "Int16",
    "Int32",
    "Int64",
    "Reference",
    "SparseFloatVector",
    "String",
    "StructArray",
    "Text",
    "TimestampTz",
    "VarChar",
    "analyzer_text",
]

MAX_DIM = 32_768


def _integer(data_type: DataType, name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError as error:
        raise InvalidArgument(f"{data_type}: {name} must be an integer, got {value!r}") from error
    if number < 1 and name != "dim":
        raise InvalidArgument(f"{data_type}: {name} must be at least 1, got {number}")
    return number


@dataclass(frozen=True)
class FieldType:
    """Type of a field.

    Attributes:
        data_type: the kind of value.
        dim: numbers (bits, for binary vectors) in a vector.
        element: element type of an array.
        max_length: most bytes of a varchar in UTF-8.
        max_capacity: most elements of an array.
        fields: members of a struct array.
        analyzer: of a text: JSON text of how it is cut into terms; None where it is not searched as text.
    """

    data_type: DataType
    dim: int | None = None
    element: FieldType | None = None
    max_length: int | None = None
    max_capacity: int | None = None
    fields: tuple[Field, ...] = ()
    analyzer: str | None = None

    def __post_init__(self) -> None:
        for name in ("dim", "max_length", "max_capacity"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, _integer(self.data_type, name, value))
        if self.data_type.dense_vector:
            most = MAX_DIM * 8 if self.data_type is DataType.BINARY_VECTOR else MAX_DIM
            if self.dim is None or not 1 <= self.dim <= most:
                raise InvalidArgument(f"{self.data_type}: dim must be from 1 to {most}, got {self.dim}")
            if self.data_type is DataType.BINARY_VECTOR and self.dim % 8:
                raise InvalidArgument(f"binary_vector: dim must be a multiple of 8 bits, got {self.dim}")

    def __str__(self) -> str:
        if self.dim is not None:
            return f"{self.data_type}({self.dim})"
        if self.element is not None:
            return f"array<{self.element}>"
        return str(self.data_type)

    def __repr__(self) -> str:
        """The type, and what else was said of it."""
        told = {"max_length": self.max_length, "max_capacity": self.max_capacity, "analyzer": self.analyzer}
        more = [f"{name}={value}" for name, value in told.items() if value is not None]
        members = f"{{{', '.join(f'{one.name}: {one.type}' for one in self.fields)}}}" * bool(self.fields)
        return f"<{', '.join([f'{self}{members}', *more])}>"

    def analyzed(self, analyzer: str | Mapping[str, Any]) -> FieldType:
        """The same type of text, searched as text: ``hw.Text.analyzed("english")``; see `VarChar`."""
        if self.data_type not in (DataType.VARCHAR, DataType.TEXT):
            raise InvalidArgument(f"only a text has an analyzer, got {self}")
        return replace(self, analyzer=analyzer_text(analyzer))

    def chosen_by(self) -> str | None:
        """Of a text with several analyzers: the field of the row that names the one; none of any other."""
        chooser = None if self.analyzer is None else json.loads(self.analyzer).get("by_field")
        return chooser if isinstance(chooser, str) else None

    def renamed(self, old: str, new: str) -> FieldType:
        """With what it says of other fields following their names."""
        if self.analyzer is None or self.chosen_by() != old:
            return self
        return self.analyzed({**json.loads(self.analyzer), "by_field": new})

    def to_json(self) -> dict[str, Any]:
        """The form stored in manifests."""
        out: dict[str, Any] = {"type": self.data_type.value}
        for name in ("dim", "max_length", "max_capacity", "analyzer"):
            if getattr(self, name) is not None:
                out[name] = getattr(self, name)
        if self.element is not None:
            out["element"] = self.element.to_json()
        if self.fields:
            out["fields"] = [field.to_json() for field in self.fields]
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FieldType:
        """The inverse of `to_json`."""
        return cls(
            data_type=DataType(data["type"]),
            dim=data.get("dim"),
            element=cls.from_json(data["element"]) if "element" in data else None,
            max_length=data.get("max_length"),
            max_capacity=data.get("max_capacity"),
            fields=tuple(Field.from_json(item) for item in data.get("fields", ())),
            analyzer=data.get("analyzer"),
        )


@dataclass(frozen=True)
class Field:
    """A named, typed part of a row.

    Attributes:
        name: its name.
        type: its type.
        id: number that stays with it through renames; 0 until a schema gives one.
        nullable: whether a row may leave it out.
        default: value where a row leaves it out.
        source: the column's name in an external file, where that differs.
        description: for people.
        params: what is kept with the field by name, such as `mmap.enabled` and `warmup`, which the engine acts upon.
    """

    name: str
    type: FieldType
    id: int = 0
    nullable: bool = False
    default: Any = None
    source: str | None = None
    description: str = ""
    params: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > 255:
            raise InvalidArgument(f"field name {self.name!r} must have 1 to 255 characters")
        if not isinstance(self.type, FieldType):
            raise InvalidArgument(
                f"field {self.name!r}: expected a type such as hw.Int64 or hw.FloatVector(768), got {self.type!r}"
            )

    def __repr__(self) -> str:
        """Its name, its type, and what else was said of it."""
        told = {"default": self.default, "source": self.source, "description": self.description or None}
        more = [f"{name}={value!r}" for name, value in told.items() if value is not None]
        return f"<{self.name}: {', '.join([repr(self.type)[1:-1], *['nullable'] * self.nullable, *more])}>"

    def to_json(self) -> dict[str, Any]:
        """The form stored in manifests."""
        out: dict[str, Any] = {"name": self.name, "id": self.id, **self.type.to_json()}
        if self.nullable:
            out["nullable"] = True
        if self.default is not None:
            out["default"] = self.default
        if self.source is not None:
            out["source"] = self.source
        if self.description:
            out["description"] = self.description
        if self.params:
            out["params"] = dict(self.params)
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Field:
        """The inverse of `to_json`."""
        return cls(
            name=data["name"],
            type=FieldType.from_json(data),
            id=data["id"],
            nullable=data.get("nullable", False),
            default=data.get("default"),
            source=data.get("source"),
            description=data.get("description", ""),
            params=tuple(sorted(data.get("params", {}).items())),
        )


Bool = FieldType(DataType.BOOL)
Int8 = FieldType(DataType.INT8)
Int16 = FieldType(DataType.INT16)
Int32 = FieldType(DataType.INT32)
Int64 = FieldType(DataType.INT64)
Float = FieldType(DataType.FLOAT)
Double = FieldType(DataType.DOUBLE)
String = FieldType(DataType.VARCHAR)
Text = FieldType(DataType.TEXT)
JSON = FieldType(DataType.JSON)
TimestampTz = FieldType(DataType.TIMESTAMPTZ)
Geometry = FieldType(DataType.GEOMETRY)
Binary = FieldType(DataType.BINARY)
Reference = FieldType(DataType.REFERENCE)
SparseFloatVector = FieldType(DataType.SPARSE_FLOAT_VECTOR)


def VarChar(max_length: int, analyzer: str | Mapping[str, Any] | None = None) -> FieldType:  # noqa: N802
    """Text of at most `max_length` bytes in UTF-8.

    Args:
        max_length: bytes.
        analyzer: how it is cut into terms, to be searched as text: a name such as ``"english"``, or Milvus's analyzer
            parameters, such as ``{"tokenizer": "standard", "filter": ["lowercase"]}``.
    """
    return FieldType(DataType.VARCHAR, max_length=max_length, analyzer=analyzer_text(analyzer))


def analyzer_text(analyzer: str | Mapping[str, Any] | None) -> str | None:
    """The form in which a field keeps its analyzer: JSON text with sorted keys.

    Raises:
        InvalidArgument: it is neither a name nor a mapping of JSON values.
    """
    if analyzer is None:
        return None
    params = {"type": analyzer} if isinstance(analyzer, str) else analyzer
    if not isinstance(params, Mapping):
        raise InvalidArgument(f"analyzer must be a name or a mapping of parameters, got {analyzer!r}")
    try:
        return json.dumps(dict(params), sort_keys=True, ensure_ascii=False)
    except TypeError as error:
        raise InvalidArgument(f"the analyzer's parameters are not JSON values: {error}") from error


def Array(element: FieldType, max_capacity: int | None = None) -> FieldType:  # noqa: N802
    """A list of scalars of one type."""
    if element.data_type.dense_vector or element.data_type in (DataType.ARRAY, DataType.STRUCT_ARRAY):
        raise InvalidArgument(f"array elements must be scalars, got {element}")
    return FieldType(DataType.ARRAY, element=element, max_capacity=max_capacity)


def StructArray(members: Mapping[str, FieldType], max_capacity: int | None = None) -> FieldType:  # noqa: N802
    """A list of structs with named members: scalars, and dense vectors to search by as ``field[member]``."""
    refused = (
        DataType.BFLOAT16_VECTOR,
        DataType.SPARSE_FLOAT_VECTOR,
        DataType.ARRAY,
        DataType.STRUCT_ARRAY,
        DataType.JSON,
        DataType.GEOMETRY,
    )
    for name, member in members.items():
        if member.data_type in refused:
            raise InvalidArgument(f"struct member {name!r} must be a scalar or a dense vector, got {member}")
    fields = tuple(Field(name, member, nullable=True) for name, member in members.items())
    return FieldType(DataType.STRUCT_ARRAY, fields=fields, max_capacity=max_capacity)


def FloatVector(dim: int) -> FieldType:  # noqa: N802
    """`dim` float32 numbers."""
    return FieldType(DataType.FLOAT_VECTOR, dim=dim)


def Float16Vector(dim: int) -> FieldType:  # noqa: N802
    """`dim` IEEE half-precision numbers."""
    return FieldType(DataType.FLOAT16_VECTOR, dim=dim)


def BFloat16Vector(dim: int) -> FieldType:  # noqa: N802
    """`dim` bfloat16 numbers, stored as their 16 bits (the upper half of a float32)."""
    return FieldType(DataType.BFLOAT16_VECTOR, dim=dim)


def Int8Vector(dim: int) -> FieldType:  # noqa: N802
    """`dim` int8 numbers."""
    return FieldType(DataType.INT8_VECTOR, dim=dim)


def BinaryVector(dim: int) -> FieldType:  # noqa: N802
    """`dim` bits, a multiple of 8, packed most significant bit first."""
    return FieldType(DataType.BINARY_VECTOR, dim=dim)
