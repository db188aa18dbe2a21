"""Rows packed by the client library itself; loaded by the first call that sends rows or sparse vectors as JSON.

The library brings pandas and takes a second to import, which no search over gRPC needs.
"""

from __future__ import annotations

from typing import Any

from pymilvus.client.abstract import CollectionSchema
from pymilvus.client.entity_helper import sparse_rows_to_proto
from pymilvus.client.prepare import Prepare
from pymilvus.exceptions import MilvusException

from headwater.errors import InvalidArgument

__all__ = ["packed_rows", "packed_sparse"]


def packed_rows(described: Any, rows: list[dict[str, Any]], *, upsert: bool, **more: Any) -> Any:
    """The request that inserts rows, or puts them in place of others.

    Args:
        described: the collection.
        rows: in the form that the client library takes.
        upsert: put in place.
        **more: what else the library's packing takes.

    Raises:
        InvalidArgument: the library does not take them.
    """
    told = CollectionSchema(described).dict()
    pack = Prepare.row_upsert_param if upsert else Prepare.row_insert_param
    try:
        return pack(
            entities=rows,
            fields_info=told["fields"],
            struct_fields_info=told["struct_array_fields"],
            enable_dynamic=told["enable_dynamic_field"],
            schema_timestamp=described.update_timestamp,
            **more,
        )
    except MilvusException as error:
        raise InvalidArgument(error.message) from error
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidArgument(str(error)) from error


def packed_sparse(rows: list[Any]) -> list[bytes]:
    """The bytes of sparse vectors.

    Raises:
        InvalidArgument: one is none.
    """
    try:
        return list(sparse_rows_to_proto(rows).contents)
    except MilvusException as error:
        raise InvalidArgument(error.message) from error
