"""Users and their passwords."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import QUOTA_REACHED, MilvusError, invalid
from headwater.doors.milvus.rpc import OK, Call, rpc
from headwater.errors import AlreadyExists, QuotaExceeded

__all__ = ["counted"]


@contextmanager
def counted() -> Iterator[None]:
    """Tell that there may be no more users, or roles, in a way that clients do not take for a rate limit."""
    try:
        yield
    except QuotaExceeded as error:
        raise MilvusError(QUOTA_REACHED, error.message.removesuffix(f": {QUOTA_REACHED.base}")) from error


@rpc("CreateCredential", lane="long")
def create_credential(call: Call, request: milvus_pb2.CreateCredentialRequest) -> common_pb2.Status:
    """Add a user."""
    with counted():
        try:
            call.access.users.create(
                request.username, _decoded(request.password), description=request.description
            )
        except AlreadyExists as error:
            raise invalid(error.message) from error
    return OK


@rpc("UpdateCredential", lane="long")
def update_credential(call: Call, request: milvus_pb2.UpdateCredentialRequest) -> common_pb2.Status:
    """Give a user another password, another description, or both."""
    described = request.HasField("description")
    if request.newPassword or not described:
        old = _decoded(request.oldPassword, "old password")
        call.access.users.set_password(request.username, old, _decoded(request.newPassword))
    if described:
        call.access.users.describe(request.username, request.description)
    return OK


@rpc("DeleteCredential")
def delete_credential(call: Call, request: milvus_pb2.DeleteCredentialRequest) -> common_pb2.Status:
    """Forget a user; one who is not there is forgotten already."""
    call.access.users.drop(request.username.strip())
    return OK


@rpc("ListCredUsers")
def list_users(call: Call, request: milvus_pb2.ListCredUsersRequest) -> milvus_pb2.ListCredUsersResponse:
    """Names of the users."""
    return milvus_pb2.ListCredUsersResponse(status=OK, usernames=call.access.users.names())


@rpc("SelectUser")
def select_user(call: Call, request: milvus_pb2.SelectUserRequest) -> milvus_pb2.SelectUserResponse:
    """A user, or all of them, with their roles; one who is not there is none."""
    names = [request.user.name] if request.HasField("user") else call.access.users.names()
    found = [user for name in names if (user := call.access.users.get(name)) is not None]
    results = [
        milvus_pb2.UserResult(
            user=milvus_pb2.UserEntity(name=user.name),
            roles=[milvus_pb2.RoleEntity(name=role) for role in user.roles]
            if request.include_role_info
            else [],
            description=user.description,
        )
        for user in found
    ]
    return milvus_pb2.SelectUserResponse(status=OK, results=results)


def _decoded(text: str, what: str = "password") -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        raise invalid(f"decode {what} fail") from None
