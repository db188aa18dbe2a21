"""Rows of files that need not fit into memory: read, checked and written as segments piece by piece.

One entry of the log of each shard names its segments, so that all rows of a shard are there at one moment, or none.
Where the lake makes the keys, which the log does, the file is checked to its end before its first entry is written.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from headwater.engine.data import parquet_pieces
from headwater.engine.rows import new_rows
from headwater.errors import SchemaMismatch
from headwater.lake import Manifest, Segment, open_segment
from headwater.lake.gc import STAGED_FOLDER
from headwater.lake.log import NewRows, NewSegments, Receipt, ShardClosed

if TYPE_CHECKING:
    from headwater.engine.writing import WriteResult, Writing

__all__ = ["insert_file"]

_SEGMENT_BYTES = 128 << 20
"""Of rows in memory before they are written as a segment."""


def insert_file(
    collection: Writing, manifest: Manifest, path: str | Path, partition: str | None
) -> WriteResult:
    """Add the rows of a file.

    Args:
        collection: where to.
        manifest: its newest version.
        path: of a Parquet file.
        partition: as for `insert`.

    Raises:
        SchemaMismatch: a value does not fit. Nothing is added.
    """
    pieces = _checked(collection, manifest, path)
    few, size = [], 0
    for piece in pieces:
        few.append(piece)
        size += piece.nbytes
        if size > collection._settings.write.bulk_bytes:
            break
    else:
        table = collection._functions.fill(pa.concat_tables(few), manifest.schema)
        return collection._write_rows(manifest, table, partition, upsert=False)
    key = manifest.schema.primary_key
    if key is None or key in few[0].column_names:
        return _in_segments(collection, manifest, itertools.chain(few, pieces), partition)
    few.clear()
    for _ in pieces:
        continue
    return _in_entries(collection, manifest, _checked(collection, manifest, path), partition)


def _checked(collection: Writing, manifest: Manifest, path: str | Path) -> Iterator[pa.Table]:
    """The rows of a file in pieces, each as the schema has them."""
    done = 0
    for piece in parquet_pieces(path):
        try:
            yield collection._given_rows(manifest, piece)
        except SchemaMismatch as error:
            if not done:
                raise
            raise SchemaMismatch(
                f"{str(path)!r}, of the rows after the first {done:,}: {error.message}", hint=error.hint
            ) from error
        done += piece.num_rows


def _in_entries(
    collection: Writing, manifest: Manifest, pieces: Iterator[pa.Table], partition: str | None
) -> WriteResult:
    """Rows whose keys the log makes, entry by entry."""
    filled = (collection._functions.fill(piece, manifest.schema) for piece in pieces)
    written = [collection._write_rows(manifest, table, partition, upsert=False) for table in filled]
    return written[-1].after(written[:-1])


def _in_segments(
    collection: Writing, manifest: Manifest, pieces: Iterator[pa.Table], partition: str | None
) -> WriteResult:
    """Rows that bring their keys, or have none, as segments; one entry names those of a shard."""
    store = collection._lake.store
    # Where gc leaves for days what nothing names yet.
    root = f"{collection._lake.root}/{STAGED_FOLDER}/{uuid.uuid4().hex}"
    segments: dict[int, list[Segment]] = {}
    keys: list[pa.Array] = []
    count = 0
    try:
        for table in _grouped(collection, manifest, pieces):
            rows = collection._new_rows(manifest, table, partition)
            for number, part in collection._log.routed(rows):
                segments.setdefault(number, []).extend(collection._in_segments(manifest, part, root))
            keys += [] if rows.keys is None else [rows.keys]
            count += table.num_rows
    except BaseException:
        store.delete([meta.key for meta in store.list(root)])
        raise
    receipts: list[Receipt] = []
    while segments:
        number, made = segments.popitem()
        try:
            receipts += collection._name_segments(NewSegments(tuple(made), None, number))
        except ShardClosed:
            # Its keys are others' now.
            for one in made:
                for other, part in collection._log.routed(_rows_of(collection, manifest, one)):
                    segments.setdefault(other, []).extend(collection._in_segments(manifest, part, root))
    return collection._written(receipts, count, pa.concat_arrays(keys) if keys else None)


def _rows_of(collection: Writing, manifest: Manifest, segment: Segment) -> NewRows:
    """The rows of a segment that nothing names."""
    schema = manifest.schema
    names = [field.name for field in schema.every_field if segment.has_field(field.id)]
    read = open_segment(collection._lake.store, segment, schema).scan(names)
    return new_rows(pa.Table.from_batches(read), manifest, segment.partition, upsert=False)


def _grouped(collection: Writing, manifest: Manifest, pieces: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Pieces together, for as large segments as may be in memory, with what functions fill in."""
    held: list[pa.Table] = []
    most = min(_SEGMENT_BYTES, collection._settings.lake.target_segment_bytes)
    for piece in pieces:
        held.append(collection._functions.fill(piece, manifest.schema))
        if sum(table.nbytes for table in held) > most:
            yield pa.concat_tables(held)
            held.clear()
    if held:
        yield pa.concat_tables(held)
