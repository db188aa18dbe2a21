"""How a call of the protocol is declared, and what a handler gets to work with.

A handler is a plain function of a `Call` and the request's message; it returns the response's message, or raises. It
runs on a thread, so it may wait.

    @rpc("HasPartition")
    def has_partition(call: Call, request: milvus_pb2.HasPartitionRequest) -> milvus_pb2.BoolResponse:
        found = request.partition_name in call.collection(request.collection_name).partitions
        return milvus_pb2.BoolResponse(status=OK, value=found)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from google.protobuf.message import Message
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import DATABASE_NOT_FOUND, MilvusError, cannot_find, collection_not_found
from headwater.doors.milvus.names import check_collection_name
from headwater.engine import Collection, Database
from headwater.errors import CollectionNotFound, DatabaseNotFound, InvalidArgument
from headwater.govern import Access

if TYPE_CHECKING:
    from headwater.doors.milvus.backend import Backend

__all__ = ["DOOR", "OK", "RPCS", "Call", "Handler", "Lane", "Rpc", "named_values", "rpc"]

OK = common_pb2.Status()
"""Success: both numbers are 0."""

Handler = Callable[["Call", Any], Message]
Lane = Literal["short", "long"]
"""Which threads run a call: short ones never wait behind a flush, a compaction or a long scan."""


class Rpc(NamedTuple):
    """One call of the protocol.

    Attributes:
        name: its name in the protocol.
        run: the handler.
        lane: which threads run it.
        request: the class of the request's message.
        response: the class of the response's message.
    """

    name: str
    run: Handler
    lane: Lane
    request: type[Message]
    response: type[Message]


DOOR = "headwater-door"
"""Header by which the Python door says that it asks."""

RPCS: dict[str, Rpc] = {}
"""The calls that are served, by name."""

_METHODS = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"].methods_by_name


def rpc(name: str, lane: Lane = "short") -> Callable[[Handler], Handler]:
    """Serve a call of the protocol with a function.

    Args:
        name: of the call, as in `milvus.proto`.
        lane: long for what may take seconds.
    """
    method = _METHODS[name]

    def register(run: Handler) -> Handler:
        if name in RPCS:
            raise ValueError(f"{name} is served twice")
        RPCS[name] = Rpc(
            name, run, lane, method.input_type._concrete_class, method.output_type._concrete_class
        )
        return run

    return register


@dataclass(frozen=True)
class Call:
    """Who asks, in which database, and the lake that answers.

    Attributes:
        backend: the lake, and what all calls share.
        database: the name of the request's database.
        user: who asks; empty where no one needs to say.
        request_id: of the caller's choosing, or ours; every line of log about this call carries it.
        metadata: the headers of the call.
        vectors: those of the request that its message has been left without, by field (`in_place`).
    """

    backend: Backend
    database: str
    user: str = ""
    request_id: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    vectors: Mapping[str, memoryview] = field(default_factory=dict)

    @property
    def by_python_door(self) -> bool:
        """Whether `headwater.connect` asks, whose reads need nothing loaded."""
        return self.metadata.get(DOOR) == "python"

    @property
    def db(self) -> Database:
        """The database that the call is about.

        Raises:
            MilvusError: 800, no such database.
        """
        try:
            return self.backend.database(self.database)
        except (DatabaseNotFound, InvalidArgument) as error:
            raise MilvusError(DATABASE_NOT_FOUND, database=self.database) from error

    @property
    def access(self) -> Access:
        """Users, roles and privileges of the lake."""
        return self.backend.lake.access

    def collection(self, name: str) -> Collection:
        """A collection by its name or an alias of it, as it is now.

        Raises:
            MilvusError: 100, no such collection; 1100, no name can be this.
        """
        with self.named(name):
            return self.db.collection(name)

    def described(self, name: str) -> Collection:
        """The same for calls that Milvus begins with a description: it is missing in a description's words.

        Raises:
            MilvusError: 100, no such collection; 1100, no name can be this.
        """
        check_collection_name(name)
        try:
            return self.db.collection(name)
        except CollectionNotFound as error:
            raise cannot_find(self.database, name) from error

    def reading(self, name: str) -> Collection:
        """The same, for reads and writes of rows: a handle in hand is used without asking the store for the name."""
        with self.named(name):
            return self.db.held(name)

    @contextmanager
    def named(self, name: str) -> Iterator[None]:
        """Tell a missing collection, and a name that none can have, in Milvus's words."""
        check_collection_name(name)
        try:
            yield
        except CollectionNotFound as error:
            raise collection_not_found(self.database, name) from error


def named_values(pairs: Any) -> dict[str, str]:
    """A repeated `KeyValuePair` as a mapping; the last one of a name holds."""
    return {pair.key: pair.value for pair in pairs}
