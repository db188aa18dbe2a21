"""A running server and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pymilvus import MilvusClient
from serving import served


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that the tests of a module share; each names its collections for itself."""
    lake: Path = tmp_path_factory.mktemp("lake")
    with served(lake) as found:
        yield found


@pytest.fixture
def client(address: str) -> Iterator[MilvusClient]:
    """A client of that server."""
    made = MilvusClient(address)
    yield made
    made.close()
