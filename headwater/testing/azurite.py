"""Azurite, Microsoft's emulator of Azure Blob Storage: installed by npm on first use, run in a process of its own."""

from __future__ import annotations

import base64
import hmac
import http.client
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from headwater.testing.processes import free_port, needed, server_process

__all__ = ["Azurite", "azurite"]

_VERSION = "3.35.0"
_CONTAINER = "headwater"


@dataclass(frozen=True, slots=True)
class Azurite:
    """A running emulator.

    Attributes:
        url: its container, as `open_store` takes it.
        options: the options that go with the url.
    """

    url: str
    options: dict[str, str]


def _installed(folder: Path) -> Path:
    """The server's script, after installing it into a folder when it is not there."""
    script = folder / _VERSION / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    if not script.exists():
        npm = needed("npm", hint="install Node.js and npm, which run Azurite")
        into = folder / _VERSION
        into.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(into), f"azurite@{_VERSION}"]
        subprocess.run(command, check=True, capture_output=True, timeout=300)  # noqa: S603
    return script


@contextmanager
def azurite(cache: Path | None = None) -> Iterator[Azurite]:
    """Run the emulator with one empty container, until the block ends.

    Args:
        cache: where it is installed; `headwater-azurite` in the user's cache folder by default.

    Raises:
        MissingExtra: npm or node is not installed, or the emulator does not start.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    script = _installed(cache or home / "headwater-azurite")
    with free_port() as port:
        endpoint = f"http://127.0.0.1:{port}/devstoreaccount1"
        options = {
            "account_name": "devstoreaccount1",
            # The key that Azurite's documentation gives to everyone.
            "account_key": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
            "endpoint": endpoint,
        }
        node = needed("node", hint="install Node.js, which runs Azurite")
        command: list[str | Path] = [node, script, "--blobHost", "127.0.0.1", "--blobPort", str(port)]
        command += ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
        with server_process(command, lambda: _container_made(port, options)):
            yield Azurite(f"az://{_CONTAINER}", options)


def _container_made(port: int, options: dict[str, str]) -> bool:
    """Ask for the container; whether the emulator is up and made it. Signed as Azure's Shared Key scheme says."""
    account, path = options["account_name"], f"/{options['account_name']}/{_CONTAINER}"
    headers = {
        "x-ms-date": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "x-ms-version": "2021-12-02",
    }
    empty = [""] * 11
    named = [f"{name}:{value}" for name, value in headers.items()]
    signed = "\n".join(["PUT", *empty, *named, f"/{account}{path}", "restype:container"])
    key = base64.b64decode(options["account_key"])
    signature = base64.b64encode(hmac.digest(key, signed.encode(), "sha256")).decode()
    headers["Authorization"] = f"SharedKey {account}:{signature}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("PUT", f"{path}?restype=container", headers=headers)
        return connection.getresponse().status == http.client.CREATED
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
