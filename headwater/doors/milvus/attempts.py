"""Logins that failed: after a few of a user from one address, further ones are refused for a while, unread."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import unquote

from headwater.settings import AccessSettings

__all__ = ["FailedLogins", "address_of"]

_MOST = 4096
"""Pairs of a user and an address that are remembered; the oldest go first."""


def address_of(peer: str) -> str:
    """Where somebody comes from, the same through every door: who is connected, without a protocol and a port."""
    for protocol in ("http:", "ipv4:", "ipv6:"):
        peer = peer.removeprefix(protocol)
    return unquote(peer).rpartition(":")[0].strip("[]")


class FailedLogins:
    """Failed logins by user and address, of one process.

    They are counted by both, so that nobody locks a user out who comes from elsewhere, nor other users of an address.
    What fails again and again is a client that nobody told of a new password, not somebody who guesses: it counts once.

    Args:
        settings: how many there may be, and for how long they count.
        clock: tells seconds.
    """

    def __init__(self, settings: AccessSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = settings.max_failed_logins
        self._window_s = settings.failed_login_s
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._failed: OrderedDict[tuple[str, str], tuple[float, set[bytes]]] = OrderedDict()

    def wait_s(self, user: str, address: str) -> float:
        """How long a login of a user from an address has to wait; 0 where it need not.

        Args:
            user: the name; empty for a token.
            address: of the caller, without a port.
        """
        with self._lock:
            found = self._failed.get((user, address))
            if found is None or not 0 < self._most <= len(found[1]):
                return 0.0
        return max(0.0, found[0] + self._window_s - self._clock())

    def failed(self, user: str, address: str, credential: str) -> None:
        """Count a credential that was wrong, with the others since the first of them."""
        now = self._clock()
        digest = hashlib.blake2b(credential.encode(), digest_size=16, key=self._key).digest()
        with self._lock:
            began, wrong = self._failed.pop((user, address), (now, set()))
            if now - began >= self._window_s:
                began, wrong = now, set()
            if len(wrong) < self._most:
                wrong.add(digest)
            self._failed[user, address] = began, wrong
            if len(self._failed) > _MOST:
                self._failed.popitem(last=False)

    def passed(self, user: str, address: str) -> None:
        """Forget those that failed: the user has come in."""
        with self._lock:
            self._failed.pop((user, address), None)
