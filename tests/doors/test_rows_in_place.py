"""Rows whose vectors are read where they lie are the rows that protocol buffers read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from headwater.doors.milvus.in_place import read_request

SLOTS = ("float_vector", "binary_vector", "float16_vector", "bfloat16_vector", "int8_vector")
KINDS = (milvus_pb2.InsertRequest, milvus_pb2.UpsertRequest)


def vectors(slot: str, size: int, name: str = "v", **more: Any) -> schema_pb2.FieldData:
    """A field of vectors whose values take some bytes."""
    values = np.random.default_rng(size).random(size // 4, np.float32)
    held: Any = {"data": values} if slot == "float_vector" else values.tobytes()
    made = schema_pb2.VectorField(dim=4, **{slot: held})
    return schema_pb2.FieldData(type=101, field_name=name, field_id=7, vectors=made, **more)


def request(kind: Any, *fields: schema_pb2.FieldData) -> Any:
    numbers = schema_pb2.ScalarField(long_data=schema_pb2.LongArray(data=range(1000)))
    return kind(
        collection_name="docs",
        fields_data=[schema_pb2.FieldData(type=5, field_name="id", scalars=numbers), *fields],
        hash_keys=range(10),
        num_rows=1000,
    )


def put_back(found: Any, left: Any) -> Any:
    """The message that was read, with the vectors in it that it was left without."""
    for field in found.fields_data:
        if field.field_name in left:
            slot, values = field.vectors.WhichOneof("data"), left[field.field_name]
            if slot == "float_vector":
                assert not field.vectors.float_vector.data
                # Not number by number, which would not keep every NaN as it is.
                field.vectors.float_vector.MergeFromString(b"\x0a" + _length(len(values)) + bytes(values))
            else:
                assert not getattr(field.vectors, slot)
                setattr(field.vectors, slot, bytes(values))
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("slot", SLOTS)
def test_large_vectors_are_left_and_small_ones_read(kind: Any, slot: str) -> None:
    made = request(
        kind,
        vectors(slot, 200_000),
        vectors(slot, 400, "small"),
        vectors(slot, 80_000, "w", valid_data=[True] * 1000),
    )
    data = made.SerializeToString()
    found, left = read_request(kind, data)
    assert set(left) == {"v", "w"}
    assert put_back(found, left) == made
    base = np.frombuffer(data, np.uint8)
    assert all(np.shares_memory(base, np.frombuffer(one, np.uint8)) for one in left.values())


def test_what_is_small_or_another_message_is_read_as_ever() -> None:
    made = request(milvus_pb2.InsertRequest, vectors("float_vector", 4000))
    assert read_request(milvus_pb2.InsertRequest, made.SerializeToString()) == (made, {})
    asked = milvus_pb2.SearchRequest(collection_name="docs", placeholder_group=bytes(100_000))
    assert read_request(milvus_pb2.SearchRequest, asked.SerializeToString()) == (asked, {})


def test_values_in_two_places_are_put_together_by_protocol_buffers() -> None:
    """A message may hold a field twice: its values are joined, or the last one holds."""
    first = schema_pb2.VectorField(dim=4, float_vector=schema_pb2.FloatArray(data=np.arange(40_000)))
    second = schema_pb2.VectorField(float_vector=schema_pb2.FloatArray(data=[7.0, 8.0]))
    other = schema_pb2.VectorField(binary_vector=b"12")
    for more in (second, other):
        twice = b"".join(
            schema_pb2.FieldData(field_name="v", vectors=one).SerializeToString() for one in (first, more)
        )
        rest = request(milvus_pb2.InsertRequest).SerializeToString()
        field = schema_pb2.FieldData.FromString(twice)
        data = rest + milvus_pb2.InsertRequest(fields_data=[field]).SerializeToString()
        expected = milvus_pb2.InsertRequest.FromString(data)
        found, left = read_request(milvus_pb2.InsertRequest, data)
        assert put_back(found, left) == expected
        raw = rest + b"\x2a" + _length(len(twice)) + twice
        found, left = read_request(milvus_pb2.InsertRequest, raw)
        assert not left
        assert found == milvus_pb2.InsertRequest.FromString(raw)


def _length(size: int) -> bytes:
    out = bytearray()
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes((*out, size))


@settings(max_examples=200, deadline=None)
@given(
    slot=st.sampled_from(SLOTS),
    kind=st.sampled_from(KINDS),
    changes=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=4),
    cut=st.one_of(st.none(), st.integers(0, 140_000)),
    at_end=st.booleans(),
)
def test_altered_bytes_are_read_as_protocol_buffers_read_them(
    slot: str, kind: Any, changes: list[tuple[int, int]], cut: int | None, at_end: bool
) -> None:
    """Whatever is wrong with the bytes: the same message, or the same refusal."""
    made = (
        kind(fields_data=[vectors(slot, 100_000)], num_rows=3)
        if at_end
        else request(kind, vectors(slot, 100_000))
    )
    data = bytearray(made.SerializeToString())
    start = 0 if at_end else max(0, len(data) - 100_200)
    for place, value in changes:
        data[min(start + place, len(data) - 1)] = value
    raw = bytes(data[:cut])
    try:
        expected = kind.FromString(raw)
    except DecodeError:
        with pytest.raises(DecodeError):
            read_request(kind, raw)
        return
    found, left = read_request(kind, raw)
    if len({one.field_name for one in found.fields_data}) == len(found.fields_data):
        assert put_back(found, left).SerializeToString(deterministic=True) == expected.SerializeToString(
            deterministic=True
        )
