"""What a scalar index kind does: build one file over a segment's column, open it, say which rows satisfy a predicate.

Invariants: an answer that is `exact` marks the rows that a scan of the column would mark, and no others; one that is
not marks those and perhaps more. What an index cannot say exactly as a scan would, it leaves to the scan (None).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from headwater.index.predicates import Answer, Predicate
from headwater.schema import FieldType
from headwater.tiers import Residency

__all__ = ["ScalarIndex", "ScalarIndexKind", "ScalarParams", "options_of"]


@dataclass(frozen=True)
class ScalarParams:
    """A kind and its checked build options.

    Attributes:
        kind: the word stored in manifests.
        options: by name.
    """

    kind: str
    options: tuple[tuple[str, Any], ...] = ()

    def get(self, name: str, default: Any = None) -> Any:
        """A build option, or a default."""
        return dict(self.options).get(name, default)


class ScalarIndex(Protocol):
    """An opened artifact. Safe to ask from several threads."""

    num_rows: int

    def select(self, predicate: Predicate, most: int) -> Answer | None:
        """The rows that satisfy a predicate.

        Args:
            predicate: what is asked.
            most: give up rather than mark more rows than this; counting comes before marking.

        Returns:
            The rows; None where the kind does not serve the predicate or its values, or too many rows are in it.

        Raises:
            Corrupt: a checksum differs; names the file.
        """
        ...


class ScalarIndexKind(Protocol):
    """Builds and opens artifacts of one kind."""

    def fits(self, field_type: FieldType) -> bool:
        """Whether fields of a type can have it."""
        ...

    def build(self, column: pa.Array, params: ScalarParams, path: Path) -> None:
        """Write one file.

        Args:
            column: all rows of the field, nulls and deleted rows included.
            params: checked by `parse_scalar`.
            path: a local path that does not exist yet.
        """
        ...

    def open(self, source: Residency, params: ScalarParams) -> ScalarIndex:
        """Open an artifact; reads its footer and no more.

        Raises:
            Corrupt: it is torn or of another kind; names the file.
        """
        ...


def options_of(options: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Options in the order they are stored in."""
    return tuple(sorted(options.items()))
