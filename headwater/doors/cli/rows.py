"""Vectors that a command is given, and rows that it gives: files, or the standard streams."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.errors import InvalidArgument

__all__ = ["json_text", "queries_of", "text_of", "write_rows"]

_SUFFIXES = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".jsonl": "jsonl",
    ".json": "jsonl",
}


def json_text(value: Any, plain: Callable[[Any], Any]) -> str:
    """A value as JSON; numbers that JSON has not, NaN and infinities, are null.

    Args:
        value: of dicts, lists and plain values.
        plain: makes values that JSON has not into such that it has.
    """
    try:
        return json.dumps(value, default=plain, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(json.loads(json.dumps(value, default=plain))))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def text_of(name: str) -> str:
    """The text of a file; `-` is standard input.

    Raises:
        InvalidArgument: it cannot be read.
    """
    return _bytes_of(name).decode(errors="replace")


def _bytes_of(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise InvalidArgument(f"{name}: {error.strerror or error}") from error


def queries_of(given: str) -> tuple[list[Any], bool]:
    """Query vectors, and whether they are several: a JSON list, a list of such, or ``@FILE`` of JSON or of numpy.

    Raises:
        InvalidArgument: they are none.
    """
    data = _bytes_of(given[1:]) if given.startswith("@") else given.encode()
    if data.startswith(b"\x93NUMPY"):
        try:
            array = np.load(io.BytesIO(data), allow_pickle=False)
        except ValueError as error:
            raise InvalidArgument(f"--vector {given}: {error}") from error
        if array.ndim not in (1, 2):
            raise InvalidArgument(f"--vector {given}: expected 1 or 2 dimensions, found {array.ndim}")
        return (list(array), True) if array.ndim == 2 else ([array], False)
    try:
        found = json.loads(data)
    except ValueError as error:
        raise InvalidArgument(
            f"--vector is not JSON: {error}", hint="such as --vector '[0.1, 0.2]', or --vector @queries.npy"
        ) from error
    if not isinstance(found, list):
        raise InvalidArgument(f"--vector must be a JSON list, got {type(found).__name__}")
    several = bool(found) and all(isinstance(one, list) for one in found)
    return (found, True) if several else ([found], False)


def write_rows(batches: Iterable[pa.RecordBatch], to: str, plain: Callable[[Any], Any]) -> int:
    """Write rows as they come; how many there were. A file is there whole, or not at all.

    Args:
        batches: at least one, which may be empty.
        to: a file, whose name says its form: Parquet, Arrow IPC or lines of JSON; `-` is standard output in lines of
            JSON, `-.arrow` in Arrow's stream form, `-.parquet` in Parquet.
        plain: makes values that JSON has not into such that it has.

    Raises:
        InvalidArgument: there is no such form, or the file cannot be written.
    """
    standard = to.startswith("-")
    form = "jsonl" if to == "-" else _SUFFIXES.get(to[1:] if standard else Path(to).suffix)
    if form is None:
        raise InvalidArgument(
            f"--output {to}: unknown format", hint=f"expected a name that ends in {', '.join(_SUFFIXES)}"
        )
    if standard:
        with _standard_output() as sink:
            return _written(batches, sink, form, plain, seekable=False)
    part = Path(f"{to}.part")
    try:
        with part.open("wb") as sink:
            number = _written(batches, sink, form, plain, seekable=True)
        part.replace(to)
    except OSError as error:
        raise InvalidArgument(f"--output {to}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return number


@contextmanager
def _standard_output() -> Iterator[BinaryIO]:
    sys.stdout.flush()
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


def _written(
    batches: Iterable[pa.RecordBatch],
    sink: BinaryIO,
    form: str,
    plain: Callable[[Any], Any],
    *,
    seekable: bool,
) -> int:
    number, writer = 0, None
    try:
        for batch in batches:
            number += batch.num_rows
            if form == "jsonl":
                for row in batch.to_pylist():
                    sink.write(json_text(row, plain).encode() + b"\n")
                continue
            if writer is None:
                writer = _writer(form, sink, batch.schema, seekable)
            writer.write_batch(batch)
    finally:
        if writer is not None:
            writer.close()
    return number


def _writer(form: str, sink: BinaryIO, schema: pa.Schema, seekable: bool) -> Any:
    if form == "parquet":
        return pq.ParquetWriter(pa.PythonFile(sink, "w"), schema)
    return pa.ipc.new_file(sink, schema) if seekable else pa.ipc.new_stream(sink, schema)
