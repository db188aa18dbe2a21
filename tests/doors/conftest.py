"""A running server and a client of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from entering import entered
from pymilvus import MilvusClient
from pymilvus.client import async_grpc_handler, grpc_handler
from serving import Address, served

from headwater.doors.milvus.backend import Backend


@pytest.fixture(scope="module")
def lake_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the lake of that server is."""
    path: Path = tmp_path_factory.mktemp("lake")
    return path


@pytest.fixture(scope="module")
def address(lake_path: Path, request: pytest.FixtureRequest) -> Iterator[Address]:
    """A server that the tests of a module share, by the settings that it is marked with; each names its collections
    for itself."""
    marked = request.node.get_closest_marker("served_with")
    with served(lake_path, *(marked.args if marked else ())) as found:
        yield found


@pytest.fixture(scope="module")
def root(address: Address) -> Iterator[MilvusClient]:
    """Who may do everything on that server, where it asks who comes."""
    with entered(address, "root:Milvus") as client:
        yield client


@pytest.fixture
def backend(address: Address) -> Backend:
    """What that server serves."""
    return address.backend


@pytest.fixture
def client(address: str) -> Iterator[MilvusClient]:
    """A client of that server."""
    made = MilvusClient(address)
    yield made
    made.close()


@pytest.fixture
def brief_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client asks after 20 ms whether an index is built; half a second is its way, and most of a suite's time."""

    def sleep(seconds: float) -> None:
        time.sleep(min(seconds, 0.02))

    async def asleep(seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.02))

    monkeypatch.setattr(grpc_handler, "time", SimpleNamespace(**{**vars(time), "sleep": sleep}))
    monkeypatch.setattr(async_grpc_handler, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": asleep}))
