"""What Milvus checks of the functions of a schema, in Milvus's words."""

from __future__ import annotations

import re

from pymilvus.grpc_gen import schema_pb2

from headwater.doors.milvus.codes import invalid
from headwater.doors.milvus.field_rules import missing
from headwater.doors.milvus.schemas import params_of, type_name
from headwater.schema.functions import HASH_BITS

__all__ = ["check_function", "check_functions"]

Proto = schema_pb2.DataType
Kind = schema_pb2.FunctionType

_TEXTS = (Proto.VarChar, Proto.Text)


def check_functions(schema: schema_pb2.CollectionSchema) -> None:
    """Check the functions of a schema against its fields.

    Raises:
        MilvusError: one breaks a rule.
    """
    outputs: set[str] = set()
    names: set[str] = set()
    for function in schema.functions:
        check_function(function, schema, names, outputs)


def check_function(
    function: schema_pb2.FunctionSchema,
    schema: schema_pb2.CollectionSchema,
    names: set[str],
    outputs: set[str],
) -> None:
    """Check one function.

    Args:
        function: it.
        schema: holds its fields.
        names: of the functions before it; it is added.
        outputs: the fields that functions before it fill; its own is added.

    Raises:
        MilvusError: it breaks a rule.
    """
    _check_form(function)
    if function.name in names:
        raise invalid(f"duplicate function name: {function.name}")
    names.add(function.name)
    fields = {field.name: field for field in schema.fields}
    for name in function.input_field_names:
        if name not in fields:
            raise invalid(f"function input field not found: {name}")
    _check_inputs(function, [fields[name] for name in function.input_field_names])
    for name in function.output_field_names:
        if name not in fields:
            raise invalid(f"function output field not found: {name}")
        field, told = fields[name], f"function {function.name}, field {name}"
        if field.is_primary_key:
            raise invalid(f"function output field cannot be primary key: {told}")
        if field.is_partition_key or field.is_clustering_key:
            raise invalid(f"function output field cannot be partition key or clustering key: {told}")
        if field.nullable:
            raise invalid(f"function output field cannot be nullable: {told}")
        if name in outputs:
            raise invalid(f"duplicate function output field: {told}")
        outputs.add(name)
    _check_outputs(function, [fields[name] for name in function.output_field_names])


def _check_form(function: schema_pb2.FunctionSchema) -> None:
    name, inputs, outputs = function.name, list(function.input_field_names), list(function.output_field_names)
    if not name:
        raise missing("function name cannot be empty")
    if not inputs:
        raise missing(f"function input field names cannot be empty, function: {name}")
    if not outputs:
        raise missing(f"function output field names cannot be empty, function: {name}")
    for one in inputs:
        if not one:
            raise missing(f"function input field name cannot be empty string, function: {name}")
        if inputs.count(one) > 1:
            raise invalid(
                "each function input field should be used exactly once in the same function, "
                f"function: {name}, input field: {one}"
            )
    for one in outputs:
        if not one:
            raise missing(f"function output field name cannot be empty string, function: {name}")
        if one in inputs:
            raise invalid(
                "a single field cannot be both input and output in the same function, "
                f"function: {name}, field: {one}"
            )
        if outputs.count(one) > 1:
            raise invalid(
                "each function output field should be used exactly once in the same function, "
                f"function: {name}, output field: {one}"
            )
    if function.type == Kind.BM25 and function.params:
        raise invalid("BM25 function accepts no params")
    if function.type == Kind.TextEmbedding and not function.params:
        raise invalid("TextEmbedding function accepts no params")
    if function.type not in (Kind.BM25, Kind.TextEmbedding, Kind.MinHash):
        raise invalid("check function params with unknown function type")


def _check_inputs(function: schema_pb2.FunctionSchema, fields: list[schema_pb2.FieldSchema]) -> None:
    first = fields[0]
    told = f"got {len(fields)} field with type {type_name(first.data_type)}"
    fits = len(fields) == 1 and first.data_type in _TEXTS
    if function.type == Kind.BM25:
        if not fits:
            raise invalid(f"BM25 function input field must be a VARCHAR/TEXT field, {told}")
        if params_of(first.type_params).get("enable_analyzer", "").lower() != "true":
            raise invalid("BM25 function input field must set enable_analyzer to true")
    elif function.type == Kind.MinHash:
        if not fits:
            raise invalid(f"MinHash function input field must be a VARCHAR/TEXT field, {told}")
    else:
        if len(fields) != 1:
            raise invalid(f"TextEmbedding function only need 1 input field, but got {len(fields)}")
        if not fits:
            raise invalid("TextEmbedding function input field must be a VARCHAR/TEXT field")
        if first.nullable:
            raise invalid(
                f"function input field cannot be nullable: function {function.name}, field {first.name}"
            )


def _check_outputs(function: schema_pb2.FunctionSchema, fields: list[schema_pb2.FieldSchema]) -> None:
    word, kinds, told = {
        Kind.BM25: ("BM25", (Proto.SparseFloatVector,), "a SparseFloatVector"),
        Kind.MinHash: ("MinHash", (Proto.BinaryVector,), "a BinaryVector"),
        Kind.TextEmbedding: ("TextEmbedding", (Proto.FloatVector,), "a FloatVector or Int8Vector"),
    }[function.type]
    if len(fields) != 1:
        raise invalid(f"{word} function only need 1 output field, but got {len(fields)}")
    if fields[0].data_type not in kinds:
        raise invalid(
            f"{word} function output field must be {told} field, but got {type_name(fields[0].data_type)}"
        )
    if function.type == Kind.MinHash:
        _check_signatures(function, fields[0])


def _check_signatures(function: schema_pb2.FunctionSchema, field: schema_pb2.FieldSchema) -> None:
    """Check how near duplicates are found, and that the signatures fit in the field."""
    given = {pair.key.lower(): pair.value for pair in function.params}
    numbers = {}
    for key in ("num_hashes", "shingle_size", "seed", "hash_seed"):
        value = given.get(key)
        if value is None:
            continue
        if not re.fullmatch(r"[+-]?\d+", value, re.ASCII):
            raise invalid(f"param {key}:{value} is not a number")
        numbers[key] = int(value)
        if not key.endswith("seed") and numbers[key] <= 0:
            raise invalid(f"param {key}:{numbers[key]} must be positive")
    hashing, level = given.get("hash_function", "xxhash64"), given.get("token_level", "word")
    if hashing.lower() not in ("xxhash", "xxhash64", "sha1"):
        raise invalid(f"unknown hash function: {hashing} (expected 'xxhash64' or 'sha1')")
    if level.lower() not in ("char", "character", "word"):
        raise invalid(f"unknown token_level: {level} (expected 'char' or 'word')")
    bits, hashes = int(params_of(field.type_params).get("dim", 0)), numbers.get("num_hashes", 0)
    what = f"minhash function output field '{field.name}' dim {bits}"
    if hashes and bits != hashes * HASH_BITS:
        raise invalid(
            f"{what} does not match expected dim {hashes * HASH_BITS} "
            f"(numHashes {hashes} * one minhash signature size of {HASH_BITS}bit)"
        )
    if bits % HASH_BITS:
        raise invalid(f"{what} is not multiple of {HASH_BITS} (one minhash signature size)")
