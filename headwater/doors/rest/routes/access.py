"""Routes of users, roles, privileges and groups of them."""

from __future__ import annotations

import base64
from typing import Any

from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.rest.ask import Ask
from headwater.doors.rest.fields import TEXTS, Field, need
from headwater.doors.rest.route import NAMES, Answer, Route, direct, listed, route, shape

__all__ = ["ROUTES"]

_USER, _ROLE = need("userName"), need("roleName")
_DESCRIPTION = Field("description")
_GROUP = need("privilegeGroupName")


def _secret(text: str) -> str:
    """A password as the protocol carries it."""
    return base64.b64encode(text.encode()).decode()


async def _create_user(ask: Ask) -> Answer:
    request = milvus_pb2.CreateCredentialRequest(
        username=ask["userName"], password=_secret(ask["password"]), description=ask["description"]
    )
    await ask.call("CreateCredential", request)
    return {"data": {}}


async def _update_password(ask: Ask) -> Answer:
    request = milvus_pb2.UpdateCredentialRequest(username=ask["userName"], description=ask["description"])
    if ask["newPassword"]:
        request.oldPassword = _secret(ask["password"] or "")
        request.newPassword = _secret(ask["newPassword"])
    await ask.call("UpdateCredential", request)
    return {"data": {}}


async def _describe_user(ask: Ask) -> Answer:
    user = milvus_pb2.UserEntity(name=ask["userName"])
    response = await ask.call("SelectUser", milvus_pb2.SelectUserRequest(user=user, include_role_info=True))
    mine = [each for each in response.results if each.user.name == ask["userName"]]
    return {
        "data": [role.name for each in mine for role in each.roles],
        "description": mine[0].description if mine else "",
    }


def _user_role(kind: int) -> Any:
    async def run(ask: Ask) -> Answer:
        request = milvus_pb2.OperateUserRoleRequest(
            username=ask["userName"], role_name=ask["roleName"], type=kind
        )
        await ask.call("OperateUserRole", request)
        return {"data": {}}

    return run


async def _list_roles(ask: Ask) -> Answer:
    response = await ask.call("SelectRole", milvus_pb2.SelectRoleRequest())
    return {"data": [each.role.name for each in response.results]}


async def _describe_role(ask: Ask) -> Answer:
    role = milvus_pb2.RoleEntity(name=ask["roleName"])
    found = await ask.call("SelectRole", milvus_pb2.SelectRoleRequest(role=role))
    entity = milvus_pb2.GrantEntity(role=role, db_name=ask.database)
    response = await ask.call("SelectGrant", milvus_pb2.SelectGrantRequest(entity=entity))
    return {
        "data": [
            {
                "objectType": grant.object.name,
                "objectName": grant.object_name,
                "privilege": grant.grantor.privilege.name,
                "dbName": grant.db_name,
                "grantor": grant.grantor.user.name,
            }
            for grant in response.entities
        ],
        "description": found.results[0].role.description if found.results else "",
    }


async def _create_role(ask: Ask) -> Answer:
    entity = milvus_pb2.RoleEntity(name=ask["roleName"], description=ask["description"] or "")
    await ask.call("CreateRole", milvus_pb2.CreateRoleRequest(entity=entity))
    return {"data": {}}


def _grantor(privilege: str) -> milvus_pb2.GrantorEntity:
    return milvus_pb2.GrantorEntity(privilege=milvus_pb2.PrivilegeEntity(name=privilege))


def _privilege(kind: int) -> Any:
    async def run(ask: Ask) -> Answer:
        entity = milvus_pb2.GrantEntity(
            role=milvus_pb2.RoleEntity(name=ask["roleName"]),
            object=milvus_pb2.ObjectEntity(name=ask["objectType"]),
            object_name=ask["objectName"],
            db_name=ask.database,
            grantor=_grantor(ask["privilege"]),
        )
        await ask.call("OperatePrivilege", milvus_pb2.OperatePrivilegeRequest(entity=entity, type=kind))
        return {"data": {}}

    return run


def _privilege_v2(kind: int) -> Any:
    async def run(ask: Ask) -> Answer:
        request = milvus_pb2.OperatePrivilegeV2Request(
            role=milvus_pb2.RoleEntity(name=ask["roleName"]),
            grantor=_grantor(ask["privilege"]),
            type=kind,
            db_name=ask["dbName"] or "",
            collection_name=ask["collectionName"] or "",
        )
        await ask.call("OperatePrivilegeV2", request)
        return {"data": {}}

    return run


def _group(kind: int) -> Any:
    async def run(ask: Ask) -> Answer:
        privileges = [milvus_pb2.PrivilegeEntity(name=name) for name in ask["privileges"] or []]
        request = milvus_pb2.OperatePrivilegeGroupRequest(
            group_name=ask["privilegeGroupName"], privileges=privileges, type=kind
        )
        await ask.call("OperatePrivilegeGroup", request)
        return {"data": {}}

    return run


async def _list_groups(ask: Ask) -> Answer:
    response = await ask.call("ListPrivilegeGroups", milvus_pb2.ListPrivilegeGroupsRequest())
    return {
        "data": {
            "privilegeGroups": [
                {
                    "privilegeGroupName": group.group_name,
                    "privileges": ",".join(each.name for each in group.privileges),
                }
                for group in response.privilege_groups
            ]
        }
    }


_TOLD = {"description": {"type": "string"}}
_GRANT = (_ROLE, need("objectType"), need("objectName"), need("privilege"))
_GRANT_V2 = (_ROLE, Field("collectionName"), need("privilege"))
_GRANTS = shape(
    objectType="string", objectName="string", privilege="string", dbName="string", grantor="string"
)
_GROUPS = shape(
    privilegeGroups={
        "type": "array",
        "items": shape(privilegeGroupName="string", privileges="string"),
    }
)
_ANN, _READER = {"userName": "ann"}, {"roleName": "reader"}
_BROWSING = {"privilegeGroupName": "browsing"}
_SEARCH = {**_READER, "objectType": "Collection", "objectName": "books", "privilege": "Search"}
_SEARCH_V2 = {**_READER, "dbName": "default", "collectionName": "books", "privilege": "Query"}

ROUTES: tuple[Route, ...] = (
    route(
        "users/create",
        "CreateCredential",
        "Create a user.",
        (_USER, need("password"), _DESCRIPTION),
        _create_user,
        example={**_ANN, "password": "Correct-Horse-1"},
    ),
    direct("users/list", "ListCredUsers", "The names of all users.", show=listed("usernames"), data=NAMES),
    route(
        "users/update_password",
        "UpdateCredential",
        "Change a user's password or description.",
        (_USER, Field("password", about="the old one"), Field("newPassword"), _DESCRIPTION),
        _update_password,
        example={**_ANN, "password": "Correct-Horse-1", "newPassword": "Battery-Staple-2"},
    ),
    route(
        "roles/create",
        "CreateRole",
        "Create a role.",
        (_ROLE, _DESCRIPTION),
        _create_role,
        example=_READER,
    ),
    route("roles/list", "SelectRole", "The names of all roles.", (), _list_roles, data=NAMES),
    direct(
        "roles/alter",
        "AlterRole",
        "Change a role's description.",
        (_ROLE, Field("description", default="")),
        example={**_READER, "description": "may look"},
    ),
    route(
        "users/grant_role",
        "OperateUserRole",
        "Give a user a role.",
        (_USER, _ROLE),
        _user_role(milvus_pb2.AddUserToRole),
        example={**_ANN, **_READER},
    ),
    route(
        "users/describe",
        "SelectUser",
        "The roles of a user.",
        (_USER,),
        _describe_user,
        data=NAMES,
        beside=_TOLD,
        example=_ANN,
    ),
    route(
        "roles/grant_privilege",
        "OperatePrivilege",
        "Give a role a privilege on an object.",
        _GRANT,
        _privilege(milvus_pb2.Grant),
        example=_SEARCH,
    ),
    route(
        "roles/grant_privilege_v2",
        "OperatePrivilegeV2",
        "Give a role a privilege, or a group of them, in a database or a collection.",
        _GRANT_V2,
        _privilege_v2(milvus_pb2.Grant),
        example=_SEARCH_V2,
    ),
    route(
        "roles/describe",
        "SelectGrant",
        "The privileges of a role.",
        (_ROLE,),
        _describe_role,
        data={"type": "array", "items": _GRANTS},
        beside=_TOLD,
        example=_READER,
    ),
    route(
        "roles/revoke_privilege",
        "OperatePrivilege",
        "Take a privilege from a role.",
        _GRANT,
        _privilege(milvus_pb2.Revoke),
        example=_SEARCH,
    ),
    route(
        "roles/revoke_privilege_v2",
        "OperatePrivilegeV2",
        "Take a privilege from a role.",
        _GRANT_V2,
        _privilege_v2(milvus_pb2.Revoke),
        example=_SEARCH_V2,
    ),
    route(
        "users/revoke_role",
        "OperateUserRole",
        "Take a role from a user.",
        (_USER, _ROLE),
        _user_role(milvus_pb2.RemoveUserFromRole),
        example={**_ANN, **_READER},
    ),
    direct("roles/drop", "DropRole", "Drop a role.", (_ROLE,), example=_READER),
    direct(
        "users/drop",
        "DeleteCredential",
        "Drop a user.",
        (_USER,),
        into={"userName": "username"},
        example=_ANN,
    ),
    direct(
        "privilege_groups/create",
        "CreatePrivilegeGroup",
        "Create a group of privileges.",
        (_GROUP,),
        into={"privilegeGroupName": "group_name"},
        example=_BROWSING,
    ),
    route(
        "privilege_groups/add_privileges_to_group",
        "OperatePrivilegeGroup",
        "Add privileges to a group.",
        (_GROUP, Field("privileges", TEXTS)),
        _group(milvus_pb2.AddPrivilegesToGroup),
        example={**_BROWSING, "privileges": ["Search", "Query"]},
    ),
    route(
        "privilege_groups/remove_privileges_from_group",
        "OperatePrivilegeGroup",
        "Take privileges out of a group.",
        (_GROUP, Field("privileges", TEXTS)),
        _group(milvus_pb2.RemovePrivilegesFromGroup),
        example={**_BROWSING, "privileges": ["Query"]},
    ),
    route(
        "privilege_groups/list",
        "ListPrivilegeGroups",
        "The groups of privileges.",
        (),
        _list_groups,
        data=_GROUPS,
    ),
    direct(
        "privilege_groups/drop",
        "DropPrivilegeGroup",
        "Drop a group of privileges.",
        (_GROUP,),
        into={"privilegeGroupName": "group_name"},
        example=_BROWSING,
    ),
)
"""The routes under `users/`, `roles/` and `privilege_groups/`."""
