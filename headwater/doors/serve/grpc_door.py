"""The calls of Milvus's protocol behind connections that somebody else accepted."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping

from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.milvus.guard import Refused
from headwater.doors.milvus.service import MilvusService
from headwater.doors.serve.http2 import GrpcServer
from headwater.doors.serve.http2.grpc_words import UNKNOWN

__all__ = ["grpc_server"]

_SERVICE = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"]


class _Answers:
    """A service's answers, and what gRPC says where there is none."""

    def __init__(self, service: MilvusService) -> None:
        self._service = service
        self.at_once = service.at_once

    async def awaited(
        self, name: str, data: bytes, metadata: Mapping[str, str], *, peer: str, left_s: float | None
    ) -> bytes:
        return await self._service.let_in(name, data, metadata, peer=peer, left_s=left_s)

    def status_of(self, error: Exception) -> tuple[int, str]:
        if isinstance(error, Refused):
            return error.status.value[0], error.detail
        return UNKNOWN, f"Unexpected {type(error)}: {error}"


def grpc_server(
    service: MilvusService, *, tls: ssl.SSLContext | None = None, closed: Callable[[], None] | None = None
) -> GrpcServer:
    """A server of a service's calls.

    Args:
        service: answers.
        tls: with which connections are encrypted; None for none.
        closed: called when a connection has ended.
    """
    # What is somewhat too large is answered in a status; what is much too large is not even read.
    most = min(4 * service.settings.max_message_bytes, (1 << 31) - 1)
    names = [one.name for one in _SERVICE.methods]
    return GrpcServer(_SERVICE.full_name, names, _Answers(service), most_bytes=most, tls=tls, closed=closed)
