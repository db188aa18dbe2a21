"""What a handle on a server's collection is made of: its calls, and what the server told of it."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.schemas import schema_from_proto
from headwater.doors.remote.asked import Reading
from headwater.doors.remote.raised import unsupported
from headwater.doors.remote.wire import Wire
from headwater.schema import Schema
from headwater.types import ConsistencyLevel

__all__ = ["RemoteCore"]


class RemoteCore:
    """A collection on a server, as it was described last.

    Args:
        wire: to the server.
        database: whose collection.
        name: its name, or an alias of it.

    Attributes:
        name: as given.

    Raises:
        CollectionNotFound: there is none.
    """

    def __init__(self, wire: Wire, database: str, name: str) -> None:
        self.name = name
        self._wire = wire
        self._database = database
        self._written = 0
        self._refresh()

    @property
    def schema(self) -> Schema:
        """The newest schema."""
        self._refresh()
        return self._schema

    @property
    def properties(self) -> dict[str, str]:
        """What is kept by name."""
        self._refresh()
        return {one.key: one.value for one in self._described.properties}

    def _key(self) -> str:
        key = self._schema.primary_key
        if key is None:
            raise unsupported(f"reading the rows of {self.name!r}, which has no primary key, one by one")
        return key

    def _reading(self, request: dict[str, Any]) -> Reading:
        level = common_pb2.ConsistencyLevel.Name(self._described.consistency_level)
        own = ConsistencyLevel(level) if level in list(ConsistencyLevel) else ConsistencyLevel.BOUNDED
        return Reading(request, own, self._written)

    def _refresh(self) -> None:
        self._described = self._describe()
        self._schema = schema_from_proto(self._described.schema, self._described.num_partitions)

    def _describe(self) -> Any:
        request = milvus_pb2.DescribeCollectionRequest(collection_name=self.name)
        return self._call("DescribeCollection", request)

    def _call(self, name: str, request: Any) -> Any:
        return self._wire.call(name, request, self._database)
