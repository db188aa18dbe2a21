"""Geometry values: WKT, WKB and shapely objects, brought to WKB; shapely is imported when first needed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

from headwater.errors import MissingExtra

__all__ = ["shapely", "to_wkb", "to_wkt"]


@lru_cache(maxsize=1)
def shapely() -> ModuleType:
    """The shapely module.

    Raises:
        MissingExtra: shapely is not installed.
    """
    try:
        return importlib.import_module("shapely")
    except ImportError as error:
        raise MissingExtra(
            "shapely is not installed, and geometry needs it",
            hint='pip install "headwater[geo]"',
            extra="geo",
        ) from error


def to_wkb(value: Any) -> bytes | None:
    """One geometry as little-endian WKB.

    Args:
        value: WKT text, WKB bytes, a shapely geometry, or None.

    Raises:
        ValueError: it is none of them, or no geometry is written there.
        MissingExtra: shapely is not installed.
    """
    if value is None:
        return None
    geo = shapely()
    try:
        if isinstance(value, str):
            value = geo.from_wkt(value)
        elif isinstance(value, bytes | bytearray | memoryview):
            value = geo.from_wkb(bytes(value))
    except geo.errors.ShapelyError as error:
        raise ValueError(str(error).strip() or "no geometry") from error
    if not isinstance(value, geo.Geometry):
        raise ValueError(f"expected WKT, WKB or a shapely geometry, got {type(value).__name__}")
    return bytes(geo.to_wkb(value, byte_order=1))


def to_wkt(values: Sequence[bytes | None]) -> list[str | None]:
    """Geometries in WKB as WKT, with as many digits as it takes to read the same back."""
    geo = shapely()
    texts: list[str | None] = geo.to_wkt(geo.from_wkb(list(values)), rounding_precision=-1).tolist()
    return texts
