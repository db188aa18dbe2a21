"""What the footers of Parquet files tell: columns, row groups, and what is known of values; no row is read.

A footer as Arrow keeps it is some 50 KB in memory, and lakes have tens of thousands of files, so only what fragments
are made from is kept of it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from headwater.errors import SchemaMismatch
from headwater.lake.external.away import is_of
from headwater.lake.external.places import folder_column, folder_stats
from headwater.lake.external.source import FoundFragment, SourceFile
from headwater.lake.manifest import FieldStats, Fragment
from headwater.schema import Field, arrow_type, cast_column, same_kind
from headwater.types import DataType

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = ["Footer", "FooterReader", "fragments_in"]

_Known = tuple[int | None, int | float | None, int | float | None]
"""Of a column in a row group: how many values are null, the least and the largest number; None where nobody says."""

_UNKNOWN: _Known = (None, None, None)
_NUMBERS = ("INT32", "INT64", "FLOAT", "DOUBLE")
_PLAIN = ("NONE", "INT")


@dataclass(frozen=True, slots=True)
class Footer:
    """What is kept of a footer.

    Attributes:
        schema: the columns.
        leaves: paths of the columns without columns inside.
        group_rows: of each row group.
        known: by leaf and row group; empty for leaves of columns that were not asked for.
    """

    schema: pa.Schema
    leaves: tuple[str, ...]
    group_rows: tuple[int, ...]
    known: tuple[tuple[_Known, ...], ...]

    def leaf(self, name: str) -> int | None:
        """Which leaf a column is; None where it is none, or where a column inside of another has the same path."""
        if name not in self.schema.names or pa.types.is_nested(self.schema.field(name).type):
            return None
        return self.leaves.index(name) if self.leaves.count(name) == 1 else None

    def ends(self, name: str) -> list[int | float]:
        """The least and the largest number of a column in each row group of which they are known."""
        leaf = self.leaf(name)
        known = () if leaf is None else self.known[leaf]
        return [end for one in known for end in one[1:] if end is not None]

    def stats(self, leaf: int, groups: Sequence[int]) -> FieldStats | None:
        """Statistics of some row groups; only of integers, since writers truncate texts, and skip NaN."""
        found = [self.known[leaf][number] for number in groups]
        nulls = [one[0] for one in found if one[0] is not None]
        if not found or len(nulls) < len(found):
            return None
        least = [one[1] for one in found if type(one[1]) is int]
        largest = [one[2] for one in found if type(one[2]) is int]
        if len(least) < len(found) or len(largest) < len(found):
            return FieldStats(None, None, sum(nulls))
        return FieldStats(min(least), max(largest), sum(nulls))


class FooterReader:
    """Makes footers of files, of which most have the same columns: these are kept once. Safe between threads.

    Args:
        names: columns of which it matters what is known; all by default.
    """

    def __init__(self, names: Collection[str] | None = None) -> None:
        self._names = names
        self._lock = threading.Lock()
        self._schemas: list[tuple[pa.Schema, tuple[str, ...]]] = []

    def read(self, opened: pq.ParquetFile) -> Footer:
        """The footer of a file that is open."""
        metadata = opened.metadata
        schema, leaves = self._shared(
            opened.schema_arrow,
            tuple(metadata.schema.column(leaf).path for leaf in range(metadata.num_columns)),
        )
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        known = tuple(
            tuple(_known(group.column(leaf)) for group in groups) if self._asked(path) else ()
            for leaf, path in enumerate(leaves)
        )
        return Footer(schema, leaves, tuple(group.num_rows for group in groups), known)

    def _asked(self, path: str) -> bool:
        return self._names is None or is_of(path, self._names)

    def _shared(self, schema: pa.Schema, leaves: tuple[str, ...]) -> tuple[pa.Schema, tuple[str, ...]]:
        with self._lock:
            # Files that others wrote have a few schemas; where each has its own, only the newest are looked through.
            for known, paths in reversed(self._schemas[-16:]):
                if paths == leaves and known.equals(schema):
                    return known, paths
            self._schemas.append((schema.remove_metadata(), leaves))
            return self._schemas[-1][0], leaves


def _known(column: pq.ColumnChunkMetaData) -> _Known:
    told = column.statistics
    if told is None:
        return _UNKNOWN
    nulls = told.null_count if told.has_null_count else None
    # Moments and decimals are stored as numbers, too; some are of years that Python has not, such as infinity.
    plain = told.physical_type in _NUMBERS and told.logical_type.type in _PLAIN
    return (nulls, told.min, told.max) if plain and told.has_min_max else (nulls, None, None)


def fragments_in(
    file: SourceFile, footer: Footer, fields: Sequence[Field], segment_rows: int, *, mapped: bool
) -> list[FoundFragment]:
    """The rows of a file, split between row groups.

    Args:
        file: which.
        footer: its footer.
        fields: what it must hold.
        segment_rows: a larger file is several fragments.
        mapped: as for `TableSource.fragments`.

    Raises:
        SchemaMismatch: it does not fit the fields; names file and column.
    """
    _check_schema(file, footer, fields, mapped=mapped)
    parts: list[FoundFragment] = []
    groups: list[int] = []
    rows = 0
    for number, size in enumerate(footer.group_rows):
        if groups and rows + size > segment_rows:
            parts.append(_fragment(file, footer, fields, groups, rows))
            groups, rows = [], 0
        groups.append(number)
        rows += size
    parts.append(_fragment(file, footer, fields, groups, rows))
    return parts


def _check_schema(file: SourceFile, footer: Footer, fields: Sequence[Field], *, mapped: bool) -> None:
    arrow = footer.schema
    for field in fields:
        name = field.source or field.name
        if name not in arrow.names:
            if folder_column(field, file.path, 1) is not None:
                continue
            if (mapped or not field.nullable) and field.default is None:
                raise SchemaMismatch(
                    f"{file.path!r} has no column {name!r}",
                    hint=f"columns: {', '.join(arrow.names)}",
                    path=file.path,
                )
            continue
        found, kind = arrow.field(name).type, field.type.data_type
        if (
            not kind.dense_vector
            and (kind is not DataType.JSON or (mapped and not _holds_json(found)))
            and not (kind is DataType.GEOMETRY and pa.types.is_string(found))
            and not _fits(found, arrow_type(field.type))
        ):
            raise SchemaMismatch(
                f"{file.path!r}, column {name!r}: expected {field.type}, got {found}",
                path=file.path,
                column=name,
            )
        cast_column(replace(field, nullable=True), _ends(footer, name, found, field), where=repr(file.path))


def _fits(kind: pa.DataType, held: pa.DataType) -> bool:
    """Whether values are of the kind that a field holds, and so are the elements of lists."""
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if any(check(kind) for check in lists) and any(check(held) for check in lists):
        return same_kind(kind.value_type, held.value_type)
    return same_kind(kind, held)


def _holds_json(kind: pa.DataType) -> bool:
    """Whether a column is of texts or of nested values."""
    return same_kind(kind, pa.string()) or same_kind(kind, pa.struct([]))


def _ends(footer: Footer, name: str, kind: pa.DataType, field: Field) -> pa.Array:
    """The least and the largest number of a column as the footer tells them, for a field of another whole type."""
    held = arrow_type(field.type)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if not number or not pa.types.is_integer(held) or kind == held:
        return pa.array([], kind)
    return pa.array(footer.ends(name), kind)


def _fragment(
    file: SourceFile, footer: Footer, fields: Sequence[Field], groups: Sequence[int], rows: int
) -> FoundFragment:
    fragment = Fragment(file.path, file.size_bytes, file.etag, file.modified_ms, rows, tuple(groups))
    stats = {}
    for field in fields:
        column = footer.leaf(field.source or field.name)
        if column is not None:
            found = footer.stats(column, groups)
            if found is not None:
                stats[field.id] = found
            continue
        told = folder_stats(field, file.path, rows)
        if told is not None:
            stats[field.id] = told
            continue
        prefix = f"{field.source or field.name}."
        numbers = [number for number, path in enumerate(footer.leaves) if path.startswith(prefix)]
        if field.type.data_type.dense_vector and len(numbers) == 1:
            # Where no number is null, no vector is; where some are, they may be of null vectors or not.
            found = footer.stats(numbers[0], groups)
            if found is not None and found.null_count == 0:
                stats[field.id] = FieldStats(None, None, 0)
    return FoundFragment(fragment, stats)
