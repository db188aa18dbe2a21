"""Inverted indexes of one version: which covers a segment's text or sparse field, and what the whole collection counts.

A segment without a build is inverted in memory when it is first asked about, and kept: with its rows while it grows, in
the cache of opened things otherwise. So an answer never depends on what is indexed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from headwater import trace
from headwater.errors import HeadwaterError, InvalidArgument
from headwater.index.text import (
    INVERTED_KINDS,
    Analyzer,
    Postings,
    analyzer_of,
    invert_sparse,
    invert_texts,
    match_fuzzy,
    match_phrase,
    match_terms,
)
from headwater.lake import IndexBuild, IndexSpec, Segment
from headwater.query.expr import TextQuery
from headwater.query.opened import Opened
from headwater.schema import Field, Schema
from headwater.types import Bitmap, DataType

__all__ = ["InvertedIndexes", "check_analyzers", "text_analyzer", "text_input"]


def text_input(schema: Schema, field: Field) -> Field:
    """The field whose values are inverted: the text that BM25 reads, or the field itself."""
    function = schema.outputs.get(field.name)
    return field if function is None or function.stored else schema.field(function.inputs[0])


def text_analyzer(field: Field) -> Analyzer:
    """The analyzer of a text field.

    Raises:
        InvalidArgument: it has none.
    """
    if field.type.analyzer is None:
        raise InvalidArgument(
            f"field {field.name!r} is {field.type} without an analyzer, so it cannot be searched as text",
            hint='declare it with one, such as hw.VarChar(1000, analyzer="standard")',
        )
    return analyzer_of(field.type.analyzer)


def check_analyzers(fields: Iterable[Field]) -> None:
    """Check that every analyzer of some fields is one.

    Raises:
        UnsupportedOption: it, or a part of it, is unknown; names the field.
        InvalidArgument: a value of it does not fit.
        MissingExtra: it needs a package that is not installed.
    """
    for field in fields:
        if field.type.analyzer is not None:
            try:
                analyzer_of(field.type.analyzer)
            except HeadwaterError as error:
                error.add_note(f"in the analyzer of field {field.name!r}")
                raise


class InvertedIndexes:
    """The inverted indexes that a version has.

    Args:
        schema: of the version.
        specs: its indexes.
        builds: by the index's name and the segment's id.
    """

    def __init__(
        self,
        schema: Schema | None = None,
        specs: Sequence[IndexSpec] = (),
        builds: Mapping[tuple[str, str], IndexBuild] | None = None,
    ) -> None:
        self._builds = builds or {}
        self._specs: dict[int, list[IndexSpec]] = {}
        for spec in specs:
            if schema is not None and spec.kind in INVERTED_KINDS:
                source = text_input(schema, schema.field_by_id(spec.field_id))
                self._specs.setdefault(source.id, []).append(spec)

    def of(self, opened: Opened, schema: Schema, segment: Segment, field: Field) -> Postings:
        """The postings of a segment.

        Args:
            opened: the cache.
            schema: of the version.
            segment: whose rows.
            field: a text field with an analyzer, a sparse vector field, or the output of BM25.
        """
        source = text_input(schema, field)
        for spec in self._specs.get(source.id, ()):
            build = self._builds.get((spec.name, segment.id))
            if build is not None:
                trace.note(index=spec.name, kind=spec.kind)
                return opened.postings(build, spec)
        trace.note(index="in memory")

        def invert() -> Postings:
            with trace.step("invert in memory", field=source.name, rows=segment.num_rows):
                column = opened.column(segment, schema, source.name)
                if source.type.data_type is DataType.SPARSE_FLOAT_VECTOR:
                    return invert_sparse(column)
                return invert_texts(column, text_analyzer(source))

        return opened.inverted(segment, source, invert)

    def matching(
        self, opened: Opened, schema: Schema, segment: Segment, name: str, query: TextQuery
    ) -> Bitmap:
        """Rows of a segment whose text matches; see `expr.FilterRows.matching`."""
        field = schema.field(name)
        analyzer = text_analyzer(field)
        postings = self.of(opened, schema, segment, field)
        if query.kind == "match":
            return match_terms(postings, analyzer, query.text, query.minimum_should_match)
        if query.kind == "phrase":
            return match_phrase(postings, analyzer, query.text, query.slop)
        if query.kind == "fuzzy":
            return match_fuzzy(postings, analyzer, query.text, query.max_edits)
        raise InvalidArgument(f"unknown text query {query.kind!r}, expected match, phrase or fuzzy")
