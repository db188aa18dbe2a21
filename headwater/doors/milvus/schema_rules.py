"""What Milvus checks of a schema when a collection is made, in Milvus's order and words."""

from __future__ import annotations

from collections.abc import Mapping

from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from headwater.doors.milvus.codes import ILLEGAL_SCHEMA, UNSUPPORTED, MilvusError, invalid
from headwater.doors.milvus.collection_rules import check_properties
from headwater.doors.milvus.field_rules import VECTORS, check_field, check_struct, check_type, missing
from headwater.doors.milvus.function_rules import check_functions
from headwater.doors.milvus.names import check_collection_name, check_reserved
from headwater.doors.milvus.schemas import type_name

__all__ = ["check_create"]

Proto = schema_pb2.DataType

MAX_SHARDS = 16
MAX_FIELDS = 64
MAX_VECTOR_FIELDS = 10
MAX_PARTITIONS = 1024
MAX_DESCRIPTION = 1024


def check_create(
    request: milvus_pb2.CreateCollectionRequest,
    schema: schema_pb2.CollectionSchema,
    properties: Mapping[str, str],
) -> None:
    """Check a request to make a collection.

    Args:
        request: it.
        schema: that it brings.
        properties: that it brings.

    Raises:
        MilvusError: it breaks a rule.
    """
    name = request.collection_name
    if schema.enable_namespace:
        raise MilvusError(
            UNSUPPORTED, f"collection {name}: namespaces are not supported; use a partition key"
        )
    check_functions(schema)
    _check_counts(request, schema)
    check_collection_name(name)
    if len(schema.description.encode()) > MAX_DESCRIPTION:
        raise invalid(f"the length of a collection description must not exceed {MAX_DESCRIPTION} bytes")
    for field in (*schema.fields, *schema.struct_array_fields):
        check_reserved(field.name)
    for struct in schema.struct_array_fields:
        for field in struct.fields:
            check_reserved(field.name)
    _check_keys(schema)
    for field in schema.fields:
        check_type(field)
    _check_partition_key(request, schema)
    check_properties(properties, schema)
    _check_clustering_key(name, schema)
    for field in schema.fields:
        check_field(field, name)
    for struct in schema.struct_array_fields:
        check_struct(struct, name)
    _check_duplicates(schema)
    _check_loads(schema)


def _check_counts(request: milvus_pb2.CreateCollectionRequest, schema: schema_pb2.CollectionSchema) -> None:
    # None, or fewer, is as many as Milvus takes by itself.
    if request.shards_num > MAX_SHARDS:
        raise invalid(f"maximum shards's number should be limited to {MAX_SHARDS}")
    total = len(schema.fields) + sum(1 + len(struct.fields) for struct in schema.struct_array_fields)
    if total > MAX_FIELDS:
        raise invalid(f"maximum field's number should be limited to {MAX_FIELDS}")
    vectors = sum(field.data_type in VECTORS for field in schema.fields)
    vectors += sum(
        field.data_type in VECTORS for struct in schema.struct_array_fields for field in struct.fields
    )
    if vectors > MAX_VECTOR_FIELDS:
        raise invalid(f"maximum vector field's number should be limited to {MAX_VECTOR_FIELDS}")
    if vectors == 0:
        raise invalid("schema does not contain vector field")


def _check_keys(schema: schema_pb2.CollectionSchema) -> None:
    keys = [field for field in schema.fields if field.is_primary_key]
    if len(keys) > 1:
        raise invalid(f"there are more than one primary key, field name = {keys[0].name}, {keys[1].name}")
    if not keys:
        raise missing("primary key is not specified")
    if keys[0].data_type not in (Proto.Int64, Proto.VarChar):
        raise invalid("the data type of primary key should be Int64 or VarChar")
    if any(field.is_dynamic for field in schema.fields):
        raise invalid("cannot explicitly set a field as a dynamic field")
    autos = [field for field in schema.fields if field.autoID]
    if len(autos) > 1:
        raise invalid(
            f"only one field can speficy AutoID with true, field name = {autos[0].name}, {autos[1].name}"
        )
    if autos and not autos[0].is_primary_key:
        raise invalid(f"only primary field can speficy AutoID with true, field name = {autos[0].name}")


def _check_partition_key(
    request: milvus_pb2.CreateCollectionRequest, schema: schema_pb2.CollectionSchema
) -> None:
    keys = [field for field in schema.fields if field.is_partition_key]
    if len(keys) > 1:
        raise invalid(f"there are more than one partition key, field name = {keys[0].name}, {keys[1].name}")
    for key in keys:
        if key.is_primary_key:
            raise invalid("the partition key field must not be primary field")
        if key.nullable:
            raise invalid("partition key field not support nullable")
        if key.data_type not in (Proto.Int64, Proto.VarChar):
            raise invalid("the data type of partition key should be Int64 or VarChar")
        if request.num_partitions < 0:
            raise invalid("the specified partitions should be greater than 0 if partition key is used")
        if request.num_partitions > MAX_PARTITIONS:
            raise invalid(
                f"partition number ({request.num_partitions}) exceeds max configuration ({MAX_PARTITIONS})"
            )
    if not keys and request.num_partitions:
        raise invalid("num_partitions should only be specified with partition key field enabled")


_CLUSTERING = frozenset(
    (Proto.Int8, Proto.Int16, Proto.Int32, Proto.Int64, Proto.Float, Proto.Double, Proto.VarChar)
)


def _check_clustering_key(collection: str, schema: schema_pb2.CollectionSchema) -> None:
    keys = [field for field in schema.fields if field.is_clustering_key]
    for key in keys:
        if key.data_type in VECTORS:
            raise MilvusError(
                ILLEGAL_SCHEMA, f"clustering key {key.name} cannot be a vector", collection=collection
            )
        if key.data_type not in _CLUSTERING:
            raise MilvusError(
                ILLEGAL_SCHEMA,
                f"clustering key field {key.name} has unsupported data type {type_name(key.data_type)}",
                collection=collection,
            )
    if len(keys) > 1:
        raise MilvusError(
            ILLEGAL_SCHEMA,
            f"there are more than one clustering key, field name = {keys[0].name}, {keys[1].name}",
            collection=collection,
        )


def _check_duplicates(schema: schema_pb2.CollectionSchema) -> None:
    names = [field.name for field in schema.fields]
    for struct in schema.struct_array_fields:
        names.append(struct.name)
        names += [
            field.name if field.name.endswith("]") else f"{struct.name}[{field.name}]"
            for field in struct.fields
        ]
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise invalid(f"duplicated field name {name} found")
        seen.add(name)


def _check_loads(schema: schema_pb2.CollectionSchema) -> None:
    loaded = False
    for field in schema.fields:
        skips = any(
            pair.key == "field.skipLoad" and pair.value.lower() == "true" for pair in field.type_params
        )
        if not skips:
            loaded = loaded or field.data_type in VECTORS
            continue
        for set_, what in (
            (field.is_primary_key, "Primary key"),
            (field.is_partition_key, "Partition Key"),
            (field.is_clustering_key, "Clustering Key"),
        ):
            if set_:
                raise invalid(f"{what} field {field.name} cannot skip loading")
    if not loaded and not schema.struct_array_fields:
        raise invalid("cannot config all vector field(s) skip loading")
