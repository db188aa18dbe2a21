"""Highlighted fragments of the texts that a search found; the names are those of Milvus's lexical highlighter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headwater.errors import InvalidArgument, UnsupportedOption
from headwater.index.text import Highlighting, WordFiles, highlight
from headwater.query.inverted import text_analyzer, text_input
from headwater.query.results import SearchResult
from headwater.schema import Schema

__all__ = ["LexicalHighlighter", "highlighted", "terms_to_highlight"]


@dataclass(frozen=True, kw_only=True)
class LexicalHighlighter:
    """What is marked in the texts of a search's hits, and how.

    Every hit gets ``"highlight": {field: {"fragments": [...]}}`` for each field that is highlighted.

    Args:
        highlight_search_text: mark the terms of the text that is searched for, in the field that BM25 reads; by default
            where the search is one by text.
        highlight_query: more to mark: mappings of `field`, `text`, and `type`, which is ``"TextMatch"``.
        pre_tags: put before a term; the n-th that is marked in a fragment takes the n-th tag, round and round.
        post_tags: put after it, likewise.
        fragment_offset: characters of a fragment before its first term.
        fragment_size: characters of a fragment, tags not counted.
        num_of_fragments: most fragments of a text.
    """

    highlight_search_text: bool | None = None
    highlight_query: Sequence[Mapping[str, Any]] = ()
    pre_tags: Sequence[str] = ("<em>",)
    post_tags: Sequence[str] = ("</em>",)
    fragment_offset: int = 0
    fragment_size: int = 100
    num_of_fragments: int = 5
    how: Highlighting = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("pre_tags", "post_tags"):
            if isinstance(getattr(self, name), str):
                raise InvalidArgument(f"{name} must be a list of texts, got {getattr(self, name)!r}")
        how = Highlighting(
            tuple(self.pre_tags),
            tuple(self.post_tags),
            self.fragment_offset,
            self.fragment_size,
            self.num_of_fragments,
        )
        object.__setattr__(self, "how", how)
        for one in self.highlight_query:
            if not isinstance(one, Mapping) or not {"field", "text"} <= set(one) <= {"field", "text", "type"}:
                raise InvalidArgument(
                    f"highlight_query: expected a mapping of type, field and text, got {one!r}"
                )
            if one.get("type", "TextMatch") != "TextMatch":
                raise UnsupportedOption(
                    f"highlight_query: unknown type {one['type']!r}", hint='known: "TextMatch"'
                )


Terms = list[dict[str, list[str]]]
"""For each query, the terms to mark by field."""


def terms_to_highlight(
    schema: Schema,
    searched: str,
    texts: Sequence[Any],
    highlighter: LexicalHighlighter,
    files: WordFiles | None = None,
) -> Terms:
    """What is marked in the hits of each query.

    Args:
        schema: names the fields.
        searched: the field that is searched.
        texts: the queries; anything but texts where it is not a search by text.
        highlighter: what is asked.
        files: where analyzers find their files of words.

    Raises:
        InvalidArgument: there is nothing to mark, or a field has no analyzer.
        FieldNotFound: there is no such field.
    """
    by_text = searched in schema.virtual and all(isinstance(one, str) for one in texts)
    own = by_text if highlighter.highlight_search_text is None else highlighter.highlight_search_text
    if own and not by_text:
        raise InvalidArgument(
            "highlight_search_text needs a search by text", hint="name texts in highlight_query"
        )
    if not own and not highlighter.highlight_query:
        raise InvalidArgument("the highlighter has nothing to mark", hint="name texts in highlight_query")
    terms: Terms = [{} for _ in texts]
    asked = [
        (one["field"], one["text"], query)
        for query in range(len(texts))
        for one in highlighter.highlight_query
    ]
    if own:
        source = text_input(schema, schema.field(searched)).name
        asked = [(source, text, query) for query, text in enumerate(texts)] + asked
    for name, text, query in asked:
        analyzer = text_analyzer(schema.field(name), files)
        terms[query].setdefault(name, []).extend(term for term, _ in analyzer.terms(text))
    return terms


def highlighted(
    schema: Schema,
    result: SearchResult,
    terms: Terms,
    highlighter: LexicalHighlighter,
    files: WordFiles | None = None,
    *,
    hidden: Sequence[str] = (),
) -> SearchResult:
    """The result, with `highlight` in every hit, and without fields that were fetched for that only."""
    for hits, marked in zip(result, terms, strict=True):
        for hit in hits:
            hit["highlight"] = {
                name: {
                    "fragments": highlight(
                        hit["entity"][name] or "",
                        text_analyzer(schema.field(name), files),
                        words,
                        highlighter.how,
                    )
                }
                for name, words in marked.items()
            }
            for name in hidden:
                del hit["entity"][name]
    return result
