"""A database on a server, as a user holds it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.schemas import schema_to_proto
from headwater.doors.remote.collection import RemoteCollection
from headwater.doors.remote.jobs import RemoteJobs
from headwater.doors.remote.raised import unsupported
from headwater.doors.remote.snapshots import RemoteSnapshots
from headwater.doors.remote.tiers import ServerTiers
from headwater.doors.remote.wire import Wire
from headwater.engine import Database
from headwater.engine.by_name import CollectionsByName
from headwater.engine.naming import checked_name
from headwater.engine.options import CollectionOptions
from headwater.errors import AlreadyExists, CollectionNotFound, DatabaseNotFound, InvalidArgument
from headwater.schema import Function, Schema, analyzer_text
from headwater.types import ConsistencyLevel, DataType

__all__ = ["RemoteDatabase", "open_remote"]

_KEYS = (DataType.INT64, DataType.VARCHAR)


def open_remote(
    url: str, *, database: str = "default", token: str = "", timeout_s: float = 600.0
) -> RemoteDatabase:
    """A database of a server.

    Args:
        url: `http://host:port`, `https://host:port` or `unix:/path`.
        database: which.
        token: `user:password`, or an API token.
        timeout_s: how long a call may take.

    Raises:
        Unavailable: the server does not answer.
        PermissionDenied: the token is wrong.
        DatabaseNotFound: there is no such database.
    """
    checked_name("database", database)
    wire = Wire(url, token, timeout_s=timeout_s)
    made = RemoteDatabase(wire, database)
    if database != "default":
        made.database(database)
    return made


class RemoteDatabase(CollectionsByName):
    """What `headwater.Database` is, on a server. Methods that the protocol has no words for are refused by name.

    Args:
        wire: to the server.
        name: of the database.

    Attributes:
        name: its name.
        jobs: restores, of all long work what the protocol can be asked about.
        snapshots: the snapshots of its collections.
        tiers: what the process that answers holds.
    """

    def __init__(self, wire: Wire, name: str) -> None:
        self.name = name
        self._wire = wire
        self._held: dict[str, RemoteCollection] = {}
        self.jobs = RemoteJobs(wire, name)
        self.snapshots = RemoteSnapshots(wire, name, self.jobs)
        self.tiers = ServerTiers(self._call)

    @property
    def url(self) -> str:
        """The server's address."""
        return self._wire.url

    # -- collections --------------------------------------------------------------------------------------------------

    def list_collections(self) -> list[str]:
        """Names of the collections, sorted."""
        return sorted(self._call("ShowCollections", milvus_pb2.ShowCollectionsRequest()).collection_names)

    def has_collection(self, name: str) -> bool:
        """Whether a collection, or an alias of one, exists."""
        try:
            RemoteCollection(self._wire, self.name, name)
        except CollectionNotFound:
            return False
        return True

    def collection(self, name: str) -> RemoteCollection:
        """A handle on a collection.

        Args:
            name: its name, or an alias of it.

        Raises:
            CollectionNotFound: no such collection.
        """
        found = RemoteCollection(self._wire, self.name, name)
        known = self._held.get(name)
        if known is not None and known._described.collectionID == found._described.collectionID:
            known._refresh()
            return known
        self._held[name] = found
        return found

    def held(self, name: str) -> Any:
        """A handle that is there already, or a new one: a `RemoteCollection`, whose methods are a `Collection`'s."""
        return self._held.get(name) or self.collection(name)

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
    ) -> RemoteCollection:
        """See `Database.create_collection`; a server's collections have a primary key, an Int64 or a String.

        Raises:
            AlreadyExists: the name is taken.
            UnsupportedOption: the protocol has no words for an option.
        """
        checked_name("collection", name)
        chosen = CollectionOptions.of(options)
        if chosen.format is not None:
            raise unsupported("format= of a collection")
        made = Schema.of(schema, primary_key=primary_key, dynamic=dynamic, functions=functions)
        key = made.primary_key
        if key is None or made.field(key).type.data_type not in _KEYS:
            raise unsupported("a collection without a primary key that is an Int64 or a String")
        for field in made.fields:
            if field.type.data_type in (DataType.BINARY, DataType.REFERENCE):
                raise unsupported(f"field {field.name!r} of type {field.type.data_type}")
        proto = schema_to_proto(made, name)
        for one in proto.fields:
            one.autoID = auto_id and one.is_primary_key
            one.is_partition_key = one.name == partition_key
        proto.autoID = auto_id
        if self.has_collection(name):
            raise AlreadyExists(f"collection {name!r} exists in database {self.name!r}")
        request = milvus_pb2.CreateCollectionRequest(
            collection_name=name,
            schema=proto.SerializeToString(),
            shards_num=chosen.num_shards,
            num_partitions=chosen.num_partitions if partition_key is not None else 0,
            consistency_level=_level(chosen.consistency_level),
            properties=[common_pb2.KeyValuePair(key=k, value=str(v)) for k, v in chosen.properties.items()],
        )
        self._call("CreateCollection", request)
        return self.collection(name)

    def drop_collection(self, name: str) -> None:
        """Delete a collection with all its versions.

        Raises:
            CollectionNotFound: there is none.
        """
        self.collection(name)
        self._call("DropCollection", milvus_pb2.DropCollectionRequest(collection_name=name))
        self._held.pop(name, None)

    def rename_collection(self, old: str, new: str) -> None:
        """Give a collection another name."""
        self._call("RenameCollection", milvus_pb2.RenameCollectionRequest(oldName=old, newName=new))
        self._held.pop(old, None)
        self._held.pop(new, None)

    # -- aliases ----------------------------------------------------------------------------------------------------

    def create_alias(self, alias: str, collection: str) -> None:
        """Let a second name stand for a collection."""
        self._call("CreateAlias", milvus_pb2.CreateAliasRequest(collection_name=collection, alias=alias))

    def alter_alias(self, alias: str, collection: str) -> None:
        """Let an alias stand for another collection from now on."""
        self._call("AlterAlias", milvus_pb2.AlterAliasRequest(collection_name=collection, alias=alias))
        self._held.pop(alias, None)

    def drop_alias(self, alias: str) -> None:
        """Forget an alias."""
        self._call("DescribeAlias", milvus_pb2.DescribeAliasRequest(alias=alias))
        self._call("DropAlias", milvus_pb2.DropAliasRequest(alias=alias))
        self._held.pop(alias, None)

    def list_aliases(self, collection: str | None = None) -> dict[str, str]:
        """Aliases and what they stand for; only those of one collection when it is named."""
        names = self.list_collections() if collection is None else [collection]
        found = {}
        for name in names:
            request = milvus_pb2.ListAliasesRequest(collection_name=name)
            found.update(dict.fromkeys(self._call("ListAliases", request).aliases, name))
        return dict(sorted(found.items()))

    # -- databases --------------------------------------------------------------------------------------------------

    def list_databases(self) -> list[str]:
        """Names of the server's databases, sorted."""
        return sorted(self._call("ListDatabases", milvus_pb2.ListDatabasesRequest()).db_names)

    def create_database(self, name: str) -> RemoteDatabase:
        """Add a database.

        Raises:
            AlreadyExists: the name is taken.
        """
        if checked_name("database", name) in self.list_databases():
            raise AlreadyExists(f"database {name!r} exists at {self.url}")
        self._call("CreateDatabase", milvus_pb2.CreateDatabaseRequest(db_name=name))
        return RemoteDatabase(self._wire, name)

    def database(self, name: str) -> RemoteDatabase:
        """A handle on another database of the server.

        Raises:
            DatabaseNotFound: no such database.
        """
        found = self.list_databases()
        if name not in found:
            raise DatabaseNotFound(
                f"no database {name!r} at {self.url}", hint=f"there are: {', '.join(found)}"
            )
        return RemoteDatabase(self._wire, name)

    def drop_database(self, name: str) -> None:
        """Remove a database, which must hold no collection.

        Raises:
            InvalidArgument: it holds collections, or is the default one.
        """
        held = self.database(name).list_collections()
        if held or name == "default":
            why = f"it holds {', '.join(held)}" if held else "it is the default one"
            raise InvalidArgument(f"database {name!r} cannot be dropped: {why}")
        self._call("DropDatabase", milvus_pb2.DropDatabaseRequest(db_name=name))

    # -- words -------------------------------------------------------------------------------------------------------

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
        """See `Database.run_analyzer`."""
        if with_detail or with_hash:
            raise unsupported("the details of run_analyzer")
        many = [texts] if isinstance(texts, str) else list(texts)
        names = [analyzer_names] if isinstance(analyzer_names, str) else list(analyzer_names or ())
        given = analyzer_text(analyzer_params) if analyzer_params is not None else None
        request = milvus_pb2.RunAnalyzerRequest(
            placeholder=[text.encode() for text in many],
            analyzer_params=json.dumps(json.loads(given)) if given else "",
            collection_name=collection_name or "",
            field_name=field_name or "",
            analyzer_names=names,
        )
        answer = self._call("RunAnalyzer", request)
        found = [[token.token for token in one.tokens] for one in answer.results]
        return found[0] if isinstance(texts, str) else found

    # -- the handle ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connection, and with it that of every database and collection that came from here."""
        self._wire.close()

    def _call(self, name: str, request: Any) -> Any:
        return self._wire.call(name, request, self.name)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and (hasattr(Database, name) or name in ("files", "imports")):
            raise unsupported(f"Database.{name}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __enter__(self) -> RemoteDatabase:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self.list_collections())

    def __repr__(self) -> str:
        return f"<database {self.name!r} at {self.url}>"


def _level(name: str) -> int:
    level = ConsistencyLevel(str(name).capitalize())
    return int(common_pb2.ConsistencyLevel.Value(level.value))
