"""What a policy allows, worked out once for each version of it: a check is a few lookups in sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headwater.govern.policy import ADMIN, PUBLIC, ROOT, Grant, Policy, Role
from headwater.govern.privileges import ANY, PRIVILEGES, expanded, level_of, object_type_of

__all__ = ["Rights"]

_ALL = "All"
_SEES = ("ShowCollections", "DescribeCollection", "CreateCollection", "DropCollection")
"""Privileges on a database whose holder sees all of its collections."""

_Allowed = frozenset[tuple[str, str, str]]


class Rights:
    """What users may do.

    Args:
        policy: the state of users, roles and grants that this is about.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._allowed: dict[str, _Allowed] = {
            role.name: frozenset(_expanded(policy, role)) for role in policy.roles.values()
        }
        self._held: dict[str, _Allowed] = {}
        self._roles: dict[str, tuple[str, ...]] = {
            user.name: tuple(dict.fromkeys((*user.roles, PUBLIC))) for user in policy.users.values()
        }
        granted = [role for role in policy.roles.values() if role.name != PUBLIC]
        self._sees = {
            role.name: frozenset(grant.database for grant in role.grants if _shows_all(policy, grant))
            for role in granted
        }
        self._seen = {role.name: [grant for grant in role.grants if grant.identity] for role in granted}

    def roles_of(self, user: str) -> tuple[str, ...]:
        """The roles of a user, the one that everyone has included; none of a user who is not there."""
        return self._roles.get(user, ())

    def is_admin(self, user: str) -> bool:
        """Whether a user may do everything."""
        return (user == ROOT and user in self._roles) or ADMIN in self.roles_of(user)

    def permits(self, user: str, privilege: str, database: str, about: Sequence[str] = ()) -> bool:
        """Whether a user may use a privilege.

        Args:
            user: who.
            privilege: its name.
            database: where; of no matter for a privilege about the cluster.
            about: the names of one thing, any of which will do: a collection's identity and name, or a user's name;
                without them, whether the privilege is held for everything of its kind there.
        """
        if self.is_admin(user):
            return True
        where = (ANY,) if level_of(privilege) == "Cluster" else (database, ANY)
        kind, allowed = object_type_of(privilege), self._allowed_to(user)
        for place in where:
            if (privilege, place, ANY) in allowed or (kind, place, ANY) in allowed:
                return True
            if (_ALL, place, ANY) in allowed:
                return True
            for one in about:
                if (privilege, place, one) in allowed or (kind, place, one) in allowed:
                    return True
        return False

    def _allowed_to(self, user: str) -> _Allowed:
        """What all roles of a user allow together, worked out when the user first comes."""
        held = self._held.get(user)
        if held is None:
            held = frozenset().union(*(self._allowed.get(role, ()) for role in self.roles_of(user)))
            if user in self._roles:
                self._held[user] = held
        return held

    def holds_any(self, user: str, privilege: str, database: str) -> bool:
        """Whether a user holds a privilege for anything at all in a database."""
        kind = object_type_of(privilege)
        return any(
            one in (privilege, kind, _ALL) and place in (database, ANY)
            for one, place, _ in self._allowed_to(user)
        )

    def sees_all(self, user: str, database: str) -> bool:
        """Whether a user sees every collection of a database."""
        if self.is_admin(user):
            return True
        return any(
            not self._sees.get(role, frozenset()).isdisjoint((database, ANY)) for role in self.roles_of(user)
        )

    def seen(self, user: str, database: str) -> dict[str, str]:
        """The collections of a database that a user holds a grant for: identity to name, as it was then."""
        return {
            grant.identity: grant.object_name
            for role in self.roles_of(user)
            for grant in self._seen.get(role, ())
            if grant.database in (database, ANY)
        }

    def databases(self, user: str) -> frozenset[str] | None:
        """The databases that a user holds a grant in; None for all."""
        if self.is_admin(user):
            return None
        roles = [self.policy.roles[one] for one in self.roles_of(user) if one in self.policy.roles]
        found = frozenset(grant.database for role in roles if role.name != PUBLIC for grant in role.grants)
        return None if ANY in found else found


def _shows_all(policy: Policy, grant: Grant) -> bool:
    """Whether who holds a grant sees every collection of its database."""
    if grant.identity:
        return False
    if grant.object_type == "Collection" or grant.privilege == ANY:
        return grant.object_type != "User"
    return not expanded(grant.privilege, policy.groups).isdisjoint((*_SEES, _ALL))


def _expanded(policy: Policy, role: Role) -> Iterable[tuple[str, str, str]]:
    for grant in role.grants:
        if grant.privilege == ANY:
            # Every privilege about things of this kind.
            yield grant.object_type, grant.database, grant.identity or grant.object_name
            continue
        for privilege in expanded(grant.privilege, policy.groups):
            kind = PRIVILEGES.get(privilege, "Global")
            # A grant for one collection of what is about the database holds there: so does Milvus.
            about = ANY if kind == "Global" else grant.identity or grant.object_name
            database = ANY if level_of(privilege) == "Cluster" else grant.database
            yield privilege, database, about
