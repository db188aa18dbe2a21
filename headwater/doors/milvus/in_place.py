"""Large vectors of a request, left where they lie in its bytes.

Reading a message copies every number into it, and taking them out again copies them twice more. So of a large request
to insert or upsert, dense vectors are found in its bytes, the rest is read as a message, and the rows are made of both.
The bytes are as the encoding of protocol buffers has them: fields one after another, each a tag (its number, and how it
is written) and a value, in which there may be fields again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from google.protobuf.message import Message
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from headwater.doors.milvus.packed import length_delimited, read_varint

__all__ = ["read_request"]

_LARGE_BYTES = 64 << 10
"""Shorter values are copied as fast as they are found."""

_MOST_FIELDS = 256
"""A message of more is not looked through: no client writes such."""

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5

_ROWS = (milvus_pb2.InsertRequest, milvus_pb2.UpsertRequest)
_FIELDS_DATA = milvus_pb2.InsertRequest.FIELDS_DATA_FIELD_NUMBER
_VECTORS = schema_pb2.FieldData.VECTORS_FIELD_NUMBER
_FLOATS = schema_pb2.VectorField.FLOAT_VECTOR_FIELD_NUMBER
_NUMBERS = schema_pb2.FloatArray.DATA_FIELD_NUMBER
_BYTES = frozenset(
    (
        schema_pb2.VectorField.BINARY_VECTOR_FIELD_NUMBER,
        schema_pb2.VectorField.FLOAT16_VECTOR_FIELD_NUMBER,
        schema_pb2.VectorField.BFLOAT16_VECTOR_FIELD_NUMBER,
        schema_pb2.VectorField.INT8_VECTOR_FIELD_NUMBER,
    )
)


class _Part(NamedTuple):
    """A field in some bytes: its number, how its value is written, where its tag, its value and its end are."""

    number: int
    kind: int
    tag: int
    start: int
    stop: int


def read_request(kind: type[Message], data: bytes) -> tuple[Any, Mapping[str, memoryview]]:
    """Read a request.

    Args:
        kind: of the message.
        data: its bytes.

    Returns:
        The message, and by the names of fields the numbers of vectors that it has been left without: little-endian,
        without gaps, views of `data`.

    Bytes that are no such message are refused as protocol buffers refuse them, with a `DecodeError`.
    """
    if kind not in _ROWS or len(data) < _LARGE_BYTES:
        return kind.FromString(data), {}
    try:
        rest, left = _taken_apart(data)
    except ValueError:
        # Not as clients write them: read the ordinary way, which says what is wrong.
        return kind.FromString(data), {}
    request: Any = kind.FromString(rest)
    return request, {request.fields_data[place].field_name: values for place, values in left.items()}


def _taken_apart(data: bytes) -> tuple[bytes, dict[int, memoryview]]:
    """A request without the values of its large vectors, and those by the place of their field in it."""
    whole = memoryview(data)
    kept: list[bytes | memoryview] = []
    left: dict[int, memoryview] = {}
    done = place = 0
    for part in _parts(data, 0, len(data)):
        if part.number != _FIELDS_DATA or part.kind != _LENGTH:
            continue
        found = _emptied(data, part) if part.stop - part.start >= _LARGE_BYTES else None
        if found is not None:
            field, left[place] = found
            kept += [whole[done : part.tag], length_delimited(_FIELDS_DATA, field)]
            done = part.stop
        place += 1
    return b"".join((*kept, whole[done:])), left


def _emptied(data: bytes, field: _Part) -> tuple[bytes, memoryview] | None:
    """A field of the rows without its vectors' values, and these; None where it has none of these kinds."""
    vectors = _only(_VECTORS, data, field)
    if vectors is None:
        return None
    slots = [
        one
        for one in _parts(data, vectors.start, vectors.stop)
        if one.number == _FLOATS or one.number in _BYTES
    ]
    if len(slots) != 1 or slots[0].kind != _LENGTH:
        return None
    slot = values = slots[0]
    if slot.number == _FLOATS:
        numbers = _only(_NUMBERS, data, slot)
        if numbers is None or numbers.tag != slot.start or numbers.stop != slot.stop:
            return None
        values = numbers
        if (values.stop - values.start) % 4:
            return None
    content = (
        data[vectors.start : slot.tag] + length_delimited(slot.number, b"") + data[slot.stop : vectors.stop]
    )
    rest = (
        data[field.start : vectors.tag]
        + length_delimited(_VECTORS, content)
        + data[vectors.stop : field.stop]
    )
    return rest, memoryview(data)[values.start : values.stop]


def _only(number: int, data: bytes, outer: _Part) -> _Part | None:
    """The one field of this number in another's value; None where there is none, or several, or of another kind."""
    found = [one for one in _parts(data, outer.start, outer.stop) if one.number == number]
    return found[0] if len(found) == 1 and found[0].kind == _LENGTH else None


def _parts(data: bytes, at: int, end: int) -> Iterator[_Part]:
    """The fields in some bytes.

    Raises:
        ValueError: there are no whole fields there, or too many.
    """
    for _ in range(_MOST_FIELDS):
        if at == end:
            return
        begins = at
        tag, at = read_varint(data, at, end)
        kind, stop = tag & 7, at
        if kind == _LENGTH:
            size, at = read_varint(data, at, end)
            stop = at + size
        elif kind == _VARINT:
            _, stop = read_varint(data, at, end)
        elif kind == _EIGHT_BYTES:
            stop += 8
        elif kind == _FOUR_BYTES:
            stop += 4
        else:
            raise ValueError("not as clients write")
        if stop > end:
            raise ValueError("not as clients write")
        yield _Part(tag >> 3, kind, begins, at, stop)
        at = stop
    raise ValueError("not as clients write")
