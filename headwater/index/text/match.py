"""Which rows hold some terms, a phrase, or a term much like another; each a bitmap over the rows of an index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.index.text.analyzer import Analyzer
from headwater.index.text.hot import hot_term
from headwater.index.text.postings import Postings
from headwater.types import Bitmap

__all__ = ["match_fuzzy", "match_phrase", "match_terms", "phrase_slop"]

Int64s = npt.NDArray[np.int64]

_ROOM = 1 << 32
"""Between the positions of one row and those of the next: no phrase reaches across."""


def match_terms(source: Postings, analyzer: Analyzer, text: str, minimum: int = 1) -> Bitmap:
    """Rows that hold at least `minimum` different terms of a text."""
    numbers = [
        source.vocabulary.find(term) for term in dict.fromkeys(term for term, _ in analyzer.terms(text))
    ]
    return _holding(source, [number for number in numbers if number >= 0], minimum)


def _holding(source: Postings, numbers: Sequence[int], minimum: int) -> Bitmap:
    found = np.zeros(source.num_rows, np.bool_)
    if len(numbers) < minimum:
        return found
    if minimum <= 1:
        for number in numbers:
            found[hot_term(source, number).rows] = True
        return found
    held = np.zeros(source.num_rows, np.uint16)
    for number in numbers:
        held[hot_term(source, number).rows] += 1
    return held >= minimum


def match_phrase(source: Postings, analyzer: Analyzer, text: str, slop: int = 0) -> Bitmap:
    """Rows that hold the terms of a text as a phrase.

    A term's place in the row less its place in the phrase is where the phrase would begin by it. The row matches when
    some choice of places has all beginnings within `slop` of each other: 0 is the phrase itself, 1 lets one word stand
    between, 2 lets two neighbours change places.

    Args:
        source: the index.
        analyzer: cuts the text.
        text: the phrase; without terms, nothing matches.
        slop: see above.
    """
    found = np.zeros(source.num_rows, np.bool_)
    places: dict[int, list[int]] = {}
    for term, position in analyzer.terms(text):
        number = source.vocabulary.find(term)
        places.setdefault(position, [])
        if number >= 0 and number not in places[position]:
            places[position].append(number)
    if not places or not all(places.values()):
        return found
    if len(places) == 1:
        return _holding(source, next(iter(places.values())), 1)
    rows = _rows_with_all(source, list(places.values()))
    begins = [_begins(source, numbers, rows, position) for position, numbers in places.items()]
    if len(rows) == 0:
        return found
    tried = min(begins, key=len) if slop == 0 else np.unique(np.concatenate(begins))
    for begin in sorted(begins, key=len):
        nearest = begin.searchsorted(tried)
        there = nearest < len(begin)
        tried, nearest = tried[there], nearest[there]
        tried = tried[begin[nearest] <= tried + slop]
    found[rows[np.unique(tried // _ROOM)]] = True
    return found


def phrase_slop(analyzer: Analyzer, phrase: str, text: str) -> int | None:
    """The least slop with which a text holds a phrase, as `match_phrase` counts it; None where a word is missing."""
    stands: dict[str, list[int]] = {}
    for term, position in analyzer.terms(text):
        stands.setdefault(term, []).append(position)
    places: dict[int, list[int]] = {}
    for term, position in analyzer.terms(phrase):
        places.setdefault(position, []).extend(place - position for place in stands.get(term, ()))
    if not places or not all(places.values()):
        return None
    # The narrowest window over all beginnings in order that holds one of each word.
    every = sorted((begin, word) for word, begins in places.items() for begin in begins)
    held: dict[int, int] = {}
    best = every[-1][0] - every[0][0]
    left = 0
    for begin, word in every:
        held[word] = held.get(word, 0) + 1
        while len(held) == len(places):
            first, gone = every[left]
            best = min(best, begin - first)
            held[gone] -= 1
            if not held[gone]:
                del held[gone]
            left += 1
    return best


def _rows_with_all(source: Postings, groups: Sequence[Sequence[int]]) -> npt.NDArray[np.int32]:
    """Rows that hold a term of every group."""
    lists = [
        hot_term(source, numbers[0]).rows
        if len(numbers) == 1
        else np.unique(np.concatenate([hot_term(source, number).rows for number in numbers]))
        for numbers in groups
    ]
    lists.sort(key=len)
    rows = lists[0]
    for other in lists[1:]:
        place = other.searchsorted(rows)
        there = place < len(other)
        rows, place = rows[there], place[there]
        rows = rows[other[place] == rows]
    return rows


def _begins(source: Postings, numbers: Sequence[int], rows: npt.NDArray[np.int32], position: int) -> Int64s:
    """Where the phrase would begin by some terms, in order: the number of the row times `_ROOM`, plus the place."""
    found: list[Int64s] = []
    for number in numbers:
        hot = hot_term(source, number)
        counts = hot.values.astype(np.int64)
        ends = np.cumsum(counts)
        place = hot.rows.searchsorted(rows)
        there = np.flatnonzero(place < len(hot.rows))
        there = there[hot.rows[place[there]] == rows[there]]
        chosen = place[there]
        times = counts[chosen]
        last = np.cumsum(times)
        flat = np.repeat(ends[chosen] - last, times) + np.arange(int(times.sum()))
        stands = source.positions(number)[flat].astype(np.int64)
        found.append(np.repeat(there, times) * _ROOM + _ROOM // 2 + stands - position)
    return found[0] if len(found) == 1 else np.sort(np.concatenate(found))


def match_fuzzy(source: Postings, analyzer: Analyzer, text: str, max_edits: int) -> Bitmap:
    """Rows that hold a term at most some edits away from a term of a text.

    An edit puts a character in, leaves one out, changes one, or swaps two that stand together.
    """
    assert isinstance(source.vocabulary.terms, pa.Array)
    numbers: dict[int, None] = {}
    for term in dict.fromkeys(term for term, _ in analyzer.terms(text)):
        numbers.update(dict.fromkeys(_similar(source.vocabulary.terms, term, max_edits)))
    return _holding(source, list(numbers), 1)


def _similar(terms: pa.StringArray, term: str, max_edits: int) -> list[int]:
    sizes = pc.utf8_length(terms).to_numpy(zero_copy_only=False)
    near = np.flatnonzero(np.abs(sizes - len(term)) <= max_edits)
    if len(near) == 0:
        return []
    sizes = sizes[near]
    width = int(sizes.max())
    letters = np.array(terms.take(pa.array(near)).to_pylist(), dtype=f"U{max(1, width)}")
    codes = letters.view(np.uint32).reshape(len(near), -1)
    distances = _edit_distances(codes, sizes, term)
    return [int(number) for number in near[distances <= max_edits]]


def _edit_distances(codes: npt.NDArray[np.uint32], sizes: npt.NDArray[np.int32], term: str) -> Int64s:
    """Distances of many words to one by optimal string alignment, one column of all their tables at a time.

    Reference: Damerau, "A technique for computer detection and correction of spelling errors", CACM 1964.
    """
    many, width = codes.shape
    above = np.broadcast_to(np.arange(width + 1, dtype=np.int16), (many, width + 1)).copy()
    before, last = above, -1
    for letter in map(ord, term):
        row = np.empty_like(above)
        row[:, 0] = above[:, 0] + 1
        changed = above[:, :-1] + (codes != letter)
        for i in range(1, width + 1):
            row[:, i] = np.minimum(np.minimum(changed[:, i - 1], above[:, i] + 1), row[:, i - 1] + 1)
            if i > 1 and last >= 0:
                swapped = (codes[:, i - 1] == last) & (codes[:, i - 2] == letter)
                row[:, i] = np.where(swapped, np.minimum(row[:, i], before[:, i - 2] + 1), row[:, i])
        before, above, last = above, row, letter
    return above[np.arange(many), sizes].astype(np.int64)
