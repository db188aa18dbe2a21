"""Seeing what an analyzer makes of a text."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from headwater.engine.files import pinned_params
from headwater.errors import InvalidArgument
from headwater.index.text import Analyzer, WordFiles, analyzer_of, phrase_slop
from headwater.lake import FileResources
from headwater.query.inverted import text_analyzer
from headwater.schema import Field, analyzer_text

__all__ = ["analysed", "analysed_as", "analyzer_with", "least_slops", "run_analyzer"]


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
    text = analyzer_text(analyzer_params)
    if text is None:
        raise InvalidArgument("run_analyzer needs analyzer_params")
    return analysed(analyzer_of(text), texts, with_detail=with_detail, with_hash=with_hash)


def analyzer_with(params: str | Mapping[str, Any], files: FileResources) -> Analyzer:
    """An analyzer whose parameters may name files of words, which are read as they are now."""
    pinned = pinned_params(json.loads(analyzer_text(params) or "{}"), files)
    return analyzer_of(analyzer_text(pinned) or "{}", files)


def least_slops(analyzer: Analyzer, phrase: str, texts: Sequence[str]) -> list[int | None]:
    """For each text the least `slop` with which `phrase_match` finds a phrase in it; None where it never does."""
    return [phrase_slop(analyzer, phrase, text) for text in texts]


def analysed_as(
    field: Field,
    texts: str | Sequence[str],
    names: str | Sequence[str] | None,
    files: WordFiles,
    *,
    with_detail: bool,
    with_hash: bool,
) -> list[Any]:
    """`run_analyzer` as a field is analysed: by its analyzer, or by those of its several that are named for the texts.

    Raises:
        InvalidArgument: there are neither one name nor as many as texts, or the field has no analyzer.
    """
    many = [texts] if isinstance(texts, str) else list(texts)
    asked = [names] if isinstance(names, str) else names
    chosen: list[str | None] = list(asked) if asked else [None]
    if len(chosen) not in (1, len(many)):
        raise InvalidArgument(f"analyzer_names: expected one name, or {len(many)}, got {len(chosen)}")
    chosen = chosen * len(many) if len(chosen) == 1 else chosen
    found = [
        analysed(text_analyzer(field, files, name), text, with_detail=with_detail, with_hash=with_hash)
        for text, name in zip(many, chosen, strict=True)
    ]
    return found[0] if isinstance(texts, str) else found


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
