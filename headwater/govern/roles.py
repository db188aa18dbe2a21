"""The roles of a lake: who has them, and what they were granted."""

from __future__ import annotations

from headwater.govern import grants, members
from headwater.govern.grants import Asked
from headwater.govern.known import KnownPolicy
from headwater.govern.named import NamedGrants
from headwater.govern.policy import ROOT, Grant, Role
from headwater.settings import AccessSettings

__all__ = ["Roles"]


class Roles:
    """What users may do, by the roles that they have."""

    def __init__(self, known: KnownPolicy, settings: AccessSettings, named: NamedGrants) -> None:
        self._known = known
        self._settings = settings
        self._named = named

    def names(self) -> list[str]:
        """Names of the roles, sorted."""
        return sorted(self._known.latest().roles)

    def get(self, name: str) -> Role | None:
        """A role with its grants; None when there is none of that name."""
        return self._known.latest().roles.get(name)

    def create(self, name: str, *, description: str = "") -> None:
        """Add a role.

        Raises:
            InvalidArgument: the name cannot be one.
            AlreadyExists: it is taken.
            QuotaExceeded: there are as many roles as there may be.
        """
        made = Role(members.checked_name(name, "role name"), members.checked_description(description))
        self._known.change(lambda now: members.with_new_role(now, made, self._settings.max_roles))

    def describe(self, name: str, description: str) -> None:
        """Give a role another description.

        Raises:
            PermissionDenied: it is a built-in one.
            RoleNotFound: no such role.
        """
        text = members.checked_description(description)
        self._known.change(lambda now: members.with_described_role(now, name, text))

    def drop(self, name: str, *, force: bool = False) -> None:
        """Forget a role; the users keep their others.

        Args:
            name: of the role.
            force: also when it holds privileges.

        Raises:
            PermissionDenied: it is a built-in one.
            RoleNotFound: no such role.
            InvalidArgument: it holds privileges.
        """
        held = self.get(name)
        empty = held is None or not self._named.alive(held.grants)
        self._known.change(lambda now: members.without_role(now, name, force=force or empty))

    # -- who has one ----------------------------------------------------------------------------------------------

    def users(self, role: str) -> list[str]:
        """Names of the users who were given a role, sorted."""
        return sorted(user.name for user in self._known.latest().users.values() if role in user.roles)

    def add_user(self, role: str, user: str) -> None:
        """Give a user a role.

        Raises:
            UserNotFound: no such user.
            RoleNotFound: no such role.
        """
        self._known.change(lambda now: members.with_membership(now, user, role))

    def remove_user(self, role: str, user: str) -> None:
        """Take a role from a user, who need not have it.

        Raises:
            RoleNotFound: no such role.
        """
        self._known.change(lambda now: members.without_membership(now, user, role))

    # -- what one allows ------------------------------------------------------------------------------------------

    def grant(self, role: str, asked: Asked, *, grantor: str = ROOT) -> None:
        """Let the users of a role do something.

        Raises:
            RoleNotFound: no such role.
            CollectionNotFound: no such collection.
            InvalidArgument: there is no such privilege, or it is not about such a thing.
        """
        held = grants.check_role(self._known.latest(), role)
        made = self._named.bound(grants.resolved(self._known.policy, asked, grantor))
        if made is None:
            raise grants.no_such_collection(asked)
        # What was for collections that are gone goes too, so that a role does not grow for ever.
        alive = {one.place for one in self._named.alive(held.grants)}
        gone = frozenset(one.place for one in held.grants if one.place not in alive)
        self._known.change(lambda now: grants.with_grant(now, role, made, gone))

    def revoke(self, role: str, asked: Asked) -> None:
        """Take a grant back; one that is not there is taken back already.

        Raises:
            RoleNotFound: no such role.
            InvalidArgument: there is no such privilege, or it is not about such a thing.
        """
        grants.check_role(self._known.latest(), role)
        meant = self._named.bound(grants.resolved(self._known.policy, asked, ROOT))
        if meant is not None:
            self._known.change(lambda now: grants.without_grant(now, role, meant))

    def grants(self, role: str, asked: Asked | None = None) -> list[Grant]:
        """What a role was granted, each collection by the name that it has now.

        Args:
            role: its name.
            asked: only what is about this object, in this database; `*` for all databases.

        Raises:
            RoleNotFound: no such role.
        """
        held = grants.check_role(self._known.latest(), role)
        found = self._named.alive(held.grants)
        return found if asked is None else [one for one in found if grants.is_asked_for(one, asked)]
