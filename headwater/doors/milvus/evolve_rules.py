"""What Milvus checks of a change to a collection, in Milvus's words."""

from __future__ import annotations

from collections.abc import Mapping

from pymilvus.grpc_gen import schema_pb2

from headwater.doors.milvus.codes import COLLECTION_LOADED, MilvusError, invalid, unexpected
from headwater.doors.milvus.field_rules import VECTORS, check_field, check_struct
from headwater.doors.milvus.names import check_field_name
from headwater.doors.milvus.schema_rules import MAX_FIELDS, MAX_VECTOR_FIELDS
from headwater.doors.milvus.schemas import MAX_CAPACITY, MAX_VARCHAR, member_name
from headwater.doors.milvus.tier_rules import RESIDENCY_HINTS, check_evictable, check_policy
from headwater.engine import Collection
from headwater.engine.maintaining import CLUSTERING_PROPERTY
from headwater.engine.policies import POLICY_PROPERTY
from headwater.schema import Field
from headwater.types import TEXT_TYPES, DataType

__all__ = [
    "check_added_field",
    "check_added_struct",
    "check_alterable_params",
    "check_field_params",
    "check_released",
]

Proto = schema_pb2.DataType

SYSTEM_FIELDS = ("RowID", "Timestamp", "$rowid", "$timestamp", "$meta", "$namespace", "__virtual_pk__")
_CLUSTERING = frozenset(
    (Proto.Int8, Proto.Int16, Proto.Int32, Proto.Int64, Proto.Float, Proto.Double, Proto.VarChar)
)
_TYPES = VECTORS | {
    *(Proto.Bool, Proto.Int8, Proto.Int16, Proto.Int32, Proto.Int64, Proto.Float, Proto.Double),
    *(Proto.VarChar, Proto.Text, Proto.JSON, Proto.Array, Proto.Geometry, Proto.Timestamptz),
}


def check_released(collection: Collection, name: str, why: str) -> None:
    """Refuse a change of a collection that is loaded.

    Raises:
        MilvusError: 104, it is.
    """
    if collection.load_state.anything:
        raise MilvusError(COLLECTION_LOADED, why, collection=name)


# -- fields that come -----------------------------------------------------------------------------------------------


def check_added_field(
    collection: Collection, name: str, field: schema_pb2.FieldSchema, *, filled: bool = False
) -> None:
    """Check a field that is added.

    Args:
        collection: to it.
        name: of the collection, as the client has it.
        field: the field.
        filled: whether a function fills it, so that rows never lack it.

    Raises:
        MilvusError: it breaks a rule.
    """
    _check_room(collection)
    if field.data_type not in _TYPES:
        raise invalid(
            "",
            expected="valid field",
            actual=f"field data type: {Proto.Name(field.data_type)} is not supported",
        )
    _check_not_system(field.name)
    if field.is_primary_key:
        raise invalid(f"not support to add pk field, field name = {field.name}")
    if field.autoID:
        raise invalid(f"only primary field can speficy AutoID with true, field name = {field.name}")
    if field.is_partition_key:
        raise invalid(f"not support to add partition key field, field name  = {field.name}")
    if field.is_clustering_key:
        _check_clustering(collection, field)
    if field.data_type in VECTORS:
        _check_vectors(collection)
    if not filled and not field.nullable:
        raise invalid(f"added field must be nullable, please check it, field name = {field.name}")
    if field.data_type == Proto.Text and field.HasField("default_value"):
        raise invalid(f"default value is not supported when adding TEXT field, field name = {field.name}")
    _check_new_name(collection, field.name)
    check_field(field, name)


def _check_not_system(name: str) -> None:
    if name in SYSTEM_FIELDS:
        raise invalid(f"not support to add system field, field name = {name}")


def _check_room(collection: Collection) -> None:
    fields = [field for field in collection.schema.fields if not field.name.startswith("$")]
    if sum(1 + len(field.type.fields) for field in fields) >= MAX_FIELDS:
        raise invalid(f"The number of fields has reached the maximum value {MAX_FIELDS}")


def _check_clustering(collection: Collection, field: schema_pb2.FieldSchema) -> None:
    if field.data_type not in _CLUSTERING:
        raise invalid(
            f"clustering key field {field.name} has unsupported data type {Proto.Name(field.data_type)}"
        )
    if CLUSTERING_PROPERTY in collection.manifest.properties:
        raise invalid(f"already has another clustering key field, field name: {field.name}")


def _check_vectors(collection: Collection) -> None:
    schema = collection.schema
    members = sum(
        member.type.data_type.dense_vector for field in schema.fields for member in field.type.fields
    )
    if len(schema.vector_fields) + len(schema.sparse_fields) + members >= MAX_VECTOR_FIELDS:
        raise unexpected(f"maximum vector field's number should be limited to {MAX_VECTOR_FIELDS}")


def _check_new_name(collection: Collection, name: str) -> None:
    check_field_name(name)
    if name in collection.schema.names:
        raise invalid(f"duplicated field name {name}")


def check_added_struct(collection: Collection, name: str, struct: schema_pb2.StructArrayFieldSchema) -> None:
    """Check a field of arrays of structs that is added.

    Raises:
        MilvusError: it breaks a rule.
    """
    _check_room(collection)
    for one in (struct.name, *(member_name(struct.name, field.name) for field in struct.fields)):
        _check_not_system(one)
    if not struct.nullable:
        raise invalid(f"added field must be nullable, please check it, field name = {struct.name}")
    if any(field.data_type in VECTORS for field in struct.fields):
        _check_vectors(collection)
    _check_new_name(collection, struct.name)
    check_struct(struct, name)


# -- fields that change ---------------------------------------------------------------------------------------------

_HINTS = ("mmap.enabled", *RESIDENCY_HINTS, POLICY_PROPERTY)
_ALTERED = (*_HINTS, "max_length", "max_capacity", "field.description")


def check_alterable_params(given: Mapping[str, str], dropped: list[str]) -> None:
    """Check which parameters of a field are altered or dropped.

    Raises:
        MilvusError: 1100, one cannot be.
    """
    for key in given:
        if key not in _ALTERED:
            raise invalid(f"{key} does not allow update in collection field param")
    for key in dropped:
        if key not in _HINTS:
            raise invalid(f"{key} is not allowed to drop in collection field param")


def check_field_params(field: Field, given: Mapping[str, str]) -> None:
    """Check the values that a field's parameters are to have.

    Raises:
        MilvusError: 1100, one does not fit.
    """
    if POLICY_PROPERTY in given:
        check_policy(POLICY_PROPERTY, given[POLICY_PROPERTY])
    mapped = given.get("mmap.enabled", "true")
    if mapped.lower() not in ("true", "false"):
        raise invalid(f"invalid mmap.enabled value: {mapped}, expected: true, false")
    if "evictable" in given:
        check_evictable("evictable", given["evictable"])
    warmup = given.get("warmup")
    if warmup is not None and warmup not in ("sync", "async", "disable"):
        raise invalid(f"invalid warmup policy: {warmup}, must be one of sync, async, disable")
    if "max_length" in given:
        _check_length(field, given["max_length"])
    if "max_capacity" in given:
        _check_capacity(field, given["max_capacity"])


def _check_length(field: Field, value: str) -> None:
    kind = field.type.element or field.type
    if kind.data_type not in TEXT_TYPES or kind.data_type is DataType.TEXT:
        raise invalid(f"{field.name} can not modify the maxlength for non-string types")
    if not value.lstrip("+-").isdecimal():
        raise invalid("max_length should be an integer, but got string")
    if int(value) > MAX_VARCHAR:
        raise invalid(f"{value} exceeds the maximum allowed value {MAX_VARCHAR}")
    if int(value) <= 0:
        raise invalid(
            f"the maximum length specified for the field({field.name}) should be in (0, {MAX_VARCHAR}], "
            f"but got {value} instead"
        )


def _check_capacity(field: Field, value: str) -> None:
    if field.type.data_type not in (DataType.ARRAY, DataType.STRUCT_ARRAY):
        raise invalid(f"{field.name} can not modify the maxcapacity for non-array types")
    if not value.lstrip("+-").isdecimal():
        raise invalid(f"the value for max_capacity of field {field.name} must be an integer")
    if not 0 < int(value) <= MAX_CAPACITY:
        raise invalid(f"the maximum capacity specified for a Array should be in (0, {MAX_CAPACITY}]")
