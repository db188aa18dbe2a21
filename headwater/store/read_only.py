"""A store that is read and never written, whatever asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from headwater.errors import PermissionDenied
from headwater.store.objects import ObjectMeta
from headwater.store.wrapper import StoreWrapper

__all__ = ["ReadOnlyStore"]


class ReadOnlyStore(StoreWrapper):
    """Lets reads through and refuses every write.

    Args:
        inner: the store that is read.
    """

    def _refused(self, what: str, key: str) -> NoReturn:
        raise PermissionDenied(
            f"{self.url}: {what} {key!r}: this lake is open for reading only",
            hint="write through headwater.connect() or a server; computing on demand only reads",
        )

    def put(self, key: str, data: bytes | memoryview) -> ObjectMeta:
        """Refused."""
        self._refused("put", key)

    def put_file(self, key: str, path: Path) -> ObjectMeta:
        """Refused."""
        self._refused("put", key)

    def create(self, key: str, data: bytes | memoryview) -> None:
        """Refused."""
        self._refused("create", key)

    def delete(self, keys: Sequence[str]) -> None:
        """Refused."""
        self._refused("delete", keys[0] if keys else "")

    def copy(self, key: str, target: str) -> bool:
        """Refused."""
        self._refused("copy", key)

    def sweep(self, prefix: str = "", *, older_than_s: float = 86_400.0) -> int:
        """Refused."""
        self._refused("sweep", prefix)
