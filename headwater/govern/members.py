"""Users and roles of a policy: the rules for their names, and what each change does. Pure functions.

The wording is Milvus's, for clients compare it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from headwater.errors import (
    AlreadyExists,
    InvalidArgument,
    PermissionDenied,
    QuotaExceeded,
    RoleNotFound,
    Unauthenticated,
    UserNotFound,
)
from headwater.govern.passwords import is_hash
from headwater.govern.policy import ADMIN, PUBLIC, ROOT, Policy, Role, User
from headwater.govern.privileges import ANY, is_defined

__all__ = [
    "checked_description",
    "checked_name",
    "checked_password",
    "checked_user",
    "restored",
    "role_not_found",
    "with_described_role",
    "with_membership",
    "with_new_role",
    "with_new_user",
    "with_user",
    "without_membership",
    "without_role",
    "without_user",
    "wrong_old_password",
]

_MAX_USERNAME = 32
_MAX_NAME = 255
_MAX_DESCRIPTION = 1024
_PASSWORD = (6, 72)
_LETTERS = re.compile(r"[A-Za-z]")
_WORD = re.compile(r"\w", re.ASCII)
_DEFAULT_ROLES = (ADMIN, PUBLIC)


def checked_user(name: str) -> str:
    """A name that a user may have, without the blanks around it.

    Raises:
        InvalidArgument: none may.
    """
    name = name.strip()
    if not name:
        raise InvalidArgument("username must be not empty: invalid parameter")
    if len(name) > _MAX_USERNAME:
        raise InvalidArgument(
            f"invalid username {name} with length {len(name)}, the length of username must be less than "
            f"{_MAX_USERNAME}: invalid parameter"
        )
    if not _LETTERS.match(name):
        raise InvalidArgument(
            f"invalid user name {name}, the first character must be a letter, but got {name[0]}: "
            "invalid parameter"
        )
    for letter in name:
        if not _WORD.match(letter):
            raise InvalidArgument(
                f"invalid user name {name}, username must contain only numbers, letters and underscores, but got "
                f"{letter}: invalid parameter"
            )
    return name


def checked_password(password: str) -> None:
    """Refuse what cannot be a password.

    Raises:
        InvalidArgument: it is too short or too long.
    """
    low, high = _PASSWORD
    size = len(password.encode())
    if not low <= size <= high:
        raise InvalidArgument(
            f"invalid password length: invalid parameter[{size} out of range {low} <= value <= {high}]"
        )


def checked_name(name: str, kind: str) -> str:
    """A name that a role, or another thing of Milvus's RBAC, may have.

    Args:
        name: the name.
        kind: what it names.

    Raises:
        InvalidArgument: none may have it.
    """
    name = name.strip()
    if not name:
        raise InvalidArgument(f"{kind} should be not empty: invalid parameter[expected=not empty][actual=]")
    if len(name) > _MAX_NAME:
        raise InvalidArgument(
            f"the length of {kind} must be not greater than limit: invalid parameter[{len(name)} out of range "
            f"0 <= value <= {_MAX_NAME}]"
        )
    if name[0] != "_" and not _LETTERS.match(name):
        raise InvalidArgument(
            f"the first character of {kind} must be an underscore or letter: invalid parameter"
            f"[expected=_ or a letter][actual={name[0]}]"
        )
    for position, letter in enumerate(name):
        if letter != "$" and not _WORD.match(letter):
            raise InvalidArgument(
                f"{kind} can only contain numbers, letters, dollars and underscores, found {letter} at {position}: "
                "invalid parameter"
            )
    return name


def checked_description(text: str) -> str:
    """A description that is not too long.

    Raises:
        InvalidArgument: it is.
    """
    if len(text) > _MAX_DESCRIPTION:
        raise InvalidArgument(
            f"the length of description must be not greater than limit: invalid parameter[{len(text)} out of range "
            f"0 <= value <= {_MAX_DESCRIPTION}]"
        )
    return text


def wrong_old_password(name: str) -> Unauthenticated:
    """What who does not know the old password is told."""
    return Unauthenticated(f"old password not correct for {name}: not authenticated")


def role_not_found(name: str) -> RoleNotFound:
    """What who names a role that is not there is told."""
    return RoleNotFound(
        f"not found the role, maybe the role isn't existed or internal system error: role {name!r} not exists"
    )


def with_new_user(now: Policy, made: User, limit: int) -> Policy:
    """Add a user.

    Raises:
        AlreadyExists: the name is taken.
        QuotaExceeded: there are as many as there may be.
    """
    if made.name in now.users:
        raise AlreadyExists(f"user already exists: {made.name}")
    if len(now.users) >= limit:
        raise QuotaExceeded(
            "unable to add user because the number of users has reached the limit: quota exceeded",
            limit=limit,
            used=len(now.users),
            unit="users",
        )
    return replace(now, users={**now.users, made.name: made})


def with_user(now: Policy, name: str, **changed: Any) -> Policy:
    """Change a user.

    Raises:
        UserNotFound: no such user.
    """
    if name not in now.users:
        raise UserNotFound(f"user not found: {name}")
    return replace(now, users={**now.users, name: replace(now.users[name], **changed)})


def without_user(now: Policy, name: str) -> Policy:
    """Forget a user and the tokens.

    Raises:
        PermissionDenied: root stays.
    """
    if name == ROOT:
        raise PermissionDenied("root user cannot be deleted: privilege not permitted")
    return replace(
        now,
        users={key: one for key, one in now.users.items() if key != name},
        tokens={key: one for key, one in now.tokens.items() if one.user != name},
    )


def with_new_role(now: Policy, made: Role, limit: int) -> Policy:
    """Add a role.

    Raises:
        AlreadyExists: the name is taken.
        QuotaExceeded: there are as many as there may be.
    """
    if made.name in now.roles:
        raise AlreadyExists(f'role [name:"{made.name}"] already exists')
    if len(now.roles) >= limit:
        raise QuotaExceeded(
            "unable to create role because the number of roles has reached the limit: quota exceeded",
            limit=limit,
            used=len(now.roles),
            unit="roles",
        )
    return replace(now, roles={**now.roles, made.name: made})


def with_described_role(now: Policy, name: str, description: str) -> Policy:
    """Give a role another description.

    Raises:
        PermissionDenied: it is a built-in one.
        RoleNotFound: no such role.
    """
    if name in _DEFAULT_ROLES:
        raise PermissionDenied(
            f"the role[{name}] is a builtin role, which can't be altered: privilege not permitted"
        )
    if name not in now.roles:
        raise role_not_found(name)
    return replace(now, roles={**now.roles, name: replace(now.roles[name], description=description)})


def without_role(now: Policy, name: str, *, force: bool) -> Policy:
    """Forget a role.

    Raises:
        PermissionDenied: it is a built-in one.
        RoleNotFound: no such role.
        InvalidArgument: it holds privileges, and `force` is not set.
    """
    if name in _DEFAULT_ROLES:
        raise PermissionDenied(
            f"the role[{name}] is a default role, which can't be dropped: privilege not permitted"
        )
    if name not in now.roles:
        raise role_not_found(name)
    if now.roles[name].grants and not force:
        raise InvalidArgument(
            "fail to drop the role that it has privileges. Use REVOKE API to revoke privileges: invalid parameter"
        )
    users = {
        user.name: replace(user, roles=tuple(one for one in user.roles if one != name))
        for user in now.users.values()
    }
    return replace(now, roles={key: one for key, one in now.roles.items() if key != name}, users=users)


def with_membership(now: Policy, user: str, role: str) -> Policy:
    """Give a user a role.

    Raises:
        RoleNotFound: no such role.
        UserNotFound: no such user.
    """
    if role not in now.roles:
        raise role_not_found(role)
    if user not in now.users:
        raise UserNotFound(
            f'not found the user, maybe the user isn\'t existed or internal system error: user "{user}" not found'
        )
    roles = tuple(dict.fromkeys((*now.users[user].roles, role)))
    return with_user(now, user, roles=roles)


def without_membership(now: Policy, user: str, role: str) -> Policy:
    """Take a role from a user.

    Raises:
        RoleNotFound: no such role.
    """
    if role not in now.roles:
        raise role_not_found(role)
    if user not in now.users:
        return now
    return with_user(now, user, roles=tuple(one for one in now.users[user].roles if one != role))


def restored(now: Policy, saved: Policy) -> Policy:
    """Add what a backup holds: grants to roles that are there, everything else only where it is new.

    Raises:
        InvalidArgument: it holds nothing, or something that is there already.
    """
    if not (saved.users or saved.roles or saved.groups):
        raise InvalidArgument("rbac meta is empty: invalid parameter")
    for group in saved.groups:
        if group in now.groups or is_defined(group):
            raise InvalidArgument(f"privilege group [{group}] already exists: invalid parameter")
    groups = {**now.groups, **saved.groups}
    for role in saved.roles.values():
        if role.name in now.roles:
            raise InvalidArgument(f"role [{role.name}] already exists: invalid parameter")
        for grant in role.grants:
            if grant.privilege != ANY and grant.privilege not in groups and not is_defined(grant.privilege):
                raise InvalidArgument(f"privilege [{grant.privilege}] does not exist: invalid parameter")
    roles = {**now.roles, **saved.roles}
    for user in saved.users.values():
        if user.name in now.users:
            raise InvalidArgument(f"user [{user.name}] already exists: invalid parameter")
        if user.hash and not is_hash(user.hash):
            raise InvalidArgument(
                f"user [{user.name}]: the password is no hash that this server made: invalid parameter"
            )
        for name in user.roles:
            if name not in roles:
                raise InvalidArgument(f"role [{name}] does not exist: invalid parameter")
    return replace(now, groups=groups, roles=roles, users={**now.users, **saved.users})
