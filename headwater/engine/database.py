"""A database: the collections under one prefix of a lake."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from headwater.engine.collection import Collection
from headwater.engine.options import CollectionOptions
from headwater.errors import AlreadyExists, CollectionNotFound, HeadwaterError, InvalidArgument
from headwater.jobs import BuildReport, Progress
from headwater.lake import ExternalSource, Lake
from headwater.lake.external import RefreshReport, external_schema, open_source
from headwater.query import QueryResult, SearchResult
from headwater.schema import Schema, check_default
from headwater.settings import Settings
from headwater.store import ObjectStore, RetryingStore, open_store

__all__ = ["Database", "connect"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


def connect(
    url: str | Path = "./lake",
    options: Mapping[str, Any] | None = None,
    *,
    database: str = "default",
    settings: Settings | None = None,
) -> Database:
    """Open a lake, which need not exist yet.

    Args:
        url: a folder, ``s3://bucket/prefix``, ``gs://``, ``az://`` or ``memory://name``.
        options: credentials and endpoint of the store; taken from the environment by default.
        database: which database of the lake.
        settings: limits and defaults; read from ``HEADWATER_*`` variables by default.

    Raises:
        InvalidArgument: the URL's scheme or an option is unknown.
        StoreUnavailable: the store does not answer.
    """
    if not _NAME.fullmatch(database):
        raise InvalidArgument(f"database name {database!r} must be letters, digits and underscores")
    chosen = settings or Settings.from_env()
    store = RetryingStore(
        open_store(url, options), attempts=chosen.store.attempts, deadline_s=chosen.store.deadline_s
    )
    return Database(store, database, chosen)


class Database:
    """The collections of one database.

    Args:
        store: where the lake is.
        name: the database's name, a prefix in the lake.
        settings: limits and defaults.
    """

    def __init__(self, store: ObjectStore, name: str, settings: Settings) -> None:
        self.name = name
        self._store = store
        self._settings = settings
        self._collections: dict[str, Collection] = {}

    def list_collections(self) -> list[str]:
        """Names of the collections, sorted."""
        return [name for name in self._store.list_prefixes(self.name) if self.has_collection(name)]

    def has_collection(self, name: str) -> bool:
        """Whether a collection exists."""
        return next(iter(self._store.list(f"{self._root(name)}/manifests/")), None) is not None

    def collection(self, name: str, *, source_options: Mapping[str, Any] | None = None) -> Collection:
        """A handle on a collection.

        Args:
            name: its name.
            source_options: credentials of an external source's store, where they are not in the environment.

        Raises:
            CollectionNotFound: no such collection.
        """
        if not self.has_collection(name):
            self._collections.pop(name, None)
            found = ", ".join(self.list_collections()) or "none"
            raise CollectionNotFound(
                f"no collection {name!r} in database {self.name!r}", hint=f"there are: {found}"
            )
        if name not in self._collections or source_options is not None:
            lake = Lake(self._store, self._root(name))
            self._collections[name] = Collection(name, lake, self._settings, source_options)
        return self._collections[name]

    def create_collection(
        self,
        name: str,
        schema: Any,
        primary_key: str | None = None,
        *,
        dynamic: bool = False,
        auto_id: bool = False,
        partition_key: str | None = None,
        **options: Any,
    ) -> Collection:
        """Create a managed collection.

        Args:
            name: letters, digits and underscores.
            schema: a mapping of names to types, a `Schema`, or a `pyarrow.Schema`.
            primary_key: the field that identifies a row; a stable row id does where there is none.
            dynamic: keep keys that the schema does not name.
            auto_id: let the lake make the primary keys, which are Int64 and unique across processes.
            partition_key: a field whose value decides a row's partition.
            **options: the fields of `CollectionOptions`: `num_partitions`, `num_shards`, `consistency_level`, `format`,
                `properties`.

        Raises:
            AlreadyExists: the name is taken.
            UnsupportedOption: there is no such format.
        """
        self._must_be_free(name)
        chosen = CollectionOptions.of(options)
        checked = replace(
            Schema.of(schema, primary_key=primary_key, dynamic=dynamic),
            auto_id=auto_id,
            partition_key=partition_key,
            num_partitions=chosen.num_partitions if partition_key is not None else 0,
        )
        if not checked.fields:
            raise InvalidArgument(f"collection {name!r}: a schema needs at least one field")
        for field in checked.fields:
            check_default(field)
        Lake.create(
            self._store,
            self._root(name),
            checked,
            properties=chosen.stored(),
            source=None,
            num_shards=chosen.num_shards,
        )
        return self.collection(name)

    def create_external_collection(
        self,
        name: str,
        src: str | Path | Sequence[str | Path],
        schema: Any = None,
        primary_key: str | None = None,
        *,
        source_options: Mapping[str, Any] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> Collection:
        """Register Parquet files where they are; nothing is copied, and the source is never written.

        Args:
            name: letters, digits and underscores.
            src: a folder, a glob, or a list of files, on any store.
            schema: names to types; a `Field` with `source=` renames a column. Columns that a mapping does not name are
                inferred from the files, as all are by default.
            primary_key: the field that identifies a row.
            source_options: credentials of the source's store; never written to the lake.
            properties: free text kept with the collection.

        Raises:
            SchemaMismatch: a file does not fit the schema; names the file and the column.
            ObjectNotFound: no file matches.
        """
        self._must_be_free(name)
        paths = (src,) if isinstance(src, str | Path) else tuple(src)
        source = ExternalSource(urls=tuple(_absolute(path) for path in paths))
        files = open_source(source, source_options)
        lake_schema = external_schema(files, schema, primary_key=primary_key)
        Lake.create(
            self._store, self._root(name), lake_schema, properties=dict(properties or {}), source=source
        )
        collection = self.collection(name, source_options=source_options)
        try:
            collection.refresh()
        except HeadwaterError:
            self.drop_collection(name)
            raise
        return collection

    def drop_collection(self, name: str) -> None:
        """Delete a collection with all its versions; an external source is not touched.

        Manifests go first, oldest to newest, so that a crash leaves either the whole newest version or no collection.
        """
        root = self._root(name)
        manifests = sorted(meta.key for meta in self._store.list(f"{root}/manifests/"))
        if not manifests:
            raise CollectionNotFound(f"no collection {name!r} in database {self.name!r}")
        for key in manifests:
            self._store.delete([key])
        self._store.delete([meta.key for meta in self._store.list(f"{root}/")])
        self._collections.pop(name, None)

    # -- one call on a named collection ---------------------------------------------------------

    def create_index(
        self, name: str, field: str, index_type: str = "AUTOINDEX", **options: Any
    ) -> BuildReport:
        """`Collection.create_index` on a named collection."""
        return self.collection(name).create_index(field, index_type, **options)

    def search(self, name: str, data: Any, **request: Any) -> SearchResult:
        """`Collection.search` on a named collection."""
        return self.collection(name).search(data, **request)

    def query(self, name: str, filter: str | None = None, **request: Any) -> QueryResult:
        """`Collection.query` on a named collection."""
        return self.collection(name).query(filter, **request)

    def get(self, name: str, ids: Any, **request: Any) -> QueryResult:
        """`Collection.get` on a named collection."""
        return self.collection(name).get(ids, **request)

    def count(self, name: str, filter: str | None = None) -> int:
        """`Collection.count` on a named collection."""
        return self.collection(name).count(filter)

    def refresh(self, name: str) -> RefreshReport:
        """`Collection.refresh` on a named collection."""
        return self.collection(name).refresh()

    def build_indexes(self, name: str, progress: Progress | None = None) -> list[BuildReport]:
        """`Collection.build_indexes` on a named collection."""
        return self.collection(name).build_indexes(progress)

    def _root(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise InvalidArgument(
                f"collection name {name!r} must start with a letter or underscore and hold letters, digits and "
                "underscores, 255 at most"
            )
        return f"{self.name}/{name}"

    def _must_be_free(self, name: str) -> None:
        if self.has_collection(name):
            raise AlreadyExists(f"collection {name!r} exists in database {self.name!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.list_collections())

    def __repr__(self) -> str:
        return f"<database {self.name!r} at {self._store.url}>"


def _absolute(path: str | Path) -> str:
    text = str(path)
    return text if "://" in text else str(Path(text).absolute())
