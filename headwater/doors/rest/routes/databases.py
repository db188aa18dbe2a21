"""Routes of databases."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.rest.ask import Ask
from headwater.doors.rest.fields import PROPERTIES, TEXTS, Field, Schema, need
from headwater.doors.rest.route import NAMES, Route, direct, listed, shape

__all__ = ["PAIRS", "ROUTES", "shown_pairs"]

_NAME = need("dbName", about="the database")
_PROPERTIES = Field("properties", PROPERTIES, about="names and values")
PAIRS: Schema = {
    "type": "array",
    "items": shape(key="string", value="string"),
}
"""Properties as an answer has them."""


def shown_pairs(pairs: Any) -> list[dict[str, str]]:
    """Properties of the protocol as an answer has them."""
    return [{"key": pair.key, "value": pair.value} for pair in pairs]


def _described(ask: Ask, response: milvus_pb2.DescribeDatabaseResponse) -> Any:
    return {
        "dbName": response.db_name,
        "dbID": response.dbID,
        "properties": shown_pairs(response.properties),
    }


ROUTES: tuple[Route, ...] = (
    direct(
        "databases/create",
        "CreateDatabase",
        "Create a database.",
        (_NAME, _PROPERTIES),
        example={"dbName": "shop", "properties": {"database.max.collections": 10}},
    ),
    direct(
        "databases/list",
        "ListDatabases",
        "The names of all databases.",
        show=listed("db_names"),
        data=NAMES,
    ),
    direct(
        "databases/describe",
        "DescribeDatabase",
        "A database and its properties.",
        (_NAME,),
        show=_described,
        data=shape(dbName="string", dbID="integer", properties=PAIRS),
        example={"dbName": "shop"},
    ),
    direct(
        "databases/alter",
        "AlterDatabase",
        "Set properties of a database.",
        (_NAME, _PROPERTIES),
        example={"dbName": "shop", "properties": {"database.max.collections": 20}},
    ),
    direct(
        "databases/alter_properties",
        "AlterDatabase",
        "Set properties of a database.",
        (_NAME, _PROPERTIES),
        example={"dbName": "shop", "properties": {"database.max.collections": 30}},
    ),
    direct(
        "databases/drop_properties",
        "AlterDatabase",
        "Take properties of a database away.",
        (_NAME, Field("propertyKeys", TEXTS, also=("deleteKeys",))),
        into={"propertyKeys": "delete_keys"},
        example={"dbName": "shop", "propertyKeys": ["database.max.collections"]},
    ),
    direct("databases/drop", "DropDatabase", "Drop an empty database.", (_NAME,), example={"dbName": "shop"}),
)
"""The routes under `databases/`."""
