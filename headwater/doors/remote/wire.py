"""Calls of the protocol over one channel."""

from __future__ import annotations

import base64
import random
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import Message
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater import __version__
from headwater.doors.milvus.rpc import DOOR
from headwater.doors.remote.raised import error_of
from headwater.errors import InvalidArgument, PermissionDenied, Timeout, Unavailable

__all__ = ["Wire"]

_SERVICE = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"]
_TRIES = 8
_CONNECT_S = 10.0
_AGAIN = (grpc.StatusCode.UNAVAILABLE,)
_DENIED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


class Wire:
    """A channel to a server. Safe between threads.

    Args:
        url: `http://host:port`, `https://host:port` or `unix:/path`.
        token: `user:password`, or an API token.
        timeout_s: how long a call may take.

    Attributes:
        url: of the server.
    """

    def __init__(self, url: str, token: str = "", *, timeout_s: float = 600.0) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._channel = _channel(url)
        self._closed = False
        self._calls: dict[str, Any] = {}
        self._metadata = [(DOOR, "python")]
        if token:
            self._metadata.append(("authorization", base64.b64encode(token.encode()).decode()))
        info = common_pb2.ClientInfo(sdk_type="headwater", sdk_version=__version__)
        answer = self._sent("Connect", milvus_pb2.ConnectRequest(client_info=info), "", _CONNECT_S)
        self._metadata.append(("identifier", str(answer.identifier)))

    def call(self, name: str, request: Message, database: str) -> Any:
        """The answer of a call.

        Args:
            name: of the call.
            request: its message.
            database: that it is about.

        Raises:
            HeadwaterError: what the server says.
            InvalidArgument: the connection is closed.
            Unavailable: it does not answer.
        """
        return self._sent(name, request, database, self._timeout_s)

    def close(self) -> None:
        """Close the channel."""
        self._closed = True
        self._channel.close()

    def _sent(self, name: str, request: Message, database: str, timeout_s: float) -> Any:
        if self._closed:
            raise InvalidArgument(f"{name}: the connection to {self.url} is closed", hint="connect() again")
        deadline = time.monotonic() + timeout_s
        metadata = [*self._metadata, ("client-request-id", uuid.uuid4().hex)]
        if database:
            metadata.append(("dbname", database))
        for attempt in range(_TRIES):
            left = deadline - time.monotonic()
            try:
                answer = self._method(name)(request, timeout=max(left, 0.001), metadata=metadata)
            except grpc.RpcError as error:
                # Only what certainly did not reach the server, or may be done twice, is asked again.
                if error.code() not in _AGAIN or attempt == _TRIES - 1 or not _repeatable(name):
                    raise self._failure(name, error) from error
            else:
                status = answer if isinstance(answer, common_pb2.Status) else answer.status
                failure = error_of(status)
                if failure is None:
                    return answer
                if not status.retriable or attempt == _TRIES - 1:
                    raise failure
            pause = min(0.02 * 2**attempt, 1.0) * random.uniform(0.5, 1.0)  # noqa: S311
            if deadline - time.monotonic() < pause:
                raise Timeout(f"{name}: {self.url} did not answer within {timeout_s:g} s")
            time.sleep(pause)
        raise Unavailable(f"{name}: {self.url} does not answer")

    def _method(self, name: str) -> Any:
        call = self._calls.get(name)
        if call is None:
            method = _SERVICE.methods_by_name[name]
            call = self._calls[name] = self._channel.unary_unary(
                f"/{_SERVICE.full_name}/{name}",
                request_serializer=method.input_type._concrete_class.SerializeToString,
                response_deserializer=method.output_type._concrete_class.FromString,
            )
        return call

    def _failure(self, name: str, error: grpc.RpcError) -> Exception:
        text = f"{name}: {self.url}: {error.details() or error.code().name}"
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return Timeout(text)
        if error.code() in _DENIED:
            return PermissionDenied(text, hint="pass token='user:password', or an API token")
        return Unavailable(text)


def _repeatable(name: str) -> bool:
    """Whether a call may be made twice: an insert that was heard and not answered would be there twice."""
    return name != "Insert"


def _channel(url: str) -> grpc.Channel:
    options = [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.enable_retries", 0),
        ("grpc.keepalive_time_ms", 30_000),
    ]
    if url.startswith("unix:"):
        return grpc.insecure_channel(url, options=options)
    parts = urlsplit(url)
    if not parts.hostname or parts.path not in ("", "/"):
        raise InvalidArgument(f"a server's address is http://host:port, got {url!r}")
    secure = parts.scheme == "https"
    target = f"{parts.hostname}:{parts.port or (443 if secure else 19530)}"
    if secure:
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(), options=options)
    return grpc.insecure_channel(target, options=options)
