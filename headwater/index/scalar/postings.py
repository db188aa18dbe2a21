"""The index that `sorted`, `inverted` and `bitmap` have in common: sorted keys, the rows of each, and the nulls.

Over a plain field the keys are the values; over an array field they are the elements.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.index.artifact import Artifact, ArtifactWriter, open_artifact
from headwater.index.predicates import Answer, HasAll, HasAny, IsNull, Matches, OneOf, Predicate, Range
from headwater.index.scalar.bitmap import MAX_BITMAPS, BitmapLayout
from headwater.index.scalar.entries import Entries, elements, packed, sort_entries, values
from headwater.index.scalar.inverted import InvertedLayout
from headwater.index.scalar.keys import TextKeys, open_keys
from headwater.index.scalar.lists import Layout
from headwater.index.scalar.pages import Begun
from headwater.index.scalar.patterns import needles_of
from headwater.index.scalar.protocol import ScalarParams
from headwater.index.scalar.sorted import SortedLayout, SortedLists
from headwater.index.scalar.spans import Spans, begun_between, spans_between, spans_holding, spans_of
from headwater.schema import FieldType
from headwater.tiers import Residency
from headwater.types import NUMBER_TYPES, TEXT_TYPES, Bitmap, DataType

__all__ = ["Nulls", "PostingKind", "Postings", "write_nulls", "write_postings"]

_LAYOUTS: dict[str, Layout] = {
    layout.name: layout for layout in (SortedLayout(), InvertedLayout(), BitmapLayout())
}
_FEW_KEYS = 4
"""A pattern is tried on the keys where there are at least this many rows for each: else the scan is as cheap."""


def write_postings(
    writer: ArtifactWriter, prefix: str, entries: Entries, layout: str, num_rows: int
) -> dict[str, Any]:
    """Write keys and their rows.

    Args:
        writer: of the artifact.
        prefix: of the names of the sections.
        entries: what to write.
        layout: sorted, inverted or bitmap; texts are not laid out sorted, nor many keys as bitmaps, but inverted.
        num_rows: of the segment.

    Returns:
        What `Postings` needs.
    """
    crowded = layout == "bitmap" and len(entries.keys) > MAX_BITMAPS
    if crowded or (layout == "sorted" and entries.domain == "text"):
        layout = "inverted"
    about = _LAYOUTS[layout].write(writer, prefix, entries, num_rows)
    return {**about, "layout": layout, "domain": entries.domain}


class Postings:
    """Keys and their rows, opened.

    Args:
        artifact: the file.
        prefix: of the names of the sections.
        about: what `write_postings` returned.
        num_rows: of the segment.
    """

    def __init__(self, artifact: Artifact, prefix: str, about: dict[str, Any], num_rows: int) -> None:
        self._keys = open_keys(artifact, prefix, about)
        self._lists = _LAYOUTS[about["layout"]].open(artifact, prefix, about)
        self._domain: str = about["domain"]
        self._num_rows = num_rows

    def spans(self, predicate: OneOf | Range | Matches) -> tuple[Spans, bool] | None:
        """The keys that a predicate is about, and whether all of them satisfy it; None to leave it to a scan."""
        exact = True
        spans: Spans | None
        if isinstance(predicate, OneOf):
            spans = spans_of(self._keys, self._domain, predicate.values)
        elif isinstance(predicate, Range):
            spans = spans_between(self._keys, self._domain, predicate)
        else:
            needles = needles_of(predicate)
            if needles is None or not isinstance(self._keys, TextKeys):
                return None
            if needles.exactly == "equal":
                spans = spans_of(self._keys, self._domain, [needles.prefix])
            elif needles.exactly != "prefix" and len(self._keys) * _FEW_KEYS > self._num_rows:
                return None
            else:
                spans, exact = spans_holding(self._keys, needles)
        return None if spans is None else (spans, exact)

    def select(self, predicate: OneOf | Range | Matches, most: int) -> Answer | None:
        """See `ScalarIndex`."""
        begun = self._begin(predicate)
        found = self.spans(predicate)
        if found is None:
            return None
        # A row that holds several elements counts several times, so only a real bound is one.
        if most < self._num_rows and self._lists.count(found[0]) > most:
            return None
        rows = np.zeros(self._num_rows, np.bool_)
        if begun is not None and isinstance(self._lists, SortedLists):
            self._lists.mark(found[0], rows, begun)
        else:
            self._lists.mark(found[0], rows)
        return Answer(rows, found[1])

    def _begin(self, predicate: Predicate) -> Begun | None:
        """Begin to read the rows of a range while its ends are looked up: one wait in place of two."""
        keys, lists = self._keys, self._lists
        if not isinstance(predicate, Range) or not isinstance(lists, SortedLists):
            return None
        if isinstance(keys, TextKeys) or keys.near:
            return None
        around = begun_between(keys, self._domain, predicate)
        return None if around is None else lists.begin(*around)

    def holding_all(self, wanted: tuple[Any, ...], most: int) -> Answer | None:
        """Rows that hold every one of some values; None to leave it to a scan."""
        each = [spans_of(self._keys, self._domain, [value]) for value in wanted]
        spans = [one for one in each if one is not None]
        if len(spans) < len(each) or not each:
            return None
        rarest_first = sorted((self._lists.count(one), at) for at, one in enumerate(spans))
        if most < self._num_rows and rarest_first[0][0] > most:
            return None
        held: Bitmap | None = None
        for _, at in rarest_first:
            rows = np.zeros(self._num_rows, np.bool_)
            self._lists.mark(spans[at], rows)
            held = rows if held is None else held & rows
            if not held.any():
                break
        assert held is not None
        return Answer(held)


def write_nulls(writer: ArtifactWriter, column: pa.Array) -> None:
    """Write which rows have no value, as bits; nothing where all have one."""
    if column.null_count:
        writer.section("nulls", [packed(column.is_null().to_numpy(zero_copy_only=False))])


class Nulls:
    """Which rows have no value.

    Args:
        artifact: the file.
        num_rows: of the segment.
    """

    def __init__(self, artifact: Artifact, num_rows: int) -> None:
        self._artifact = artifact
        self._num_rows = num_rows

    def rows(self) -> Bitmap:
        """(num_rows,) True where there is none."""
        if not self._artifact.has("nulls"):
            return np.zeros(self._num_rows, np.bool_)
        bits = np.frombuffer(self._artifact.section("nulls"), np.uint8)
        return np.unpackbits(bits, count=self._num_rows, bitorder="little").view(np.bool_)


class PostingKind:
    """See `ScalarIndexKind`.

    Args:
        layout: sorted, inverted or bitmap, which is also the kind's name.
    """

    def __init__(self, layout: str) -> None:
        self._layout = layout

    def fits(self, field_type: FieldType) -> bool:
        """See `ScalarIndexKind`."""
        kind = field_type.data_type
        if kind is DataType.ARRAY and field_type.element is not None and self._layout != "sorted":
            return self.fits(field_type.element)
        if self._layout == "bitmap" and kind in (DataType.FLOAT, DataType.DOUBLE):
            return False
        if kind is DataType.BOOL:
            return self._layout != "sorted"
        return kind in NUMBER_TYPES or kind in TEXT_TYPES or kind is DataType.TIMESTAMPTZ

    def build(self, column: pa.Array, params: ScalarParams, path: Path) -> None:
        """See `ScalarIndexKind`."""
        lists = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
        entries = sort_entries(*(elements(column) if lists else values(column)))
        with ArtifactWriter(path, self._layout) as writer:
            write_nulls(writer, column)
            about = write_postings(writer, "", entries, self._layout, len(column))
            writer.finish({"num_rows": len(column), "elements": lists, "postings": about})

    def open(self, source: Residency, params: ScalarParams) -> PostingIndex:
        """See `ScalarIndexKind`."""
        return PostingIndex(open_artifact(source, self._layout))


class PostingIndex:
    """See `ScalarIndex`."""

    def __init__(self, artifact: Artifact) -> None:
        self.num_rows = int(artifact.properties["num_rows"])
        self._elements = bool(artifact.properties["elements"])
        self._postings = Postings(artifact, "", artifact.properties["postings"], self.num_rows)
        self._nulls = Nulls(artifact, self.num_rows)

    def select(self, predicate: Predicate, most: int) -> Answer | None:
        """See `ScalarIndex`."""
        if isinstance(predicate, IsNull):
            return Answer(self._nulls.rows())
        if self._elements:
            if isinstance(predicate, HasAny):
                return self._postings.select(OneOf(predicate.values), most)
            if isinstance(predicate, HasAll):
                return self._postings.holding_all(predicate.values, most)
        elif isinstance(predicate, OneOf | Range | Matches):
            return self._postings.select(predicate, most)
        return None
