"""New collections: their schemas checked, their first version written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.engine.core import CONSISTENCY_PROPERTY
from headwater.engine.identity import IDENTITY_PROPERTY, new_identity
from headwater.engine.localtimes import with_local_defaults
from headwater.engine.options import CollectionOptions
from headwater.engine.properties import checked_properties, inherited
from headwater.engine.rows import FIRST_MADE_KEY
from headwater.errors import InvalidArgument
from headwater.lake import ExternalSource, Lake
from headwater.lake.external import (
    SOURCE_PROPERTY,
    SPEC_PROPERTY,
    SourceFile,
    TableSource,
    external_schema,
    open_source,
    source_of,
)
from headwater.query.inverted import check_analyzers
from headwater.schema import ROW_KEY_SOURCE, Field, Function, Int64, Schema, check_default

if TYPE_CHECKING:
    from headwater.engine.database import Database

__all__ = ["ROW_KEY", "create_external", "create_managed", "declare_external"]

ROW_KEY = "__virtual_pk__"
"""Name of the key of a collection whose rows bring none."""


def create_managed(database: Database, name: str, schema: Schema, options: CollectionOptions) -> None:
    """Write the first version of a managed collection.

    Raises:
        AlreadyExists: the name is taken.
        InvalidArgument: the schema, or an option, cannot be one.
    """
    root = database._names.new_root(name)
    if not schema.fields:
        raise InvalidArgument(f"collection {name!r}: a schema needs at least one field")
    for field in schema.fields:
        check_default(field)
    checked = _with_functions(database, schema)
    properties = checked_properties(checked, _of_database(database) | options.stored())
    Lake.create(
        database._store,
        root,
        with_local_defaults(checked, properties),
        properties=properties | {IDENTITY_PROPERTY: new_identity()},
        source=None,
        num_shards=options.num_shards,
        first_row_id=FIRST_MADE_KEY if checked.auto_id else 0,
    )


def create_external(
    database: Database,
    name: str,
    src: str | Path | Sequence[str | Path],
    source_options: Mapping[str, Any] | None,
    properties: Mapping[str, str],
    **schema: Any,
) -> tuple[TableSource, list[SourceFile]]:
    """Write the first version of a collection on files of others, which holds no row yet.

    Args:
        database: where.
        name: of the collection.
        src: a folder, a glob, or a list of files.
        source_options: credentials of the source's store.
        properties: of the collection.
        **schema: what is known of it; see `external_schema`.

    Returns:
        The source, which has the files' footers, and its files.

    Raises:
        AlreadyExists: the name is taken.
        SchemaMismatch: a file does not fit the schema.
        ObjectNotFound: no file matches.
    """
    root = database._names.new_root(name)
    paths = (src,) if isinstance(src, str | Path) else tuple(src)
    source = ExternalSource(urls=tuple(_absolute(path) for path in paths))
    opened = open_source(source, source_options)
    files = opened.list_files()
    _create_on_files(database, root, external_schema(opened, files, **schema), properties, source)
    return opened, files


def declare_external(
    database: Database,
    name: str,
    fields: Sequence[Field],
    source: str,
    spec: str,
    functions: Sequence[Function],
    properties: Mapping[str, str],
) -> None:
    """Write the first version of a collection on files that nobody looks at yet; see `Externals.declare`."""
    urls = source_of(source, spec) if source else ExternalSource(urls=())
    root = database._names.new_root(name)
    key = Field(ROW_KEY, Int64, source=ROW_KEY_SOURCE)
    declared = [*(replace(field, nullable=True) for field in fields), key]
    schema = replace(Schema.of(declared, primary_key=ROW_KEY, functions=functions), auto_id=True)
    kept = {CONSISTENCY_PROPERTY: "Bounded", **properties, SOURCE_PROPERTY: source, SPEC_PROPERTY: spec}
    _create_on_files(database, root, schema, kept, urls)


def _create_on_files(
    database: Database, root: str, schema: Schema, properties: Mapping[str, str], source: ExternalSource
) -> None:
    Lake.create(
        database._store,
        root,
        _with_functions(database, schema),
        properties={**_of_database(database), **properties, IDENTITY_PROPERTY: new_identity()},
        source=source,
    )


def _with_functions(database: Database, schema: Schema) -> Schema:
    """A schema whose files of words are pinned; what its functions and analyzers need is there."""
    pinned = database.files.pinned(schema)
    database._functions.check(pinned)
    check_analyzers(pinned.fields, database.files.resources)
    return pinned


def _of_database(database: Database) -> dict[str, str]:
    return inherited(database._names.chain.known.properties)


def _absolute(path: str | Path) -> str:
    text = str(path)
    return text if "://" in text else str(Path(text).absolute())
