"""How many rows a bitmap selects, counted once for each bitmap that cannot change.

Counting a million rows takes a tenth of a millisecond, and what a filter selects stays one bitmap while it is kept.
"""

from __future__ import annotations

import threading
import weakref

import numpy as np

from headwater.types import Bitmap

__all__ = ["num_selected"]

_MOST = 256
_known: dict[int, tuple[weakref.ref[Bitmap], int]] = {}
_lock = threading.Lock()


def num_selected(bitmap: Bitmap) -> int:
    """Rows that a bitmap selects.

    Args:
        bitmap: (n,) rows; one that is not writeable is taken never to change.
    """
    known = _known.get(id(bitmap))
    if known is not None and known[0]() is bitmap:
        return known[1]
    count = int(np.count_nonzero(bitmap))
    if not bitmap.flags.writeable:
        with _lock:
            while len(_known) >= _MOST:
                _known.pop(next(iter(_known)))
            _known[id(bitmap)] = weakref.ref(bitmap), count
    return count
