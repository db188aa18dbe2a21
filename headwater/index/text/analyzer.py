"""Analyzers: how a text is cut into terms.

A tokenizer runs over a whole column; filters run over its distinct tokens; then each token is given the terms of its
distinct one. So what a stemmer costs depends on the vocabulary, not on the text. The parameters are Milvus's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.index.text.filters import TermFilter
from headwater.index.text.tokenizers import Tokenizer

__all__ = ["Analyzer", "Token", "Tokens", "joined_tokens"]

Int32s = npt.NDArray[np.int32]

_CHUNK_ROWS = 65_536
_CHUNK_BYTES = 64 << 20
_THREADS = 4
_MEMO_TERMS = 65_536


class Tokens(NamedTuple):
    """The terms of a column of texts.

    Attributes:
        vocabulary: the distinct terms.
        terms: (t,) numbers of terms in `vocabulary`, by row and position.
        rows: (t,) the row of each.
        positions: (t,) its place in the row; a dropped term leaves a gap.
    """

    vocabulary: pa.StringArray
    terms: Int32s
    rows: Int32s
    positions: Int32s


@dataclass(frozen=True)
class Token:
    """One term of one text.

    Attributes:
        term: as it is searched for.
        position: place among the text's tokens.
        start: first character.
        stop: past the last character.
    """

    term: str
    position: int
    start: int
    stop: int


class Analyzer:
    """A tokenizer and its filters. Safe to use from several threads.

    Args:
        tokenizer: cuts texts.
        filters: applied in order.
    """

    def __init__(self, tokenizer: Tokenizer, filters: Sequence[TermFilter]) -> None:
        self._tokenizer = tokenizer
        self._filters = tuple(filters)
        self._memo: dict[str, tuple[tuple[str, ...], ...]] = {}

    def analyze(self, texts: pa.Array | pa.ChunkedArray) -> Tokens:
        """The terms of a column; nulls have none."""
        chunks = _chunks(texts)
        if len(chunks) == 1:
            return self._analyze(chunks[0])
        # What takes the time are calls into Arrow and numpy, which let other threads run.
        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
            parts = list(pool.map(self._analyze, chunks))
        firsts = np.cumsum([0, *map(len, chunks)])[:-1].astype(np.int32)
        return joined_tokens(
            [part._replace(rows=part.rows + first) for part, first in zip(parts, firsts, strict=True)]
        )

    def _analyze(self, texts: pa.StringArray) -> Tokens:
        lists = self._tokenizer.split(texts)
        offsets = lists.offsets.to_numpy()
        encoded = lists.flatten().dictionary_encode()
        if lists.null_count:
            sizes = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
            offsets = np.concatenate([[0], np.cumsum(sizes)])
        raw = encoded.indices.to_numpy()
        vocabulary, source, step, advance = self._vocabulary(encoded.dictionary)
        rows = np.repeat(np.arange(len(texts), dtype=np.int32), np.diff(offsets))
        before = np.zeros(len(raw) + 1, np.int64)
        np.cumsum(advance[raw], out=before[1:])
        positions = before[:-1] - np.repeat(before[offsets[:-1]], np.diff(offsets))
        made = np.bincount(source, minlength=len(advance))
        first = np.cumsum(made) - made
        if len(made) == 0 or made.max() <= 1:
            kept = made[raw] > 0
            entry = first[raw[kept]]
            rows, positions = rows[kept], positions[kept]
        else:
            times = made[raw]
            ends = np.cumsum(times)
            entry = np.repeat(first[raw] - (ends - times), times) + np.arange(int(times.sum()))
            rows, positions = np.repeat(rows, times), np.repeat(positions, times)
        distinct = vocabulary.dictionary_encode()
        terms = distinct.indices.to_numpy().astype(np.int32)[entry]
        return Tokens(distinct.dictionary, terms, rows, (positions + step[entry]).astype(np.int32))

    def _vocabulary(
        self, raw: pa.StringArray
    ) -> tuple[pa.StringArray, npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """What distinct raw tokens stand for.

        Returns:
            Terms; for each, the raw token that it came from, in order, and its place after the raw token's; and for
            each raw token, how many places it takes.
        """
        lists = self._tokenizer.parts(raw)
        terms: pa.StringArray = lists.flatten()
        advance = np.diff(lists.offsets.to_numpy()).astype(np.int64)
        source = np.repeat(np.arange(len(raw)), advance)
        step = np.arange(len(terms)) - np.repeat(np.cumsum(advance) - advance, advance)
        for apply in self._filters:
            made = apply(terms)
            if pa.types.is_list(made.type):
                sizes = np.diff(made.offsets.to_numpy())
                source, step, terms = np.repeat(source, sizes), np.repeat(step, sizes), made.flatten()
            else:
                terms = made
            if terms.null_count:
                kept = terms.is_valid().to_numpy(zero_copy_only=False)
                source, step, terms = source[kept], step[kept], terms.drop_null()
        return terms, source, step, advance

    def tokens(self, text: str) -> list[Token]:
        """The terms of one text, with where they stand in it."""
        spans = self._tokenizer.spans(text)
        found: list[Token] = []
        stands = self._standing_for([text[start:stop] for start, stop in spans])
        position = 0
        for (start, stop), parts in zip(spans, stands, strict=True):
            for terms in parts:
                found += [Token(term, position, start, stop) for term in terms]
                position += 1
        return found

    def terms(self, text: str) -> list[tuple[str, int]]:
        """The terms of one text with their positions; what `tokens` gives, sooner."""
        raw = self._tokenizer.split_one(text)
        found: list[tuple[str, int]] = []
        position = 0
        for parts in self._standing_for(raw):
            for terms in parts:
                found += [(term, position) for term in terms]
                position += 1
        return found

    def _standing_for(self, raw: Sequence[str]) -> list[tuple[tuple[str, ...], ...]]:
        """For each raw token, for each place that it takes, the terms there; kept for tokens seen before."""
        memo = self._memo
        missing = list(dict.fromkeys(one for one in raw if one not in memo))
        if missing:
            if len(memo) + len(missing) > _MEMO_TERMS:
                memo = self._memo = {one: memo[one] for one in raw if one in memo}
            vocabulary, source, step, advance = self._vocabulary(pa.array(missing, pa.string()))
            places: list[list[list[str]]] = [[[] for _ in range(count)] for count in advance.tolist()]
            for term, i, place in zip(vocabulary.to_pylist(), source.tolist(), step.tolist(), strict=True):
                places[i][place].append(term)
            memo.update({one: tuple(map(tuple, parts)) for one, parts in zip(missing, places, strict=True)})
        return [memo[one] for one in raw]


def _chunks(texts: pa.Array | pa.ChunkedArray) -> list[pa.StringArray]:
    """Pieces of bounded size, each with 32-bit offsets."""
    pieces: list[pa.StringArray] = []
    for chunk in texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]:
        rows = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES * max(1, len(chunk)) // max(1, chunk.nbytes)))
        pieces += [chunk.slice(start, rows).cast(pa.string()) for start in range(0, len(chunk), rows)]
    return pieces


def joined_tokens(parts: Sequence[Tokens]) -> Tokens:
    """Tokens one after the other, with one vocabulary."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        none = np.empty(0, np.int32)
        return Tokens(pa.array([], pa.string()), none, none, none)
    together = pa.chunked_array([part.vocabulary for part in parts], pa.string()).combine_chunks()
    encoded = together.dictionary_encode()
    numbers, start, terms = encoded.indices.to_numpy().astype(np.int32), 0, []
    for part in parts:
        terms.append(numbers[start : start + len(part.vocabulary)][part.terms])
        start += len(part.vocabulary)
    return Tokens(
        encoded.dictionary,
        np.concatenate(terms),
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.positions for part in parts]),
    )
