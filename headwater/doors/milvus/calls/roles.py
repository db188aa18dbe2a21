"""Roles, and who has them."""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.calls.credentials import counted
from headwater.doors.milvus.codes import invalid
from headwater.doors.milvus.rpc import OK, Call, rpc

__all__: list[str] = []

_TYPES = milvus_pb2.OperateUserRoleType


@rpc("CreateRole")
def create_role(call: Call, request: milvus_pb2.CreateRoleRequest) -> common_pb2.Status:
    """Add a role."""
    with counted():
        call.access.roles.create(request.entity.name, description=request.entity.description)
    return OK


@rpc("AlterRole")
def alter_role(call: Call, request: milvus_pb2.AlterRoleRequest) -> common_pb2.Status:
    """Give a role another description."""
    call.access.roles.describe(request.role_name, request.description)
    return OK


@rpc("DropRole")
def drop_role(call: Call, request: milvus_pb2.DropRoleRequest) -> common_pb2.Status:
    """Forget a role."""
    call.access.roles.drop(request.role_name, force=request.force_drop)
    return OK


@rpc("OperateUserRole")
def operate_user_role(call: Call, request: milvus_pb2.OperateUserRoleRequest) -> common_pb2.Status:
    """Give a user a role, or take it."""
    if request.type == _TYPES.AddUserToRole:
        call.access.roles.add_user(request.role_name, request.username)
    elif request.type == _TYPES.RemoveUserFromRole:
        call.access.roles.remove_user(request.role_name, request.username)
    else:
        raise invalid(f"invalid operate user role type, current type: {request.type}")
    return OK


@rpc("SelectRole")
def select_role(call: Call, request: milvus_pb2.SelectRoleRequest) -> milvus_pb2.SelectRoleResponse:
    """A role, or all of them, with their users; one that is not there is none."""
    names = [request.role.name] if request.HasField("role") else call.access.roles.names()
    found = [role for name in names if (role := call.access.roles.get(name)) is not None]
    results = [
        milvus_pb2.RoleResult(
            role=milvus_pb2.RoleEntity(name=role.name, description=role.description),
            users=[milvus_pb2.UserEntity(name=user) for user in call.access.roles.users(role.name)]
            if request.include_user_info
            else [],
        )
        for role in found
    ]
    return milvus_pb2.SelectRoleResponse(status=OK, results=results)
