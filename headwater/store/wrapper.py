"""A store around a store: every call goes through until a subclass says otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from headwater.store.objects import Buffers, Keys, ObjectMeta, ObjectStore, SupportsCopy, SupportsSweep
from headwater.types import ByteRange

__all__ = ["StoreWrapper"]


class StoreWrapper:
    """Passes each call to another store; subclasses override what they change.

    Args:
        inner: the store that does the work.
    """

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        self.url = inner.url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"

    def put(self, key: str, data: bytes | memoryview) -> ObjectMeta:
        """As the inner store's."""
        return self.inner.put(key, data)

    def put_file(self, key: str, path: Path) -> ObjectMeta:
        """As the inner store's."""
        return self.inner.put_file(key, path)

    def create(self, key: str, data: bytes | memoryview) -> None:
        """As the inner store's."""
        self.inner.create(key, data)

    def get(self, key: str) -> bytes:
        """As the inner store's."""
        return self.inner.get(key)

    def get_ranges(
        self,
        key: str,
        ranges: Sequence[ByteRange],
        *,
        near_bytes: int | None = None,
        etag: str | None = None,
    ) -> Buffers:
        """As the inner store's."""
        return self.inner.get_ranges(key, ranges, near_bytes=near_bytes, etag=etag)

    def head(self, key: str) -> ObjectMeta:
        """As the inner store's."""
        return self.inner.head(key)

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectMeta]:
        """As the inner store's."""
        return self.inner.list(prefix, start_after=start_after)

    def list_prefixes(self, prefix: str = "") -> Keys:
        """As the inner store's."""
        return self.inner.list_prefixes(prefix)

    def delete(self, keys: Sequence[str]) -> None:
        """As the inner store's."""
        self.inner.delete(keys)

    def local_path(self, key: str) -> Path | None:
        """As the inner store's."""
        return self.inner.local_path(key)

    def copy(self, key: str, target: str) -> bool:
        """As the inner store's; nothing where it cannot."""
        return isinstance(self.inner, SupportsCopy) and self.inner.copy(key, target)

    def sweep(self, prefix: str = "", *, older_than_s: float = 86_400.0) -> int:
        """As the inner store's; nothing where it leaves nothing behind."""
        if isinstance(self.inner, SupportsSweep):
            return self.inner.sweep(prefix, older_than_s=older_than_s)
        return 0
