"""Geometry goes in as WKT, WKB or shapely objects, and comes out as WKT in Python and WKB in Arrow."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import shapely

import headwater as hw
from headwater.errors import SchemaMismatch

SHAPE = shapely.Polygon([(0, 0), (3, 0), (3, 3)], [])


def made(tmp_path: Path) -> hw.Collection:
    return hw.connect(tmp_path).create_collection(
        "t", [hw.Field("id", hw.Int64), hw.Field("g", hw.Geometry, nullable=True)], "id"
    )


def test_every_spelling_of_a_geometry_is_the_same_geometry(tmp_path: Path) -> None:
    rows = made(tmp_path)
    spellings = [SHAPE, SHAPE.wkt, SHAPE.wkb, shapely.to_wkb(SHAPE, byte_order=0), bytearray(SHAPE.wkb)]
    rows.insert([{"id": i, "g": one} for i, one in enumerate([*spellings, None])])
    rows.insert(pa.table({"id": [10, 11], "g": [SHAPE.wkt, None]}))
    rows.insert(pa.table({"id": [12, 13], "g": [shapely.to_wkb(SHAPE, byte_order=0), None]}))
    found = rows.query(order_by="id")
    shown = [row["g"] for row in found]
    assert shown == [SHAPE.wkt] * 5 + [None, SHAPE.wkt, None, SHAPE.wkt, None]
    kept = found.to_arrow().column("g").to_pylist()
    assert kept == [one and SHAPE.wkb for one in shown]
    rows.flush()
    assert [row["g"] for row in rows.query(order_by="id")] == shown
    assert rows.count("st_contains(g, 'POINT (2 1)')") == 7


@pytest.mark.parametrize("bad", ["POINT (1", b"\x01\x02", 5, "nothing"])
def test_what_is_no_geometry_is_refused_by_row_and_field(tmp_path: Path, bad: object) -> None:
    rows = made(tmp_path)
    with pytest.raises(SchemaMismatch, match=r'row 1, field "g": expected geometry'):
        rows.insert([{"id": 1, "g": "POINT (1 2)"}, {"id": 2, "g": bad}])
    if not isinstance(bad, int):
        with pytest.raises(SchemaMismatch, match=r'row 1, field "g": expected geometry'):
            rows.insert(pa.table({"id": [1, 2], "g": pa.array([None, bad])}))
    assert rows.count() == 0
