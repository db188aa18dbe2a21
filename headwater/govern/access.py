"""Who is there and what they may do, kept in the lake: read by every call, changed by few.

The policy is one small value in a chain of its own, so every process of a lake has the same, and a change is one
conditional write. A process looks for a newer one when what it knows is older than `refresh_s`.
"""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from headwater.errors import InvalidArgument, Unavailable, UserNotFound
from headwater.govern import grants, members
from headwater.govern.grants import Asked
from headwater.govern.passwords import (
    TOKEN_PREFIX,
    Verified,
    hash_password,
    hash_token,
    new_token,
    password_matches,
)
from headwater.govern.policy import ADMIN, PUBLIC, ROOT, Grant, Policy, Role, Token, User, first_policy
from headwater.govern.rights import Rights
from headwater.lake import Chain
from headwater.settings import AccessSettings
from headwater.store import ObjectStore

__all__ = ["ACCESS_FOLDER", "Access", "Collections"]

ACCESS_FOLDER = "access-control"
"""Where the policy is in a lake; no database can be called this."""

DEFAULT_PASSWORD = "Milvus"  # noqa: S105 (public: Milvus's own)

_GRACE_S = 60.0
_AGAIN_S = 0.2
_log = logging.getLogger("headwater.access")


class Collections(Protocol):
    """What grants need to know about collections: which one a name stands for, and what one is called."""

    def identity(self, database: str, name: str) -> str | None:
        """The identity of the collection that a name or an alias stands for; None when there is none."""
        ...

    def names(self, database: str) -> dict[str, str]:
        """What the collections of a database are called now, by their identities."""
        ...

    def forget(self) -> None:
        """Names may stand for other collections from now on."""
        ...


class Access:
    """Users, roles, grants and tokens of a lake. Safe between threads and processes.

    Args:
        store: where the lake is.
        settings: limits and times.
        collections: looks up the collections that grants are for.
    """

    def __init__(self, store: ObjectStore, settings: AccessSettings, collections: Collections) -> None:
        self._settings = settings
        self._collections = collections
        self._chain: Chain[Policy] = Chain(
            store, ACCESS_FOLDER, empty=Policy(), encode=Policy.stored, decode=Policy.of
        )
        self._verified = Verified(settings.verified, settings.verified_s)
        self._lock = threading.Lock()
        self._rights = Rights(Policy())
        self._failing_since: float | None = None

    # -- the policy ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the first policy where there is none: root with its password, the roles admin and public."""
        if not self._chain.latest().users:
            password = self._settings.root_password or DEFAULT_PASSWORD
            first = first_policy(hash_password(password, p=self._settings.scrypt_p))
            self._chain.change(lambda now: now if now.users else first)
        self._work_out()
        if password_matches(self.policy.users[ROOT].hash, DEFAULT_PASSWORD):
            _log.warning(
                "root has the default password: change it with update_password or `headwater set-password root`, "
                "or start a new lake with HEADWATER_ACCESS_ROOT_PASSWORD"
            )

    @property
    def policy(self) -> Policy:
        """Users, roles, groups and tokens as this process knows them."""
        return self._chain.known

    @property
    def rights(self) -> Rights:
        """What that policy allows."""
        if self._rights.policy is not self._chain.known:
            self._work_out()
        return self._rights

    @property
    def fresh(self) -> bool:
        """Whether what is known is young enough to decide by."""
        return self._chain.age_s <= self._settings.refresh_s and bool(self._chain.known.users)

    @property
    def due(self) -> bool:
        """Whether it is time to look for changes, while what is known may still be used."""
        return self._chain.age_s > self._settings.refresh_s / 2

    def refresh(self, *, max_age_s: float | None = None) -> None:
        """Look for changes by other processes. A store that does not answer is borne for a minute.

        Args:
            max_age_s: how old may be what is known; half of `refresh_s` by default.

        Raises:
            StoreUnavailable: the store has not answered for longer.
        """
        try:
            age_s = self._settings.refresh_s / 2 if max_age_s is None else max_age_s
            if not self._chain.latest(max_age_s=age_s).users:
                self.start()
        except Unavailable:
            now = time.monotonic()
            self._failing_since = self._failing_since or now
            if not self.policy.users or now - self._failing_since > _GRACE_S:
                raise
            _log.warning("cannot look for changes of access control; deciding by what is known")
        else:
            self._failing_since = None

    def look_again(self) -> bool:
        """Before somebody is refused: look whether another process has just changed what is known.

        Returns:
            Whether there was a look; none follows on another one at once.

        Raises:
            StoreUnavailable: the store has not answered for a while.
        """
        if self._chain.age_s < _AGAIN_S:
            return False
        self.refresh(max_age_s=_AGAIN_S)
        self.forget_names()
        return True

    def _work_out(self) -> None:
        with self._lock:
            if self._rights.policy is not self._chain.known:
                self._rights = Rights(self._chain.known)

    def _change(self, alter: Callable[[Policy], Policy]) -> Policy:
        if not self._chain.latest(max_age_s=self._settings.refresh_s).users:
            self.start()
        changed = self._chain.change(alter)
        self._work_out()
        return changed

    def _now(self) -> Policy:
        if not self._chain.latest().users:
            self.start()
        return self._chain.known

    # -- credentials --------------------------------------------------------------------------------------------

    def remembered(self, credential: str) -> str | None:
        """The user of a credential that was right a while ago, and would still be; asks nobody.

        Args:
            credential: `user:password`, or a token.
        """
        held = self._verified.get(credential)
        if held is None:
            return None
        user, stored = held
        return user if stored == self._stored_for(credential, user) else None

    def authenticate(self, credential: str) -> str | None:
        """The user whose credential this is; None when it is wrong. Takes a while for a password.

        Args:
            credential: `user:password`, or a token.
        """
        known = self.remembered(credential)
        if known is not None:
            return known
        if ":" in credential:
            user, password = credential.split(":", 1)
            held = self.policy.users.get(user)
            stored = held.hash if held is not None else ""
            right = password_matches(stored, password)
        else:
            token = self._token_of(credential)
            user, stored = (token.user, token.hash) if token is not None else ("", "")
            right = token is not None
        if not right:
            return None
        self._verified.put(credential, user, stored)
        return user

    def _stored_for(self, credential: str, user: str) -> str:
        """What is stored of a credential now; empty when its user, or the token, is gone."""
        held = self.policy.users.get(user)
        if held is None:
            return ""
        if ":" in credential:
            return held.hash
        token = self._token_of(credential)
        return token.hash if token is not None else ""

    def _token_of(self, credential: str) -> Token | None:
        name = credential.removeprefix(TOKEN_PREFIX).split("_", 1)[0]
        token = self.policy.tokens.get(name)
        right = hmac.compare_digest(hash_token(credential), token.hash if token is not None else "")
        if token is None or not right or token.user not in self.policy.users:
            return None
        return None if 0 < token.expires_ms < time.time() * 1000 else token

    # -- users --------------------------------------------------------------------------------------------------

    def users(self) -> list[str]:
        """Names of the users, sorted."""
        return sorted(self._now().users)

    def user(self, name: str) -> User | None:
        """A user without what is stored of the password; None when there is none of that name."""
        found = self._now().users.get(name)
        return None if found is None else replace(found, hash="")

    def create_user(self, name: str, password: str, *, description: str = "") -> None:
        """Add a user.

        Raises:
            InvalidArgument: the name or the password cannot be one.
            AlreadyExists: the name is taken.
            QuotaExceeded: there are as many users as there may be.
        """
        name = members.checked_user(name)
        members.checked_password(password)
        hashed = hash_password(password, p=self._settings.scrypt_p)
        made = User(name, hashed, description)
        self._change(lambda now: members.with_new_user(now, made, self._settings.max_users))

    def update_password(self, name: str, old: str | None, new: str) -> None:
        """Give a user another password.

        Args:
            name: of the user.
            old: the password until now; None where who asks need not know it.
            new: the password from now on.

        Raises:
            InvalidArgument: the new password cannot be one.
            Unauthenticated: the old one is wrong.
        """
        members.checked_password(new)
        held = self._now().users.get(name)
        # A restored user has no password, so whoever comes here is another one who may set it.
        if held is None or (old is not None and held.hash and not password_matches(held.hash, old)):
            raise members.wrong_old_password(name)
        hashed = hash_password(new, p=self._settings.scrypt_p)
        self._change(lambda now: members.with_user(now, name, hash=hashed))

    def describe_user(self, name: str, description: str) -> None:
        """Give a user another description.

        Raises:
            UserNotFound: no such user.
        """
        self._change(lambda now: members.with_user(now, name, description=description))

    def drop_user(self, name: str) -> None:
        """Forget a user and the tokens; one who is not there is forgotten already.

        Raises:
            PermissionDenied: root stays.
        """
        self._change(lambda now: members.without_user(now, name))

    # -- roles --------------------------------------------------------------------------------------------------

    def roles(self) -> list[str]:
        """Names of the roles, sorted."""
        return sorted(self._now().roles)

    def role(self, name: str) -> Role | None:
        """A role with its grants; None when there is none of that name."""
        return self._now().roles.get(name)

    def create_role(self, name: str, *, description: str = "") -> None:
        """Add a role.

        Raises:
            InvalidArgument: the name cannot be one.
            AlreadyExists: it is taken.
            QuotaExceeded: there are as many roles as there may be.
        """
        made = Role(members.checked_name(name, "role name"), members.checked_description(description))
        self._change(lambda now: members.with_new_role(now, made, self._settings.max_roles))

    def describe_role(self, name: str, description: str) -> None:
        """Give a role another description.

        Raises:
            PermissionDenied: it is a built-in one.
            RoleNotFound: no such role.
        """
        text = members.checked_description(description)
        self._change(lambda now: members.with_described_role(now, name, text))

    def drop_role(self, name: str, *, force: bool = False) -> None:
        """Forget a role; the users keep their others.

        Args:
            name: of the role.
            force: also when it holds privileges.

        Raises:
            PermissionDenied: it is a built-in one.
            RoleNotFound: no such role.
            InvalidArgument: it holds privileges.
        """
        held = self.role(name)
        alive = () if held is None else tuple(self.alive(held.grants))
        self._change(lambda now: members.without_role(now, name, force=force or not alive))

    def add_to_role(self, user: str, role: str) -> None:
        """Give a user a role.

        Raises:
            UserNotFound: no such user.
            RoleNotFound: no such role.
        """
        self._change(lambda now: members.with_membership(now, user, role))

    def remove_from_role(self, user: str, role: str) -> None:
        """Take a role from a user, who need not have it.

        Raises:
            RoleNotFound: no such role.
        """
        self._change(lambda now: members.without_membership(now, user, role))

    def users_of(self, role: str) -> list[str]:
        """Names of the users who were given a role, sorted."""
        return sorted(user.name for user in self._now().users.values() if role in user.roles)

    # -- grants -------------------------------------------------------------------------------------------------

    def grant(self, role: str, asked: Asked, *, grantor: str = ROOT) -> None:
        """Let the users of a role do something.

        Raises:
            RoleNotFound: no such role.
            CollectionNotFound: no such collection.
            InvalidArgument: there is no such privilege, or it is not about such a thing.
        """
        held = grants.check_role(self._now(), role)
        made = self._bound(grants.resolved(self.policy, asked, grantor))
        if made is None:
            raise grants.no_such_collection(asked)
        # What was for collections that are gone goes too, so that a role does not grow for ever.
        alive = {one.place for one in self.alive(held.grants)}
        gone = frozenset(one.place for one in held.grants if one.place not in alive)
        self._change(lambda now: grants.with_grant(now, role, made, gone))

    def revoke(self, role: str, asked: Asked) -> None:
        """Take a grant back; one that is not there is taken back already.

        Raises:
            RoleNotFound: no such role.
            InvalidArgument: there is no such privilege, or it is not about such a thing.
        """
        grants.check_role(self._now(), role)
        meant = self._bound(grants.resolved(self.policy, asked, ROOT))
        if meant is not None:
            self._change(lambda now: grants.without_grant(now, role, meant))

    def grants_of(self, role: str, asked: Asked | None = None) -> list[Grant]:
        """What a role was granted, each collection by the name that it has now.

        Args:
            role: its name.
            asked: only what is about this object, in this database; `*` for all databases.

        Raises:
            RoleNotFound: no such role.
        """
        held = grants.check_role(self._now(), role)
        found = self.alive(held.grants)
        return found if asked is None else [one for one in found if grants.is_asked_for(one, asked)]

    def alive(self, held: Sequence[Grant]) -> list[Grant]:
        """The grants whose collections are still there, by the names that those have now."""
        names: dict[str, dict[str, str]] = {}
        found = []
        for grant in held:
            place, identity = grant.database, grant.identity
            if not identity or self._collections.identity(place, grant.object_name) == identity:
                found.append(grant)
                continue
            if place not in names:
                names[place] = self._collections.names(place)
            if identity in names[place]:
                found.append(replace(grant, object_name=names[place][identity]))
        return found

    def _bound(self, grant: Grant) -> Grant | None:
        """A grant for a collection by its identity; None when there is no such collection."""
        if not grants.is_for_one_collection(grant):
            return grant
        identity = self._collections.identity(grant.database, grant.object_name)
        return None if identity is None else replace(grant, identity=identity)

    # -- groups of privileges -----------------------------------------------------------------------------------

    def create_group(self, name: str) -> None:
        """Add a group of privileges, empty at first.

        Raises:
            InvalidArgument: the name cannot be one, or is taken.
        """
        name = grants.checked_group(name)
        self._change(lambda now: grants.with_new_group(now, name))

    def drop_group(self, name: str) -> None:
        """Forget a group; one that is not there, or is built in, is left as it is.

        Raises:
            InvalidArgument: a role was granted it.
        """
        grants.checked_group(name)
        self._change(lambda now: grants.without_group(now, name))

    def add_to_group(self, name: str, privileges: Sequence[str]) -> None:
        """Add privileges, or other groups, to a group.

        Raises:
            InvalidArgument: there is no such group or privilege, or they are not of one level.
        """
        grants.checked_group(name)
        self._change(lambda now: grants.with_members(now, name, privileges))

    def remove_from_group(self, name: str, privileges: Sequence[str]) -> None:
        """Take privileges out of a group, which need not hold them.

        Raises:
            InvalidArgument: there is no such group or privilege.
        """
        grants.checked_group(name)
        self._change(lambda now: grants.without_members(now, name, privileges))

    def groups(self) -> dict[str, tuple[str, ...]]:
        """The groups that users made."""
        return dict(self._now().groups)

    # -- tokens -------------------------------------------------------------------------------------------------

    def create_token(self, user: str, *, description: str = "", expires_s: float = 0) -> str:
        """Make a token by which programs act for a user. It is shown now and never again.

        Args:
            user: for whom.
            description: what it is for.
            expires_s: seconds until it stops working; 0 for never.

        Raises:
            UserNotFound: no such user.
            InvalidArgument: it would have expired already.
        """
        if expires_s < 0:
            raise InvalidArgument(f"expires_s is {expires_s}: expected 0 for never, or seconds from now")
        name, secret = new_token()
        now_ms = int(time.time() * 1000)
        expires_ms = now_ms + int(expires_s * 1000) if expires_s else 0
        made = Token(name, user, hash_token(secret), description, now_ms, expires_ms)

        def alter(now: Policy) -> Policy:
            if user not in now.users:
                raise UserNotFound(f"no user {user!r}", hint=f"there are: {', '.join(sorted(now.users))}")
            left = {key: one for key, one in now.tokens.items() if not 0 < one.expires_ms < now_ms}
            return replace(now, tokens={**left, name: made})

        self._change(alter)
        return secret

    def drop_token(self, name: str) -> None:
        """Forget a token, by its name; one that is not there is forgotten already."""
        self._change(
            lambda now: replace(now, tokens={key: one for key, one in now.tokens.items() if key != name})
        )

    def tokens(self) -> list[Token]:
        """The tokens, without what is stored of their secrets."""
        return [replace(one, hash="") for one in self._now().tokens.values()]

    # -- copies -------------------------------------------------------------------------------------------------

    def backup(self, *, with_hashes: bool = False) -> Policy:
        """Users, roles, grants and groups; never tokens, nor what every lake has.

        Args:
            with_hashes: also what is stored of passwords, so that they can be restored.
        """
        now = self._now()
        users = {
            one.name: one if with_hashes else replace(one, hash="")
            for one in now.users.values()
            if one.name != ROOT
        }
        roles = {
            one.name: replace(one, grants=tuple(self.alive(one.grants)))
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
                one = self._bound(replace(grant, identity=""))
                if one is None:
                    raise grants.no_such_collection(Asked(grant.privilege, grant.object_name, grant.database))
                made.append(one)
            bound[role.name] = replace(role, grants=tuple(made))
        self._change(lambda now: members.restored(now, replace(saved, roles=bound)))

    # -- what a user may do -------------------------------------------------------------------------------------

    def permits(self, user: str, privilege: str, database: str, names: Sequence[str] = ()) -> bool:
        """Whether a user may use a privilege on collections.

        Args:
            user: who.
            privilege: its name.
            database: where.
            names: of the collections, or aliases of them.
        """
        rights = self.rights
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
        rights = self.rights
        return rights.sees_all(user, database) or self._collections.identity(database, name) in rights.seen(
            user, database
        )

    def forget_names(self) -> None:
        """Names may stand for other collections from now on: one was made, dropped or renamed here."""
        self._collections.forget()

    def visible(self, user: str, database: str, names: Sequence[str]) -> list[str]:
        """Those of a database's collections that a user sees: the ones that a grant is for."""
        rights = self.rights
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
