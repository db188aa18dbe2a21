"""Column-group files: each field in the open format that suits how it is read.

The manifest names the format that wrote a file; a reader that does not know the name says so.
"""

from headwater.errors import UnsupportedOption
from headwater.formats.arrow_ipc import ArrowIpc
from headwater.formats.parquet import Parquet
from headwater.formats.protocol import (
    ColumnGroupFormat,
    ColumnGroupReader,
    FileStats,
    SupportsVectors,
    file_checksum,
)
from headwater.formats.vortex_file import Vortex
from headwater.schema import FieldType

__all__ = [
    "ColumnGroupFormat",
    "ColumnGroupReader",
    "FileStats",
    "SupportsVectors",
    "default_format",
    "file_checksum",
    "get",
]

_FORMATS: dict[str, ColumnGroupFormat] = {one.name: one for one in (ArrowIpc(), Vortex(), Parquet())}


def get(name: str) -> ColumnGroupFormat:
    """The format of a name.

    Raises:
        UnsupportedOption: no such format.
    """
    if name not in _FORMATS:
        raise UnsupportedOption(f"unknown column-group format {name!r}", hint=f"known: {', '.join(_FORMATS)}")
    return _FORMATS[name]


def default_format(field_type: FieldType) -> str:
    """The format that suits a field: Arrow IPC for dense vectors, Vortex for all else."""
    return ArrowIpc.name if field_type.data_type.dense_vector else Vortex.name
