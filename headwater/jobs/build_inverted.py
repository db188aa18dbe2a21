"""Build the inverted index of one segment: of a text through its analyzer, of sparse vectors as they are."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from headwater.index.text import invert_sparse, invert_texts, write_postings
from headwater.lake import Segment
from headwater.query.inverted import text_analyzer, text_input
from headwater.query.snapshot import Snapshot
from headwater.schema import Field
from headwater.types import DataType

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
    kind = snapshot.schema.to_arrow([source.name]).field(0).type
    # Read for this and not kept: a search reads the postings, not the texts.
    batches = snapshot.opened.reader(segment, snapshot.schema).scan([source.name])
    column = pa.chunked_array([batch.column(0) for batch in batches], kind)
    if source.type.data_type is DataType.SPARSE_FLOAT_VECTOR:
        write_postings(invert_sparse(column), path)
    else:
        write_postings(invert_texts(column, text_analyzer(source)), path)
