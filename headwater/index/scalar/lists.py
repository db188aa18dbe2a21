"""The rows of each key, in the three layouts that the kinds `sorted`, `inverted` and `bitmap` are named after."""

from __future__ import annotations

from typing import Any, Protocol

from headwater.index.artifact import Artifact, ArtifactWriter
from headwater.index.scalar.entries import Entries
from headwater.index.scalar.spans import Spans
from headwater.types import Bitmap

__all__ = ["Layout", "Lists"]


class Lists(Protocol):
    """The rows of keys, by the keys' positions."""

    def count(self, spans: Spans) -> int:
        """Rows of all keys in some spans; a row counts once for each key that it holds."""
        ...

    def mark(self, spans: Spans, rows: Bitmap) -> None:
        """Set the rows of all keys in some spans to True."""
        ...


class Layout(Protocol):
    """How rows are laid out."""

    name: str

    def write(self, writer: ArtifactWriter, prefix: str, entries: Entries, num_rows: int) -> dict[str, Any]:
        """Write keys and rows.

        Args:
            writer: of the artifact.
            prefix: of the names of the sections.
            entries: what to write.
            num_rows: of the segment.

        Returns:
            What `open` needs, and of `open_keys`.
        """
        ...

    def open(self, artifact: Artifact, prefix: str, about: dict[str, Any]) -> Lists:
        """What `write` wrote."""
        ...
