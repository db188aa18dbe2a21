"""Schemas with arrays of structs, as clients of Milvus make them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymilvus import CollectionSchema, DataType, MilvusClient


def add_structs(
    schema: CollectionSchema,
    name: str,
    members: Mapping[str, tuple[DataType, Mapping[str, int]]],
    *,
    max_capacity: int = 8,
    **options: Any,
) -> None:
    """Add an array of structs; of each member its type and its parameters."""
    struct = MilvusClient.create_struct_field_schema()
    for member, (kind, params) in members.items():
        struct.add_field(member, kind, **params)
    schema.add_field(
        name,
        DataType.ARRAY,
        element_type=DataType.STRUCT,
        struct_schema=struct,
        max_capacity=max_capacity,
        **options,
    )
