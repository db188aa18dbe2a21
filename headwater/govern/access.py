"""Who is there and what they may do, kept in the lake: one place to ask, and to change it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headwater.govern import grants, members
from headwater.govern.credentials import Credentials, Tokens
from headwater.govern.grants import Asked
from headwater.govern.groups import PrivilegeGroups
from headwater.govern.known import KnownPolicy
from headwater.govern.named import Collections, NamedGrants
from headwater.govern.policy import ADMIN, PUBLIC, ROOT, Policy, Role
from headwater.govern.roles import Roles
from headwater.govern.users import Users
from headwater.settings import AccessSettings
from headwater.store import ObjectStore

__all__ = ["Access"]

_AGAIN_S = 0.2


class Access:
    """Users, roles, grants and tokens of a lake. Safe between threads and processes.

    Attributes:
        known: the policy as this process knows it, and how old that is.
        credentials: finds the user of a password or a token.
        users: who there is.
        roles: who has which, and what they were granted.
        groups: of privileges, made by users.
        tokens: by which programs act for users.

    Args:
        store: where the lake is.
        settings: limits and times.
        collections: looks up the collections that grants are for.
    """

    def __init__(self, store: ObjectStore, settings: AccessSettings, collections: Collections) -> None:
        self._collections = collections
        self._named = NamedGrants(collections)
        self.known = KnownPolicy(store, settings)
        self.credentials = Credentials(self.known, settings)
        self.users = Users(self.known, settings)
        self.roles = Roles(self.known, settings, self._named)
        self.groups = PrivilegeGroups(self.known)
        self.tokens = Tokens(self.known)

    def look_again(self) -> bool:
        """Before somebody is refused: look whether another process has just changed what is known.

        Returns:
            Whether there was a look; none follows on another one at once.

        Raises:
            StoreUnavailable: the store has not answered for a while.
        """
        if self.known.age_s < _AGAIN_S:
            return False
        self.known.refresh(max_age_s=_AGAIN_S)
        self.forget_names()
        return True

    # -- what a user may do -------------------------------------------------------------------------------------

    def permits(self, user: str, privilege: str, database: str, names: Sequence[str] = ()) -> bool:
        """Whether a user may use a privilege on collections.

        Args:
            user: who.
            privilege: its name.
            database: where.
            names: of the collections, or aliases of them.
        """
        rights = self.known.rights
        if rights.permits(user, privilege, database):
            return True
        return bool(names) and all(
            rights.permits(user, privilege, database, self._known_as(database, name)) for name in names
        )

    def _known_as(self, database: str, name: str) -> tuple[str, ...]:
        identity = self._collections.identity(database, name)
        return (name,) if identity is None else (identity, name)

    def exists(self, database: str, name: str) -> bool:
        """Whether a name, or an alias, stands for a collection."""
        return self._collections.identity(database, name) is not None

    def sees(self, user: str, database: str, name: str) -> bool:
        """Whether a user sees a collection: one that a grant is for, or any where one is for all."""
        rights = self.known.rights
        return rights.sees_all(user, database) or self._collections.identity(database, name) in rights.seen(
            user, database
        )

    def visible(self, user: str, database: str, names: Sequence[str]) -> list[str]:
        """Those of a database's collections that a user sees: the ones that a grant is for."""
        rights = self.known.rights
        if rights.sees_all(user, database):
            return list(names)
        seen = rights.seen(user, database)
        if not seen:
            return []
        first = [name for name in names if name in seen.values()]
        found = {
            name: one for name in first if (one := self._collections.identity(database, name)) is not None
        }
        if not seen.keys() <= set(found.values()):
            # One of them was renamed, or dropped: look at the others too.
            for name in names:
                if name not in found and (one := self._collections.identity(database, name)) is not None:
                    found[name] = one
        return [name for name in names if found.get(name) in seen]

    def forget_names(self) -> None:
        """Names may stand for other collections from now on: one was made, dropped or renamed here."""
        self._collections.forget()

    # -- copies -------------------------------------------------------------------------------------------------

    def backup(self, *, with_hashes: bool = False) -> Policy:
        """Users, roles, grants and groups; never tokens, nor what every lake has.

        Args:
            with_hashes: also what is stored of passwords, so that they can be restored.
        """
        now = self.known.latest()
        users = {
            one.name: one if with_hashes else replace(one, hash="")
            for one in now.users.values()
            if one.name != ROOT
        }
        roles = {
            one.name: replace(one, grants=tuple(self._named.alive(one.grants)))
            for one in now.roles.values()
            if one.name not in (ADMIN, PUBLIC)
        }
        return replace(now, users=users, roles=roles, tokens={})

    def restore(self, saved: Policy) -> None:
        """Add what a backup holds; all of it or nothing.

        Raises:
            InvalidArgument: it holds nothing, or something that is there already.
            CollectionNotFound: a grant is for a collection that is not there.
        """
        bound: dict[str, Role] = {}
        for role in saved.roles.values():
            made = []
            for grant in role.grants:
                one = self._named.bound(replace(grant, identity=""))
                if one is None:
                    raise grants.no_such_collection(Asked(grant.privilege, grant.object_name, grant.database))
                made.append(one)
            bound[role.name] = replace(role, grants=tuple(made))
        self.known.change(lambda now: members.restored(now, replace(saved, roles=bound)))
