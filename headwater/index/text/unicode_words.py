"""Words by the rules of Unicode, which Milvus's tokenizer `icu` goes by.

Every character is in a token: of a word, a number, a run of spaces, or a mark of punctuation. Chinese characters, which
stand without spaces, come in runs that a dictionary is to cut. Scripts that need dictionaries of their own (Japanese
kana, Thai, Lao, Khmer, Burmese) are cut by the rules alone.

Reference: Unicode Standard Annex #29, "Unicode Text Segmentation", word boundaries.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

__all__ = ["HAN", "word_runs"]

HAN = "han"
"""The class of runs of Chinese characters."""
_LETTER, _DIGIT, _KATAKANA, _JOINER = "letter", "digit", "katakana", "joiner"
_EXTEND, _SPACE, _OTHER = "extend", "space", "other"
_WORDS = {_LETTER, _DIGIT, _JOINER}
_BOTH = "'.\u2018\u2019\u2024\ufe52\uff07\uff0e"
_AMONG = {
    _LETTER: frozenset(_BOTH + ":\u00b7\u0387\u055f\u05f4\u2027\ufe13\ufe55\uff1a"),
    _DIGIT: frozenset(
        _BOTH + ",;\u037e\u0589\u060c\u060d\u066c\u07f8\u2044\ufe10\ufe14\ufe50\ufe54\uff0c\uff1b"
    ),
}
"""Marks that stand inside a word between two letters, or inside a number between two digits."""


def word_runs(text: str) -> list[tuple[int, int, str]]:
    """Where the words are, and all that is between them: [start, stop) in characters, in order, and what each is."""
    kinds = [_kind(one) for one in text]
    runs: list[tuple[int, int, str]] = []
    start = 0
    while start < len(text):
        stop = _end(text, kinds, start)
        runs.append((start, stop, kinds[start]))
        start = stop
    return runs


def _end(text: str, kinds: list[str], start: int) -> int:
    if text.startswith("\r\n", start):
        return start + 2
    kind = kinds[start]
    at = _extended(kinds, start + 1)
    if kind in (HAN, _SPACE):
        while at < len(kinds) and kinds[at] == kind:
            at = _extended(kinds, at + 1)
        return at
    while at < len(kinds):
        after = _extended(kinds, at + 1)
        if _joined(kind, kinds[at]):
            kind, at = kinds[at], after
        elif text[at] in _AMONG.get(kind, ()) and after < len(kinds) and kinds[after] == kind:
            at = _extended(kinds, after + 1)
        else:
            break
    return at


def _joined(kind: str, other: str) -> bool:
    if kind in _WORDS and other in _WORDS:
        return True
    return other in (_KATAKANA, _JOINER) if kind == _KATAKANA else kind == _JOINER and other == _KATAKANA


def _extended(kinds: list[str], at: int) -> int:
    """The end of the marks that belong to the character before."""
    while at < len(kinds) and kinds[at] == _EXTEND:
        at += 1
    return at


@lru_cache(maxsize=65_536)
def _kind(one: str) -> str:
    category = unicodedata.category(one)
    if category[0] == "M" or category == "Cf":
        return _EXTEND
    if category == "Nd":
        return _DIGIT
    if category == "Pc":
        return _JOINER
    if category == "Zs":
        return _OTHER if one in "\u00a0\u2007\u202f" else _SPACE
    if category[0] != "L" and category != "Nl":
        return _OTHER
    name = unicodedata.name(one, "")
    if name.startswith(("CJK ", "IDEOGRAPHIC ")):
        return HAN
    if name.startswith(("KATAKANA", "HALFWIDTH KATAKANA")):
        return _KATAKANA
    return _OTHER if name.startswith("HIRAGANA") else _LETTER
