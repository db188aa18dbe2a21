"""Aliases: create, alter, describe, list, drop."""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import (
    ALIAS_EXISTS,
    ALIAS_IS_COLLECTION,
    ALIAS_NOT_FOUND,
    COLLECTION_NOT_FOUND,
    MilvusError,
    collection_not_found,
)
from headwater.doors.milvus.names import check_collection_name, is_collection_name
from headwater.doors.milvus.rpc import OK, Call, rpc
from headwater.errors import AliasNotFound, AlreadyExists

__all__: list[str] = []


@rpc("CreateAlias")
def create_alias(call: Call, request: milvus_pb2.CreateAliasRequest) -> common_pb2.Status:
    """Let another name stand for a collection."""
    alias, name = request.alias, request.collection_name
    check_collection_name(alias, "alias")
    check_collection_name(name)
    aliases = call.db.list_aliases()
    if name in aliases or not call.db.has_collection(name):
        raise collection_not_found(call.database, name)
    _check_no_collection(call, alias, aliases)
    known = aliases.get(alias)
    if known is not None:
        _check_same(call, alias, known, name)
        return OK
    try:
        call.db.create_alias(alias, name)
    except AlreadyExists:
        _check_no_collection(call, alias, call.db.list_aliases())
        _check_same(call, alias, call.db.list_aliases().get(alias, ""), name)
    return OK


def _check_no_collection(call: Call, alias: str, aliases: dict[str, str]) -> None:
    if alias not in aliases and call.db.has_collection(alias):
        raise MilvusError(ALIAS_IS_COLLECTION, database=call.database, alias=alias)


def _check_same(call: Call, alias: str, known: str, wanted: str) -> None:
    if known != wanted:
        raise MilvusError(
            ALIAS_EXISTS,
            f"{alias} is alias to another collection: {known}",
            database=call.database,
            alias=alias,
        )


@rpc("AlterAlias")
def alter_alias(call: Call, request: milvus_pb2.AlterAliasRequest) -> common_pb2.Status:
    """Let an alias stand for another collection from now on."""
    alias, name = request.alias, request.collection_name
    check_collection_name(alias, "alias")
    check_collection_name(name)
    aliases = call.db.list_aliases()
    _check_no_collection(call, alias, aliases)
    if name in aliases or not call.db.has_collection(name):
        raise MilvusError(COLLECTION_NOT_FOUND, collection=name)
    try:
        call.db.alter_alias(alias, name)
    except AliasNotFound as error:
        raise MilvusError(ALIAS_NOT_FOUND, database=call.database, alias=alias) from error
    return OK


@rpc("DropAlias")
def drop_alias(call: Call, request: milvus_pb2.DropAliasRequest) -> common_pb2.Status:
    """Forget an alias; one that is not there is forgotten already."""
    if request.alias and not is_collection_name(request.alias):
        return OK
    check_collection_name(request.alias, "alias")
    try:
        call.db.drop_alias(request.alias)
    except AliasNotFound:
        return OK
    return OK


@rpc("DescribeAlias")
def describe_alias(call: Call, request: milvus_pb2.DescribeAliasRequest) -> milvus_pb2.DescribeAliasResponse:
    """Which collection an alias stands for."""
    check_collection_name(request.alias, "alias")
    found = call.db.list_aliases().get(request.alias)
    if found is None:
        raise MilvusError(ALIAS_NOT_FOUND, database=call.database, alias=request.alias)
    return milvus_pb2.DescribeAliasResponse(
        status=OK, db_name=call.database, alias=request.alias, collection=found
    )


@rpc("ListAliases")
def list_aliases(call: Call, request: milvus_pb2.ListAliasesRequest) -> milvus_pb2.ListAliasesResponse:
    """The aliases of a collection, or all of a database."""
    name = request.collection_name
    if name:
        check_collection_name(name)
        if not call.db.has_collection(name):
            raise collection_not_found(call.database, name)
    found = call.db.list_aliases(name or None)
    return milvus_pb2.ListAliasesResponse(
        status=OK, db_name=call.database, collection_name=name, aliases=list(found)
    )
