"""A running server and a client of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
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
def address(lake_path: Path) -> Iterator[Address]:
    """A server that the tests of a module share; each names its collections for itself."""
    with served(lake_path) as found:
        yield found


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
