"""The lake's files of words: which there are, which collections use them, and which a field is declared with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from headwater.engine.naming import Names
from headwater.errors import HeadwaterError, InvalidArgument
from headwater.index.text import DIGEST, FILE_OPTIONS
from headwater.lake import FileResource, FileResources, Lake
from headwater.schema import Field, Schema, analyzer_text
from headwater.store import ObjectStore

__all__ = ["Files", "files_of", "pinned_field", "pinned_params"]


class Files:
    """The files that analyzers of a lake's collections may name.

    Args:
        store: where the lake is.
        databases: names of the lake's databases, when asked.
    """

    def __init__(self, store: ObjectStore, databases: Callable[[], Iterable[str]]) -> None:
        self._store = store
        self._databases = databases
        self.resources = FileResources(store)

    def add(self, name: str, path: str) -> FileResource:
        """Name a file of words, so that analyzers may use it; again with the same path changes nothing.

        Args:
            name: what analyzers say as `resource_name`.
            path: the file's key in the lake's folder or bucket; it is copied now.

        Raises:
            ObjectNotFound: there is no such file.
            AlreadyExists: the name stands for another path.
        """
        return self.resources.add(name, path)

    def remove(self, name: str) -> None:
        """Forget a name; one that is not there is forgotten already.

        Raises:
            InvalidArgument: a collection uses it.
        """
        if self.resources.get(name) is None:
            return
        for database, collection, schema in self._schemas():
            if any(name in files_of(field) for field in schema.fields):
                raise InvalidArgument(
                    f"file resource {name!r} is still in use by collection {collection!r} of database {database!r}",
                    hint="drop the collection first",
                )
        self.resources.remove(name)

    def list(self) -> list[FileResource]:
        """The files, by name."""
        return self.resources.every()

    def pinned(self, schema: Schema) -> Schema:
        """A schema whose analyzers name their files by content, so that they never change."""
        return replace(schema, fields=tuple(pinned_field(field, self.resources) for field in schema.fields))

    def _schemas(self) -> Iterator[tuple[str, str, Schema]]:
        for database in self._databases():
            names = Names(self._store, database)
            for collection in names.collections():
                root = names.root(collection)
                if root is not None:
                    try:
                        yield database, collection, Lake(self._store, root).newest_readable().schema
                    except HeadwaterError:
                        # Dropped meanwhile, or damaged: then it uses nothing that can be saved here.
                        continue


def pinned_field(field: Field, resources: FileResources) -> Field:
    """A field whose analyzer names its files by content.

    Raises:
        InvalidArgument: a file is declared wrongly, or was never added.
    """
    if field.type.analyzer is None:
        return field
    params = pinned_params(json.loads(field.type.analyzer), resources)
    return replace(field, type=replace(field.type, analyzer=analyzer_text(params)))


def pinned_params(params: Any, resources: FileResources) -> Any:
    """Analyzer parameters with the digest of every file that they name."""
    if isinstance(params, list):
        return [pinned_params(one, resources) for one in params]
    if not isinstance(params, Mapping):
        return params
    return {
        name: _pinned_file(one, resources) if name in FILE_OPTIONS else pinned_params(one, resources)
        for name, one in params.items()
    }


def _pinned_file(file: Any, resources: FileResources) -> Any:
    if not isinstance(file, Mapping):
        raise InvalidArgument(f"a file of an analyzer is declared as a mapping, got {file!r}")
    if file.get("type") != "remote":
        raise InvalidArgument(
            f"unsupported file type {file.get('type')!r}",
            hint='the type is "remote"; files on the disk of the server are not read',
        )
    for option, words in (("resource_name", "resource name"), ("file_name", "file name")):
        if not isinstance(file.get(option), str):
            raise InvalidArgument(f"{words} of remote file must be set, as {option}")
    found = resources.get(file["resource_name"])
    if found is None:
        raise InvalidArgument(
            f"file resource {file['resource_name']!r} not found in local resource list",
            hint="add it as a file resource first",
        )
    name = found.path.rsplit("/", 1)[-1]
    if name != file["file_name"]:
        raise InvalidArgument(
            f"file name of remote file is {file['file_name']!r}, and resource {found.name!r} is the file {name!r}"
        )
    return {**file, DIGEST: found.digest}


def files_of(field: Field) -> set[str]:
    """Names of the files that a field's analyzer uses."""
    found: set[str] = set()

    def walk(params: Any) -> None:
        if isinstance(params, list):
            for one in params:
                walk(one)
        elif isinstance(params, Mapping):
            if DIGEST in params and "resource_name" in params:
                found.add(params["resource_name"])
            for one in params.values():
                walk(one)

    if field.type.analyzer is not None:
        walk(json.loads(field.type.analyzer))
    return found
