"""Connecting: who are you, which server is this, what time is it."""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater import __version__
from headwater.doors.milvus.reading import now_timestamp
from headwater.doors.milvus.rpc import OK, Call, rpc

__all__: list[str] = []

MILVUS_VERSION = "3.0.2"
"""The version of Milvus whose protocol this is; clients decide by it what they may ask."""


@rpc("Connect")
def connect(call: Call, request: milvus_pb2.ConnectRequest) -> milvus_pb2.ConnectResponse:
    """The handshake."""
    info = common_pb2.ServerInfo(
        build_tags=MILVUS_VERSION, git_commit=f"headwater-{__version__}", deploy_mode="STANDALONE"
    )
    return milvus_pb2.ConnectResponse(status=OK, server_info=info, identifier=1)


@rpc("GetVersion")
def get_version(call: Call, request: milvus_pb2.GetVersionRequest) -> milvus_pb2.GetVersionResponse:
    """The version of the protocol."""
    return milvus_pb2.GetVersionResponse(status=OK, version=MILVUS_VERSION)


@rpc("CheckHealth")
def check_health(call: Call, request: milvus_pb2.CheckHealthRequest) -> milvus_pb2.CheckHealthResponse:
    """Whether the lake answers."""
    call.backend.lake.list_databases()
    return milvus_pb2.CheckHealthResponse(status=OK, isHealthy=True)


@rpc("AllocTimestamp")
def alloc_timestamp(
    call: Call, request: milvus_pb2.AllocTimestampRequest
) -> milvus_pb2.AllocTimestampResponse:
    """The time in Milvus's form: milliseconds, and a count within each."""
    return milvus_pb2.AllocTimestampResponse(status=OK, timestamp=now_timestamp())
