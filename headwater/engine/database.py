"""A database: the collections under one prefix of a lake."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.engine.analyzing import analysed, analysed_as, analyzer_with, least_slops
from headwater.engine.background import Jobs
from headwater.engine.checking import check_settings
from headwater.engine.collection import Collection
from headwater.engine.creating import create_external, create_managed
from headwater.engine.databases import Databases
from headwater.engine.external import Externals
from headwater.engine.files import Files
from headwater.engine.governing import NamedCollections
from headwater.engine.importing import Imports
from headwater.engine.naming import checked_name
from headwater.engine.on_demand.handle import OnDemand, executor_of
from headwater.engine.on_demand.places import Bounds, Origin
from headwater.engine.options import CollectionOptions
from headwater.engine.snapshots import Snapshots, clean_up
from headwater.errors import HeadwaterError, InvalidArgument
from headwater.jobs import Functions, Progress
from headwater.schema import Function, Schema
from headwater.settings import Settings
from headwater.store import ObjectStore, open_lake_store
from headwater.tiers import Tiers

if TYPE_CHECKING:
    from headwater.engine.gauges import Gauges
    from headwater.govern import Access, ResourceGroups

__all__ = ["Database", "connect"]


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
        InvalidArgument: the URL's scheme or an option is unknown, or a setting says what there is not.
        StoreUnavailable: the store does not answer.
    """
    checked_name("database", database)
    chosen = settings or Settings.from_env()
    check_settings(chosen)
    made = Database(open_lake_store(url, options, chosen.store), database, chosen)
    made.origin = Origin.of(url, options, database, chosen)
    return made


class Database(Databases):
    """The collections of one database.

    Args:
        store: where the lake is.
        name: the database's name, a prefix in the lake.
        settings: limits and defaults.
        functions: compute what schemas' functions fill.
        tiers: what the process holds of its lakes; shared by the databases of a connection.

    Attributes:
        name: its name.
        tiers: what the process holds of its lakes.
        jobs: the long work of the lake: restores, refreshes, imports, compactions.
        snapshots: the snapshots of its collections.
        imports: bulk imports of files into its collections.
        external: collections on files of others that are refreshed by jobs.
        files: the lake's files of words, which analyzers name.
        serving: whether it answers for what is loaded, and so keeps that warm by itself.
        origin: how another process opens it; None of one that was made around a store.
    """

    def __init__(
        self,
        store: ObjectStore,
        name: str,
        settings: Settings,
        functions: Functions | None = None,
        tiers: Tiers | None = None,
    ) -> None:
        super().__init__(store, name, settings, functions, tiers)
        self.jobs = Jobs(store, on_lost=partial(clean_up, store))
        self.snapshots = Snapshots(self)
        self.imports = Imports(self)
        self.external = Externals(self)
        self.files = Files(store, self.list_databases)
        self._access: Access | None = None
        self._resource_groups: ResourceGroups | None = None

    def create_collection(
        self,
        name: str,
        schema: Any,
        primary_key: str | None = None,
        *,
        dynamic: bool = False,
        auto_id: bool = False,
        partition_key: str | None = None,
        functions: Sequence[Function] = (),
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
            functions: fields that the lake computes from others; rows leave them out.
            **options: the fields of `CollectionOptions`: `num_partitions`, `num_shards`, `consistency_level`, `format`,
                `properties`, `tier`.

        Raises:
            AlreadyExists: the name is taken.
            UnsupportedOption: there is no such format.
        """
        chosen = CollectionOptions.of(options)
        asked = replace(
            Schema.of(schema, primary_key=primary_key, dynamic=dynamic, functions=functions),
            auto_id=auto_id,
            partition_key=partition_key,
            num_partitions=chosen.num_partitions if partition_key is not None else 0,
        )
        create_managed(self, name, asked, chosen)
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
        functions: Sequence[Function] = (),
        progress: Progress | None = None,
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
            functions: fields that the lake computes from the files' and keeps itself; `schema` names their outputs.
            progress: called with (files looked into, files to look into).

        Raises:
            SchemaMismatch: a file does not fit the schema; names the file and the column.
            ObjectNotFound: no file matches.
        """
        source, files = create_external(
            self,
            name,
            src,
            source_options,
            properties or {},
            asked=schema,
            primary_key=primary_key,
            functions=functions,
            progress=progress,
        )
        collection = self.collection(name, source_options=source_options)
        try:
            collection._refreshed(source, files)
        except HeadwaterError:
            self.drop_collection(name)
            raise
        return collection

    def drop_collection(self, name: str) -> None:
        """Delete a collection with all its versions; an external source is not touched.

        Its name goes first: from then on there is none, and who makes another of that name gets a folder of its own.

        Raises:
            CollectionNotFound: no such collection.
        """
        root = self._names.root(checked_name("collection", name))
        if root is None:
            raise self._names.missing(name)
        self._names.forget(name, root)
        for meta in sorted(self._store.list(f"{root}/manifests/"), key=lambda meta: meta.key):
            self._store.delete([meta.key])
        self._store.delete([meta.key for meta in self._store.list(f"{root}/")])
        for held in self._handles.forget(name):
            held._opened.close()

    def rename_collection(self, old: str, new: str) -> None:
        """Give a collection another name; no byte of it moves, and its aliases follow."""
        self._names.rename(old, new)
        self._handles.forget(old, new)

    # -- embedders --------------------------------------------------------------------------------------------------

    def register_embedder(self, name: str, embedder: Any) -> None:
        """Let an object of yours be the `provider` of TEXT_EMBEDDING functions, in this process.

        Args:
            name: what functions say as `provider`.
            embedder: a LangChain `Embeddings`, anything with `embed`, or a function from a list of texts to a matrix.
        """
        self._functions.embedders.register(name, embedder)

    def set_credential(self, name: str, secret: str, url: str | None = None) -> None:
        """Keep a secret in memory for functions that name it as `credential`; it is never written to the lake.

        Args:
            name: letters, digits and underscores.
            secret: what is sent.
            url: the only service that it is sent to; None for any that a function names.
        """
        self._functions.embedders.set_credential(name, secret, url)

    # -- aliases ----------------------------------------------------------------------------------------------------

    def create_alias(self, alias: str, collection: str) -> None:
        """Let a second name stand for a collection; every call takes it where it takes a collection's name."""
        self._names.set_alias(alias, self.collection(collection).name, exists=False)

    def alter_alias(self, alias: str, collection: str) -> None:
        """Let an alias stand for another collection from now on: how a new index or embedding goes live."""
        self._names.set_alias(alias, self.collection(collection).name, exists=True)

    def drop_alias(self, alias: str) -> None:
        """Forget an alias."""
        self._names.drop_alias(alias)

    def list_aliases(self, collection: str | None = None) -> dict[str, str]:
        """Aliases and what they stand for; only those of one collection when it is named."""
        aliases = dict(sorted(self._names.chain.latest().aliases.items()))
        return {one: name for one, name in aliases.items() if collection in (None, name)}

    # -- the lake -----------------------------------------------------------------------------------------------------

    @property
    def access(self) -> Access:
        """Users, roles, privileges and tokens of the lake; a server asks them, code with the lake in hand does not."""
        if self._access is None:
            from headwater.govern import Access

            sibling = partial(Database, self._store, settings=self._settings, functions=self._functions)
            named = NamedCollections(self, sibling, self._settings.access.refresh_s)
            self._access = Access(self._store, self._settings.access, named)
        return self._access

    @property
    def resource_groups(self) -> ResourceGroups:
        """The resource groups of the lake."""
        if self._resource_groups is None:
            from headwater.govern import ResourceGroups

            self._resource_groups = ResourceGroups(self._store, self._settings.access.max_resource_groups)
        return self._resource_groups

    # -- work elsewhere, and words -----------------------------------------------------------------------------------

    def on_demand(
        self,
        *,
        executor: str = "subprocess",
        memory_bytes: int | None = None,
        timeout_s: float | None = None,
        max_workers: int | None = None,
    ) -> OnDemand:
        """The reads of this database, each computed by a worker that starts for it, answers and leaves.

        Args:
            executor: `subprocess`, a process of this machine; `ray`, an actor of the Ray cluster that this process is
                connected to, or of one that it starts here, which needs the `ray` extra.
            memory_bytes: resident memory that a worker may hold; one that takes more is ended.
            timeout_s: from a call to the last row of its answer; a worker that takes longer is ended.
            max_workers: so many at a time; as many as there are cores by default.

        Raises:
            InvalidArgument: no other process can open this lake, or a bound is none.
            MissingExtra: the executor is not installed.
        """
        if self.origin is None:
            raise InvalidArgument(
                f"database {self.name!r} was made around a store object, which no other process can open",
                hint="open it with headwater.connect(url, options)",
            )
        bounds = Bounds(memory_bytes, timeout_s)
        return OnDemand(self.origin.checked(), executor_of(executor, bounds, max_workers), bounds)

    def run_analyzer(
        self,
        texts: str | Sequence[str],
        analyzer_params: str | Mapping[str, Any] | None = None,
        *,
        collection_name: str | None = None,
        field_name: str | None = None,
        analyzer_names: str | Sequence[str] | None = None,
        with_detail: bool = False,
        with_hash: bool = False,
    ) -> list[Any]:
        """The terms that an analyzer, or that of a collection's field, cuts texts into; see `headwater.run_analyzer`.

        Args:
            texts: one or several.
            analyzer_params: the analyzer.
            collection_name: of the collection, in place of `analyzer_params`.
            field_name: of its field.
            analyzer_names: of a field with several analyzers, which: one for all texts, or one for each.
            with_detail: see `headwater.run_analyzer`.
            with_hash: see `headwater.run_analyzer`.

        Raises:
            InvalidArgument: both are named, or neither, or the field has no analyzer.
        """
        if (analyzer_params is None) != (collection_name is not None and field_name is not None):
            raise InvalidArgument("run_analyzer takes analyzer_params, or collection_name and field_name")
        how = {"with_detail": with_detail, "with_hash": with_hash}
        files = self.files.resources
        if analyzer_params is not None:
            if analyzer_names is not None:
                raise InvalidArgument("analyzer_names needs a collection's field that has several analyzers")
            return analysed(analyzer_with(analyzer_params, files), texts, **how)
        field = self.held(str(collection_name)).schema.field(str(field_name))
        return analysed_as(field, texts, analyzer_names, files, **how)

    def least_slops(
        self, analyzer_params: str | Mapping[str, Any], phrase: str, texts: Sequence[str]
    ) -> list[int | None]:
        """For each text the least `slop` with which `phrase_match` finds a phrase in it; None where it never does."""
        return least_slops(analyzer_with(analyzer_params, self.files.resources), phrase, texts)

    def when_changed(self, call: Callable[[str, str], None]) -> None:
        """Have a function called with database and collection when one that was written to here has a new version.

        Only where the setting `maintenance.elsewhere` says that another process maintains it; that one may be told.
        """
        self._maintainer.changed = lambda collection: call(self.name, collection.name)

    def gauges(self) -> Gauges:
        """Figures of what this process holds of the database; asks nothing of the store."""
        from headwater.engine.gauges import gauges_of

        return gauges_of(self._handles.all(), self._maintainer)

    def close(self, *, seal: bool = True) -> None:
        """Seal what is in the logs of the collections written to here, and stop the background.

        Not needed for safety: what was acknowledged is in the log, and the next reader finds it there.

        Args:
            seal: false leaves the logs as they are, for the process that writes.
        """
        self.jobs.close()
        self._maintainer.close()
        for warmer in self._warmers:
            warmer.close()
        if not seal:
            return
        for collection in self._handles.all().values():
            if collection._log.backlog[0]:
                collection.flush()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
