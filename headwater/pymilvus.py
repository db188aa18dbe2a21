"""Lakes for programs that are written for Milvus.

Importing this module makes `MilvusClient("x.db")`, `AsyncMilvusClient("x.db")` and `connections.connect(uri="x.db")`
open a lake, a folder of that name, in place of Milvus Lite; so it does in LangChain, LlamaIndex and Haystack. Several
processes may open the same lake at once. pymilvus lets only names that end in `.db` pass; `client` opens any lake.

    import headwater.pymilvus
    from pymilvus import MilvusClient

    client = MilvusClient("x.db")
    far = headwater.pymilvus.client("s3://bucket/lake")
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pymilvus import AsyncMilvusClient, MilvusClient

from headwater.doors.milvus.local import LocalServers

__all__ = ["address", "async_client", "client"]

_servers = LocalServers()

# What pymilvus imports when it is given a path.
_seam = ModuleType("milvus_lite.server_manager", "Headwater's lakes in place of Milvus Lite.")
_seam.server_manager_instance = _servers  # type: ignore[attr-defined]
sys.modules["milvus_lite.server_manager"] = _seam


def address(lake: str | Path, options: Mapping[str, Any] | None = None) -> str:
    """An address that any client of Milvus in this process can be given as its `uri`.

    Args:
        lake: a folder, `s3://bucket/prefix`, `gs://` or `az://`.
        options: credentials and endpoint of the lake's store; taken from the environment by default.

    Raises:
        InvalidArgument: at the path is something else than a lake.
        Unavailable: the lake cannot be opened; says why.
    """
    return _servers.address(lake, options)


def client(lake: str | Path, options: Mapping[str, Any] | None = None, **given: Any) -> MilvusClient:
    """A `MilvusClient` of a lake.

    Args:
        lake: a folder, `s3://bucket/prefix`, `gs://` or `az://`.
        options: credentials and endpoint of the lake's store; taken from the environment by default.
        **given: passed on to `MilvusClient`.
    """
    return MilvusClient(address(lake, options), **given)


def async_client(
    lake: str | Path, options: Mapping[str, Any] | None = None, **given: Any
) -> AsyncMilvusClient:
    """An `AsyncMilvusClient` of a lake.

    Args:
        lake: a folder, `s3://bucket/prefix`, `gs://` or `az://`.
        options: credentials and endpoint of the lake's store; taken from the environment by default.
        **given: passed on to `AsyncMilvusClient`.
    """
    return AsyncMilvusClient(address(lake, options), **given)
