"""Passwords and tokens: what is stored of them, and checking them without paying for it on every call.

A password is kept as scrypt's hash under a salt of its own, `scrypt$n$r$p$salt$hash`, with n=2^14, r=8, p=5 by
default, one of OWASP's choices. A check takes a quarter of a second and 16 MiB, so what was right once is remembered
for a while: under a keyed hash of the credential, never the credential itself, and only as long as the stored hash is
the same. A token is 256 random bits, so one SHA-256 of it is enough.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict

__all__ = [
    "TOKEN_PREFIX",
    "Verified",
    "hash_password",
    "hash_token",
    "is_hash",
    "new_token",
    "password_matches",
]

TOKEN_PREFIX = "hwt_"  # noqa: S105 (a prefix that tells people what they are looking at)

_N, _R, _P = 1 << 14, 8, 5
_MAX_N = 1 << 20
_SALT_BYTES = 16
_HASH_BYTES = 32
_MAXMEM = 256 << 20


def hash_password(password: str, *, p: int = _P) -> str:
    """What is stored of a password.

    Args:
        password: any text.
        p: scrypt's parallelization; time, and so the price of guessing, grows with it.
    """
    salt = secrets.token_bytes(_SALT_BYTES)
    return f"scrypt${_N}${_R}${p}${_text(salt)}${_text(_scrypt(password, salt, _N, _R, p))}"


def password_matches(stored: str, password: str) -> bool:
    """Whether a password is the one that a hash was made of; takes as long whether it is or not.

    Args:
        stored: what `hash_password` made; empty for a user who has no password, or is not there.
        password: what somebody says.
    """
    parts = _parts(stored)
    n, r, p, salt, expected = parts or (_N, _R, _P, bytes(_SALT_BYTES), bytes(_HASH_BYTES))
    return hmac.compare_digest(_scrypt(password, salt, n, r, p), expected) and parts is not None


def is_hash(text: str) -> bool:
    """Whether a text is what `hash_password` makes."""
    return _parts(text) is not None


def new_token() -> tuple[str, str]:
    """A new token, and the name by which people speak of it."""
    name = secrets.token_hex(4)
    return name, f"{TOKEN_PREFIX}{name}_{secrets.token_urlsafe(32)}"


def hash_token(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


class Verified:
    """Credentials that were right a while ago. Bounded, and safe between threads.

    Args:
        limit: how many are remembered.
        ttl_s: how long.
    """

    def __init__(self, limit: int, ttl_s: float) -> None:
        self._limit = limit
        self._ttl_s = ttl_s
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._held: OrderedDict[bytes, tuple[str, str, float]] = OrderedDict()

    def get(self, credential: str) -> tuple[str, str] | None:
        """The user whose credential this is, and the stored hash that it matched then."""
        held = self._held.get(self._digest(credential))
        if held is None or held[2] < time.monotonic():
            return None
        return held[0], held[1]

    def put(self, credential: str, user: str, stored: str) -> None:
        """Remember that a credential matched a stored hash."""
        with self._lock:
            self._held[self._digest(credential)] = (user, stored, time.monotonic() + self._ttl_s)
            while len(self._held) > self._limit:
                self._held.popitem(last=False)

    def clear(self) -> None:
        """Forget them all."""
        with self._lock:
            self._held.clear()

    def __len__(self) -> int:
        return len(self._held)

    def _digest(self, credential: str) -> bytes:
        return hmac.digest(self._key, credential.encode(), "sha256")


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MAXMEM, dklen=_HASH_BYTES)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _parts(stored: str) -> tuple[int, int, int, bytes, bytes] | None:
    kind, *rest = stored.split("$")
    if kind != "scrypt" or len(rest) != 5:
        return None
    try:
        n, r, p = (int(one) for one in rest[:3])
        salt, found = (base64.b64decode(one, validate=True) for one in rest[3:])
    except ValueError:
        return None
    sound = 1 < n <= _MAX_N and n & (n - 1) == 0 and 0 < r <= 32 and 0 < p <= 16
    return (n, r, p, salt, found) if sound and 128 * n * r < _MAXMEM and len(found) == _HASH_BYTES else None
