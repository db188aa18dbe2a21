"""Scalar indexes: which rows satisfy a predicate, without reading the column."""

from headwater.index.scalar.bloom import BloomKind
from headwater.index.scalar.json_path import JsonPathKind, parse_json_path, path_of, spell_json_path
from headwater.index.scalar.ngram import NgramKind
from headwater.index.scalar.params import (
    SAMPLE_ROWS,
    SCALAR_INDEX_TYPES,
    chosen_kind,
    parse_scalar,
)
from headwater.index.scalar.postings import PostingKind
from headwater.index.scalar.protocol import ScalarIndex, ScalarIndexKind, ScalarParams
from headwater.index.scalar.rtree import RtreeKind

__all__ = [
    "SAMPLE_ROWS",
    "SCALAR_INDEX_TYPES",
    "SCALAR_KINDS",
    "ScalarIndex",
    "ScalarIndexKind",
    "ScalarParams",
    "chosen_kind",
    "parse_scalar",
    "parse_json_path",
    "path_of",
    "spell_json_path",
]

SCALAR_KINDS: dict[str, ScalarIndexKind] = {
    "sorted": PostingKind("sorted"),
    "inverted": PostingKind("inverted"),
    "bitmap": PostingKind("bitmap"),
    "json_path": JsonPathKind(),
    "ngram": NgramKind(),
    "rtree": RtreeKind(),
    "bloom": BloomKind(),
}
"""By the word stored in manifests."""
