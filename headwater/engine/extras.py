"""Optional dependencies: imported when first needed, named clearly when absent."""

from __future__ import annotations

import importlib
from types import ModuleType

from headwater.errors import MissingExtra

__all__ = ["polars"]


def _load(module: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"{module} is not installed", hint=f'pip install "headwater[{extra}]"', extra=extra
        ) from error


def polars() -> ModuleType:
    """The polars module.

    Raises:
        MissingExtra: polars is not installed.
    """
    return _load("polars", "polars")
