"""A collection's schema: ordered fields with stable ids."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from headwater.errors import FieldNotFound, InvalidArgument, SchemaMismatch
from headwater.schema.arrow import arrow_type, infer_type
from headwater.schema.fields import Double, Field, FieldType, Float
from headwater.schema.functions import Function, check_functions
from headwater.types import DataType

__all__ = ["DYNAMIC_FIELD", "ROW_KEY_SOURCE", "Schema", "infer_schema"]

ROW_KEY_SOURCE = "$row_id"
"""What the `source` of a field says whose values are the stable row ids: it has no column of its own."""

DYNAMIC_FIELD = "$meta"
"""The JSON field that holds what a dynamic schema does not name."""

KEY_TYPES = (DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64, DataType.VARCHAR, DataType.TEXT)
_NARROW_KEY_TYPES = (DataType.INT64, DataType.VARCHAR)
"""Types of the keys that the lake makes, and of those that partitions are chosen by."""


@dataclass(frozen=True)
class Schema:
    """Fields of a collection.

    Attributes:
        fields: in order.
        primary_key: the field that identifies a row; None where the stable row id does.
        dynamic: whether rows may carry keys that no field names.
        last_field_id: highest id ever given, so that a dropped field's id is never used again.
        version: grows with each alteration.
        auto_id: whether the lake makes the primary keys.
        partition_key: the field whose value decides a row's partition; None for partitions by name.
        num_partitions: partitions that a partition key spreads rows over.
        hidden: fields that the lake fills in for itself; readers name them, users do not see them.
        functions: fields that the lake computes from others.
    """

    fields: tuple[Field, ...]
    primary_key: str | None = None
    dynamic: bool = False
    last_field_id: int = 0
    version: int = 1
    auto_id: bool = False
    partition_key: str | None = None
    num_partitions: int = 0
    hidden: tuple[Field, ...] = ()
    functions: tuple[Function, ...] = ()

    def __post_init__(self) -> None:
        _check_keys(self)
        if self.functions:
            keys = {self.partition_key or "": "partition key", self.primary_key or "": "primary key"}
            check_functions(self.functions, {field.name: field for field in self.fields}, keys)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        """A line about the whole, and one for each field."""
        told = {"primary key": self.primary_key, "partition key": self.partition_key}
        more = [f"{what} {name!r}" for what, name in told.items() if name is not None]
        flags = [*["auto_id"] * self.auto_id, *["dynamic"] * self.dynamic]
        head = ", ".join([f"{len(self.fields)} field{'' if len(self.fields) == 1 else 's'}", *more, *flags])
        made = [f"  {one.output} = {one.type}({', '.join(one.inputs)})" for one in self.functions]
        return "\n".join([f"<Schema: {head}>", *(f"  {repr(one)[1:-1]}" for one in self.fields), *made])

    @cached_property
    def _hash(self) -> int:
        names = tuple((field.id, field.name, field.type, field.nullable) for field in self.fields)
        return hash((names, self.primary_key, self.dynamic, self.version))

    @classmethod
    def of(
        cls,
        what: Any,
        primary_key: str | None = None,
        *,
        dynamic: bool = False,
        functions: Sequence[Function] = (),
    ) -> Schema:
        """A schema from a mapping of names to types, fields, an Arrow schema, or a schema.

        Args:
            what: the fields.
            primary_key: the field that identifies a row.
            dynamic: whether rows may carry keys that no field names.
            functions: fields that the lake computes from others; besides those of a schema given.

        Raises:
            InvalidArgument: a name is used twice, or a value is no type.
        """
        if isinstance(what, Schema):
            primary_key, dynamic = primary_key or what.primary_key, dynamic or what.dynamic
            functions = (*what.functions, *functions)
        fields = _fields_of(what)
        if dynamic and all(field.name != DYNAMIC_FIELD for field in fields):
            fields = [*fields, Field(DYNAMIC_FIELD, FieldType(DataType.JSON), nullable=True)]
        numbered = tuple(replace(field, id=number) for number, field in enumerate(fields, start=1))
        if primary_key is not None:
            numbered = tuple(replace(f, nullable=False) if f.name == primary_key else f for f in numbered)
        return cls(numbered, primary_key, dynamic, last_field_id=len(numbered), functions=tuple(functions))

    @cached_property
    def _by_name(self) -> dict[str, Field]:
        return {field.name: field for field in self.every_field}

    @property
    def every_field(self) -> tuple[Field, ...]:
        """The fields, and the hidden ones."""
        return (*self.fields, *self.hidden)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Field names in order."""
        return tuple(field.name for field in self.fields)

    @cached_property
    def virtual(self) -> frozenset[str]:
        """Names of the fields that are searched by and have no column: the outputs of BM25."""
        return frozenset(one.output for one in self.functions if not one.stored)

    @cached_property
    def stored_fields(self) -> tuple[Field, ...]:
        """Every field that has a column, the hidden ones included."""
        return tuple(
            field
            for field in self.every_field
            if field.name not in self.virtual and field.source != ROW_KEY_SOURCE
        )

    @cached_property
    def readable_names(self) -> tuple[str, ...]:
        """Names of the fields that have values to read, in order."""
        return tuple(name for name in self.names if name not in self.virtual)

    @cached_property
    def outputs(self) -> Mapping[str, Function]:
        """The function that fills a field, by the field's name."""
        return {one.output: one for one in self.functions}

    @cached_property
    def given(self) -> Schema:
        """The fields that rows bring: those that no function fills."""
        row_key = self.row_key
        if not self.functions and row_key is None:
            return self
        return self.part([name for name in self.names if name not in self.outputs and name != row_key])

    @cached_property
    def row_key(self) -> str | None:
        """The key field whose values are the stable row ids; None where rows bring their keys, or have none."""
        return next((field.name for field in self.fields if field.source == ROW_KEY_SOURCE), None)

    def part(self, names: Collection[str]) -> Schema:
        """Some of the fields, to validate rows by: without functions, and with the keys that are among them."""
        return replace(
            self,
            fields=tuple(field for field in self.fields if field.name in names),
            primary_key=self.primary_key if self.primary_key in names else None,
            auto_id=self.auto_id and self.primary_key in names,
            partition_key=self.partition_key if self.partition_key in names else None,
            dynamic=self.dynamic and DYNAMIC_FIELD in names,
            functions=(),
        )

    def function(self, name: str) -> Function:
        """The function of a name.

        Raises:
            FieldNotFound: no such function.
        """
        for one in self.functions:
            if one.name == name:
                return one
        known = ", ".join(one.name for one in self.functions) or "none"
        raise FieldNotFound(f"no function {name!r} in the schema", hint=f"functions: {known}")

    def only_vector(self) -> Field:
        """The one field that a search without `anns_field` means.

        Raises:
            InvalidArgument: it is not one; says which there are, or what may become one.
        """
        fields = self.vector_fields or self.sparse_fields
        if len(fields) == 1:
            return fields[0]
        if fields:
            found = ", ".join(field.name for field in fields)
            raise InvalidArgument(
                f"search needs anns_field: the schema has {len(fields)} vector fields ({found})",
                hint="pass anns_field=",
            )
        arrays = [field.name for field in self.fields if field.type.element in (Float, Double)]
        raise InvalidArgument(
            "search needs a vector field, and the schema has none",
            hint=f"{arrays[0]!r} is an array of numbers: declare it, schema={{{arrays[0]!r}: hw.FloatVector(dim)}}"
            if arrays
            else "such as hw.FloatVector(768)",
        )

    @cached_property
    def vector_fields(self) -> tuple[Field, ...]:
        """The dense vector fields."""
        return tuple(field for field in self.fields if field.type.data_type.dense_vector)

    @cached_property
    def sparse_fields(self) -> tuple[Field, ...]:
        """The sparse vector fields, those that BM25 fills among them."""
        sparse = DataType.SPARSE_FLOAT_VECTOR
        return tuple(field for field in self.fields if field.type.data_type is sparse)

    @cached_property
    def json_fields(self) -> frozenset[str]:
        """Names of the JSON fields."""
        return frozenset(field.name for field in self.fields if field.type.data_type is DataType.JSON)

    @cached_property
    def geometry_fields(self) -> frozenset[str]:
        """Names of the geometry fields."""
        return frozenset(field.name for field in self.fields if field.type.data_type is DataType.GEOMETRY)

    def field(self, name: str) -> Field:
        """The field of a name.

        Raises:
            FieldNotFound: no such field; the hint lists near names.
        """
        found = self._by_name.get(name)
        if found is None:
            near = difflib.get_close_matches(str(name), self.names, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"fields: {', '.join(self.names)}"
            raise FieldNotFound(f"no field {name!r} in the schema", hint=hint)
        return found

    def field_by_id(self, field_id: int) -> Field:
        """The field of an id.

        Raises:
            FieldNotFound: no such field.
        """
        for field in self.every_field:
            if field.id == field_id:
                return field
        raise FieldNotFound(f"no field with id {field_id} in the schema")

    def to_arrow(self, names: Sequence[str] | None = None) -> pa.Schema:
        """The Arrow schema of these fields (all by default)."""
        chosen = self.fields if names is None else [self.field(name) for name in names]
        return pa.schema([pa.field(f.name, arrow_type(f.type), nullable=True) for f in chosen])

    def add(self, field: Field) -> Schema:
        """With one more field, which gets the next id."""
        number = self.last_field_id + 1
        fields = (*self.fields, replace(field, id=number))
        return replace(self, fields=fields, last_field_id=number, version=self.version + 1)

    def add_function(self, function: Function, field: Field) -> Schema:
        """With one more field, which gets the next id, and the function that fills it."""
        return replace(self.add(field), functions=(*self.functions, function))

    def hide(self, field: Field) -> Schema:
        """With one more hidden field, which gets the next id."""
        number = self.last_field_id + 1
        hidden = (*self.hidden, replace(field, id=number))
        return replace(self, hidden=hidden, last_field_id=number, version=self.version + 1)

    def drop(self, name: str) -> Schema:
        """Without a field.

        Raises:
            InvalidArgument: a function reads or fills it.
        """
        gone = self.field(name)
        for one in self.functions:
            if name == one.output or name in one.inputs:
                verb = "fills" if name == one.output else "reads"
                raise InvalidArgument(
                    f"field {name!r} cannot be dropped: function {one.name!r} {verb} it",
                    hint=f"drop_function({one.name!r}) first",
                )
        return replace(self, fields=tuple(f for f in self.fields if f is not gone), version=self.version + 1)

    def without_function(self, name: str) -> Schema:
        """Without a function; a field that it fills and that has no column goes with it, another stays as it is."""
        gone = self.function(name)
        left = tuple(one for one in self.functions if one is not gone)
        fields = tuple(f for f in self.fields if gone.stored or f.name != gone.output)
        return replace(self, fields=fields, functions=left, version=self.version + 1)

    def rename(self, old: str, new: str) -> Schema:
        """With a field renamed; its id, and so its data, stay. An external column keeps its name in the files."""
        gone = self.field(old)
        renamed = replace(gone, name=new, source=gone.source or old)
        fields = tuple(
            renamed if f is gone else replace(f, type=f.type.renamed(old, new)) for f in self.fields
        )
        key = new if self.primary_key == old else self.primary_key
        spread = new if self.partition_key == old else self.partition_key
        return replace(
            self,
            fields=fields,
            primary_key=key,
            partition_key=spread,
            version=self.version + 1,
            functions=tuple(one.renamed(old, new) for one in self.functions),
        )

    def to_json(self) -> dict[str, Any]:
        """The form stored in manifests."""
        return {
            "fields": [field.to_json() for field in self.fields],
            "primary_key": self.primary_key,
            "dynamic": self.dynamic,
            "last_field_id": self.last_field_id,
            "version": self.version,
            **({"auto_id": True} if self.auto_id else {}),
            **({"functions": [one.to_json() for one in self.functions]} if self.functions else {}),
            **({"hidden": [field.to_json() for field in self.hidden]} if self.hidden else {}),
            **(
                {"partition_key": self.partition_key, "num_partitions": self.num_partitions}
                if self.partition_key
                else {}
            ),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Schema:
        """The inverse of `to_json`."""
        return cls(
            fields=tuple(Field.from_json(item) for item in data["fields"]),
            primary_key=data["primary_key"],
            dynamic=data["dynamic"],
            last_field_id=data["last_field_id"],
            version=data["version"],
            auto_id=data.get("auto_id", False),
            partition_key=data.get("partition_key"),
            num_partitions=data.get("num_partitions", 0),
            hidden=tuple(Field.from_json(item) for item in data.get("hidden", ())),
            functions=tuple(Function.from_json(item) for item in data.get("functions", ())),
        )


def _check_keys(schema: Schema) -> None:
    """Check that fields have names of their own, and keys the types that keys may have.

    Raises:
        InvalidArgument: they do not; names the field.
    """
    seen: set[str] = set()
    for field in schema.fields:
        if field.name in seen:
            raise InvalidArgument(f"field {field.name!r} is named twice in the schema")
        seen.add(field.name)
    key = None if schema.primary_key is None else schema.field(schema.primary_key)
    if key is not None and key.type.data_type not in KEY_TYPES:
        raise InvalidArgument(f"primary key {key.name!r} must be an integer or a string, got {key.type}")
    if schema.auto_id and (key is None or key.type.data_type not in _NARROW_KEY_TYPES):
        raise InvalidArgument("auto_id needs an Int64 or VarChar primary key, which the lake fills in")
    if schema.partition_key is not None:
        spread = schema.field(schema.partition_key)
        if spread.type.data_type not in _NARROW_KEY_TYPES or spread.nullable:
            raise InvalidArgument(
                f"partition key {spread.name!r} must be an Int64 or VarChar that is never null, got {spread.type}"
            )


def _fields_of(what: Any) -> Sequence[Field]:
    """The fields that `Schema.of` is given, in whichever form."""
    if isinstance(what, Schema):
        return what.fields
    if isinstance(what, pa.Schema):
        return infer_schema(what).fields
    if not isinstance(what, Mapping):
        return list(what)
    return [
        replace(value, name=name, source=value.source or (value.name if value.name != name else None))
        if isinstance(value, Field)
        else Field(name, value)
        for name, value in what.items()
    ]


def infer_schema(arrow: pa.Schema, primary_key: str | None = None) -> Schema:
    """A schema that holds an Arrow schema's columns, each nullable.

    Raises:
        SchemaMismatch: a column has a type no field holds, or two columns have one name; names the column.
    """
    for name in arrow.names:
        if arrow.names.count(name) > 1:
            raise SchemaMismatch(f"column {name!r} appears {arrow.names.count(name)} times", column=name)
    fields = [Field(column.name, infer_type(column.name, column.type), nullable=True) for column in arrow]
    return Schema.of(fields, primary_key=primary_key)
