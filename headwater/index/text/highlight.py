"""Highlighting: the parts of a text that hold a query's terms, with the terms between tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headwater.errors import InvalidArgument
from headwater.index.text.analyzer import Analyzer

__all__ = ["Highlighting", "highlight"]


@dataclass(frozen=True)
class Highlighting:
    """How terms are marked; the names are those of Milvus's lexical highlighter.

    Attributes:
        pre_tags: put before a term; the n-th different term of the query takes the n-th tag, round and round.
        post_tags: put after it; as many as `pre_tags`.
        fragment_offset: characters of a fragment before its first term.
        fragment_size: characters of a fragment, tags not counted.
        num_of_fragments: most fragments of a text; 0 gives the whole text as one.
    """

    pre_tags: tuple[str, ...] = ("<em>",)
    post_tags: tuple[str, ...] = ("</em>",)
    fragment_offset: int = 0
    fragment_size: int = 100
    num_of_fragments: int = 5

    def __post_init__(self) -> None:
        for name in ("pre_tags", "post_tags"):
            tags = getattr(self, name)
            if not tags or not all(isinstance(tag, str) for tag in tags):
                raise InvalidArgument(f"{name} must be a list of at least one text, got {tags!r}")
        if len(self.pre_tags) != len(self.post_tags):
            raise InvalidArgument(
                f"as many post_tags as pre_tags are needed, got {len(self.post_tags)} and {len(self.pre_tags)}"
            )
        for name, least in (("fragment_offset", 0), ("fragment_size", 1), ("num_of_fragments", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InvalidArgument(f"{name} must be an integer of at least {least}, got {value!r}")


def highlight(text: str, analyzer: Analyzer, terms: Sequence[str], how: Highlighting) -> list[str]:
    """The fragments of a text that hold terms.

    Args:
        text: any text.
        analyzer: cut the terms, and cuts the text.
        terms: of the query, as analysed.
        how: tags and fragments.

    Returns:
        Fragments in the order of the text, none where no term is in it. A fragment begins `fragment_offset` characters
        before a term, and is as long as `fragment_size` allows; a term that is longer stays whole.
    """
    order = {term: i for i, term in enumerate(dict.fromkeys(terms))}
    spans: list[tuple[int, int, int]] = []
    for token in analyzer.tokens(text):
        if token.term in order and (not spans or token.start >= spans[-1][1]):
            spans.append((token.start, token.stop, order[token.term]))
    if not spans:
        return []
    if how.num_of_fragments == 0:
        return [_tagged(text, 0, len(text), spans, how)]
    fragments: list[str] = []
    done = 0
    while spans and len(fragments) < how.num_of_fragments:
        start = max(done, spans[0][0] - how.fragment_offset)
        stop = max(min(len(text), start + how.fragment_size), spans[0][1])
        inside = [span for span in spans if span[1] <= stop]
        fragments.append(_tagged(text, start, stop, inside, how))
        spans, done = spans[len(inside) :], stop
        if spans and spans[0][0] < stop:
            # A term that the end of a fragment cuts begins the next one.
            done = spans[0][0]
    return fragments


def _tagged(
    text: str, start: int, stop: int, spans: Sequence[tuple[int, int, int]], how: Highlighting
) -> str:
    parts: list[str] = []
    at = start
    for first, last, number in spans:
        tag = number % len(how.pre_tags)
        parts += [text[at:first], how.pre_tags[tag], text[first:last], how.post_tags[tag]]
        at = last
    return "".join([*parts, text[at:stop]])
