"""Dependencies that may be absent: imported when first needed."""

from __future__ import annotations

import importlib
from types import ModuleType

from headwater.errors import MissingExtra

__all__ = ["load_extra"]


def load_extra(module: str, extra: str, *, need: str | None = None) -> ModuleType:
    """A module that one of the extras brings.

    Args:
        module: its name.
        extra: that brings it.
        need: what cannot do without it, for the message.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"{module} is not installed" + (f", and {need} needs it" if need else ""),
            hint=f'pip install "headwater[{extra}]"',
            extra=extra,
        ) from error
