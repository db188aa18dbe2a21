"""Databases: create, list, describe, alter, drop."""

from __future__ import annotations

import zlib

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import (
    DATABASE_LIMIT,
    DATABASE_NOT_FOUND,
    MilvusError,
    invalid,
    unexpected,
)
from headwater.doors.milvus.database_rules import checked_properties
from headwater.doors.milvus.names import check_database_name
from headwater.doors.milvus.rpc import OK, Call, named_values, rpc
from headwater.engine import Database
from headwater.errors import AlreadyExists, DatabaseNotFound, InvalidArgument
from headwater.lake.log import LOGICAL_BITS

__all__: list[str] = []

_DEFAULT = "default"
_MOST_DATABASES = 64
"""Milvus's bound, the default one left out."""


@rpc("CreateDatabase")
def create_database(call: Call, request: milvus_pb2.CreateDatabaseRequest) -> common_pb2.Status:
    """Add a database."""
    name = request.db_name
    check_database_name(name)
    properties = checked_properties(named_values(request.properties))
    known = call.backend.lake.list_databases()
    if name in known:
        raise unexpected(f"database already exist: {name}")
    if len(known) > _MOST_DATABASES:
        raise MilvusError(DATABASE_LIMIT, limit=_MOST_DATABASES)
    try:
        call.backend.lake.create_database(name, properties)
    except AlreadyExists as error:
        raise unexpected(f"database already exist: {name}") from error
    return OK


@rpc("ListDatabases")
def list_databases(call: Call, request: milvus_pb2.ListDatabasesRequest) -> milvus_pb2.ListDatabasesResponse:
    """The databases of the lake."""
    names = call.backend.lake.list_databases()
    return milvus_pb2.ListDatabasesResponse(
        status=OK,
        db_names=names,
        created_timestamp=[call.backend.database(name).created_ms << LOGICAL_BITS for name in names],
        db_ids=[database_id(name) for name in names],
    )


@rpc("DescribeDatabase")
def describe_database(
    call: Call, request: milvus_pb2.DescribeDatabaseRequest
) -> milvus_pb2.DescribeDatabaseResponse:
    """What a database is."""
    name = request.db_name or call.database
    database = _existing(call, name)
    return milvus_pb2.DescribeDatabaseResponse(
        status=OK,
        db_name=name,
        dbID=database_id(name),
        created_timestamp=database.created_ms << LOGICAL_BITS,
        properties=[
            common_pb2.KeyValuePair(key=key, value=value)
            for key, value in sorted(database.properties.items())
        ],
    )


@rpc("AlterDatabase")
def alter_database(call: Call, request: milvus_pb2.AlterDatabaseRequest) -> common_pb2.Status:
    """Set or remove properties of a database."""
    given, gone = named_values(request.properties), list(request.delete_keys)
    if not given and not gone:
        raise unexpected(
            "alter database with empty properties and delete keys, expected to set either properties or delete keys"
        )
    if given and gone:
        raise invalid("alter database cannot provide both properties and delete keys")
    database = _existing(call, request.db_name)
    database.set_properties({**checked_properties(given), **dict.fromkeys(gone)})
    return OK


@rpc("DropDatabase")
def drop_database(call: Call, request: milvus_pb2.DropDatabaseRequest) -> common_pb2.Status:
    """Remove a database, which must be empty; one that is not there is removed already."""
    name = request.db_name
    check_database_name(name)
    if name == _DEFAULT:
        raise unexpected("can not drop default database")
    try:
        call.backend.lake.drop_database(name)
    except DatabaseNotFound:
        return OK
    except InvalidArgument as error:
        raise unexpected(
            f"database:{name} not empty, must drop all collections before drop database"
        ) from error
    call.backend.forget_database(name)
    return OK


def database_id(name: str) -> int:
    """A number for a database, the same on every server; Milvus's for the default one."""
    return 1 if name == _DEFAULT else (1 << 32) | zlib.crc32(name.encode())


def _existing(call: Call, name: str) -> Database:
    if name not in call.backend.lake.list_databases():
        raise MilvusError(DATABASE_NOT_FOUND, database=name)
    return call.backend.database(name)
