"""A collection on a server, as a user holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.schemas import field_to_proto
from headwater.doors.remote.indexes import RemoteIndexes
from headwater.doors.remote.raised import unsupported
from headwater.doors.remote.reading import RemoteReads
from headwater.doors.remote.writing import RemoteWrites
from headwater.engine import Collection
from headwater.errors import AlreadyExists, HeadwaterError
from headwater.schema import Field, FieldType

__all__ = ["RemoteCollection"]


class RemoteCollection(RemoteReads, RemoteWrites, RemoteIndexes):
    """What `headwater.Collection` is, on a server. Methods that the protocol has no words for are refused by name.

    Args:
        wire: to the server.
        database: whose collection.
        name: its name, or an alias of it.

    Attributes:
        name: as given.
    """

    def describe(self) -> dict[str, Any]:
        """Schema, rows and indexes as a plain dict."""
        schema = self.schema
        return {
            "name": self._described.collection_name,
            "num_rows": self.count(),
            "primary_key": schema.primary_key,
            "external": bool(self._described.schema.external_source),
            "fields": [
                {
                    "name": one.name,
                    "type": str(one.type.data_type),
                    "dim": one.type.dim,
                    "nullable": one.nullable,
                }
                for one in schema.fields
            ],
            "functions": [one.to_json() for one in schema.functions],
            "indexes": self.list_indexes(),
            "properties": {one.key: one.value for one in self._described.properties},
        }

    @property
    def partitions(self) -> list[str]:
        """Names of the partitions; the default one comes first."""
        request = milvus_pb2.ShowPartitionsRequest(collection_name=self.name)
        found = list(self._call("ShowPartitions", request).partition_names)
        return sorted(found, key=lambda name: (name != "_default", name))

    def create_partition(self, name: str) -> None:
        """Add a partition by name.

        Raises:
            AlreadyExists: there is one of that name.
        """
        if name in self.partitions:
            raise AlreadyExists(f"partition {name!r} exists in collection {self.name!r}")
        self._call(
            "CreatePartition",
            milvus_pb2.CreatePartitionRequest(collection_name=self.name, partition_name=name),
        )

    def drop_partition(self, name: str) -> None:
        """Delete a partition with its rows."""
        release = milvus_pb2.ReleasePartitionsRequest(collection_name=self.name, partition_names=[name])
        self._call("ReleasePartitions", release)
        drop = milvus_pb2.DropPartitionRequest(collection_name=self.name, partition_name=name)
        self._call("DropPartition", drop)

    def add_column(
        self, name: str, values: Any = None, *, type: FieldType | None = None, inputs: Sequence[str] = ()
    ) -> int:
        """Add a nullable field; a server takes no values for it. Returns 0, the bytes written."""
        if values is not None or inputs or type is None:
            raise unsupported("adding a column with values (add it with type= alone, then upsert)")
        field = Field(name=name, type=type, nullable=True)
        schema = field_to_proto(field, self._schema).SerializeToString()
        request = milvus_pb2.AddCollectionFieldRequest(collection_name=self.name, schema=schema)
        self._call("AddCollectionField", request)
        self._refresh()
        return 0

    def set_properties(self, properties: Mapping[str, str | None]) -> None:
        """Keep values by name; None forgets one."""
        request = milvus_pb2.AlterCollectionRequest(
            collection_name=self.name,
            properties=[
                common_pb2.KeyValuePair(key=key, value=str(value))
                for key, value in properties.items()
                if value is not None
            ],
            delete_keys=[key for key, value in properties.items() if value is None],
        )
        self._call("AlterCollection", request)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and hasattr(Collection, name):
            raise unsupported(f"Collection.{name}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __len__(self) -> int:
        return self.num_rows

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        try:
            return f"<collection {self.name!r}: {self.num_rows:,} rows at {self._wire.url}>"
        except HeadwaterError as error:
            return f"<collection {self.name!r} at {self._wire.url}: {error.message}>"
