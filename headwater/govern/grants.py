"""Grants and groups of privileges of a policy: what may be granted on what, and what each change does. Pure functions.

The wording is Milvus's, for clients compare it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from headwater.errors import CollectionNotFound, InvalidArgument, UnknownPrivilege
from headwater.govern.members import role_not_found
from headwater.govern.policy import Grant, Policy, Role
from headwater.govern.privileges import (
    ANY,
    BUILTIN_GROUPS,
    OBJECT_TYPES,
    PRIVILEGES,
    expanded,
    is_defined,
    level_of,
    object_type_of,
)

__all__ = [
    "Asked",
    "check_role",
    "checked_group",
    "is_asked_for",
    "is_for_one_collection",
    "no_such_collection",
    "resolved",
    "with_grant",
    "with_members",
    "with_new_group",
    "without_grant",
    "without_group",
    "without_members",
]

_GROUP_NAME = re.compile(r"\w+", re.ASCII)
_MAX_NAME = 255


@dataclass(frozen=True)
class Asked:
    """What somebody wants to grant, revoke or see.

    Attributes:
        privilege: its name, that of a group, or `*`.
        object_name: what on; `*` for everything of its kind.
        database: where; `*` for everywhere.
        object_type: Collection, Global or User, as Milvus's first way of granting says; empty where the privilege's
            name says it.
    """

    privilege: str = ANY
    object_name: str = ANY
    database: str = "default"
    object_type: str = ""


def check_role(now: Policy, name: str) -> Role:
    """A role.

    Raises:
        RoleNotFound: no such role.
    """
    if name not in now.roles:
        raise role_not_found(name)
    return now.roles[name]


def resolved(now: Policy, asked: Asked, grantor: str) -> Grant:
    """The grant that is meant.

    Raises:
        InvalidArgument: there is no such privilege, or it is not about such a thing.
    """
    kind = asked.object_type
    if kind:
        _check_of_type(now, asked.privilege, kind)
        name = ANY if kind == "Global" else asked.object_name
    else:
        _check_of_level(now, asked)
        kind, name = object_type_of(asked.privilege), asked.object_name
    return Grant(kind, name, asked.privilege, asked.database or "default", grantor)


def _check_of_type(now: Policy, privilege: str, kind: str) -> None:
    if kind not in OBJECT_TYPES:
        raise UnknownPrivilege("the object entity in the request is nil or invalid")
    if privilege == ANY:
        return
    if privilege in now.groups:
        raise UnknownPrivilege(f"can not operate the custom privilege group [{privilege}]")
    if privilege in BUILTIN_GROUPS:
        raise UnknownPrivilege(f"can not operate the built-in privilege group [{privilege}]")
    if PRIVILEGES.get(privilege) != kind:
        raise UnknownPrivilege(f"not found the privilege name[{privilege}] in object[{kind}]")


def _check_of_level(now: Policy, asked: Asked) -> None:
    privilege = asked.privilege
    if privilege == ANY:
        return
    if privilege not in now.groups and not is_defined(privilege):
        raise UnknownPrivilege(f"not found the privilege name[{privilege}]")
    if privilege in PRIVILEGES:
        return
    found = expanded(privilege, now.groups)
    level = level_of(min(found)) if found else ""
    database, collection = asked.database, asked.object_name
    if level == "Cluster" and not (database == ANY and collection == ANY):
        raise InvalidArgument(
            f"dbName and collectionName should be * for the cluster level privilege: {privilege}: invalid parameter"
        )
    if level == "Database" and collection not in ("", ANY):
        raise InvalidArgument(
            f"collectionName should be * for the database level privilege: {privilege}: invalid parameter"
        )
    if level == "Collection" and database == ANY and collection not in ("", ANY):
        raise InvalidArgument(
            f"please specify database name for the collection level privilege: {privilege}: invalid parameter"
        )


def is_for_one_collection(grant: Grant) -> bool:
    """Whether a grant is for one collection, which its name stands for."""
    if grant.object_name in ("", ANY) or grant.database == ANY:
        return False
    return grant.object_type == "Collection" or (
        grant.object_type == "Global" and grant.privilege not in PRIVILEGES and grant.privilege != ANY
    )


def no_such_collection(asked: Asked) -> CollectionNotFound:
    """What who grants something on a collection that is not there is told."""
    return CollectionNotFound(
        f"collection not found[database={asked.database}][collection={asked.object_name}]"
    )


def is_asked_for(grant: Grant, asked: Asked) -> bool:
    """Whether a grant is among those that somebody wants to see."""
    database = asked.database or "default"
    if ANY not in (database, grant.database) and database != grant.database:
        return False
    if asked.object_type and asked.object_type != grant.object_type:
        return False
    return not asked.object_type or asked.object_name in ("", grant.object_name)


def with_grant(
    now: Policy, role: str, made: Grant, gone: Collection[tuple[str, str, str, str]] = ()
) -> Policy:
    """Add a grant to a role; one that is there already stays as it is.

    Args:
        now: the policy.
        role: its name.
        made: the grant.
        gone: places of grants that are for nothing any more, and are left out.
    """
    held = check_role(now, role)
    left = tuple(one for one in held.grants if one.place not in gone)
    if any(one.place == made.place for one in left):
        return now
    return replace(now, roles={**now.roles, role: replace(held, grants=(*left, made))})


def without_grant(now: Policy, role: str, meant: Grant) -> Policy:
    """Take a grant from a role."""
    held = check_role(now, role)
    left = tuple(one for one in held.grants if one.place != meant.place)
    return replace(now, roles={**now.roles, role: replace(held, grants=left)})


def checked_group(name: str) -> str:
    """A name that a group of privileges may have.

    Raises:
        InvalidArgument: none may.
    """
    name = name.strip()
    if not name:
        raise InvalidArgument("privilege group name should not be empty: invalid parameter")
    if len(name) > _MAX_NAME:
        raise InvalidArgument(
            f"the length of a privilege group name {name} must be less than {_MAX_NAME} characters: invalid parameter"
        )
    if not re.match(r"[A-Za-z_]", name):
        raise InvalidArgument(
            f"the first character of a privilege group name {name} must be an underscore or letter: invalid parameter"
        )
    if not _GROUP_NAME.fullmatch(name):
        raise InvalidArgument(
            f"privilege group name {name} can only contain numbers, letters and underscores: invalid parameter"
        )
    return name


def with_new_group(now: Policy, name: str) -> Policy:
    """Add a group.

    Raises:
        InvalidArgument: the name is taken.
    """
    if name in now.groups:
        raise InvalidArgument(f"privilege group name [{name}] is defined by users: invalid parameter")
    if is_defined(name):
        raise InvalidArgument(
            f"privilege group name [{name}] is defined by built in privileges or privilege groups in system: "
            "invalid parameter"
        )
    return replace(now, groups={**now.groups, name: ()})


def without_group(now: Policy, name: str) -> Policy:
    """Forget a group, also in other groups.

    Raises:
        InvalidArgument: a role was granted it.
    """
    if name not in now.groups:
        return now
    for role in now.roles.values():
        if any(grant.privilege == name for grant in role.grants):
            raise InvalidArgument(
                f"privilege group [{name}] is used by role [{role.name}], Use REVOKE API to revoke it first: "
                "invalid parameter"
            )
    groups = {
        key: tuple(one for one in members if one != name)
        for key, members in now.groups.items()
        if key != name
    }
    return replace(now, groups=groups)


def with_members(now: Policy, name: str, privileges: Sequence[str]) -> Policy:
    """Add privileges to a group.

    Raises:
        InvalidArgument: there is no such group or privilege, or they are not of one level.
    """
    _check_members(now, name, privileges)
    found = tuple(dict.fromkeys((*now.groups[name], *privileges)))
    levels = {level_of(one) for member in found for one in expanded(member, now.groups)}
    if len(levels) > 1:
        raise InvalidArgument("privileges are not the same privilege level: invalid parameter")
    return replace(now, groups={**now.groups, name: found})


def without_members(now: Policy, name: str, privileges: Sequence[str]) -> Policy:
    """Take privileges out of a group.

    Raises:
        InvalidArgument: there is no such group or privilege.
    """
    _check_members(now, name, privileges)
    left = tuple(one for one in now.groups[name] if one not in privileges)
    return replace(now, groups={**now.groups, name: left})


def _check_members(now: Policy, name: str, privileges: Sequence[str]) -> None:
    if name not in now.groups:
        raise InvalidArgument(
            f"there is no privilege group name [{name}] defined in system to operate: invalid parameter"
        )
    if not privileges:
        raise InvalidArgument("privileges is empty when alter the privilege group: invalid parameter")
    for one in privileges:
        if one not in now.groups and not is_defined(one):
            raise InvalidArgument(
                f"there is no privilege name or privilege group name [{one}] defined in system to operate: "
                "invalid parameter"
            )
