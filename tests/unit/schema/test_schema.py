"""Schemas survive their own JSON and Arrow, and every type of field goes in and comes out through the Python door."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headwater as hw
from headwater.errors import FieldNotFound, InvalidArgument, SchemaMismatch
from headwater.schema import Schema

UTC = datetime.UTC
TYPES: dict[str, tuple[Any, list[Any]]] = {
    "bool": (hw.Bool, [True, False]),
    "int8": (hw.Int8, [-128, 127]),
    "int16": (hw.Int16, [-32768, 32767]),
    "int32": (hw.Int32, [-(1 << 31), (1 << 31) - 1]),
    "int64": (hw.Int64, [-(1 << 63), (1 << 63) - 1]),
    "float": (hw.Float, [0.5, float("inf")]),
    "double": (hw.Double, [1e300, -0.1]),
    "varchar": (hw.VarChar(5), ["", "abcde"]),
    "string": (hw.String, ["é", "x" * 10_000]),
    "text": (hw.Text, ["long " * 100, "a"]),
    "json": (hw.JSON, [{"a": [1, None, {"b": "c"}]}, []]),
    "array": (hw.Array(hw.Int32), [[1, 2], []]),
    "struct_array": (
        hw.StructArray({"page": hw.Int32, "word": hw.String}),
        [[{"page": 1, "word": "a"}], []],
    ),
    "timestamp": (
        hw.TimestampTz,
        [datetime.datetime(2020, 1, 2, 3, 4, 5, 6, UTC), datetime.datetime(1900, 1, 1, tzinfo=UTC)],
    ),
    "geometry": (hw.Geometry, ["POINT (1 2)", "POLYGON ((0 0, 1 0, 1 1, 0 0))"]),
    "binary": (hw.Binary, [b"", b"\x00\xff"]),
    "float_vector": (hw.FloatVector(2), [[1.0, -2.5], [0.0, 3.0]]),
    "float16_vector": (hw.Float16Vector(2), [[1.0, -2.5], [0.0, 3.0]]),
    "int8_vector": (hw.Int8Vector(2), [[1, -128], [0, 127]]),
}


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("nullable", [False, True])
def test_a_field_of_each_type_goes_in_and_comes_out(tmp_path: Path, name: str, nullable: bool) -> None:
    kind, values = TYPES[name]
    fields = [hw.Field("id", hw.Int64), hw.Field("x", kind, nullable=nullable)]
    made = hw.connect(tmp_path).create_collection("t", fields, "id")
    given_values = [*values, None] if nullable else values
    made.insert([{"id": i, "x": value} for i, value in enumerate(given_values)])
    again = hw.connect(tmp_path).collection("t")
    assert again.schema == made.schema
    assert [row["x"] for row in again.query(order_by="id")] == given_values
    assert again.count("id >= 0") == len(given_values)
    if not nullable:
        with pytest.raises(SchemaMismatch, match='"x"'):
            made.insert([{"id": 9, "x": None}])


def test_sparse_binary_and_bfloat16_vectors_and_references(tmp_path: Path) -> None:
    schema = {
        "id": hw.Int64,
        "sparse": hw.SparseFloatVector,
        "bits": hw.BinaryVector(16),
        "half": hw.BFloat16Vector(2),
        "image": hw.Reference,
    }
    made = hw.connect(tmp_path).create_collection("t", schema, "id")
    half = (np.array([1.5, -2.0], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    image = {"uri": "s3://b/cat.png", "offset": 10, "length": 20, "media_type": "image/png", "etag": "e"}
    made.insert(
        [{"id": 1, "sparse": {7: 0.5, 2: 1.0}, "bits": b"\x0f\xf0", "half": half.tobytes(), "image": image}]
    )
    made.insert(
        [{"id": 2, "sparse": {}, "bits": b"\x00\x00", "half": half.tobytes(), "image": "file:///a.wav"}]
    )
    first, second = hw.connect(tmp_path).collection("t").query(order_by="id")
    assert {one["index"]: one["value"] for one in first["sparse"]} == {2: 1.0, 7: 0.5}
    assert {name: first["image"][name] for name in image} == image
    assert second["image"]["uri"] == "file:///a.wav"
    [hits] = made.search([b"\x0f\xf1"], anns_field="bits", top_k=2)
    assert [(hit["id"], hit["distance"]) for hit in hits] == [(1, 1.0), (2, 9.0)]
    [hits] = made.search([[3.0, -4.0]], anns_field="half", top_k=1)
    assert hits[0]["distance"] == pytest.approx(1.0, abs=1e-3)


def test_defaults_and_dynamic_fields(tmp_path: Path) -> None:
    fields = [hw.Field("id", hw.Int64), hw.Field("lang", hw.String, default="en")]
    made = hw.connect(tmp_path).create_collection("t", fields, "id", dynamic=True)
    made.insert([{"id": 1, "colour": "red", "size": 3}, {"id": 2, "lang": "de"}])
    rows = made.query(
        'colour == "red" or lang == "de"', output_fields=["id", "lang", "colour"], order_by="id"
    )
    assert [(row["id"], row["lang"], row["colour"]) for row in rows] == [(1, "en", "red"), (2, "de", None)]


KINDS = st.sampled_from([kind for kind, _ in TYPES.values()])
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)


@given(
    fields=st.lists(
        st.builds(hw.Field, NAMES, KINDS, nullable=st.booleans()),
        min_size=1,
        max_size=8,
        unique_by=lambda field: field.name,
    ),
    dynamic=st.booleans(),
)
def test_a_schema_is_its_json_and_its_arrow(fields: list[hw.Field], dynamic: bool) -> None:
    schema = Schema.of(fields, dynamic=dynamic)
    assert Schema.from_json(schema.to_json()) == schema
    assert tuple(schema.to_arrow().names) == schema.names
    assert len({field.id for field in schema.fields}) == len(schema.fields)
    inferred = Schema.of(pa.schema([(name, pa.int64()) for name in schema.names if not name.startswith("$")]))
    assert all(field.type == hw.Int64 for field in inferred.fields)


def test_a_field_id_is_never_used_again() -> None:
    schema = Schema.of({"a": hw.Int64, "b": hw.Int64})
    dropped = schema.drop("b")
    added = dropped.add(hw.Field("b", hw.String))
    assert added.field("b").id > schema.field("b").id
    assert added.rename("a", "z").field("z").id == schema.field("a").id
    with pytest.raises(FieldNotFound, match="q"):
        schema.field("q")
    with pytest.raises(InvalidArgument):
        schema.rename("a", "b")
