"""Who a collection is, whatever it is called: a number that renames leave alone, and when it was made."""

from __future__ import annotations

import hashlib
import secrets

from headwater.lake import Manifest
from headwater.lake.clock import SYSTEM_CLOCK
from headwater.lake.log import LOGICAL_BITS

__all__ = ["IDENTITY_PROPERTY", "identity_of", "new_identity"]

IDENTITY_PROPERTY = "headwater.collection_id"


def new_identity() -> str:
    """A number for a new collection: a hybrid timestamp, of which the counter is drawn by lot."""
    return str((SYSTEM_CLOCK.now_ms() << LOGICAL_BITS) + secrets.randbelow(1 << LOGICAL_BITS))


def identity_of(manifest: Manifest, root: str) -> int:
    """The number of a collection, below 2^63.

    Args:
        manifest: any version of it.
        root: its prefix in the lake, from which the number follows where the collection was made without one.
    """
    kept = manifest.properties.get(IDENTITY_PROPERTY)
    if kept is not None:
        return int(kept)
    return int.from_bytes(hashlib.blake2b(root.encode(), digest_size=8).digest()) >> 2
