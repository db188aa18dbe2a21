"""Fields and functions of a collection that is there: added, altered, dropped."""

from __future__ import annotations

import json

from google.protobuf.message import DecodeError
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from headwater.doors.milvus.codes import invalid
from headwater.doors.milvus.evolve_rules import (
    check_added_field,
    check_added_struct,
    check_alterable_params,
    check_field_params,
    check_released,
)
from headwater.doors.milvus.external_rules import check_added
from headwater.doors.milvus.function_rules import check_function
from headwater.doors.milvus.index_params import declaration
from headwater.doors.milvus.rpc import OK, Call, named_values, rpc
from headwater.doors.milvus.schemas import (
    field_from_proto,
    field_number,
    function_from_proto,
    function_to_proto,
    schema_to_proto,
    struct_from_proto,
)
from headwater.doors.milvus.tier_rules import RESIDENCY_HINTS, set_policy
from headwater.engine import Collection
from headwater.engine.policies import POLICY_PROPERTY
from headwater.errors import FieldNotFound, InvalidArgument
from headwater.schema import DYNAMIC_FIELD

__all__: list[str] = []

Kind = schema_pb2.FunctionType

_EXTERNAL = "alter collection schema operation is not supported for external collection"


@rpc("AlterCollectionSchema", lane="long")
def alter_collection_schema(
    call: Call, request: milvus_pb2.AlterCollectionSchemaRequest
) -> milvus_pb2.AlterCollectionSchemaResponse:
    """Add a field, perhaps with the function that fills it, or drop either."""
    action = request.action.WhichOneof("op")
    if action is None:
        raise invalid("action is nil")
    collection = call.described(request.collection_name)
    if collection.manifest.source is not None:
        raise invalid(_EXTERNAL)
    if action == "add_request":
        _add(call, collection, request.collection_name, request.action.add_request)
    else:
        _drop(collection, request.action.drop_request)
    return milvus_pb2.AlterCollectionSchemaResponse(alter_status=OK)


@rpc("AddCollectionField", lane="long")
def add_collection_field(call: Call, request: milvus_pb2.AddCollectionFieldRequest) -> common_pb2.Status:
    """Add a field."""
    try:
        field = schema_pb2.FieldSchema.FromString(request.schema)
    except DecodeError as error:
        raise invalid(f"failed to unmarshal field schema: {error}") from error
    collection = call.collection(request.collection_name)
    if collection.external:
        check_added(collection.schema, field, request.collection_name)
    elif field.external_field:
        raise invalid(f"field {field.name}: only fields of external collections have an external_field")
    _add_field(collection, request.collection_name, field)
    return OK


@rpc("AddCollectionStructField", lane="long")
def add_collection_struct_field(
    call: Call, request: milvus_pb2.AddCollectionStructFieldRequest
) -> common_pb2.Status:
    """Add a field of arrays of structs."""
    collection = call.collection(request.collection_name)
    if collection.manifest.source is not None:
        raise invalid("external collection does not support struct fields")
    struct = request.struct_array_field_schema
    check_added_struct(collection, request.collection_name, struct)
    collection.add_field(struct_from_proto(struct))
    return OK


def _add_field(collection: Collection, name: str, field: schema_pb2.FieldSchema) -> None:
    check_added_field(collection, name, field)
    collection.add_field(field_from_proto(field), clustering_key=field.is_clustering_key)


def _add(
    call: Call,
    collection: Collection,
    name: str,
    asked: milvus_pb2.AlterCollectionSchemaRequest.AddRequest,
) -> None:
    if len(asked.func_schema) > 1:
        raise invalid("For now, at most one function schema is supported")
    if len(asked.field_infos) > 1:
        raise invalid("For now, only one field info is supported")
    if not asked.field_infos and not asked.func_schema:
        raise invalid("fieldInfos and function schema are both empty")
    if not asked.field_infos:
        raise invalid("a function must be added with its output field in add_function_field interface")
    info = asked.field_infos[0]
    if not info.HasField("field_schema"):
        raise invalid("fieldSchema is nil in fieldInfos")
    if not asked.func_schema:
        _add_field(collection, name, info.field_schema)
        return
    _add_function_field(call, collection, name, info, asked.func_schema[0])


def _add_function_field(
    call: Call,
    collection: Collection,
    name: str,
    info: milvus_pb2.AlterCollectionSchemaRequest.FieldInfo,
    function: schema_pb2.FunctionSchema,
) -> None:
    field = info.field_schema
    if function.type not in (Kind.BM25, Kind.MinHash):
        raise invalid(
            "For now, only BM25 and MinHash functions are supported in add_function_field interface"
        )
    word = Kind.Name(function.type)
    if len(function.input_field_names) != 1 or len(function.output_field_names) != 1:
        raise invalid(f"{word} function should have exactly one input field and exactly one output field")
    if function.output_field_names[0] != field.name:
        raise invalid(
            f'function output field "{function.output_field_names[0]}" must be the newly-added field "{field.name}"'
        )
    check_added_field(collection, name, field, filled=True)
    schema = schema_to_proto(collection.schema, name)
    names = {one.name for one in schema.functions}
    if function.name in names:
        raise invalid(f"duplicate function name: {function.name}")
    if function.input_field_names[0] in collection.schema.outputs:
        raise invalid(
            f"function cascade is not supported: {function.input_field_names[0]} is a function output"
        )
    schema.fields.append(field)
    check_function(function, schema, names, set(collection.schema.outputs))
    output, made = field_from_proto(field), function_from_proto(function)
    after = collection.schema.add_function(made, output)
    chosen = declaration(after, after.field(field.name), info.extra_params)
    if info.index_name and info.index_name in {known.spec.name for known in collection.index_progress()}:
        raise invalid(f"index name {info.index_name} already exists in collection")
    collection.add_function_field(made, output)
    collection.declare_index(
        field.name,
        chosen.index_type,
        metric_type=chosen.metric_type,
        params=chosen.params,
        name=info.index_name or None,
        declared=chosen.declared,
    )
    call.backend.building.start(collection)


def _drop(collection: Collection, asked: milvus_pb2.AlterCollectionSchemaRequest.DropRequest) -> None:
    which = asked.WhichOneof("identifier")
    if which == "function_name":
        if not asked.drop_function_output_fields:
            raise invalid(
                "detaching a function without dropping its output field is not supported; drop_function always "
                f"removes the function together with its output field: {asked.function_name}"
            )
        try:
            collection.drop_function_field(asked.function_name)
        except FieldNotFound as error:
            raise invalid(f"function not found: {asked.function_name}") from error
        except InvalidArgument as error:
            raise invalid(error.message) from error
        return
    if which is None:
        raise invalid("drop request must specify field_name, field_id, or function_name")
    try:
        collection.drop_field(_dropped_name(collection, asked))
    except FieldNotFound as error:
        raise invalid(f"field not found: {asked.field_name}") from error
    except InvalidArgument as error:
        raise invalid(error.message) from error


def _dropped_name(collection: Collection, asked: milvus_pb2.AlterCollectionSchemaRequest.DropRequest) -> str:
    fields = [field for field in collection.schema.fields if field.name != DYNAMIC_FIELD]
    if asked.WhichOneof("identifier") == "field_id":
        for field in fields:
            if field_number(field) == asked.field_id:
                return field.name
        raise invalid(f"field not found with id: {asked.field_id}")
    name: str = asked.field_name
    if not name:
        raise invalid("field name cannot be empty")
    if name == DYNAMIC_FIELD:
        raise invalid(f"field not found: {name}")
    return name


# -- fields that change ---------------------------------------------------------------------------------------------


@rpc("AlterCollectionField", lane="long")
def alter_collection_field(call: Call, request: milvus_pb2.AlterCollectionFieldRequest) -> common_pb2.Status:
    """Change the limits of a field, what is told of it, and hints about its memory."""
    given = {_spelled(key): value for key, value in named_values(request.properties).items()}
    dropped = [_spelled(key) for key in request.delete_keys]
    collection, name = call.collection(request.collection_name), request.collection_name
    check_alterable_params(given, dropped)
    struct, _, member = request.field_name.removesuffix("]").partition("[")
    field = next((one for one in collection.schema.fields if one.name == struct), None)
    if member and field is not None:
        field = next((one for one in field.type.fields if one.name == member), None)
    if field is None:
        raise invalid(f"field {request.field_name} does not exist in collection")
    if "mmap.enabled" in given:
        check_released(collection, name, "can not alter collection field properties if collection loaded")
    for hint in RESIDENCY_HINTS:
        if hint in given:
            check_released(collection, name, f"can not alter {hint} if collection loaded")
    if any(key != POLICY_PROPERTY for key in dropped):
        check_released(collection, name, "can not drop collection field properties if collection loaded")
    check_field_params(field, given)
    if POLICY_PROPERTY in given and "mmap.enabled" in given:
        raise invalid(f"mmap.enabled and {POLICY_PROPERTY} say the same thing: give one of them")
    hints: dict[str, str | None] = {key: None for key in dropped if key != POLICY_PROPERTY}
    hints |= {key: given[key] for key in ("mmap.enabled", *RESIDENCY_HINTS) if key in given}
    collection.alter_field(
        request.field_name,
        max_length=int(given["max_length"]) if "max_length" in given else None,
        max_capacity=int(given["max_capacity"]) if "max_capacity" in given else None,
        description=given.get("field.description"),
        params=hints,
    )
    set_policy(collection, given, dropped, field=struct)
    return OK


def _spelled(key: str) -> str:
    return {"mmap_enabled": "mmap.enabled"}.get(key, key)


# -- functions ------------------------------------------------------------------------------------------------------


@rpc("AddCollectionFunction")
def add_collection_function(
    call: Call, request: milvus_pb2.AddCollectionFunctionRequest
) -> common_pb2.Status:
    """As in Milvus 3, a function comes with its field."""
    call.collection(request.collection_name)
    raise invalid("AddCollectionFunction RPC is no longer supported; add a function via add_function_field")


@rpc("DropCollectionFunction")
def drop_collection_function(
    call: Call, request: milvus_pb2.DropCollectionFunctionRequest
) -> common_pb2.Status:
    """As in Milvus 3, a function goes with its field."""
    call.collection(request.collection_name)
    raise invalid(
        "DropCollectionFunction RPC is no longer supported; drop a function via drop_function_field"
    )


_ALTERABLE = {
    Kind.TextEmbedding: (
        *("url", "credential", "timeout_ms", "max_client_batch_size"),
        *("region", "location", "projectid", "user"),
    )
}
"""Parameters that say how what computes is reached, and not what it computes."""


@rpc("AlterCollectionFunction", lane="long")
def alter_collection_function(
    call: Call, request: milvus_pb2.AlterCollectionFunctionRequest
) -> common_pb2.Status:
    """Change how a function reaches what computes it."""
    asked, name = request.functionSchema, request.function_name
    if not request.HasField("functionSchema"):
        raise invalid("function schema is empty")
    if asked.type == Kind.BM25:
        raise invalid("currently does not support alter BM25 function")
    if asked.name != name:
        raise invalid("invalid function config, name not match")
    collection = call.collection(request.collection_name)
    if collection.manifest.source is not None:
        raise invalid("external collection does not support altering or dropping functions")
    schema = collection.schema
    known = {one.name: one for one in schema.functions}
    if name not in known:
        raise invalid(f"function {name} not found")
    _check_alteration(function_to_proto(known[name], schema), asked)
    collection.alter_function(name, function_from_proto(asked).options)
    return OK


def _check_alteration(old: schema_pb2.FunctionSchema, new: schema_pb2.FunctionSchema) -> None:
    name = old.name
    if old.type == Kind.BM25:
        raise invalid("currently does not support alter BM25 function")
    if old.type != new.type:
        raise invalid(f"function type cannot be altered: function {name}")
    if list(old.input_field_names) != list(new.input_field_names):
        raise invalid(f"function input fields cannot be altered: function {name}")
    if list(old.output_field_names) != list(new.output_field_names):
        raise invalid(f"function output fields cannot be altered: function {name}")
    allowed = _ALTERABLE.get(old.type)
    if allowed is None:
        raise invalid(f"function type {Kind.Name(old.type)} has no alterable params")
    before, after = named_values(old.params), named_values(new.params)
    for key in sorted(set(before) | set(after)):
        if _plain(before.get(key)) != _plain(after.get(key)) and key.lower() not in allowed:
            raise invalid(f"function param {key} cannot be altered: function {name}")


def _plain(value: str | None) -> str | None:
    """A value as it is compared: a text and the JSON of it are one."""
    if value is None:
        return None
    try:
        return json.dumps(json.loads(value), sort_keys=True)
    except ValueError:
        return json.dumps(value)
