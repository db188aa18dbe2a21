"""One request on its way: what it asks, as whom, and the calls that answer it."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ParamSpec, Protocol, TypeVar

from google.protobuf.message import Message
from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.milvus.codes import COLLECTION_NOT_FOUND, cannot_find
from headwater.doors.rest.errors import Refused, raise_for
from headwater.doors.rest.written import Written

__all__ = ["Ask", "Caller", "Schemas"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_LONG_BYTES = 64 << 10
"""Translating less than this takes less than a thread's turn."""


class Caller(Protocol):
    """What answers calls: the service behind the gRPC door."""

    async def call(
        self, name: str, request: Message, metadata: Mapping[str, str], *, peer: str = ""
    ) -> Message:
        """Run one call of the protocol."""
        ...


class Schemas:
    """Collections as they were described a moment ago, for as long as rows may be packed by them.

    Args:
        keep_s: how long a description is believed. A write that was packed by an old one is refused by the service
            and packed again.
        limit: how many are kept.
    """

    def __init__(self, keep_s: float = 2.0, limit: int = 512) -> None:
        self._keep_s = keep_s
        self._limit = limit
        self._held: OrderedDict[tuple[str, ...], tuple[float, milvus_pb2.DescribeCollectionResponse]] = (
            OrderedDict()
        )

    def get(self, key: tuple[str, ...]) -> milvus_pb2.DescribeCollectionResponse | None:
        """A description that is still believed."""
        at, held = self._held.get(key, (0.0, None))
        return held if held is not None and time.monotonic() - at < self._keep_s else None

    def put(self, key: tuple[str, ...], found: milvus_pb2.DescribeCollectionResponse) -> None:
        """Keep a description."""
        self._held[key] = (time.monotonic(), found)
        self._held.move_to_end(key)
        while len(self._held) > self._limit:
            self._held.popitem(last=False)

    def forget(self, key: tuple[str, ...]) -> None:
        """It has changed."""
        self._held.pop(key, None)


@dataclass(frozen=True)
class Ask:
    """A request.

    Attributes:
        service: what answers calls.
        body: its JSON, read by the route's record.
        database: the database it is about.
        metadata: what a gRPC client would send as headers.
        whole_numbers: whether int64 may be JSON numbers; strings otherwise, for JavaScript, which has no int64.
        size_bytes: of the body.
        peer: who is connected.
        schemas: descriptions kept for the next request.
        written: the body as it was written, if it holds rows.
    """

    service: Caller
    body: Mapping[str, Any]
    database: str = "default"
    metadata: Mapping[str, str] = field(default_factory=dict)
    whole_numbers: bool = True
    size_bytes: int = 0
    peer: str = ""
    schemas: Schemas = field(default_factory=Schemas)
    written: Written | None = None

    def __getitem__(self, name: str) -> Any:
        return self.body[name]

    async def call(self, name: str, request: Message) -> Any:
        """One call of the protocol, as a gRPC client would make it; an error in the answer's status is raised."""
        if "db_name" in request.DESCRIPTOR.fields_by_name and not request.db_name:
            request.db_name = self.database
        response = await self.service.call(name, request, self.metadata, peer=self.peer)
        raise_for(response)
        return response

    async def told(self, name: str, request: Message) -> Any:
        """A call about rows; a missing collection is told as a description tells it, which other routes begin with."""
        try:
            return await self.call(name, request)
        except Refused as error:
            if error.code == COLLECTION_NOT_FOUND.code:
                raise Refused.because(cannot_find(self.database, request.collection_name)) from error
            raise

    async def described(self, collection: str) -> milvus_pb2.DescribeCollectionResponse:
        """A collection's schema, as it was at most a moment ago."""
        key = self._key(collection)
        held = self.schemas.get(key)
        if held is None:
            request = milvus_pb2.DescribeCollectionRequest(collection_name=collection)
            held = await self.call("DescribeCollection", request)
            self.schemas.put(key, held)
        return held

    def changed(self, collection: str) -> None:
        """The collection is not what it was."""
        self.schemas.forget(self._key(collection))

    async def aside(self, run: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Translate on a thread when there is much of it, so that the event loop goes on."""
        if self.size_bytes < _LONG_BYTES:
            return run(*args, **kwargs)
        return await asyncio.to_thread(run, *args, **kwargs)

    def int64(self, value: int) -> int | str:
        """An int64 as the caller can read it."""
        return value if self.whole_numbers else str(value)

    def _key(self, collection: str) -> tuple[str, ...]:
        return (self.metadata.get("authorization", ""), self.database, collection)
