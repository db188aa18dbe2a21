"""Put-if-absent with a known outcome: the one conditional operation that commits rest on.

A conditional write is not idempotent under silent retries: when the store keeps the object and the answer is
lost, the retry finds the key taken, by our own bytes. So the answer to every doubt is to read the key back.
The bytes must be unique to the attempt (they hold a commit id), so that equal bytes are our bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from headwater.errors import AlreadyExists, HeadwaterError, ObjectNotFound, StoreUnavailable, Unavailable
from headwater.store.objects import ObjectStore
from headwater.store.retry import with_retries

__all__ = ["put_if_absent"]


def put_if_absent(
    store: ObjectStore,
    key: str,
    data: bytes | memoryview,
    *,
    deadline_s: float = 60.0,
    attempts: int = 8,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Store bytes under a free key, exactly once, and say who won.

    Args:
        store: where.
        key: the key that all writers race for.
        data: bytes that no other writer would write.
        deadline_s: how long to keep trying to find out.
        attempts: how often to try the write, each try with its read-back.
        sleep: how to wait.

    Returns:
        True when our bytes are stored there, False when another writer's are.

    Raises:
        StoreUnavailable: the outcome is unknown: the bytes may or may not be there, now or a moment later.
        PermissionDenied: the store refused; nothing was written.
        QuotaExceeded: the disk is full; nothing was written.
    """

    def attempt() -> bool:
        try:
            store.create(key, data)
        except (AlreadyExists, Unavailable) as doubt:
            return _read_back(store, key, doubt) == data
        return True

    try:
        return with_retries(attempt, deadline_s=deadline_s, attempts=attempts, sleep=sleep)
    except Unavailable as error:
        raise StoreUnavailable(
            f"{store.url}: put-if-absent of {key!r}: outcome unknown: {error}",
            hint="read the key later: it holds our bytes, another writer's, or nothing",
            key=key,
        ) from error


def _read_back(store: ObjectStore, key: str, doubt: HeadwaterError) -> bytes:
    """What the key holds; a retryable error when it holds nothing: then the write is to be repeated."""
    try:
        return store.get(key)
    except ObjectNotFound:
        if doubt.retryable:
            raise doubt from None
        raise StoreUnavailable(f"{key!r} was reported taken, and is absent") from doubt
