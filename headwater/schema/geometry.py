"""Geometry values: WKT, WKB and shapely objects, brought to WKB; shapely is imported when first needed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.extras import load_extra

__all__ = ["shapely", "to_wkb", "to_wkt", "wkb_column"]


@lru_cache(maxsize=1)
def shapely() -> ModuleType:
    """The shapely module.

    Raises:
        MissingExtra: shapely is not installed.
    """
    return load_extra("shapely", "geo", need="geometry")


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


def wkb_column(values: pa.Array) -> tuple[pa.Array, int | None]:
    """A column of WKT or WKB as WKB.

    Returns:
        The column, and the first row that holds no geometry; None where every row does.
    """
    geo = shapely()
    given = values.is_valid().to_numpy(zero_copy_only=False)
    binary = not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type))
    held = values.filter(pa.array(given)).to_numpy(zero_copy_only=False)
    geometries = (geo.from_wkb if binary else geo.from_wkt)(held, on_invalid="ignore")
    lost = geo.is_missing(geometries)
    if lost.any():
        return values, int(np.flatnonzero(given)[np.argmax(lost)])
    written = np.full(len(values), None, object)
    written[given] = geo.to_wkb(geometries, byte_order=1)
    return pa.array(written, pa.binary()), None


def to_wkt(values: Sequence[bytes | None]) -> list[str | None]:
    """Geometries in WKB as WKT, with as many digits as it takes to read the same back."""
    geo = shapely()
    texts: list[str | None] = geo.to_wkt(geo.from_wkb(list(values)), rounding_precision=-1).tolist()
    return texts
