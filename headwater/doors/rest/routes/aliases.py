"""Routes of aliases."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.rest.ask import Ask
from headwater.doors.rest.fields import Field, need
from headwater.doors.rest.route import COLLECTION, NAMES, Route, direct, listed, shape

__all__ = ["ROUTES"]

_ALIAS = need("aliasName")
_INTO = {"aliasName": "alias"}
_EXAMPLE = {"collectionName": "books", "aliasName": "library"}


def _described(ask: Ask, response: milvus_pb2.DescribeAliasResponse) -> Any:
    return {
        "dbName": response.db_name,
        "collectionName": response.collection,
        "aliasName": response.alias,
    }


ROUTES: tuple[Route, ...] = (
    direct(
        "aliases/create",
        "CreateAlias",
        "Give a collection another name.",
        (COLLECTION, _ALIAS),
        into=_INTO,
        example=_EXAMPLE,
    ),
    direct(
        "aliases/list",
        "ListAliases",
        "The aliases of a collection, or of all.",
        (Field("collectionName"),),
        show=listed("aliases"),
        data=NAMES,
        example={"collectionName": "books"},
    ),
    direct(
        "aliases/describe",
        "DescribeAlias",
        "The collection that an alias stands for.",
        (_ALIAS,),
        into=_INTO,
        show=_described,
        data=shape(dbName="string", collectionName="string", aliasName="string"),
        example={"aliasName": "library"},
    ),
    direct(
        "aliases/alter",
        "AlterAlias",
        "Let an alias stand for another collection.",
        (COLLECTION, _ALIAS),
        into=_INTO,
        example=_EXAMPLE,
    ),
    direct(
        "aliases/drop", "DropAlias", "Drop an alias.", (_ALIAS,), into=_INTO, example={"aliasName": "library"}
    ),
)
"""The routes under `aliases/`."""
