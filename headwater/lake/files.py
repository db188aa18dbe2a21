"""Files of words that analyzers use: named once for the whole lake, kept by the digest of their bytes.

A file is copied when it is added, so that what a collection was declared with stays, whatever becomes of the original.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from headwater.errors import AlreadyExists, InvalidArgument, ObjectNotFound
from headwater.lake.chain import Chain
from headwater.store import ObjectStore

__all__ = ["FILES_FOLDER", "FileResource", "FileResources"]

FILES_FOLDER = "_files"
"""In the default database; no collection has this name."""

MAX_FILE_BYTES = 256 << 20

_ROOT = f"default/{FILES_FOLDER}"

State = dict[str, Any]
"""The files by name, and the last number that was given."""


@dataclass(frozen=True)
class FileResource:
    """A file that analyzers may name.

    Attributes:
        name: its name.
        path: its key in the lake's store when it was added.
        digest: SHA-256 of its bytes.
        size_bytes: length.
        id: a number of its own.
    """

    name: str
    path: str
    digest: str
    size_bytes: int
    id: int


class FileResources:
    """The files of a lake. Safe between threads and processes.

    Args:
        store: where the lake is.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._chain: Chain[State] = Chain(
            store,
            f"{_ROOT}/names",
            empty={},
            encode=lambda state: {"state": state},
            decode=lambda stored: stored["state"],
        )

    def every(self) -> list[FileResource]:
        """The files, by name."""
        return [_resource(name, one) for name, one in sorted(self._chain.latest().get("files", {}).items())]

    def get(self, name: str) -> FileResource | None:
        """The file of a name, if any."""
        found = self._chain.latest().get("files", {}).get(name)
        return None if found is None else _resource(name, found)

    def add(self, name: str, path: str) -> FileResource:
        """Name a file of the lake's store; the same name and path again change nothing.

        Args:
            name: how analyzers name it.
            path: its key in the lake's store.

        Raises:
            ObjectNotFound: there is no such file.
            AlreadyExists: the name stands for another path.
            InvalidArgument: the file is too large, or no text.
        """
        held = self.get(name)
        if held is not None:
            if held.path != path:
                raise AlreadyExists(
                    f"file resource {name!r} already exists, with path {held.path!r}, not {path!r}"
                )
            return held
        data = self._read(path)
        digest = hashlib.sha256(data).hexdigest()
        self._store.put(f"{_ROOT}/content/{digest}", data)

        def alter(now: State) -> State:
            files = now.get("files", {})
            if name in files:
                if files[name]["path"] != path:
                    raise AlreadyExists(
                        f"file resource {name!r} already exists, with path {files[name]['path']!r}"
                    )
                return now
            number = now.get("last_id", 0) + 1
            added = {"path": path, "digest": digest, "size_bytes": len(data), "id": number}
            return {"files": {**files, name: added}, "last_id": number}

        return _resource(name, self._chain.change(alter)["files"][name])

    def remove(self, name: str) -> None:
        """Forget a name; the content stays for versions of collections that use it."""

        def alter(now: State) -> State:
            files = now.get("files", {})
            if name not in files:
                return now
            return {**now, "files": {one: file for one, file in files.items() if one != name}}

        self._chain.change(alter)

    def lines(self, digest: str) -> list[str]:
        """See `WordFiles.lines`."""
        text = self._store.get(f"{_ROOT}/content/{digest}").decode()
        return [line for line in map(str.strip, text.splitlines()) if line]

    def _read(self, path: str) -> bytes:
        try:
            size = self._store.head(path).size_bytes
        except (ObjectNotFound, InvalidArgument) as error:
            raise ObjectNotFound(
                f"file resource path not exist: {path!r} in {self._store.url}",
                hint="store the file under the lake's folder or bucket, and name its key there",
            ) from error
        if size > MAX_FILE_BYTES:
            raise InvalidArgument(f"file {path!r} has {size} bytes, at most {MAX_FILE_BYTES} are taken")
        data = self._store.get(path)
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise InvalidArgument(f"file {path!r} is not UTF-8 text: {error}") from error
        return data


def _resource(name: str, stored: State) -> FileResource:
    return FileResource(name, stored["path"], stored["digest"], stored["size_bytes"], stored["id"])
