"""From what a manifest says of a source to the source, and to the schema of the collection over it.

A new kind of source is one file with a `TableSource`, one line in `SOURCES`, and one subclass of
`headwater.testing.table_source.TableSourceTests`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from headwater.errors import InvalidArgument, SchemaMismatch, UnsupportedOption
from headwater.lake.external.parquet_files import ParquetFiles
from headwater.lake.external.source import Progress, SourceFile, TableSource
from headwater.lake.manifest import ExternalSource
from headwater.schema import Function, Schema, infer_schema

__all__ = ["SOURCES", "external_schema", "open_source"]

SOURCES: Mapping[str, Callable[[Sequence[str], Mapping[str, Any] | None], TableSource]] = MappingProxyType(
    {ParquetFiles.name: ParquetFiles.of}
)
"""Every kind of source by its word in the manifest."""


def open_source(source: ExternalSource, options: Mapping[str, Any] | None = None) -> TableSource:
    """The files or the table of a source; nothing is read yet.

    Args:
        source: as the manifest has it.
        options: configuration of its store.

    Raises:
        UnsupportedOption: this release does not know the kind.
    """
    if source.format not in SOURCES:
        raise UnsupportedOption(
            f"unknown kind of source {source.format!r}", hint=f"known: {', '.join(SOURCES)}"
        )
    return SOURCES[source.format](source.urls, options)


def external_schema(
    source: TableSource,
    files: Sequence[SourceFile],
    asked: Any,
    *,
    primary_key: str | None,
    functions: Sequence[Function] = (),
    progress: Progress | None = None,
) -> Schema:
    """The schema of an external collection: what was asked, completed from the files.

    Args:
        source: the files or table.
        files: those that there are.
        asked: a mapping of names to types (or `Field`s that rename), a schema, or None to infer it all. With a mapping,
            columns that it does not name are inferred and added.
        primary_key: the key field.
        functions: fields that the lake computes from those of the files.
        progress: called for each file.

    Raises:
        ObjectNotFound: the source has no file.
        SchemaMismatch: a named column is not in the files.
    """
    arrow = source.arrow_schema(files, progress=progress)
    if asked is None:
        return infer_schema(arrow, primary_key=primary_key)
    schema = Schema.of(asked, primary_key=None if isinstance(asked, Mapping) else primary_key)
    functions = (*schema.functions, *functions)
    outputs = {one.output for one in functions}
    if schema.dynamic:
        raise InvalidArgument("an external collection cannot be dynamic: its columns are those of the files")
    for field in schema.fields:
        if field.name in outputs:
            continue
        if (field.source or field.name) not in arrow.names:
            raise SchemaMismatch(
                f"column {field.source or field.name!r} is in no file of the source, such as "
                f"{files[0].path!r}",
                hint=f"columns: {', '.join(arrow.names)}",
            )
    if not isinstance(asked, Mapping):
        return replace(schema, functions=functions)
    named = {field.source or field.name for field in schema.fields} | set(schema.names)
    rest = infer_schema(pa.schema([column for column in arrow if column.name not in named])).fields
    return Schema.of([*schema.fields, *rest], primary_key=primary_key, functions=functions)
