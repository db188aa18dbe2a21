"""Running calls: off the event loop, errors made into statuses, the same way whichever door they came through."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf.message import Message
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus import calls as _calls  # noqa: F401 (registers what is served)
from headwater.doors.milvus.backend import Backend
from headwater.doors.milvus.codes import UNSUPPORTED, MilvusError, status_of
from headwater.doors.milvus.rpc import RPCS, Call, Rpc
from headwater.errors import HeadwaterError, InvalidArgument

__all__ = ["MilvusService"]

_log = logging.getLogger("headwater.server")
_SERVICE = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"]


class MilvusService:
    """The calls of the Milvus protocol over one lake.

    Args:
        backend: the lake.
        short_threads: how many short calls run at a time.
        long_threads: how many flushes, compactions and scans run at a time.
    """

    def __init__(self, backend: Backend, *, short_threads: int = 16, long_threads: int = 8) -> None:
        self._backend = backend
        self._lanes = {
            "short": ThreadPoolExecutor(short_threads, "short"),
            "long": ThreadPoolExecutor(long_threads, "long"),
        }

    async def call(self, name: str, request: Message, metadata: Mapping[str, str]) -> Message:
        """Run one call; whatever goes wrong is in the answer's status.

        Args:
            name: of the call, as in `milvus.proto`.
            request: its message.
            metadata: the headers of the call: `dbname`, `authorization`, `client-request-id`.
        """
        method = RPCS.get(name)
        if method is None:
            return failed(
                _response_class(name), MilvusError(UNSUPPORTED, f"{name} is not served by Headwater")
            )
        call = Call(
            self._backend,
            database=getattr(request, "db_name", "") or metadata.get("dbname") or "default",
            request_id=metadata.get("client-request-id") or uuid.uuid4().hex,
            metadata=metadata,
        )
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._lanes[method.lane], _run, method, call, request)

    def handlers(self) -> grpc.GenericRpcHandler:
        """What a gRPC server is given to serve the calls."""
        return grpc.method_handlers_generic_handler(
            _SERVICE.full_name, {method.name: self._handler(method.name) for method in _SERVICE.methods}
        )

    def close(self) -> None:
        """Wait for the calls that run."""
        for lane in self._lanes.values():
            lane.shutdown()

    def _handler(self, name: str) -> grpc.RpcMethodHandler:
        async def handle(request: Message, context: grpc.aio.ServicerContext) -> Message:
            metadata = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
            return await self.call(name, request, metadata)

        method = _SERVICE.methods_by_name[name]
        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=method.input_type._concrete_class.FromString,
            response_serializer=method.output_type._concrete_class.SerializeToString,
        )


def failed(kind: type[Message], error: BaseException) -> Message:
    """A response that says what went wrong."""
    status = status_of(error)
    if kind is common_pb2.Status:
        return status
    if "status" in kind.DESCRIPTOR.fields_by_name:
        return kind(status=status)
    return kind()


def _response_class(name: str) -> type[Message]:
    kind: type[Message] = _SERVICE.methods_by_name[name].output_type._concrete_class
    return kind


def _run(method: Rpc, call: Call, request: Message) -> Message:
    try:
        return method.run(call, request)
    except (HeadwaterError, InvalidArgument) as error:
        return failed(method.response, error)
    except Exception as error:  # noqa: BLE001 (the door's boundary: a caller gets an answer whatever happens)
        _log.exception("%s failed", method.name, extra={"request_id": call.request_id})
        return failed(method.response, error)
