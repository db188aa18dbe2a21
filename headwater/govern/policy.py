"""Who may do what, as values: users, roles with their grants, groups of privileges, tokens.

Everything here is frozen and free of I/O; `rights` answers questions about it, `access` stores it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ADMIN", "PUBLIC", "ROOT", "Grant", "Policy", "Role", "Token", "User", "first_policy"]

ROOT = "root"
"""The user who may do everything, and cannot be dropped."""
ADMIN = "admin"
"""The role that may do everything."""
PUBLIC = "public"
"""The role that every user has."""


@dataclass(frozen=True)
class Grant:
    """One privilege, or group of them, on something.

    Attributes:
        object_type: Collection, Global or User.
        object_name: what it is about, as it was called when it was granted; `*` for all.
        privilege: its name, that of a group, or `*`.
        database: where; `*` for everywhere.
        grantor: who granted it.
        identity: the collection that was meant, whatever it is called now; empty where the name says it all.
    """

    object_type: str
    object_name: str
    privilege: str
    database: str
    grantor: str = ROOT
    identity: str = ""

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Two grants of one place are one grant."""
        return self.object_type, self.identity or self.object_name, self.privilege, self.database


@dataclass(frozen=True)
class Role:
    """A set of grants that users share."""

    name: str
    description: str = ""
    grants: tuple[Grant, ...] = ()


@dataclass(frozen=True)
class User:
    """A user; `hash` is what is stored of the password, empty while there is none."""

    name: str
    hash: str = ""
    description: str = ""
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Token:
    """A secret by which a program acts for a user; `hash` is what is stored of it.

    Attributes:
        name: by which people speak of it.
        user: for whom it acts.
        hash: of the secret.
        description: what it is for.
        created_ms: when it was made, milliseconds since 1970.
        expires_ms: when it stops working; 0 for never.
    """

    name: str
    user: str
    hash: str
    description: str = ""
    created_ms: int = 0
    expires_ms: int = 0


@dataclass(frozen=True)
class Policy:
    """One state of all that; empty before the first start."""

    users: Mapping[str, User] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tokens: Mapping[str, Token] = field(default_factory=dict)

    def stored(self) -> dict[str, Any]:
        """The policy as what JSON can hold."""
        return {
            "users": [_plain(one) for one in self.users.values()],
            "roles": [
                {**_plain(one), "grants": [_plain(grant) for grant in one.grants]}
                for one in self.roles.values()
            ],
            "groups": {name: list(members) for name, members in self.groups.items()},
            "tokens": [_plain(one) for one in self.tokens.values()],
        }

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Policy:
        """The way back.

        Raises:
            TypeError: a member has other fields than ours.
        """
        roles = [
            Role(one["name"], one["description"], tuple(Grant(**grant) for grant in one["grants"]))
            for one in stored["roles"]
        ]
        users = [User(**{**one, "roles": tuple(one["roles"])}) for one in stored["users"]]
        return cls(
            users={one.name: one for one in users},
            roles={one.name: one for one in roles},
            groups={name: tuple(members) for name, members in stored["groups"].items()},
            tokens={one["name"]: Token(**one) for one in stored["tokens"]},
        )


def first_policy(root_hash: str) -> Policy:
    """What a lake starts with: root, the role that may do everything, and what everyone may do."""
    public = (
        Grant("Global", "*", "DescribeCollection", "*"),
        Grant("Global", "*", "ListAliases", "*"),
        Grant("Collection", "*", "IndexDetail", "*"),
    )
    return Policy(
        users={ROOT: User(ROOT, root_hash, roles=(ADMIN,))},
        roles={ADMIN: Role(ADMIN), PUBLIC: Role(PUBLIC, grants=public)},
    )


def _plain(value: Any) -> dict[str, Any]:
    return {name: list(one) if isinstance(one, tuple) else one for name, one in vars(value).items()}
