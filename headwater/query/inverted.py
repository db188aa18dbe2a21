"""Inverted indexes of one version: which covers a segment's text or sparse field, and what the whole collection counts.

A segment without a build is inverted in memory when it is first asked about, and kept: with its rows while it grows, in
the cache of opened things otherwise. So an answer never depends on what is indexed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from headwater import trace
from headwater.errors import HeadwaterError, InvalidArgument
from headwater.index.text import (
    INVERTED_KINDS,
    Analyzer,
    MultiAnalyzer,
    Postings,
    WordFiles,
    analyzer_of,
    declared_analyzer,
    invert_sparse,
    invert_texts,
    match_fuzzy,
    match_phrase,
    match_terms,
)
from headwater.index.text.postings import MemoryPostings
from headwater.lake import IndexBuild, IndexSpec, Segment
from headwater.query.opened import Opened
from headwater.schema import Field, Schema
from headwater.types import Bitmap, DataType

if TYPE_CHECKING:
    from headwater.query.expr import TextQuery

__all__ = ["InvertedIndexes", "check_analyzers", "invert_field", "text_analyzer", "text_input"]


def text_input(schema: Schema, field: Field) -> Field:
    """The field whose values are inverted: the text that BM25 reads, or the field itself."""
    function = schema.outputs.get(field.name)
    return field if function is None or function.stored else schema.field(function.inputs[0])


def text_analyzer(field: Field, files: WordFiles | None, name: str | None = None) -> Analyzer:
    """The analyzer of a text field.

    Args:
        field: the field.
        files: where files of words are found.
        name: of a field with several, which; the default one where there is none of the name.

    Raises:
        InvalidArgument: it has none, or it has one only and a name is given.
    """
    return analyzer_of(_declared(field), files, name)


def _declared(field: Field) -> str:
    if field.type.analyzer is None:
        raise InvalidArgument(
            f"field {field.name!r} is {field.type} without an analyzer, so it cannot be searched as text",
            hint='declare it with one, such as hw.VarChar(1000, analyzer="standard")',
        )
    return field.type.analyzer


def invert_field(
    field: Field, files: WordFiles | None, column: Callable[[str], pa.Array | pa.ChunkedArray]
) -> MemoryPostings:
    """The postings of a text or sparse field.

    Args:
        field: whose values.
        files: where files of words are found.
        column: gives the values of a field by its name.
    """
    if field.type.data_type is DataType.SPARSE_FLOAT_VECTOR:
        return invert_sparse(column(field.name))
    analyzer = declared_analyzer(_declared(field), files)
    chosen_by = column(analyzer.by_field) if isinstance(analyzer, MultiAnalyzer) else None
    return invert_texts(column(field.name), analyzer, chosen_by)


def check_analyzers(
    fields: Iterable[Field], files: WordFiles | None = None, schema: Schema | None = None
) -> None:
    """Check that every analyzer of some fields is one.

    Args:
        fields: to check.
        files: where files of words are found.
        schema: that the fields are, or will be, part of; `fields` by default.

    Raises:
        UnsupportedOption: it, or a part of it, is unknown; names the field.
        InvalidArgument: a value of it does not fit.
        MissingExtra: it needs a package that is not installed.
    """
    fields = tuple(fields)
    others = {one.name: one for one in (*(schema.fields if schema is not None else ()), *fields)}
    for field in fields:
        if field.type.analyzer is not None:
            try:
                declared = declared_analyzer(field.type.analyzer, files)
                if isinstance(declared, MultiAnalyzer):
                    _check_chooser(declared, others)
            except HeadwaterError as error:
                error.add_note(f"in the analyzer of field {field.name!r}")
                raise


def _check_chooser(declared: MultiAnalyzer, fields: Mapping[str, Field]) -> None:
    chooser = fields.get(declared.by_field)
    if chooser is None:
        raise InvalidArgument(
            f"multi analyzer dependent field {declared.by_field} not exist in the collection",
            hint=f"fields: {', '.join(fields)}",
        )
    if chooser.type.data_type is not DataType.VARCHAR:
        raise InvalidArgument(
            f"multi analyzer params now only support by string field, but field {chooser.name} is not string"
        )


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
                postings = opened.indexes.postings(build, spec)
                trace.note(index=spec.name, kind=spec.kind)
                if trace.recording():
                    trace.note(tier=opened.open_files.tier_of(build.file))
                return postings
        trace.note(index="in memory")

        def invert() -> Postings:
            with trace.step("invert in memory", field=source.name, rows=segment.num_rows):
                return invert_field(
                    source, opened.files, lambda name: opened.fields.column(segment, schema, name)
                )

        return opened.indexes.inverted(segment, source, invert)

    def matching(
        self, opened: Opened, schema: Schema, segment: Segment, name: str, query: TextQuery
    ) -> Bitmap:
        """Rows of a segment whose text matches; see `expr.FilterRows.matching`."""
        field = schema.field(name)
        analyzer = text_analyzer(field, opened.files)
        postings = self.of(opened, schema, segment, field)
        if query.kind == "match":
            return match_terms(postings, analyzer, query.text, query.minimum_should_match)
        if query.kind == "phrase":
            return match_phrase(postings, analyzer, query.text, query.slop)
        if query.kind == "fuzzy":
            return match_fuzzy(postings, analyzer, query.text, query.max_edits)
        raise InvalidArgument(f"unknown text query {query.kind!r}, expected match, phrase or fuzzy")
