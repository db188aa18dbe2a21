"""Opened segments, opened indexes and hot columns of one collection: compute caches storage, and nothing more.

Everything here is derived from immutable objects, so an entry is never stale, only cold: throwing the whole cache away
changes no answer. Entries are keyed by the name of the bytes they came from. All of them live on the one budget of
memory that the process has (`tiers.MemoryCache`); opened files are counted as well.

Thread safety: all methods may be called from any thread; two threads may decode the same column at once, and one wins.
"""

from headwater.query.opened.indexes import index_params
from headwater.query.opened.opened import HotParts, HotPlaces, Opened

__all__ = ["HotParts", "HotPlaces", "Opened", "index_params"]
