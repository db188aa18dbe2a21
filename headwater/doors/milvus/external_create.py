"""Making an external collection."""

from __future__ import annotations

from collections.abc import Mapping

from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from headwater.doors.milvus.codes import UNEXPECTED, MilvusError, invalid
from headwater.doors.milvus.described import DESCRIPTION_PROPERTY
from headwater.doors.milvus.external_rules import check_external_schema
from headwater.doors.milvus.function_rules import check_functions
from headwater.doors.milvus.rpc import OK, Call
from headwater.doors.milvus.schema_rules import check_create
from headwater.doors.milvus.schemas import field_from_proto, function_from_proto
from headwater.engine.core import CONSISTENCY_PROPERTY
from headwater.errors import AlreadyExists
from headwater.lake.external import SOURCE_PROPERTY, SPEC_PROPERTY

__all__ = ["create_external"]


def create_external(
    call: Call,
    request: milvus_pb2.CreateCollectionRequest,
    proto: schema_pb2.CollectionSchema,
    properties: Mapping[str, str],
    level: str,
) -> common_pb2.Status:
    """Declare a collection on files of others; a refresh brings its rows.

    Args:
        call: who asks.
        request: what for.
        proto: the schema that it brings.
        properties: that it brings.
        level: the consistency level of reads that do not say.

    Raises:
        MilvusError: it breaks a rule, or there is another collection of that name.
    """
    name, db = request.collection_name, call.db
    check_functions(proto)
    check_external_schema(proto, name)
    if request.shards_num > 1:
        raise invalid(
            f"external collection does not support multiple shards, got ShardsNum={request.shards_num}"
        )
    keyed = schema_pb2.CollectionSchema()
    keyed.CopyFrom(proto)
    keyed.fields.add(name="row_key", data_type=schema_pb2.DataType.Int64, is_primary_key=True, autoID=True)
    check_create(request, keyed, properties)
    if properties.get("collection.ttl.seconds") or properties.get("ttl_field"):
        raise invalid(f"time to live is not supported for external collection {name}")
    kept = dict(properties)
    if proto.description:
        kept[DESCRIPTION_PROPERTY] = proto.description
    kept[CONSISTENCY_PROPERTY] = level
    fields = [field_from_proto(field) for field in proto.fields]
    functions = [function_from_proto(one) for one in proto.functions]
    try:
        db.external.declare(
            name, fields, proto.external_source, proto.external_spec, functions=functions, properties=kept
        )
    except AlreadyExists as error:
        there = db.collection(name).manifest
        asked = {**kept, SOURCE_PROPERTY: proto.external_source, SPEC_PROPERTY: proto.external_spec}
        names = [field.name for field in there.schema.given.fields]
        same = all(there.properties.get(key) == value for key, value in asked.items())
        if same and names == [field.name for field in proto.fields if field.external_field]:
            return OK
        raise MilvusError(
            UNEXPECTED, f"create duplicate collection with different parameters, collection: {name}"
        ) from error
    return OK
