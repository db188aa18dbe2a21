"""Stores that obstore speaks to: S3 and what looks like it, Google Cloud Storage, Azure, and memory.

Plain puts, plain gets, one conditional put: nothing that some vendor ignores. Range reads are merged here, so
that what a query costs in requests does not depend on the backend.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import obstore

from headwater.errors import Corrupt, ObjectNotFound, StoreUnavailable
from headwater.store.objects import Buffers, Keys, ObjectMeta, check_etag, check_key, check_prefix
from headwater.store.ranges import Run, slice_runs, store_runs
from headwater.store.together import together
from headwater.store.translate import local_errors, remote_errors
from headwater.types import ByteRange

__all__ = ["ObstoreStore"]

_PART_BYTES = 8 * 1024 * 1024
_DELETE_KEYS = 1000


class ObstoreStore:
    """An obstore store under a folder.

    Args:
        inner: any store of `obstore.store`.
        url: what `open_store` opens again as this store.
        folder: keys are relative to this folder of `inner`.
    """

    def __init__(self, inner: Any, *, url: str, folder: str = "") -> None:
        self.url = url
        self._inner = inner
        self._folder = f"{folder.strip('/')}/" if folder.strip("/") else ""

    def __repr__(self) -> str:
        return f"ObstoreStore({self.url!r})"

    def put(self, key: str, data: bytes | memoryview) -> ObjectMeta:
        """See `ObjectStore.put`."""
        path = self._path(key)
        with remote_errors("put", key, self.url):
            result = obstore.put(
                self._inner, path, data, use_multipart=len(data) > _PART_BYTES, chunk_size=_PART_BYTES
            )
        return ObjectMeta(key, len(data), _unquoted(result["e_tag"]), datetime.now(UTC))

    def put_file(self, key: str, path: Path) -> ObjectMeta:
        """See `ObjectStore.put_file`; a file larger than 8 MiB goes up in parts."""
        target = self._path(key)
        with local_errors("put_file", str(path)):
            size_bytes = path.stat().st_size
        with remote_errors("put_file", key, self.url):
            result = obstore.put(
                self._inner, target, path, use_multipart=size_bytes > _PART_BYTES, chunk_size=_PART_BYTES
            )
        return ObjectMeta(key, size_bytes, _unquoted(result["e_tag"]), datetime.now(UTC))

    def create(self, key: str, data: bytes | memoryview) -> None:
        """See `ObjectStore.create`."""
        path = self._path(key)
        with remote_errors("create", key, self.url):
            obstore.put(self._inner, path, data, mode="create", use_multipart=False)

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        path = self._path(key)
        with remote_errors("get", key, self.url):
            return bytes(obstore.get(self._inner, path).bytes())

    def get_ranges(
        self,
        key: str,
        ranges: Sequence[ByteRange],
        *,
        near_bytes: int | None = None,
        etag: str | None = None,
    ) -> Buffers:
        """See `ObjectStore.get_ranges`."""
        path = self._path(key)
        runs = store_runs(ranges, near_bytes)
        if not runs:
            return slice_runs(ranges, [], [])
        try:
            if etag is not None:
                return slice_runs(
                    ranges, runs, together([partial(self._same_bytes, key, run.span, etag) for run in runs])
                )
            with remote_errors("get_ranges", key, self.url):
                blocks = obstore.get_ranges(
                    self._inner,
                    path,
                    starts=[run.span.start for run in runs],
                    ends=[run.span.stop for run in runs],
                    coalesce=0,
                )
        except StoreUnavailable:
            # A range past the end fails in a way of each vendor's own; the size tells it from a broken store.
            found = self.head(key)
            check_etag(key, etag, found.etag)
            self._check_ends(key, runs, found.size_bytes)
            raise
        views = [memoryview(block) for block in blocks]
        if any(len(view) < run.span.size_bytes for run, view in zip(runs, views, strict=True)):
            self._check_ends(key, runs, self.head(key).size_bytes)
            raise StoreUnavailable(f"{self.url}: {key!r}: the store gave fewer bytes than asked for", key=key)
        return slice_runs(ranges, runs, views)

    def _same_bytes(self, key: str, span: ByteRange, etag: str) -> memoryview:
        """A range of an object that has this etag: every answer brings its object's, asked or not."""
        path = self._path(key)
        with remote_errors("get_ranges", key, self.url):
            answer = obstore.get(self._inner, path, options={"range": (span.start, span.stop)})
            check_etag(key, etag, _unquoted(answer.meta["e_tag"]))
            return self._whole(key, span, memoryview(answer.bytes()))

    def _whole(self, key: str, span: ByteRange, view: memoryview) -> memoryview:
        if len(view) < span.size_bytes:
            raise StoreUnavailable(f"{self.url}: {key!r}: the store gave fewer bytes than asked for", key=key)
        return view

    async def await_range(self, key: str, span: ByteRange, etag: str | None = None) -> memoryview:
        """See `SupportsAwaiting.await_range`."""
        path = self._path(key)
        with remote_errors("get_ranges", key, self.url):
            if etag is None:
                block = await obstore.get_range_async(self._inner, path, start=span.start, end=span.stop)
                return self._whole(key, span, memoryview(block))
            options: Any = {"range": (span.start, span.stop)}
            answer = await obstore.get_async(self._inner, path, options=options)
            check_etag(key, etag, _unquoted(answer.meta["e_tag"]))
            return self._whole(key, span, memoryview(await answer.bytes_async()))

    async def await_object(self, key: str) -> bytes:
        """See `SupportsAwaiting.await_object`."""
        path = self._path(key)
        with remote_errors("get", key, self.url):
            answer = await obstore.get_async(self._inner, path)
            return bytes(await answer.bytes_async())

    def head(self, key: str) -> ObjectMeta:
        """See `ObjectStore.head`."""
        path = self._path(key)
        with remote_errors("head", key, self.url):
            return self._meta(obstore.head(self._inner, path))

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectMeta]:
        """See `ObjectStore.list`."""
        folder = self._folder + check_prefix(prefix)
        offset = None if start_after is None else self._folder + start_after
        with remote_errors("list", prefix, self.url):
            for chunk in obstore.list(self._inner, folder.rstrip("/") or None, offset=offset):
                for found in chunk:
                    # Some servers do not know where to start.
                    if offset is None or found["path"] > offset:
                        yield self._meta(found)

    def list_prefixes(self, prefix: str = "") -> Keys:
        """See `ObjectStore.list_prefixes`."""
        folder = self._folder + check_prefix(prefix)
        with remote_errors("list_prefixes", prefix, self.url):
            found = obstore.list_with_delimiter(self._inner, folder.rstrip("/") or None)
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found["common_prefixes"])

    def delete(self, keys: Sequence[str]) -> None:
        """See `ObjectStore.delete`; up to a thousand keys a request where the vendor can."""
        paths = [self._path(key) for key in keys]
        for start in range(0, len(paths), _DELETE_KEYS):
            batch = paths[start : start + _DELETE_KEYS]
            try:
                with remote_errors("delete", batch[0], self.url):
                    obstore.delete(self._inner, batch)
            except ObjectNotFound:
                self._delete_each(batch)

    def copy(self, key: str, target: str) -> bool:
        """See `SupportsCopy.copy`."""
        paths = self._path(key), self._path(target)
        with remote_errors("copy", key, self.url):
            obstore.copy(self._inner, *paths)
        return True

    def local_path(self, key: str) -> Path | None:
        """See `ObjectStore.local_path`."""
        check_key(key)
        return None

    def _delete_each(self, paths: Sequence[str]) -> None:
        """For vendors that call deleting an absent object an error, and may have stopped there."""
        for path in paths:
            try:
                with remote_errors("delete", path, self.url):
                    obstore.delete(self._inner, path)
            except ObjectNotFound:
                continue

    def _path(self, key: str) -> str:
        return self._folder + check_key(key)

    def _meta(self, found: Any) -> ObjectMeta:
        key = found["path"].removeprefix(self._folder)
        return ObjectMeta(key, found["size"], _unquoted(found["e_tag"]), found["last_modified"])

    def _check_ends(self, key: str, runs: Sequence[Run], size_bytes: int) -> None:
        span = runs[-1].span
        if span.stop > size_bytes:
            raise Corrupt(
                f"{self.url}: {key!r}: bytes [{span.start}, {span.stop}) asked for, "
                f"but the object ends at {size_bytes}",
                key=key,
            )


def _unquoted(etag: str | None) -> str | None:
    """An etag as one word: vendors quote it in some answers and not in others."""
    return None if etag is None else etag.removeprefix("W/").strip('"')
