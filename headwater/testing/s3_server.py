"""An S3 server for tests: moto in a process of its own, on a free port of this machine.

moto is a mock: it checks no secrets, and nothing in it makes put-if-absent atomic between its threads;
`LockedCreates` puts a lock around that one call for tests that race.
"""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from headwater.errors import MissingExtra, Timeout
from headwater.store import ObjectStore, StoreWrapper

__all__ = ["LockedCreates", "S3Server", "s3_server"]

_START_S = 60.0
_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server.

    Attributes:
        url: the bucket, as `open_store` takes it.
        options: the options that go with the url.
        port: where it listens, on 127.0.0.1.
    """

    url: str
    port: int
    options: dict[str, str | int] = field(default_factory=dict)


class LockedCreates(StoreWrapper):
    """Lets one `create` through at a time, for servers that may look before they write.

    Args:
        inner: the store to guard.
        lock: share one between stores on the same bucket.
    """

    def __init__(self, inner: ObjectStore, *, lock: threading.Lock | None = None) -> None:
        super().__init__(inner)
        self.lock = lock or threading.Lock()

    def create(self, key: str, data: bytes | memoryview) -> None:
        """See `ObjectStore.create`."""
        with self.lock:
            self.inner.create(key, data)


@contextmanager
def s3_server(bucket: str = "headwater") -> Iterator[S3Server]:
    """Run a server with one empty bucket, until the block ends.

    Args:
        bucket: the bucket's name.

    Yields:
        The url and the options to give to `open_store`.

    Raises:
        MissingExtra: `moto[server]` is not installed, or does not start.
        Timeout: the server does not answer within a minute.
    """
    port = _free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        _make_bucket(process, port, bucket)
        options: dict[str, str | int] = {
            "endpoint": f"http://127.0.0.1:{port}",
            "region": "us-east-1",
            "access_key_id": "test",
            "secret_access_key": "test",
            "max_retries": 0,
        }
        yield S3Server(f"s3://{bucket}", port, options)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _make_bucket(process: subprocess.Popen[bytes], port: int, bucket: str) -> None:
    """Ask for the bucket until the server is up to make it."""
    began = time.monotonic()
    while time.monotonic() - began < _START_S:
        if process.poll() is not None:
            raise MissingExtra(
                f"the S3 server ended with exit status {process.returncode} instead of starting",
                hint="pip install 'moto[server]'",
            )
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("PUT", f"/{bucket}", headers={"Host": f"127.0.0.1:{port}"})
            if connection.getresponse().status == http.client.OK:
                return
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
        finally:
            connection.close()
    raise Timeout(f"the S3 server on port {port} did not answer within {_START_S:.0f} s")
