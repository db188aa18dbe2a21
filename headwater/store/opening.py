"""From a url to a store.

| url | store |
| --- | --- |
| `./data`, `/data`, `file:///data` | a folder |
| `memory://NAME` | memory of this process; the same name is the same store |
| `s3://BUCKET/FOLDER` | S3 and compatible; options as below, or the usual `AWS_*` variables |
| `gs://BUCKET/FOLDER`, `az://CONTAINER/FOLDER` | Google Cloud Storage, Azure |

Options are obstore's own words (`endpoint`, `region`, `access_key_id`, `secret_access_key`, `allow_http`,
`timeout`, ...), and `max_retries` and `retry_timeout_s`. An unknown option is an error.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import obstore.store
from obstore import exceptions as obstore_errors

from headwater.errors import InvalidArgument, UnsupportedOption
from headwater.settings import StoreSettings
from headwater.store.local import LocalObjectStore
from headwater.store.objects import ObjectStore
from headwater.store.obstore_store import ObstoreStore
from headwater.store.retry import RetryingStore

__all__ = ["open_lake_store", "open_store"]

_REMOTE: dict[str, Any] = {
    "s3": obstore.store.S3Store,
    "s3a": obstore.store.S3Store,
    "gs": obstore.store.GCSStore,
    "az": obstore.store.AzureStore,
    "abfs": obstore.store.AzureStore,
    "abfss": obstore.store.AzureStore,
}

_CLIENT_OPTIONS = frozenset(
    {
        "allow_http",
        "allow_invalid_certificates",
        "connect_timeout",
        "default_headers",
        "pool_idle_timeout",
        "pool_max_idle_per_host",
        "proxy_ca_certificate",
        "proxy_excludes",
        "proxy_url",
        "root_certificate",
        "timeout",
        "user_agent",
    }
)

_memories: dict[str, Any] = {}
_memories_lock = threading.Lock()


def open_lake_store(
    url: str | Path, options: Mapping[str, Any] | None, limits: StoreSettings
) -> RetryingStore:
    """Open the store of a lake: what fails is tried again, and what is late is asked for twice where that is wanted.

    Args:
        url: see `open_store`.
        options: see `open_store`.
        limits: how often, how long, and whether late reads are asked for twice.

    Raises:
        InvalidArgument: there is a file where the lake would be.
    """
    store = open_store(url, options)
    if isinstance(store, LocalObjectStore) and store.root.is_file():
        raise InvalidArgument(f"lake {str(url)!r}: a file is there, and a lake is a folder")
    if limits.hedge and isinstance(store, ObstoreStore) and not store.url.startswith("memory:"):
        from headwater.store.hedged import HedgedStore

        store = HedgedStore(store)
    return RetryingStore(store, attempts=limits.attempts, deadline_s=limits.deadline_s)


def open_store(url: str | Path, options: Mapping[str, Any] | None = None) -> ObjectStore:
    """Open the store that a url names. Nothing is read or written yet.

    Args:
        url: a local path, or a url of the table above.
        options: for the remote stores.

    Returns:
        The store; its keys are relative to the url.

    Raises:
        InvalidArgument: the url has an unknown scheme, or lacks its bucket or name.
        UnsupportedOption: an option is unknown, or has no effect on this kind of store.
    """
    given = dict(options or {})
    if isinstance(url, Path) or "://" not in url:
        return LocalObjectStore(_without_options("a local folder", url, given))
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise InvalidArgument(
                f"store {url!r}: a file url names no host, so expected file:///{parts.netloc}..."
            )
        return LocalObjectStore(_without_options("a local folder", unquote(parts.path), given))
    if scheme == "memory":
        return _open_memory(str(_without_options("memory", url, given)), parts.netloc, parts.path)
    if scheme in _REMOTE:
        return _open_remote(url, scheme, given)
    known = ", ".join(["file", "memory", *_REMOTE])
    raise InvalidArgument(f"store {url!r}: unknown scheme {scheme!r}, expected a path or one of {known}")


def _without_options(kind: str, url: str | Path, given: Mapping[str, Any]) -> str | Path:
    if given:
        raise UnsupportedOption(
            f"store {str(url)!r}: {kind} takes no options, got {', '.join(sorted(given))}"
        )
    return url


def _open_memory(url: str, name: str, folder: str) -> ObjectStore:
    if not name:
        raise InvalidArgument(f"store {url!r}: expected a name, as in memory://scratch")
    with _memories_lock:
        inner = _memories.setdefault(name, obstore.store.MemoryStore())
    return ObstoreStore(inner, url=url.rstrip("/"), folder=unquote(folder))


def _open_remote(url: str, scheme: str, given: dict[str, Any]) -> ObjectStore:
    parts = urlsplit(url)
    if not parts.hostname or parts.query or parts.fragment or parts.password:
        raise InvalidArgument(
            f"store {scheme}://{parts.hostname or ''}{parts.path}: expected {scheme}://BUCKET/FOLDER only",
            hint="give keys and settings as options or environment variables",
        )
    retry = {
        # `RetryingStore` repeats what is safe to repeat; a client's own silent repeats would hide lost answers.
        "max_retries": int(given.pop("max_retries", 0)),
        "retry_timeout": timedelta(seconds=float(given.pop("retry_timeout_s", 60))),
    }
    client = {name: given.pop(name) for name in _CLIENT_OPTIONS & given.keys()}
    if str(given.get("endpoint", "")).startswith("http://"):
        client.setdefault("allow_http", True)
    bucket_url = urlunsplit((scheme, parts.netloc, "", "", ""))
    try:
        inner = _REMOTE[scheme].from_url(
            bucket_url, config=given or None, client_options=client or None, retry_config=retry
        )
    except obstore_errors.UnknownConfigurationKeyError as error:
        raise UnsupportedOption(f"store {url!r}: {str(error).splitlines()[0]}") from error
    except (obstore_errors.BaseError, ValueError, TypeError) as error:
        raise InvalidArgument(f"store {url!r}: {str(error).splitlines()[0]}") from error
    return ObstoreStore(inner, url=url.rstrip("/"), folder=unquote(parts.path))
