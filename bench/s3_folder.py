"""A folder served as an S3 bucket, read-only: every engine of a benchmark asks the same server, which counts and waits.

Objects are files; what an engine wrote into the folder is read back over HTTP. Each answer comes after the latency
and the time that its bytes take at the bandwidth, as from a store in the same region. `GET /?figures` gives the
counts since it was last asked, `POST /?latency_s=0.03&bandwidth=1e8` changes the wait.

    python bench/s3_folder.py FOLDER PORT
"""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import json
import os
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

__all__ = ["FolderServer", "folder_server"]

BUCKET = "bench"
_MOST_KEYS = 1000


class Bucket:
    """The ASGI application.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.latency_s = 0.0
        self.bandwidth = float("inf")
        self.requests = 0
        self.sent = 0
        self.log: list[tuple[str, str, int]] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        asked = dict(urllib.parse.parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
        path = urllib.parse.unquote(scope["path"]).lstrip("/")
        if not path:
            return await _answer(send, 200, self._figures(scope["method"], asked), {})
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        key = path.removeprefix(BUCKET).lstrip("/")
        status, body, more = self._served(scope["method"], key, asked, headers)
        self.requests += 1
        self.sent += len(body)
        self.log.append((scope["method"], key, len(body)))
        await asyncio.sleep(self.latency_s + len(body) / self.bandwidth)
        await _answer(send, status, body, more, head=scope["method"] == "HEAD")

    def _figures(self, method: str, asked: dict[str, str]) -> bytes:
        if method == "POST":
            self.latency_s, self.bandwidth = float(asked["latency_s"]), float(asked["bandwidth"])
        found = {"requests": self.requests, "bytes": self.sent, "log": self.log}
        self.requests, self.sent, self.log = 0, 0, []
        return json.dumps(found).encode()

    def _served(
        self, method: str, key: str, asked: dict[str, str], headers: dict[str, str]
    ) -> tuple[int, bytes, dict[str, str]]:
        if method not in ("GET", "HEAD"):
            return 405, b"", {}
        if not key:
            return 200, self._listing(asked).encode(), {"content-type": "application/xml"}
        path = self.root / key
        try:
            size, modified = path.stat().st_size, path.stat().st_mtime
        except OSError:
            return 404, b"<Error><Code>NoSuchKey</Code></Error>", {}
        more = {
            "etag": f'"{size:x}-{int(modified * 1e6):x}"',
            "last-modified": email.utils.formatdate(modified, usegmt=True),
            "accept-ranges": "bytes",
        }
        if method == "HEAD":
            return 200, b"", {**more, "content-length": str(size)}
        start, stop = _span(headers.get("range"), size)
        with path.open("rb") as file:
            body = os.pread(file.fileno(), stop - start, start)
        if "range" in headers:
            more["content-range"] = f"bytes {start}-{stop - 1}/{size}"
        return (206 if "range" in headers else 200), body, more

    def _listing(self, asked: dict[str, str]) -> str:
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
        after = asked.get("continuation-token") or asked.get("start-after", "")
        top = self.root / prefix.rpartition("/")[0]
        files = (
            sorted(str(path.relative_to(self.root)) for path in top.rglob("*") if path.is_file())
            if top.is_dir()
            else []
        )
        keys: list[str] = []
        folders: dict[str, None] = {}
        for key in files:
            if not key.startswith(prefix) or key <= after:
                continue
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folders[prefix + rest.split(delimiter)[0] + delimiter] = None
            else:
                keys.append(key)
            if len(keys) + len(folders) >= _MOST_KEYS:
                break
        more = len(keys) + len(folders) >= _MOST_KEYS
        entries = "".join(map(self._entry, keys))
        entries += "".join(
            f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in folders
        )
        token = f"<NextContinuationToken>{escape(keys[-1])}</NextContinuationToken>" if more and keys else ""
        return (
            f"<ListBucketResult><Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix>"
            f"<KeyCount>{len(keys) + len(folders)}</KeyCount><MaxKeys>{_MOST_KEYS}</MaxKeys>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}</ListBucketResult>"
        )

    def _entry(self, key: str) -> str:
        found = (self.root / key).stat()
        when = datetime.datetime.fromtimestamp(found.st_mtime, datetime.UTC)
        return (
            f"<Contents><Key>{escape(key)}</Key><Size>{found.st_size}</Size>"
            f"<LastModified>{when.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}</LastModified>"
            f'<ETag>"{found.st_size:x}"</ETag></Contents>'
        )


def _span(asked: str | None, size: int) -> tuple[int, int]:
    if asked is None:
        return 0, size
    first, _, last = asked.removeprefix("bytes=").partition("-")
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


async def _answer(send: Any, status: int, body: bytes, more: dict[str, str], *, head: bool = False) -> None:
    headers = {"content-length": str(len(body)), **more}
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": b"" if head else body})


class FolderServer:
    """A running server, as a benchmark talks to it."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"

    def figures(self) -> dict[str, Any]:
        """Requests, bytes and a log of (method, key, bytes) since the last time."""
        with urllib.request.urlopen(f"{self.endpoint}/?figures", timeout=60) as answer:
            return json.load(answer)

    def wait(self, latency_s: float, bandwidth: float) -> None:
        """Let every answer take so long, and its bytes at so many a second."""
        asked = urllib.request.Request(
            f"{self.endpoint}/?latency_s={latency_s}&bandwidth={bandwidth}", method="POST"
        )
        urllib.request.urlopen(asked, timeout=60).close()


@contextmanager
def folder_server(folder: Path) -> Iterator[FolderServer]:
    """Serve a folder in a process of its own until the block ends."""
    from headwater.testing.processes import free_port, server_process

    with free_port() as port:
        server = FolderServer(port)

        def up() -> bool:
            try:
                server.figures()
            except OSError:
                return False
            return True

        with server_process([sys.executable, __file__, str(folder), str(port)], up):
            yield server


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(Bucket(Path(sys.argv[1])), port=int(sys.argv[2]), log_level="error", access_log=False)
