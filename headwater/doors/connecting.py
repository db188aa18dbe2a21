"""Opening a lake, wherever it is: here, in a store, or behind a server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater import engine
from headwater.errors import InvalidArgument
from headwater.extras import load_extra
from headwater.settings import Settings

__all__ = ["SERVERS", "connect"]

SERVERS = ("http://", "https://", "unix:")
"""How the address of a server begins."""


def connect(
    url: str | Path = "./lake",
    options: Mapping[str, Any] | None = None,
    *,
    database: str = "default",
    settings: Settings | None = None,
    token: str = "",
) -> engine.Database:
    """Open a lake, which need not exist yet, or one that a server serves.

    Args:
        url: a folder, ``s3://bucket/prefix``, ``gs://``, ``az://`` or ``memory://name``; or a server's address,
            ``http://host:19530``, ``https://`` or ``unix:/path``, which needs the `server` extra.
        options: credentials and endpoint of the store; taken from the environment by default.
        database: which database of the lake.
        settings: limits and defaults; read from ``HEADWATER_*`` variables by default.
        token: of a server that asks who calls: ``user:password``, or an API token.

    Returns:
        The database. Of a server's the methods are the same, and those that the protocol between has no words for are
        refused by name.

    Raises:
        InvalidArgument: the URL's scheme or an option is unknown, or is not of this kind of lake.
        StoreUnavailable: the store does not answer.
        Unavailable: the server does not answer.
        MissingExtra: a server's address without the `server` extra.
    """
    if not isinstance(url, str | Path) or not str(url).strip():
        raise InvalidArgument(f"url: expected a folder, or the URL of a store or server, got {url!r}")
    text = str(url)
    if not text.startswith(SERVERS):
        if token:
            raise InvalidArgument(f"token= is for a server, and {text!r} is opened without one")
        return engine.connect(url, options, database=database, settings=settings)
    for name, given in (("options", options), ("settings", settings)):
        if given is not None:
            raise InvalidArgument(f"{name}= is for a lake that is opened here, and {text!r} is a server")
    load_extra("pymilvus", "server", need="the address of a server")
    remote: Any = load_extra("headwater.doors.remote", "server")
    made: engine.Database = remote.open_remote(text, database=database, token=token)
    return made
