"""Highlighting: the parts of a text that hold a query's terms, with the terms between tags."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from headwater.errors import InvalidArgument
from headwater.index.text.analyzer import Analyzer

__all__ = ["Highlighting", "highlight"]


@dataclass(frozen=True)
class Highlighting:
    """How terms are marked; the names are those of Milvus's lexical highlighter.

    Attributes:
        pre_tags: put before a term; the n-th that is marked in a fragment takes the n-th tag, round and round.
        post_tags: put after it, likewise.
        fragment_offset: characters of a fragment before its first term.
        fragment_size: characters of a fragment, tags not counted.
        num_of_fragments: most fragments of a text.
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
        for name, least in (("fragment_offset", 0), ("fragment_size", 1), ("num_of_fragments", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InvalidArgument(f"{name} must be an integer of at least {least}, got {value!r}")


@dataclass
class _Fragment:
    start: int
    stop: int
    spans: list[tuple[int, int]]


def highlight(text: str, analyzer: Analyzer, terms: Collection[str], how: Highlighting) -> list[str]:
    """The fragments of a text that hold terms.

    Args:
        text: any text.
        analyzer: cut the terms, and cuts the text.
        terms: of the query, as analysed.
        how: tags and fragments.

    Returns:
        Fragments in the order of the text, none where no term is in it. A fragment begins `fragment_offset` characters
        before a term, and is as long as `fragment_size` allows; a term at its end stays whole. Terms that touch are
        marked as one.
    """
    wanted = set(terms)
    fragments: list[_Fragment] = []
    for span in _joined((token.start, token.stop) for token in analyzer.tokens(text) if token.term in wanted):
        if fragments and span[0] <= fragments[-1].stop:
            fragments[-1].spans.append(span)
            fragments[-1].stop = max(fragments[-1].stop, span[1])
        elif len(fragments) < how.num_of_fragments:
            start = max(0, span[0] - how.fragment_offset)
            stop = min(max(span[1], start + how.fragment_size), len(text))
            fragments.append(_Fragment(start, stop, [span]))
        else:
            break
    return [_tagged(text, one, how) for one in fragments]


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that touch as one."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined


def _tagged(text: str, fragment: _Fragment, how: Highlighting) -> str:
    parts: list[str] = []
    at = fragment.start
    for number, (first, last) in enumerate(fragment.spans):
        before, after = (tags[number % len(tags)] for tags in (how.pre_tags, how.post_tags))
        parts += [text[at:first], before, text[first:last], after]
        at = last
    return "".join([*parts, text[at : fragment.stop]])
