"""Who somebody is: passwords and tokens, checked in constant time."""

from __future__ import annotations

import hmac
import time
from dataclasses import replace

from headwater.errors import InvalidArgument, UserNotFound
from headwater.govern.known import KnownPolicy
from headwater.govern.passwords import TOKEN_PREFIX, Verified, hash_token, new_token, password_matches
from headwater.govern.policy import Policy, Token
from headwater.settings import AccessSettings

__all__ = ["Credentials", "Tokens"]


class Tokens:
    """The tokens by which programs act for users."""

    def __init__(self, known: KnownPolicy) -> None:
        self._known = known

    def list(self) -> list[Token]:
        """The tokens, without what is stored of their secrets."""
        return [replace(one, hash="") for one in self._known.latest().tokens.values()]

    def create(self, user: str, *, description: str = "", expires_s: float = 0) -> str:
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

        self._known.change(alter)
        return secret

    def drop(self, name: str) -> None:
        """Forget a token, by its name; one that is not there is forgotten already."""
        self._known.change(
            lambda now: replace(now, tokens={key: one for key, one in now.tokens.items() if key != name})
        )


class Credentials:
    """Finds the user of a credential: `user:password`, or a token.

    Args:
        known: the policy.
        settings: how many right passwords are remembered, and for how long.
    """

    def __init__(self, known: KnownPolicy, settings: AccessSettings) -> None:
        self._known = known
        self._verified = Verified(settings.verified, settings.verified_s)

    def remembered(self, credential: str) -> str | None:
        """The user of a credential that was right a while ago, and would still be; asks nobody."""
        held = self._verified.get(credential)
        if held is None:
            return None
        user, stored = held
        return user if stored == self._stored_for(credential, user) else None

    def authenticate(self, credential: str) -> str | None:
        """The user whose credential this is; None when it is wrong. Takes a while for a password."""
        known = self.remembered(credential)
        if known is not None:
            return known
        if ":" in credential:
            user, password = credential.split(":", 1)
            held = self._known.policy.users.get(user)
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
        held = self._known.policy.users.get(user)
        if held is None:
            return ""
        if ":" in credential:
            return held.hash
        token = self._token_of(credential)
        return token.hash if token is not None else ""

    def _token_of(self, credential: str) -> Token | None:
        policy = self._known.policy
        name = credential.removeprefix(TOKEN_PREFIX).split("_", 1)[0]
        token = policy.tokens.get(name)
        right = hmac.compare_digest(hash_token(credential), token.hash if token is not None else "")
        if token is None or not right or token.user not in policy.users:
            return None
        return None if 0 < token.expires_ms < time.time() * 1000 else token
