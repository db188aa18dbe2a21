"""Column-group files: write once, then scan columns or take rows.

`headwater.formats.protocol` states the promises.
A manifest names the format that wrote each file by its word, and `get` gives the format of a word. A new
format is one file with two classes, one line in the registry, and one subclass of
`headwater.testing.formats.FormatTests`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

import pyarrow as pa

from headwater.errors import UnsupportedOption
from headwater.formats.arrow_ipc import ArrowIpcFormat
from headwater.formats.blocks import block_rows, blocks, drawn
from headwater.formats.fetched import FetchedVectors, Vectors
from headwater.formats.ipc_texts import holds_texts
from headwater.formats.parquet import ParquetFormat
from headwater.formats.protocol import (
    ColumnGroupFormat,
    ColumnGroupReader,
    FileStats,
    SupportsAhead,
    SupportsVectors,
)
from headwater.formats.shuffle import shuffled
from headwater.formats.vortex_file import VortexFormat
from headwater.formats.writing import file_checksum
from headwater.schema import FieldType

__all__ = [
    "FORMATS",
    "LONG_VALUE_BYTES",
    "ArrowIpcFormat",
    "ColumnGroupFormat",
    "ColumnGroupReader",
    "FetchedVectors",
    "FileStats",
    "SupportsAhead",
    "SupportsVectors",
    "Vectors",
    "block_rows",
    "blocks",
    "default_format",
    "drawn",
    "file_checksum",
    "get",
    "shuffled",
]

LONG_VALUE_BYTES = 64
"""Mean length from which texts are documents rather than labels."""

FORMATS: Mapping[str, ColumnGroupFormat] = MappingProxyType(
    {one.name: one for one in (ArrowIpcFormat(), VortexFormat(), ParquetFormat())}
)
"""Every format, by its word."""


def get(name: str) -> ColumnGroupFormat:
    """The format of a word.

    Raises:
        UnsupportedOption: no such format.
    """
    found = FORMATS.get(name)
    if found is None:
        near = difflib.get_close_matches(name, FORMATS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"formats: {', '.join(FORMATS)}"
        raise UnsupportedOption(f"no column-group format {name!r}", hint=hint, format=name)
    return found


def default_format(field_type: FieldType, column: pa.ChunkedArray) -> str:
    """The format that suits how a field's column is read.

    Args:
        field_type: the field's type.
        column: its values.

    Returns:
        `arrow_ipc`, where one row is one byte range, for dense vectors, alone or in structs, and for texts and bytes so
        long that reading a few of them by range costs less than decoding their neighbours; `vortex`, which is small and
        scans fast, else.
    """
    if field_type.data_type.dense_vector or any(one.type.data_type.dense_vector for one in field_type.fields):
        return ArrowIpcFormat.name
    if holds_texts(column.type) and len(column) and column.nbytes / len(column) >= LONG_VALUE_BYTES:
        return ArrowIpcFormat.name
    return VortexFormat.name
