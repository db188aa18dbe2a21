"""The bytes between a caller and its worker.

A call is one frame. An answer is a frame that says what it is (`H`), one that says whether rows come (`R`, then an
Arrow IPC stream) or none (`N`), then one that says it is whole (`.`), or why it is not (`E`). A reader that finds the
end of the pipe before the last frame knows that the worker died.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from headwater.errors import HeadwaterError, Internal, InvalidArgument

__all__ = ["ended", "failed", "packed_call", "read_answer", "read_frame", "write_batches", "write_frame"]

_HEAD = struct.Struct("<cQ")
_PORTABLE = (TypeError, ValueError, KeyError, MemoryError, ArithmeticError, LookupError)


class Frame(NamedTuple):
    """One message; a call is `C`."""

    kind: bytes
    payload: bytes


def packed_call(call: Any) -> bytes:
    """A call's bytes.

    Raises:
        InvalidArgument: an argument cannot go to another process.
    """
    try:
        return pickle.dumps(call, protocol=5)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise InvalidArgument(
            f"{call}: an argument cannot be sent to another process: {error}",
            hint="lists, arrays and the values of headwater can; functions and open files cannot",
        ) from error


def write_frame(to: BinaryIO, kind: bytes, payload: bytes = b"") -> None:
    """Send one message."""
    to.write(_HEAD.pack(kind, len(payload)))
    to.write(payload)
    to.flush()


def write_batches(to: BinaryIO, batches: Iterator[pa.RecordBatch]) -> None:
    """Send rows, batch by batch; nothing is sent where there is no batch."""
    first = next(batches, None)
    write_frame(to, b"N" if first is None else b"R")
    if first is None:
        return
    with pa.ipc.new_stream(to, first.schema) as stream:
        stream.write_batch(first)
        for batch in batches:
            stream.write_batch(batch)
            to.flush()
    to.flush()


def failed(error: Exception) -> bytes:
    """An error's bytes; one that another process does not know becomes `Internal`."""
    if not isinstance(error, (HeadwaterError, *_PORTABLE)):
        error = Internal(f"{type(error).__name__} in a worker: {error}", hint="please report this")
    try:
        return pickle.dumps(error, protocol=5)
    except (pickle.PicklingError, TypeError, AttributeError):
        bare = (
            type(error)(error.message, hint=error.hint)
            if isinstance(error, HeadwaterError)
            else Internal(str(error))
        )
        return pickle.dumps(bare, protocol=5)


def ended(where: BinaryIO) -> EOFError:
    """The pipe ended inside an answer."""
    return EOFError(f"{where!r} ended")


def read_frame(source: BinaryIO) -> Frame:
    """The next message; an `EOFError` where there is none, since the other side is gone."""
    head = source.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise ended(source)
    kind, size = _HEAD.unpack(head)
    payload = source.read(size)
    if len(payload) < size:
        raise ended(source)
    return Frame(kind, payload)


def read_answer(source: BinaryIO) -> tuple[Mapping[str, Any], Iterator[pa.RecordBatch]]:
    """What an answer is, and its rows as they come; both raise what the worker met, and `EOFError` where it died."""
    frame = read_frame(source)
    if frame.kind == b"E":
        raise pickle.loads(frame.payload)  # noqa: S301 (our own worker's)
    header: Mapping[str, Any] = pickle.loads(frame.payload)  # noqa: S301
    return header, _rows(source)


def _rows(source: BinaryIO) -> Iterator[pa.RecordBatch]:
    frame = read_frame(source)
    if frame.kind == b"R":
        try:
            stream = pa.ipc.open_stream(pa.PythonFile(source, "r"))
            yield from stream
        except (pa.ArrowInvalid, OSError) as error:
            raise ended(source) from error
        frame = read_frame(source)
    elif frame.kind == b"N":
        frame = read_frame(source)
    if frame.kind == b"E":
        raise pickle.loads(frame.payload)  # noqa: S301
