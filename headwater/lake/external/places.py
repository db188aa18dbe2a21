"""What the places of files say: whether a pattern means one, and the values of columns that folders name.

A pattern is a path in which ``*``, ``?`` and ``[...]`` stand for parts of one name, and ``**`` for any folders, none
included. Names that begin with ``_`` or ``.`` are those of other programs' own files, and are meant only where the
pattern says so.

A folder ``year=2024`` says that `year` is 2024 in every row of the files below it, as Hive, Spark and others lay tables
out. A column of that name in the file itself goes before.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from headwater.errors import SchemaMismatch
from headwater.lake.manifest import FieldStats
from headwater.schema import Field, cast_column
from headwater.types import DataType

__all__ = ["folder_column", "folder_schema", "folder_stats", "folder_values", "means"]

_SUFFIXES = (".parquet", ".pq")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_INTEGERS = (DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64)
_READ_BY: dict[DataType, Any] = {
    **dict.fromkeys(_INTEGERS, int),
    DataType.FLOAT: float,
    DataType.DOUBLE: float,
    DataType.BOOL: lambda text: {"true": True, "false": False}[text.lower()],
}


def means(pattern: str, key: str) -> bool:
    """Whether a pattern means a file.

    Args:
        pattern: as in the module's words; where it ends in ``**``, Parquet files by their names.
        key: of the file, from where the pattern begins.
    """
    parts = pattern.split("/")
    return _fits(parts, key.split("/")) and (parts[-1] != "**" or key.endswith(_SUFFIXES))


def _fits(pattern: Sequence[str], names: Sequence[str]) -> bool:
    if not pattern:
        return not names
    if pattern[0] == "**":
        shown = next((i for i, name in enumerate(names) if _hidden(name)), len(names))
        return any(_fits(pattern[1:], names[i:]) for i in range(shown + 1))
    if not names or (_hidden(names[0]) and names[0][0] != pattern[0][0]):
        return False
    return fnmatch.fnmatchcase(names[0], pattern[0]) and _fits(pattern[1:], names[1:])


def _hidden(name: str) -> bool:
    return name.startswith(("_", ".")) and "=" not in name


def folder_values(path: str) -> dict[str, str | None]:
    """The columns that the folders of a file name, and what they say.

    Args:
        path: of the file.
    """
    found: dict[str, str | None] = {}
    for folder in path.split("://", 1)[-1].split("/")[:-1]:
        name, equals, value = folder.partition("=")
        if name and equals:
            found[unquote(name)] = None if value == _NO_VALUE else unquote(value)
    return found


def folder_schema(paths: Iterable[str]) -> pa.Schema:
    """The columns that the folders of files name: whole numbers where all values are, else texts.

    Args:
        paths: of the files.
    """
    values: dict[str, set[str | None]] = {}
    for path in paths:
        for name, value in folder_values(path).items():
            values.setdefault(name, set()).add(value)
    return pa.schema([pa.field(name, _kind(found)) for name, found in values.items()])


def _kind(values: set[str | None]) -> pa.DataType:
    known = [value for value in values if value is not None]
    whole = known and all(re.fullmatch(r"-?\d{1,18}", value, re.ASCII) for value in known)
    return pa.int64() if whole else pa.string()


def folder_column(field: Field, path: str, count: int) -> pa.Array | None:
    """So many rows of a field that a folder of their file names; None where none does.

    Args:
        field: which.
        path: of the file.
        count: rows.

    Raises:
        SchemaMismatch: what the folder says does not fit the field.
    """
    values, name = folder_values(path), field.source or field.name
    if name not in values:
        return None
    text = values[name]
    try:
        value = text if text is None else _READ_BY.get(field.type.data_type, str)(text)
    except (KeyError, ValueError) as error:
        raise SchemaMismatch(
            f"{path!r}, field {field.name!r}: expected {field.type}, and a folder says {name}={text}",
            path=path,
            column=name,
        ) from error
    one = cast_column(field, [value], where=repr(path)).combine_chunks()
    return pa.repeat(one[0], count) if value is not None else pa.nulls(count, one.type)


def folder_stats(field: Field, path: str, count: int) -> FieldStats | None:
    """What is known of the values of such a field, by which files that a filter rules out are not read.

    Args:
        field: which.
        path: of the file.
        count: rows.
    """
    column = folder_column(field, path, 1)
    if column is None:
        return None
    value = column[0].as_py()
    simple = value is not None and field.type.data_type in (*_INTEGERS, DataType.VARCHAR)
    return FieldStats(value if simple else None, value if simple else None, 0 if value is not None else count)
