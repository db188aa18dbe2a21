"""Relations of geometries, by shapely over arrays of WKB."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.schema.geometry import shapely

__all__ = ["EARTH_RADIUS_M", "related", "valid"]

EARTH_RADIUS_M = 6_371_008.8
"""Mean radius of the Earth, metres."""


def related(column: pa.Array, relation: str, wkb: bytes, distance_m: float | None) -> pa.Array:
    """Whether each geometry stands in a relation to another; null where there is none.

    Args:
        column: (n,) WKB.
        relation: contains, within, intersects, equals, touches, overlaps, crosses or dwithin.
        wkb: the other geometry; of dwithin a point.
        distance_m: of dwithin, metres on the sphere.
    """
    geo = shapely()
    mask = column.is_null().to_numpy(zero_copy_only=False)
    geometries = geo.from_wkb(column.filter(pa.array(~mask)).to_numpy(zero_copy_only=False))
    other = geo.from_wkb(wkb)
    if relation == "dwithin":
        assert distance_m is not None
        held = _distances(geo, geometries, other) <= distance_m
    else:
        # The literal is prepared once; its relation to a row is the converse of the row's to it.
        geo.prepare(other)
        held = getattr(geo, _CONVERSE.get(relation, relation))(other, geometries)
    found = np.zeros(len(column), np.bool_)
    found[~mask] = held
    return pa.array(found, mask=mask)


_CONVERSE = {"contains": "within", "within": "contains"}


def valid(column: pa.Array) -> pa.Array:
    """Whether each geometry is valid; null where there is none."""
    geo = shapely()
    mask = column.is_null().to_numpy(zero_copy_only=False)
    found = np.zeros(len(column), np.bool_)
    found[~mask] = geo.is_valid(geo.from_wkb(column.filter(pa.array(~mask)).to_numpy(zero_copy_only=False)))
    return pa.array(found, mask=mask)


def _distances(geo: Any, geometries: npt.NDArray[Any], point: Any) -> npt.NDArray[np.float64]:
    """Metres from a point to each geometry, longitude and latitude in degrees.

    Geometries are projected so that distances from the point are those of the sphere (azimuthal equidistant): exact for
    points, and for others as far as their edges are short beside the Earth.
    """
    longitude, latitude = np.radians(point.x), np.radians(point.y)

    def projected(degrees: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        there, up = np.radians(degrees[:, 0]), np.radians(degrees[:, 1])
        sines = np.sin((up - latitude) / 2) ** 2
        sines += np.cos(latitude) * np.cos(up) * np.sin((there - longitude) / 2) ** 2
        angle = 2 * np.arcsin(np.sqrt(np.clip(sines, 0, 1)))
        east = np.cos(up) * np.sin(there - longitude)
        north = np.cos(latitude) * np.sin(up) - np.sin(latitude) * np.cos(up) * np.cos(there - longitude)
        bearing = np.arctan2(east, north)
        flat: npt.NDArray[np.float64] = np.column_stack((np.sin(bearing), np.cos(bearing)))
        flat *= EARTH_RADIUS_M * angle[:, None]
        return flat

    flat = geo.transform(geo.force_2d(geometries), projected)
    distances: npt.NDArray[np.float64] = geo.distance(flat, geo.Point(0.0, 0.0))
    return distances
