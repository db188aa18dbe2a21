"""One writer among several workers: the others hand it what changes the lake, and see at once what it changed.

Reads are answered where they arrive. What they see of rows is the log's business: a strong read looks at the log. What
they see of names is ours: the writer counts its changes in a file that all workers map, and a worker that finds another
number there than it knows looks at the names again before it answers.
"""

from __future__ import annotations

import asyncio
import mmap
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import grpc
from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.milvus.codes import DEADLINE, UNAVAILABLE, MilvusError
from headwater.doors.milvus.record import Record
from headwater.doors.milvus.service import Forward, failed

__all__ = ["ANSWERED_ANYWHERE", "Analysts", "Changes", "Forwarding"]

ANSWERED_ANYWHERE = frozenset(
    {
        "BatchDescribeCollection",
        "CheckHealth",
        "ComputePhraseMatchSlop",
        "Connect",
        "DescribeAlias",
        "DescribeCollection",
        "DescribeDatabase",
        "GetVersion",
        "HasCollection",
        "HasPartition",
        "HybridSearch",
        "ListAliases",
        "ListDatabases",
        "Query",
        "RunAnalyzer",
        "Search",
        "ShowCollections",
        "ShowPartitions",
    }
)
"""Calls that any worker answers; the writer answers all others."""

_ROWS_ONLY = frozenset({"Insert", "Upsert", "Delete", "Flush", "FlushAll", "AllocTimestamp"})
_LOOKS = ("Get", "List", "Describe", "BatchDescribe", "Has", "Show", "Check", "Select")
"""What calls that change nothing begin with."""

_CONNECT_S = 30.0
_CONNECT_TO_ANALYSTS_S = 2.0
_LOOK_S = 0.02
_SERVICE = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"]


class Changes:
    """How often the writer has changed something else than rows.

    Args:
        path: of a file of eight bytes.
        look_again: called before the first call after a change.
    """

    def __init__(self, path: Path, look_again: Callable[[], None]) -> None:
        with path.open("r+b") as file:
            self._count = mmap.mmap(file.fileno(), 8)
        self._look_again = look_again
        self._seen = self._count[:8]
        self._lock = threading.Lock()

    def observe(self, record: Record) -> None:
        """Count a call, before it is answered."""
        name = record.name
        if name not in ANSWERED_ANYWHERE and name not in _ROWS_ONLY and not name.startswith(_LOOKS):
            count = int.from_bytes(self._count[:8], "little") + 1
            self._count[:8] = count.to_bytes(8, "little")
            self._seen = self._count[:8]

    def catch_up(self) -> None:
        """Be as new as every change that was answered before."""
        if self._count[:8] != self._seen:
            with self._lock:
                found = self._count[:8]
                if found != self._seen:
                    self._look_again()
                    self._seen = found


class Forwarding:
    """The way to the writer.

    Args:
        path: of the socket that whoever writes answers on.
    """

    def __init__(self, path: Path) -> None:
        self.writing = False
        self.in_flight = 0
        self._channel = grpc.aio.insecure_channel(
            f"unix:{path}",
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.min_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 250),
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        self._calls = {
            method.name: self._channel.unary_unary(f"/{_SERVICE.full_name}/{method.name}")
            for method in _SERVICE.methods
        }

    def route(self, name: str) -> Forward | None:
        """What answers a call instead of this worker; None where this worker does."""
        return None if self.writing or name in ANSWERED_ANYWHERE else self.forward

    async def forward(
        self, name: str, data: bytes, metadata: Mapping[str, str], left_s: float | None, peer: str
    ) -> bytes:
        """Have the writer answer a call."""
        self.in_flight += 1
        try:
            return await self._forward(name, data, metadata, left_s, peer)
        finally:
            self.in_flight -= 1

    @property
    def ready(self) -> bool:
        """Whether the other process is connected; asks for it to be."""
        return self._channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY

    async def _forward(
        self, name: str, data: bytes, metadata: Mapping[str, str], left_s: float | None, peer: str
    ) -> bytes:
        headers = [(key, value) for key, value in metadata.items() if not _own(key)]
        headers.append(("headwater-peer", peer))
        try:
            if not self.ready:
                wait_s = _CONNECT_S if left_s is None else min(left_s, _CONNECT_S)
                await asyncio.wait_for(self._channel.channel_ready(), wait_s)
            answer: bytes = await self._calls[name](data, timeout=left_s, metadata=headers)
        except TimeoutError:
            error = MilvusError(UNAVAILABLE, f"{name}: no worker writes at the moment")
        except grpc.aio.AioRpcError as broken:
            if broken.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                error = MilvusError(DEADLINE, name)
            else:
                detail = f"{name}: the worker that writes went away; whether it was done is not known"
                error = MilvusError(UNAVAILABLE, detail)
        else:
            return answer
        kind = _SERVICE.methods_by_name[name].output_type._concrete_class
        said: bytes = failed(kind, error).SerializeToString()
        return said

    async def close(self) -> None:
        """Forward no more."""
        await self._channel.close()


class Analysts:
    """The ways to the processes for heavy reads.

    Args:
        paths: of the sockets that they answer on.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._all = [Forwarding(path) for path in paths]

    async def least_busy(self) -> Forward | None:
        """The way to the one with the fewest calls; None where none answers now: then who was asked answers."""
        stop = asyncio.get_running_loop().time() + _CONNECT_TO_ANALYSTS_S
        while not (answering := [one for one in self._all if one.ready]):
            if asyncio.get_running_loop().time() > stop:
                return None
            await asyncio.sleep(_LOOK_S)
        return min(answering, key=lambda one: one.in_flight).forward

    async def close(self) -> None:
        """Forward no more."""
        for one in self._all:
            await one.close()


def _own(key: str) -> bool:
    """Whether a header belongs to the connection it came on."""
    return key.startswith(("grpc-", ":", "headwater-")) or key in ("user-agent", "content-type", "te")
