"""R-tree: boxes around geometries, packed into groups of 64, and boxes around those, level upon level.

A search compares one level at a time, all its boxes at once. It finds the rows whose boxes could stand in the relation;
their geometries are for the caller to look at, except where the boxes prove it.

References: Leutenegger, Lopez and Edgington, "STR: A Simple and Efficient Algorithm for R-Tree Packing", 1997.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.index.artifact import Artifact, ArtifactWriter, open_artifact
from headwater.index.predicates import Answer, IsNull, Predicate, Spatial
from headwater.index.scalar.entries import values
from headwater.index.scalar.pages import Pages, write_pages
from headwater.index.scalar.postings import Nulls, write_nulls
from headwater.index.scalar.protocol import ScalarParams
from headwater.schema import FieldType
from headwater.schema.geometry import shapely
from headwater.tiers import Residency
from headwater.types import DataType

__all__ = ["RtreeKind"]

Boxes = npt.NDArray[np.float64]
"""(n, 4): least x, least y, greatest x, greatest y."""

_GROUP = 64
_SMALLEST_RADIUS_M, _GREATEST_RADIUS_M = 6_356_752.0, 6_378_137.0
"""Between these is the radius of any sphere that distances on the earth are measured on."""

_LONG_DEGREES = 1.0
"""Diagonal of a box above which it is looked at in every search by distance."""


class RtreeKind:
    """See `ScalarIndexKind`."""

    def fits(self, field_type: FieldType) -> bool:
        """See `ScalarIndexKind`."""
        return field_type.data_type is DataType.GEOMETRY

    def build(self, column: pa.Array, params: ScalarParams, path: Path) -> None:
        """See `ScalarIndexKind`."""
        geometry = shapely()
        wkb, rows = values(column)
        boxes: Boxes = geometry.bounds(geometry.from_wkb(wkb.to_numpy(zero_copy_only=False))).reshape(-1, 4)
        there = ~np.isnan(boxes).any(axis=1)
        boxes, rows = boxes[there], rows[there]
        order = _packed_order(boxes)
        sizes = np.hypot(boxes[order, 2] - boxes[order, 0], boxes[order, 3] - boxes[order, 1])
        long = np.flatnonzero(sizes > _LONG_DEGREES).astype("<u4")
        short = float(sizes[sizes <= _LONG_DEGREES].max(initial=0.0))
        levels = [boxes[order]]
        while len(levels[-1]) > _GROUP:
            levels.append(_around(levels[-1]))
        with ArtifactWriter(path, "rtree") as writer:
            write_nulls(writer, column)
            write_pages(writer, "rows", rows[order])
            for number, level in enumerate(levels):
                write_pages(writer, f"level{number}", level.reshape(-1).astype("<f8", copy=False))
            write_pages(writer, "long", long)
            writer.finish({"num_rows": len(column), "levels": len(levels), "short_degrees": short})

    def open(self, source: Residency, params: ScalarParams) -> RtreeIndex:
        """See `ScalarIndexKind`."""
        return RtreeIndex(open_artifact(source, "rtree"))


def _packed_order(boxes: Boxes) -> npt.NDArray[np.int64]:
    """Strips of about equal x, each by y."""
    n = len(boxes)
    x, y = boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]
    by_x = np.argsort(x, kind="stable")
    strip_rows = _GROUP * max(1, math.ceil(math.sqrt(n / _GROUP)))
    strip = np.empty(n, np.int64)
    strip[by_x] = np.arange(n) // strip_rows
    return np.lexsort((y, strip))


def _around(boxes: Boxes) -> Boxes:
    starts = np.arange(0, len(boxes), _GROUP)
    least = np.minimum.reduceat(boxes[:, :2], starts)
    greatest = np.maximum.reduceat(boxes[:, 2:], starts)
    return np.concatenate([least, greatest], axis=1)


class RtreeIndex:
    """See `ScalarIndex`."""

    def __init__(self, artifact: Artifact) -> None:
        self.num_rows = int(artifact.properties["num_rows"])
        self._nulls = Nulls(artifact, self.num_rows)
        self._rows = Pages(artifact, "rows", "<u4")
        self._long = Pages(artifact, "long", "<u4")
        self._short_degrees = float(artifact.properties["short_degrees"])
        self._levels = [Pages(artifact, f"level{n}", "<f8") for n in range(artifact.properties["levels"])]

    def select(self, predicate: Predicate, most: int) -> Answer | None:
        """See `ScalarIndex`."""
        if isinstance(predicate, IsNull):
            return Answer(self._nulls.rows())
        if not isinstance(predicate, Spatial):
            return None
        geometry = shapely()
        asked = geometry.from_wkb(predicate.wkb)
        box = np.asarray(geometry.bounds(asked), np.float64)
        if np.isnan(box).any():
            return None
        exact = False
        if predicate.relation == "dwithin":
            found = self._close(box, predicate.distance_m or 0.0)
            if found is None:
                return None
            at = found
        else:
            at, boxes = self._within(box)
            keep = _possible(boxes, box, predicate.relation)
            at, boxes = at[keep], boxes[keep]
            square = predicate.relation in ("intersects", "within") and geometry.equals(
                asked, geometry.box(*box)
            )
            exact = bool(square) and _sure(boxes, box, predicate.relation)
        if len(at) > most:
            return None
        marked = np.zeros(self.num_rows, np.bool_)
        marked[self._taken(at)] = True
        return Answer(marked, exact=exact or len(at) == 0)

    def _close(self, box: Boxes, distance_m: float) -> npt.NDArray[np.int64] | None:
        """Positions of the leaves that may be within a distance; None where that is no small part of the sphere.

        A point is where it is. An edge is straight on whichever plane it is measured, and so may pass nearer than its
        box does: by no more than its length, if that is short beside the sphere, and by who knows how much if not.
        """
        bend = math.radians(self._short_degrees) * _GREATEST_RADIUS_M
        if distance_m + bend > _SMALLEST_RADIUS_M * math.pi / 2:
            return None
        found = [self._long.whole().astype(np.int64)]
        found += [self._within(window)[0] for window in _near(box, distance_m)]
        for window in _near(box, distance_m + bend) if bend else ():
            at, boxes = self._within(window)
            found.append(at[(boxes[:, :2] != boxes[:, 2:]).any(axis=1)])
        return np.unique(np.concatenate(found))

    def _within(self, window: Boxes) -> tuple[npt.NDArray[np.int64], Boxes]:
        """Positions of the leaves that touch a window, and their boxes."""
        at = np.arange(len(self._levels[-1]) // 4)
        for level in reversed(self._levels):
            boxes = _boxes_at(level, at)
            touching = (
                (boxes[:, 0] <= window[2])
                & (boxes[:, 2] >= window[0])
                & (boxes[:, 1] <= window[3])
                & (boxes[:, 3] >= window[1])
            )
            at, boxes = at[touching], boxes[touching]
            if level is self._levels[0]:
                return at, boxes
            below = len(self._levels[self._levels.index(level) - 1]) // 4
            at = (at[:, None] * _GROUP + np.arange(_GROUP)).reshape(-1)
            at = at[at < below]
        raise AssertionError("a tree has a level of leaves")

    def _taken(self, at: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
        if self._rows.near:
            found: npt.NDArray[np.uint32] = self._rows.whole()[at]
            return found
        return np.concatenate([np.empty(0, np.uint32), *self._rows.slices(_spans(at))])


def _boxes_at(level: Pages, at: npt.NDArray[np.int64]) -> Boxes:
    if level.near:
        near: Boxes = level.whole().reshape(-1, 4)[at]
        return near
    parts = level.slices([(start * 4, stop * 4) for start, stop in _spans(at)])
    return np.concatenate([np.empty(0), *parts]).reshape(-1, 4)


def _spans(at: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Ascending positions as spans."""
    if len(at) == 0:
        return []
    breaks = np.flatnonzero(np.diff(at) > 1)
    starts, stops = at[np.append(0, breaks + 1)], at[np.append(breaks, len(at) - 1)] + 1
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def _possible(boxes: Boxes, box: Boxes, relation: str) -> npt.NDArray[np.bool_]:
    """Boxes that already touch: which could stand in the relation."""
    inside: npt.NDArray[np.bool_] = np.all((boxes[:, :2] >= box[:2]) & (boxes[:, 2:] <= box[2:]), axis=1)
    around: npt.NDArray[np.bool_] = np.all((boxes[:, :2] <= box[:2]) & (boxes[:, 2:] >= box[2:]), axis=1)
    if relation == "within":
        return inside
    if relation == "contains":
        return around
    if relation == "equals":
        return inside & around
    return np.full(len(boxes), True)


def _sure(boxes: Boxes, box: Boxes, relation: str) -> bool:
    """Whether every box proves the relation to a rectangle that is its own box."""
    if relation == "intersects":
        return bool((boxes[:, :2] >= box[:2]).all() and (boxes[:, 2:] <= box[2:]).all())
    return bool((boxes[:, :2] > box[:2]).all() and (boxes[:, 2:] < box[2:]).all())


def _near(box: Boxes, distance_m: float) -> list[Boxes]:
    """Windows that hold all that is within a distance on the sphere; degrees, across the date line too."""
    angle = min(distance_m / _SMALLEST_RADIUS_M, math.pi)
    margin = math.degrees(angle) * 1.000001 + 1e-9
    low, high = box[1] - margin, box[3] + margin
    widest = max(abs(low), abs(high))
    if widest >= 90:
        return [np.asarray([-math.inf, low, math.inf, high])]
    # The meridians are nearest to each other at the latitude that is farthest from the equator.
    sine = math.sin(angle) / math.cos(math.radians(widest)) if angle < math.pi / 2 else 1.0
    if sine >= 1:
        return [np.asarray([-math.inf, low, math.inf, high])]
    margin = math.degrees(math.asin(sine)) * 1.000001 + 1e-9
    window = np.asarray([box[0] - margin, low, box[2] + margin, high])
    shift = np.asarray([360.0, 0.0, 360.0, 0.0])
    windows = [window]
    if window[0] < -180:
        windows.append(window + shift)
    if window[2] > 180:
        windows.append(window - shift)
    return windows
