"""One page of figures for all workers: each gives its own on a private socket, and whoever is asked joins them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = ["Page", "merged"]

_WAIT_S = 2.0


class Page:
    """The page of all workers.

    Args:
        folder: of the workers' sockets.
        name: of this worker's socket; it ends in `.figures`.
        own: makes this worker's page.
    """

    def __init__(self, folder: Path, name: str, own: Callable[[], bytes]) -> None:
        self._path = folder / name
        self._own = own
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Answer the other workers."""

        async def give(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                writer.write(self._own())
                await writer.drain()
            writer.close()

        self._server = await asyncio.start_unix_server(give, str(self._path))

    async def text(self) -> bytes:
        """The pages of all workers that answer, as one."""
        others = [one for one in self._path.parent.glob("*.figures") if one != self._path]
        found = await asyncio.gather(*(_asked(one) for one in others))
        return merged([self._own(), *filter(None, found)])

    async def close(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        self._path.unlink(missing_ok=True)


async def _asked(path: Path) -> bytes:
    """A worker's page; empty when it does not answer."""
    try:
        async with asyncio.timeout(_WAIT_S):
            reader, writer = await asyncio.open_unix_connection(str(path))
            try:
                return await reader.read()
            finally:
                writer.close()
    except ConnectionRefusedError:
        # Of a worker that was killed.
        path.unlink(missing_ok=True)
        return b""
    except (OSError, TimeoutError):
        return b""


def merged(pages: Iterable[bytes]) -> bytes:
    """Pages in Prometheus' text format as one: a family's lines stand together."""
    families: dict[str, list[str]] = {}
    for page in pages:
        family = ""
        for line in page.decode().splitlines():
            if line.startswith("# "):
                _, kind, name, *_ = line.split(" ", 3)
                if kind == "HELP":
                    family = name
                lines = families.setdefault(family, [])
                if line not in lines[:2]:
                    lines.append(line)
            elif line:
                families.setdefault(family, []).append(line)
    return "".join(f"{line}\n" for lines in families.values() for line in lines).encode()
