"""An S3 server for tests: moto in a process of its own, on a free port of this machine.

moto is a mock: it checks no secrets, and nothing in it makes put-if-absent atomic between its threads;
`LockedCreates` puts a lock around that one call for tests that race.
"""

from __future__ import annotations

import http.client
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from headwater.store import ObjectStore, StoreWrapper
from headwater.testing.processes import free_port, server_process

__all__ = ["LockedCreates", "S3Server", "s3_server"]


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
        Timeout: the server does not answer within two minutes.
    """
    with free_port() as port:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        with server_process(command, lambda: _bucket_made(port, bucket)):
            options: dict[str, str | int] = {
                "endpoint": f"http://127.0.0.1:{port}",
                "region": "us-east-1",
                "access_key_id": "test",
                "secret_access_key": "test",
            }
            yield S3Server(f"s3://{bucket}", port, options)


def _bucket_made(port: int, bucket: str) -> bool:
    """Ask for the bucket; whether the server is up and made it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("PUT", f"/{bucket}", headers={"Host": f"127.0.0.1:{port}"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
