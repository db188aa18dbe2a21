"""Seeing what an analyzer makes of a text."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from headwater.errors import InvalidArgument
from headwater.index.text import Analyzer, WordFiles, analyzer_of, phrase_slop
from headwater.schema import analyzer_text

__all__ = ["analysed", "least_slops", "run_analyzer"]


def run_analyzer(
    texts: str | Sequence[str],
    analyzer_params: str | Mapping[str, Any] = "standard",
    *,
    with_detail: bool = False,
    with_hash: bool = False,
) -> list[Any]:
    """The terms that an analyzer cuts texts into.

    Args:
        texts: one or several.
        analyzer_params: a name such as ``"english"``, or Milvus's analyzer parameters.
        with_detail: also where each term stands: `start_offset` and `end_offset`, in bytes of UTF-8 as in Milvus, and
            its `position` among the text's words, dropped ones counted.
        with_hash: also the `hash` of each term, its CRC-32.

    Returns:
        A list of terms for one text, a list of such lists for several; with a detail or a hash the terms are mappings
        with `token`.

    Raises:
        UnsupportedOption: a preset, tokenizer, filter or parameter is unknown.
        InvalidArgument: a value does not fit.
        MissingExtra: the tokenizer needs a package that is not installed.
    """
    return analysed(_analyzer(analyzer_params), texts, with_detail=with_detail, with_hash=with_hash)


def _analyzer(params: str | Mapping[str, Any], files: WordFiles | None = None) -> Analyzer:
    text = analyzer_text(params)
    if text is None:
        raise InvalidArgument("run_analyzer needs analyzer_params")
    return analyzer_of(text, files)


def least_slops(
    analyzer_params: str | Mapping[str, Any],
    phrase: str,
    texts: Sequence[str],
    files: WordFiles | None = None,
) -> list[int | None]:
    """For each text the least `slop` with which `phrase_match` finds a phrase in it; None where it never does.

    Args:
        analyzer_params: a name such as ``"english"``, or Milvus's analyzer parameters.
        phrase: what is looked for.
        texts: where.
        files: where files of words are found.
    """
    analyzer = _analyzer(analyzer_params, files)
    return [phrase_slop(analyzer, phrase, text) for text in texts]


def analysed(
    analyzer: Analyzer, texts: str | Sequence[str], *, with_detail: bool, with_hash: bool
) -> list[Any]:
    """`run_analyzer` with an analyzer at hand."""
    if isinstance(texts, str):
        return _tokens(analyzer, texts, with_detail, with_hash)
    return [_tokens(analyzer, text, with_detail, with_hash) for text in texts]


def _tokens(analyzer: Analyzer, text: str, with_detail: bool, with_hash: bool) -> list[Any]:
    if not isinstance(text, str):
        raise InvalidArgument(f"run_analyzer takes texts, got {type(text).__name__}")
    if not with_detail and not with_hash:
        return [term for term, _ in analyzer.terms(text)]
    found: list[Any] = []
    for token in analyzer.tokens(text):
        one: dict[str, Any] = {"token": token.term}
        if with_detail:
            one["start_offset"] = len(text[: token.start].encode())
            one["end_offset"] = one["start_offset"] + len(text[token.start : token.stop].encode())
            one["position"] = token.position
        if with_hash:
            one["hash"] = zlib.crc32(token.term.encode())
        found.append(one)
    return found
