"""Vortex without pandas.

Vortex imports pandas, where it is installed, to mend a part of it that nothing here uses: half the time of the first
query of a process. So it is told that there is none, on the thread that imports it and while it does; other threads,
and whoever imports pandas before or afterwards, get it as ever.
"""

from __future__ import annotations

import importlib
import sys
import threading
from functools import cache
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

__all__ = ["vortex"]

_lock = threading.Lock()


class _NoPandasHere(MetaPathFinder):
    """Finds nothing, and says of pandas that it is not there, to one thread."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        """See `importlib.abc.MetaPathFinder`."""
        if fullname == "pandas" and threading.get_ident() == self._thread:
            raise ModuleNotFoundError("pandas is not needed by what reads Vortex here", name="pandas")


@cache
def vortex() -> ModuleType:
    """The package, imported when the first file is opened, which not every command does."""
    with _lock:
        finder = _NoPandasHere()
        sys.meta_path.insert(0, finder)
        try:
            return importlib.import_module("vortex")
        finally:
            sys.meta_path.remove(finder)
