"""Build the inverted index of one segment: of a text through its analyzer, of sparse vectors as they are."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from headwater.index.text import write_postings
from headwater.lake import Segment
from headwater.query.inverted import invert_field, text_input
from headwater.query.snapshot import Snapshot
from headwater.schema import Field

__all__ = ["write_inverted"]


def write_inverted(snapshot: Snapshot, segment: Segment, field: Field, path: Path) -> None:
    """Write one artifact.

    Args:
        snapshot: to read the segment by.
        segment: whose rows.
        field: that is searched: a text, a sparse vector, or the output of BM25.
        path: a local path that does not exist yet.
    """
    source = text_input(snapshot.schema, field)

    def column(name: str) -> pa.ChunkedArray:
        # Read for this and not kept: a search reads the postings, not the texts.
        kind = snapshot.schema.to_arrow([name]).field(0).type
        batches = snapshot.opened.readers.bulk(segment, snapshot.schema).scan([name])
        return pa.chunked_array([batch.column(0) for batch in batches], kind)

    write_postings(invert_field(source, snapshot.opened.files, column), path)
