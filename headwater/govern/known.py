"""The policy as this process knows it: read by every call, changed by few.

It is one small value in a chain of its own in the lake, so every process has the same, and a change is one conditional
write. A process looks for a newer one when what it knows is older than `refresh_s`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from headwater.errors import Unavailable
from headwater.govern.passwords import hash_password, password_matches
from headwater.govern.policy import ROOT, Policy, first_policy
from headwater.govern.rights import Rights
from headwater.lake import Chain
from headwater.settings import AccessSettings
from headwater.store import ObjectStore

__all__ = ["ACCESS_FOLDER", "KnownPolicy"]

ACCESS_FOLDER = "access-control"
"""Where the policy is in a lake; no database can be called this."""

DEFAULT_PASSWORD = "Milvus"  # noqa: S105 (public: Milvus's own)

_GRACE_S = 60.0
_log = logging.getLogger("headwater.access")


class KnownPolicy:
    """The newest policy that this process has read, and what it allows. Safe between threads and processes.

    Args:
        store: where the lake is.
        settings: limits and times.
    """

    def __init__(self, store: ObjectStore, settings: AccessSettings) -> None:
        self._settings = settings
        self._chain: Chain[Policy] = Chain(
            store, ACCESS_FOLDER, empty=Policy(), encode=Policy.stored, decode=Policy.of
        )
        self._lock = threading.Lock()
        self._rights = Rights(Policy())
        self._failing_since: float | None = None

    @property
    def policy(self) -> Policy:
        """Users, roles, groups and tokens; asks nobody."""
        return self._chain.known

    @property
    def rights(self) -> Rights:
        """What that policy allows."""
        if self._rights.policy is not self._chain.known:
            self._work_out()
        return self._rights

    @property
    def age_s(self) -> float:
        """Seconds since somebody looked for a newer one."""
        return self._chain.age_s

    @property
    def fresh(self) -> bool:
        """Whether what is known is young enough to decide by."""
        return self._chain.age_s <= self._settings.refresh_s and bool(self._chain.known.users)

    @property
    def due(self) -> bool:
        """Whether it is time to look for changes, while what is known may still be used."""
        return self._chain.age_s > self._settings.refresh_s / 2

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

    def latest(self) -> Policy:
        """The newest policy of the lake; made where there is none."""
        if not self._chain.latest().users:
            self.start()
        return self._chain.known

    def change(self, alter: Callable[[Policy], Policy]) -> Policy:
        """Replace the newest policy by what a function makes of it; asked again when another process was first."""
        if not self._chain.latest(max_age_s=self._settings.refresh_s).users:
            self.start()
        changed = self._chain.change(alter)
        self._work_out()
        return changed

    def _work_out(self) -> None:
        with self._lock:
            if self._rights.policy is not self._chain.known:
                self._rights = Rights(self._chain.known)
