"""The users of a lake."""

from __future__ import annotations

from dataclasses import replace

from headwater.govern import members
from headwater.govern.known import KnownPolicy
from headwater.govern.passwords import hash_password, password_matches
from headwater.govern.policy import User
from headwater.settings import AccessSettings

__all__ = ["Users"]


class Users:
    """Who there is; what they may do is said of their roles."""

    def __init__(self, known: KnownPolicy, settings: AccessSettings) -> None:
        self._known = known
        self._settings = settings

    def names(self) -> list[str]:
        """Names of the users, sorted."""
        return sorted(self._known.latest().users)

    def get(self, name: str) -> User | None:
        """A user without what is stored of the password; None when there is none of that name."""
        found = self._known.latest().users.get(name)
        return None if found is None else replace(found, hash="")

    def create(self, name: str, password: str, *, description: str = "") -> None:
        """Add a user.

        Raises:
            InvalidArgument: the name or the password cannot be one.
            AlreadyExists: the name is taken.
            QuotaExceeded: there are as many users as there may be.
        """
        name = members.checked_user(name)
        members.checked_password(password)
        made = User(name, hash_password(password, p=self._settings.scrypt_p), description)
        self._known.change(lambda now: members.with_new_user(now, made, self._settings.max_users))

    def set_password(self, name: str, old: str | None, new: str) -> None:
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
        held = self._known.latest().users.get(name)
        # A restored user has no password, so whoever comes here is another one who may set it.
        if held is None or (old is not None and held.hash and not password_matches(held.hash, old)):
            raise members.wrong_old_password(name)
        hashed = hash_password(new, p=self._settings.scrypt_p)
        self._known.change(lambda now: members.with_user(now, name, hash=hashed))

    def describe(self, name: str, description: str) -> None:
        """Give a user another description.

        Raises:
            UserNotFound: no such user.
        """
        self._known.change(lambda now: members.with_user(now, name, description=description))

    def drop(self, name: str) -> None:
        """Forget a user and the tokens; one who is not there is forgotten already.

        Raises:
            PermissionDenied: root stays.
        """
        self._known.change(lambda now: members.without_user(now, name))
