"""Privileges: granting, revoking, listing; groups of them; copies of it all."""

from __future__ import annotations

from collections.abc import Mapping

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import UNEXPECTED, MilvusError, invalid
from headwater.doors.milvus.names import check_database_name
from headwater.doors.milvus.rpc import OK, Call, rpc
from headwater.govern import ANY, BUILTIN_GROUPS, ROOT, Asked, Grant, Policy, Role, User
from headwater.govern.members import checked_name

__all__: list[str] = []

_TYPES = milvus_pb2.OperatePrivilegeType
_GROUP_TYPES = milvus_pb2.OperatePrivilegeGroupType


@rpc("OperatePrivilege")
def operate_privilege(call: Call, request: milvus_pb2.OperatePrivilegeRequest) -> common_pb2.Status:
    """Grant a privilege on a kind of thing, or revoke it."""
    entity = request.entity
    _check(request.HasField("entity"), "the entity in the request is nil")
    _check(entity.HasField("grantor"), "the grantor entity in the grant entity is nil")
    _check(entity.grantor.HasField("privilege"), "the privilege entity in the grantor entity is nil")
    _check(entity.HasField("object"), "the resource entity in the grant entity is nil")
    _check(entity.HasField("role"), "the role entity in the grant entity is nil")
    privilege = _checked(entity.grantor.privilege.name, "Privilege")
    kind = _checked(entity.object.name, "ObjectType")
    name = _checked(entity.object_name, "object name")
    versioned = "" if request.version == "v2" else kind
    asked = Asked(privilege, name, entity.db_name or _database(call), versioned)
    _operate(call, request.type, entity.role.name, asked)
    return OK


@rpc("OperatePrivilegeV2")
def operate_privilege_v2(call: Call, request: milvus_pb2.OperatePrivilegeV2Request) -> common_pb2.Status:
    """Grant a privilege or a group of them on collections, or revoke it."""
    _check(request.HasField("role"), "the role entity in the request is nil")
    _check(request.HasField("grantor"), "the grantor entity in the request is nil")
    _check(request.grantor.HasField("privilege"), "the privilege entity in the grantor entity is nil")
    privilege = _checked(request.grantor.privilege.name, "Privilege")
    collection = _checked(request.collection_name, "collection name")
    asked = Asked(privilege, collection, request.db_name or _database(call))
    _operate(call, request.type, request.role.name, asked)
    return OK


def _operate(call: Call, kind: int, role: str, asked: Asked) -> None:
    role = checked_name(role, "role name")
    if asked.database != ANY:
        check_database_name(asked.database)
    if kind == _TYPES.Grant:
        call.access.roles.grant(role, asked, grantor=call.user or ROOT)
    elif kind == _TYPES.Revoke:
        call.access.roles.revoke(role, asked)
    else:
        raise invalid(f"invalid operate privilege type, current type: {kind}, valid value: [Grant, Revoke]")


@rpc("SelectGrant")
def select_grant(call: Call, request: milvus_pb2.SelectGrantRequest) -> milvus_pb2.SelectGrantResponse:
    """What a role was granted."""
    entity = request.entity
    if not request.HasField("entity"):
        raise MilvusError(UNEXPECTED, "the grant entity in the request is nil")
    _check(entity.HasField("role"), "the role entity in the grant entity is nil")
    role = checked_name(entity.role.name, "role name")
    kind = entity.object.name if entity.HasField("object") else ""
    asked = Asked(ANY, entity.object_name, entity.db_name or _database(call), kind)
    found = call.access.roles.grants(role, asked)
    return milvus_pb2.SelectGrantResponse(status=OK, entities=[_entity(role, one) for one in found])


@rpc("CreatePrivilegeGroup")
def create_privilege_group(call: Call, request: milvus_pb2.CreatePrivilegeGroupRequest) -> common_pb2.Status:
    """Add a group of privileges."""
    call.access.groups.create(request.group_name)
    return OK


@rpc("DropPrivilegeGroup")
def drop_privilege_group(call: Call, request: milvus_pb2.DropPrivilegeGroupRequest) -> common_pb2.Status:
    """Forget a group of privileges; one that is not there, or is built in, is left as it is."""
    call.access.groups.drop(request.group_name)
    return OK


@rpc("ListPrivilegeGroups")
def list_privilege_groups(
    call: Call, request: milvus_pb2.ListPrivilegeGroupsRequest
) -> milvus_pb2.ListPrivilegeGroupsResponse:
    """The groups that users made, and the built-in ones."""
    groups = {**call.access.groups.members(), **BUILTIN_GROUPS}
    return milvus_pb2.ListPrivilegeGroupsResponse(status=OK, privilege_groups=_groups(groups))


@rpc("OperatePrivilegeGroup")
def operate_privilege_group(
    call: Call, request: milvus_pb2.OperatePrivilegeGroupRequest
) -> common_pb2.Status:
    """Add privileges to a group, or take them out."""
    names = [one.name for one in request.privileges]
    if request.type == _GROUP_TYPES.AddPrivilegesToGroup:
        call.access.groups.add(request.group_name, names)
    elif request.type == _GROUP_TYPES.RemovePrivilegesFromGroup:
        call.access.groups.remove(request.group_name, names)
    else:
        raise invalid(f"unsupported operate type: {request.type}")
    return OK


@rpc("BackupRBAC")
def backup_rbac(call: Call, request: milvus_pb2.BackupRBACMetaRequest) -> milvus_pb2.BackupRBACMetaResponse:
    """Users, roles, grants and groups; what is stored of passwords does not leave the lake."""
    saved = call.access.backup()
    meta = milvus_pb2.RBACMeta(
        users=[
            milvus_pb2.UserInfo(user=one.name, roles=[milvus_pb2.RoleEntity(name=role) for role in one.roles])
            for one in saved.users.values()
        ],
        roles=[
            milvus_pb2.RoleEntity(name=one.name, description=one.description) for one in saved.roles.values()
        ],
        grants=[_entity(one.name, grant) for one in saved.roles.values() for grant in one.grants],
        privilege_groups=_groups(saved.groups),
    )
    return milvus_pb2.BackupRBACMetaResponse(status=OK, RBAC_meta=meta)


@rpc("RestoreRBAC")
def restore_rbac(call: Call, request: milvus_pb2.RestoreRBACMetaRequest) -> common_pb2.Status:
    """Add what a backup holds."""
    meta = request.RBAC_meta
    grants: dict[str, list[Grant]] = {role.name: [] for role in meta.roles}
    for one in meta.grants:
        if one.role.name not in grants:
            raise invalid(f"role [{one.role.name}] does not exist")
        grants[one.role.name].append(_grant(one))
    users = {
        one.user: User(one.user, one.password, roles=tuple(role.name for role in one.roles))
        for one in meta.users
    }
    roles = {one.name: Role(one.name, one.description, tuple(grants[one.name])) for one in meta.roles}
    groups = {one.group_name: tuple(each.name for each in one.privileges) for one in meta.privilege_groups}
    call.access.restore(Policy(users, roles, groups))
    return OK


def _database(call: Call) -> str:
    return call.metadata.get("dbname") or "default"


def _check(there: bool, otherwise: str) -> None:
    if not there:
        raise invalid(otherwise)


def _checked(name: str, kind: str) -> str:
    return name if name == ANY else checked_name(name, kind)


def _entity(role: str, grant: Grant) -> milvus_pb2.GrantEntity:
    return milvus_pb2.GrantEntity(
        role=milvus_pb2.RoleEntity(name=role),
        object=milvus_pb2.ObjectEntity(name=grant.object_type),
        object_name=grant.object_name,
        db_name=grant.database,
        grantor=milvus_pb2.GrantorEntity(
            user=milvus_pb2.UserEntity(name=grant.grantor),
            privilege=milvus_pb2.PrivilegeEntity(name=grant.privilege),
        ),
    )


def _grant(entity: milvus_pb2.GrantEntity) -> Grant:
    return Grant(
        entity.object.name,
        entity.object_name,
        entity.grantor.privilege.name,
        entity.db_name or "default",
        entity.grantor.user.name or ROOT,
    )


def _groups(groups: Mapping[str, tuple[str, ...]]) -> list[milvus_pb2.PrivilegeGroupInfo]:
    return [
        milvus_pb2.PrivilegeGroupInfo(
            group_name=name, privileges=[milvus_pb2.PrivilegeEntity(name=one) for one in members]
        )
        for name, members in groups.items()
    ]
