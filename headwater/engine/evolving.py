"""Changing a collection after it was made: fields added, altered and dropped. Metadata only; no row is rewritten.

Each change gives the schema a new version. Rows that were there before a field read as its default, or null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from headwater.engine.files import pinned_field
from headwater.engine.functions import FunctionFields
from headwater.engine.localtimes import local_default
from headwater.engine.maintaining import CLUSTERING_PROPERTY
from headwater.engine.policies import MMAP_PARAM, check_params, forget_own
from headwater.errors import AlreadyExists, FieldNotFound, InvalidArgument
from headwater.jobs import BackfillReport
from headwater.lake import AddColumns, AlterSchema, Change, DropIndex, Manifest, SetProperties
from headwater.query import TTL_FIELD_PROPERTY
from headwater.query.inverted import check_analyzers
from headwater.schema import DYNAMIC_FIELD, JSON, Field, FieldType, Function, Schema, check_default
from headwater.types import TEXT_TYPES, DataType

__all__ = ["Evolving"]


class Evolving(FunctionFields):
    """Fields and functions that come, change and go."""

    def add_field(self, field: Field, *, clustering_key: bool = False) -> Field:
        """Add a field that rows may leave out. Those that are there read as its default, or null.

        Args:
            field: nullable, or with a default.
            clustering_key: sort rows by it from the next compaction on.

        Returns:
            The field with its id.

        Raises:
            AlreadyExists: there is a field of the name.
            InvalidArgument: rows could not do without it, or its default or analyzer does not fit.
        """
        self.flush()
        base = self._lake.latest()
        if field.name in base.schema.names:
            raise AlreadyExists(f"field {field.name!r} exists in collection {self.name!r}")
        if not field.nullable and field.default is None:
            raise InvalidArgument(
                f"field {field.name!r} must be nullable or have a default: rows that are there have no value of it"
            )
        if clustering_key and CLUSTERING_PROPERTY in base.properties:
            raise InvalidArgument(
                f"collection {self.name!r} is clustered by {base.properties[CLUSTERING_PROPERTY]!r} already"
            )
        check_default(field)
        field = local_default(pinned_field(field, self._opened.files), base.properties)
        check_analyzers([field], self._opened.files, base.schema)
        added = base.schema.add(field).field(field.name)
        changes: list[Change] = [AddColumns((added,), {}, {})]
        if clustering_key:
            changes.append(SetProperties({CLUSTERING_PROPERTY: field.name}))
        self._log.advance(self._lake.commit(base, changes, operation=f"add field {field.name}"))
        return added

    def alter_field(
        self,
        name: str,
        *,
        max_length: int | None = None,
        max_capacity: int | None = None,
        description: str | None = None,
        params: Mapping[str, str | None] | None = None,
    ) -> None:
        """Change what a field's new values may be, or what is told of it; values that are there stay.

        Args:
            name: of the field, or of a member of a struct array, `field[member]`, of which only parameters change.
            max_length: most bytes of a text, or of each text of an array.
            max_capacity: most elements of an array.
            description: for people.
            params: parameters kept with the field by name; None removes one.

        Raises:
            FieldNotFound: there is no such field.
            InvalidArgument: the field's type has no such limit, or `mmap.enabled` or `warmup` has no such value.
        """
        check_params(params or {}, f"field {name!r}")
        base = self._lake.latest()
        name, _, member = name.removesuffix("]").partition("[") if name.endswith("]") else (name, "", "")
        field = base.schema.field(name)
        if member:
            altered = _with_member(field, member, params or {})
        else:
            altered = replace(
                field,
                type=_limited(field, max_length, max_capacity),
                description=field.description if description is None else description,
                params=_kept(field, params or {}),
            )
        if altered == field:
            return
        fields = tuple(altered if one is field else one for one in base.schema.fields)
        after = replace(base.schema, fields=fields, version=base.schema.version + 1)
        also = forget_own(base, field=field.id) if (params or {}).get(MMAP_PARAM) is not None else ()
        self._alter(base, after, f"alter field {name}", also)

    def drop_field(self, name: str) -> None:
        """Remove a field and its indexes; metadata only. Older versions still have it.

        Raises:
            FieldNotFound: there is no such field.
            InvalidArgument: something needs it: it is a key, the last vector, or read by a function or an analyzer.
        """
        base = self._lake.latest()
        base.schema.field(name)
        _check_drop(base, name)
        self._alter(base, base.schema.drop(name), f"drop field {name}")

    def set_dynamic(self, dynamic: bool) -> None:
        """Keep keys of rows that no field names, or stop to: then those that were kept are gone from sight.

        Args:
            dynamic: whether to.
        """
        base = self._lake.latest()
        if base.schema.dynamic == dynamic:
            return
        if dynamic:
            self.flush()
            base = self._lake.latest()
            after = replace(base.schema.add(Field(DYNAMIC_FIELD, JSON, nullable=True)), dynamic=True)
            self._alter(base, after, "keep dynamic fields")
        else:
            self._alter(base, replace(base.schema.drop(DYNAMIC_FIELD), dynamic=False), "drop dynamic fields")

    def add_function_field(self, function: Function, field: Field) -> BackfillReport:
        """Add a function with the field that it fills, and fill it for the rows that are there; see `add_function`."""
        if function.stored:
            field = replace(field, nullable=True)
        return self.add_function(function, field)

    def drop_function_field(self, name: str) -> None:
        """Remove a function together with the field that it fills, and the field's indexes.

        Args:
            name: of the function.

        Raises:
            FieldNotFound: there is no such function.
            InvalidArgument: the field is the last vector.
        """
        self.flush()
        base = self._lake.latest()
        output = base.schema.function(name).output
        if _last_vector(base.schema, output):
            raise InvalidArgument(
                f"cannot drop function {name}: it would leave no vector field in the collection"
            )
        after = base.schema.without_function(name)
        if output in after.names:
            after = replace(after.drop(output), version=base.schema.version + 1)
        self._alter(base, after, f"drop function field {name}")

    def alter_function(self, name: str, params: Mapping[str, object]) -> None:
        """Change how a function reaches what computes it; what it computes stays.

        Args:
            name: of the function.
            params: all its parameters, as they are to be.

        Raises:
            FieldNotFound: there is no such function.
            UnsupportedOption: a parameter is unknown.
            DimensionMismatch: an embedder gives vectors of another length than the field has.
        """
        base = self._lake.latest()
        old = base.schema.function(name)
        new = Function(old.name, old.type, old.inputs, old.output, params)
        if new == old:
            return
        functions = tuple(new if one is old else one for one in base.schema.functions)
        after = replace(base.schema, functions=functions, version=base.schema.version + 1)
        self._functions.check(after)
        self._alter(base, after, f"alter function {name}")

    def _alter(self, base: Manifest, after: Schema, operation: str, also: Sequence[Change] = ()) -> None:
        gone = {field.id for field in base.schema.fields} - {field.id for field in after.fields}
        drops = [DropIndex(spec.name) for spec in base.indexes if spec.field_id in gone]
        changes = [*drops, AlterSchema(base.schema, after), *also]
        self._log.advance(self._lake.commit(base, changes, operation=operation))


def _kept(field: Field, params: Mapping[str, str | None]) -> tuple[tuple[str, str], ...]:
    both = {**dict(field.params), **params}
    return tuple((key, value) for key, value in both.items() if value is not None)


def _with_member(field: Field, name: str, params: Mapping[str, str | None]) -> Field:
    """The struct array with other parameters of one member.

    Raises:
        FieldNotFound: it has no such member.
    """
    if name not in (one.name for one in field.type.fields):
        raise FieldNotFound(f"struct array {field.name!r} has no member {name!r}")
    members = (
        replace(one, params=_kept(one, params)) if one.name == name else one for one in field.type.fields
    )
    return replace(field, type=replace(field.type, fields=tuple(members)))


def _limited(field: Field, max_length: int | None, max_capacity: int | None) -> FieldType:
    kind = field.type
    inner = kind.element or kind
    if max_length is not None:
        if inner.data_type not in TEXT_TYPES:
            raise InvalidArgument(f"field {field.name!r} is {kind}, which has no max_length")
        if kind.element is None:
            kind = replace(kind, max_length=max_length)
        else:
            kind = replace(kind, element=replace(inner, max_length=max_length))
    if max_capacity is not None:
        if kind.data_type not in (DataType.ARRAY, DataType.STRUCT_ARRAY):
            raise InvalidArgument(f"field {field.name!r} is {kind}, which has no max_capacity")
        kind = replace(kind, max_capacity=max_capacity)
    return kind


def _check_drop(manifest: Manifest, name: str) -> None:
    schema = manifest.schema
    keys = {
        "primary key": schema.primary_key,
        "partition key": schema.partition_key,
        "clustering key": manifest.properties.get(CLUSTERING_PROPERTY),
    }
    for role, field in keys.items():
        if field == name:
            raise InvalidArgument(f"cannot drop {role} field: {name}")
    if name == manifest.properties.get(TTL_FIELD_PROPERTY):
        raise InvalidArgument(
            f"cannot drop field {name} because it is referenced by collection property {TTL_FIELD_PROPERTY}, "
            "drop the property first"
        )
    if schema.dynamic and name == DYNAMIC_FIELD:
        raise InvalidArgument("cannot drop dynamic field directly, use set_dynamic(False)")
    for one in schema.functions:
        if name in (*one.inputs, one.output):
            role = "output" if name == one.output else "input"
            raise InvalidArgument(
                f"field is referenced by function {one.name} as {role}, drop function first"
            )
    for other in schema.fields:
        if other.type.chosen_by() == name:
            raise InvalidArgument(
                f"cannot drop field {name}: the analyzers of field {other.name} are chosen by it"
            )
    if _last_vector(schema, name):
        raise InvalidArgument(f"cannot drop the last vector field: {name}")


def _last_vector(schema: Schema, name: str) -> bool:
    """Whether a field has vectors, and no other has."""
    having = [field.name for field in schema.fields if _has_vectors(field)]
    return having == [name]


def _has_vectors(field: Field) -> bool:
    kind = field.type.data_type
    return (
        kind.dense_vector
        or kind is DataType.SPARSE_FLOAT_VECTOR
        or any(member.type.data_type.dense_vector for member in field.type.fields)
    )
