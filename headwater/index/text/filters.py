"""Filters of an analyzer: each runs once over the distinct tokens of a column, never over their occurrences.

A filter maps terms to terms. One that drops a term gives null for it: its place stays counted, so a phrase does not
close over it. One that makes several of one gives a list of them, all in the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import tantivy

from headwater.errors import InvalidArgument, UnsupportedOption
from headwater.index.text.word_files import WordFiles, words_of

__all__ = ["FILTERS", "STEMMERS", "STOP_WORDS", "TermFilter", "filter_of", "stop_list"]

TermFilter = Callable[[pa.StringArray], pa.Array]
"""Distinct terms to one term each, or null, or to a list of terms each."""

STEMMERS = (
    *("arabic", "danish", "dutch", "english", "finnish", "french", "german", "greek", "hungarian", "italian"),
    *("norwegian", "portuguese", "romanian", "russian", "spanish", "swedish", "tamil", "turkish"),
)
"""Languages that have a stemmer (Snowball's)."""

STOP_WORDS = (
    *("danish", "dutch", "english", "finnish", "french", "german", "hungarian"),
    *("italian", "norwegian", "portuguese", "russian", "spanish", "swedish"),
)
"""Languages that have a list of stop words, written ``_english_`` in a filter."""

_MEMO_TERMS = 1 << 18
_HAN = r"\p{Han}"
_PUNCTUATION = r"^[\p{P}\p{S}]+$"


def _tantivy(*filters: tantivy.Filter) -> TermFilter:
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.raw())
    for one in filters:
        builder = builder.filter(one)
    analyzer = builder.build()
    memo: dict[str, str | None] = {}

    def cut(term: str) -> str | None:
        found: list[str] = analyzer.analyze(term)
        return found[0] if found else None

    def apply(terms: pa.StringArray) -> pa.Array:
        words = terms.to_pylist()
        # The chunks of a column, and columns of a kind, share most of their words.
        made = [memo.get(word, "") for word in words]
        for i, word in enumerate(words):
            if made[i] == "":
                made[i] = cut(word)
        if len(memo) + len(words) > _MEMO_TERMS:
            memo.clear()
        memo.update(zip(words, made, strict=True))
        return pa.array(made, pa.string())

    return apply


def _keep(pattern: str) -> TermFilter:
    """Only the terms that match."""
    return lambda terms: pc.if_else(pc.match_substring_regex(terms, pattern), terms, None)


def _drop(pattern: str) -> TermFilter:
    return lambda terms: pc.if_else(pc.match_substring_regex(terms, pattern), None, terms)


def _decimal_digits(terms: pa.StringArray) -> pa.Array:
    changed = ["".join(str(int(c)) if c.isdecimal() else c for c in term) for term in terms.to_pylist()]
    return pa.array(changed, pa.string())


# The letters that Arabic is written with in several ways, as Lucene's ArabicNormalizer folds them.
_ARABIC = str.maketrans(
    {
        **dict.fromkeys("\u0622\u0623\u0625", "\u0627"),
        "\u0649": "\u064a",
        "\u0629": "\u0647",
        **dict.fromkeys("\u0640\u064b\u064c\u064d\u064e\u064f\u0650\u0651\u0652", ""),
    }
)


def _arabic_normalization(terms: pa.StringArray) -> pa.Array:
    return pa.array([term.translate(_ARABIC) or None for term in terms.to_pylist()], pa.string())


_NAMED: dict[str, TermFilter] = {
    "lowercase": lambda terms: pc.utf8_lower(terms),
    "asciifolding": _tantivy(tantivy.Filter.ascii_fold()),
    "alphanumonly": _keep(r"^[A-Za-z0-9]+$"),
    "cnalphanumonly": _keep(rf"^(?:{_HAN}|[A-Za-z0-9])+$"),
    "cncharonly": _keep(rf"^{_HAN}+$"),
    "removepunct": _drop(_PUNCTUATION),
    "decimaldigit": _decimal_digits,
    "arabic_normalization": _arabic_normalization,
}

FILTERS = (*_NAMED, "length", "stop", "stemmer", "decompounder", "regex", "synonym")
"""Names that a filter may have."""

UNSUPPORTED = {"pinyin": "it needs a dictionary of readings that Headwater does not ship"}
"""Filters of Milvus's that there are not, and why."""


def _length(options: Mapping[str, Any], files: WordFiles | None) -> TermFilter:
    low, high = options.get("min", 0), options.get("max")
    for name, value in (("min", low), ("max", high)):
        if (value is not None or name == "min") and (not isinstance(value, int) or value < 0):
            raise InvalidArgument(f"filter length: {name} must be a number of characters, got {value!r}")

    def apply(terms: pa.StringArray) -> pa.Array:
        sizes = pc.utf8_length(terms)
        fits = pc.greater_equal(sizes, low)
        if high is not None:
            fits = pc.and_(fits, pc.less_equal(sizes, high))
        return pc.if_else(fits, terms, None)

    return apply


def stop_list(words: Any) -> TermFilter:
    """Drop terms of a list; ``_english_`` in it stands for a language's.

    Raises:
        UnsupportedOption: a language has no list.
        InvalidArgument: it is no list of words.
    """
    given = [words] if isinstance(words, str) else words
    if not isinstance(given, Sequence) or not all(isinstance(word, str) for word in given):
        raise InvalidArgument(f"filter stop: stop_words must be a list of words, got {words!r}")
    languages = [word.strip("_") for word in given if word.startswith("_") and word.endswith("_")]
    for language in languages:
        if language not in STOP_WORDS:
            raise UnsupportedOption(
                f"no stop words for {language!r}",
                hint=f"lists: {', '.join(f'_{name}_' for name in STOP_WORDS)}",
            )
    own = pa.array([word for word in given if word.strip("_") not in languages], pa.string())
    of_languages = _tantivy(*map(tantivy.Filter.stopword, languages)) if languages else None

    def apply(terms: pa.StringArray) -> pa.Array:
        kept = terms if of_languages is None else of_languages(terms)
        return pc.if_else(pc.is_in(kept, own), None, kept) if len(own) else kept

    return apply


def _stop(options: Mapping[str, Any], files: WordFiles | None) -> TermFilter:
    words = _given(options, "stop_words", "stop_words_file", files)
    return stop_list(["_english_"] if words is None else words)


def _stemmer(options: Mapping[str, Any], files: WordFiles | None) -> TermFilter:
    language = options.get("language")
    if language not in STEMMERS:
        raise UnsupportedOption(f"no stemmer for {language!r}", hint=f"languages: {', '.join(STEMMERS)}")
    return _tantivy(tantivy.Filter.stemmer(language))


def _given(options: Mapping[str, Any], inline: str, file: str, files: WordFiles | None) -> Any:
    """What an option gives, and the lines of the file beside it; None where there is neither."""
    if file not in options:
        return options.get(inline)
    given = options.get(inline, [])
    lines = words_of(file, options[file], files)
    return [*given, *lines] if isinstance(given, list) else given


def _decompounder(options: Mapping[str, Any], files: WordFiles | None) -> TermFilter:
    words = _given(options, "word_list", "word_list_file", files)
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise InvalidArgument(f"filter decompounder: word_list must be a list of words, got {words!r}")
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.raw())
    analyzer = builder.filter(tantivy.Filter.split_compound(words)).build()
    return lambda terms: pa.array(
        [analyzer.analyze(term) for term in terms.to_pylist()], pa.list_(pa.string())
    )


def _regex(options: Mapping[str, Any], files: WordFiles | None) -> TermFilter:
    pattern = options.get("expr")
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except (pa.ArrowInvalid, TypeError) as error:
        raise InvalidArgument(
            f"filter regex: expr must be a regular expression (RE2), got {pattern!r}"
        ) from error
    return _keep(str(pattern))


def _synonym(options: Mapping[str, Any], files: WordFiles | None) -> TermFilter:
    """Lines of Solr's form: ``a, b, c`` (all the same) or ``a, b => c``."""
    lines = _given(options, "synonyms", "synonyms_file", files)
    expand = options.get("expand", True)
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise InvalidArgument(f"filter synonym: synonyms must be a list of lines, got {lines!r}")
    mapped: dict[str, dict[str, None]] = {}
    for line in lines:
        left, arrow, right = line.partition("=>")
        words = [word.strip() for word in left.split(",") if word.strip()]
        others = [word.strip() for word in right.split(",") if word.strip()] if arrow else words
        for word in words:
            into = others if arrow or expand else others[:1]
            mapped.setdefault(word, {} if arrow or not expand else {word: None}).update(dict.fromkeys(into))
    return lambda terms: pa.array(
        [list(mapped.get(term, (term,))) for term in terms.to_pylist()], pa.list_(pa.string())
    )


_Make = Callable[[Mapping[str, Any], WordFiles | None], TermFilter]

_MADE: dict[str, tuple[tuple[str, ...], _Make]] = {
    "length": (("min", "max"), _length),
    "stop": (("stop_words", "stop_words_file"), _stop),
    "stemmer": (("language",), _stemmer),
    "decompounder": (("word_list", "word_list_file"), _decompounder),
    "regex": (("expr",), _regex),
    "synonym": (("synonyms", "synonyms_file", "expand"), _synonym),
}


def filter_of(params: Any, files: WordFiles | None = None) -> TermFilter:
    """The filter of a name, or of ``{"type": name, ...}``.

    Args:
        params: the declaration.
        files: where files of words are found.

    Raises:
        UnsupportedOption: there is none of that name, or it has no such parameter.
        InvalidArgument: a parameter has no fitting value.
    """
    options = (
        {"type": params} if isinstance(params, str) else dict(params) if isinstance(params, Mapping) else {}
    )
    name = options.pop("type", None)
    if name in _NAMED and not options:
        return _NAMED[name]
    if name in UNSUPPORTED:
        raise UnsupportedOption(
            f"filter {name} is not supported: {UNSUPPORTED[name]}", hint=f"filters: {', '.join(FILTERS)}"
        )
    if name not in FILTERS:
        raise UnsupportedOption(f"unknown filter {name!r}", hint=f"filters: {', '.join(FILTERS)}")
    known, make = _MADE.get(name, ((), None))
    unknown = [option for option in options if option not in known]
    if unknown or make is None:
        raise UnsupportedOption(
            f"filter {name} has no parameter {unknown[0]!r}", hint=f"parameters: {', '.join(known) or 'none'}"
        )
    return make(options, files)
