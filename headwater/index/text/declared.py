"""Analyzers as they are declared: JSON parameters, Milvus's, in; a tokenizer and filters out.

A declaration is one analyzer, or several by name, of which a field of the row chooses.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from headwater.errors import InvalidArgument, UnsupportedOption
from headwater.index.text.analyzer import Analyzer
from headwater.index.text.filters import STEMMERS, STOP_WORDS, filter_of, stop_list
from headwater.index.text.multi import DEFAULT, MultiAnalyzer
from headwater.index.text.tokenizers import Standard, tokenizer_of
from headwater.index.text.word_files import WordFiles

__all__ = ["PRESETS", "analyzer_of", "declared_analyzer"]

PRESETS = ("standard", "chinese", *STEMMERS)
"""Names that `type` takes."""

_KEPT = 256

T = TypeVar("T")


class _Kept:
    """The analyzers made last, by their parameters; these name files by digest, so equal text is an equal analyzer."""

    def __init__(self) -> None:
        self._made: OrderedDict[str, Analyzer | MultiAnalyzer] = OrderedDict()
        self._lock = threading.Lock()

    def get_or(self, params: str, make: Callable[[], Analyzer | MultiAnalyzer]) -> Analyzer | MultiAnalyzer:
        with self._lock:
            if params in self._made:
                self._made.move_to_end(params)
                return self._made[params]
        made = make()
        with self._lock:
            self._made[params] = made
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
        return made


_kept = _Kept()


def declared_analyzer(params: str, files: WordFiles | None = None) -> Analyzer | MultiAnalyzer:
    """What the parameters that a field keeps declare.

    Args:
        params: JSON text of ``{"type": preset, ...}``, of ``{"tokenizer": ..., "filter": [...]}``, or of
            ``{"by_field": ..., "analyzers": {name: parameters}, "alias": {value: name}}``.
        files: where files of words are found.

    Raises:
        UnsupportedOption: a preset, tokenizer, filter or parameter is unknown; names those that are known.
        InvalidArgument: a value does not fit.
        MissingExtra: the tokenizer needs a package that is not installed.
    """

    def make() -> Analyzer | MultiAnalyzer:
        options = _mapping(params)
        return _several(options, files) if "analyzers" in options else _one(options, files)

    return _kept.get_or(params, make)


def analyzer_of(params: str, files: WordFiles | None = None, name: str | None = None) -> Analyzer:
    """One analyzer of a declaration; see `declared_analyzer`.

    Args:
        params: JSON text.
        files: where files of words are found.
        name: of several, which; the default one where there is none of the name.

    Raises:
        InvalidArgument: a name is given, and the declaration has one analyzer only.
    """
    declared = declared_analyzer(params, files)
    if isinstance(declared, MultiAnalyzer):
        return declared.named(name)
    if name:
        raise InvalidArgument(
            f"analyzer_name {name!r}: the field has one analyzer", hint="leave analyzer_name out"
        )
    return declared


def _mapping(params: str) -> Mapping[str, Any]:
    try:
        options: Any = json.loads(params)
    except ValueError as error:
        raise InvalidArgument(f"analyzer parameters are not JSON: {error}") from error
    if not isinstance(options, Mapping):
        raise InvalidArgument(f"analyzer parameters must be a mapping, got {params}")
    return options


def _several(options: Mapping[str, Any], files: WordFiles | None) -> MultiAnalyzer:
    unknown = sorted(set(options) - {"by_field", "analyzers", "alias"})
    if unknown:
        raise UnsupportedOption(
            f"a multi analyzer has no parameter {unknown[0]!r}", hint="parameters: by_field, analyzers, alias"
        )
    field, declared, alias = options.get("by_field"), options["analyzers"], options.get("alias") or {}
    if field is None:
        raise InvalidArgument(
            "multi analyzer params now must set by_field to specify with field decide analyzer"
        )
    if not isinstance(field, str):
        raise InvalidArgument(f"multi analyzer params by_field must be string but now: {field!r}")
    if not isinstance(declared, Mapping):
        raise InvalidArgument(
            f"multi analyzer: analyzers must be a mapping of names to parameters, got {declared!r}"
        )
    if not isinstance(alias, Mapping) or not all(isinstance(one, str) for one in alias.values()):
        raise InvalidArgument(f"multi analyzer alias must be string map but now: {alias!r}")
    if DEFAULT not in declared:
        raise InvalidArgument("multi analyzer must set default analyzer for all unknown value")
    made = {}
    for name, params in declared.items():
        try:
            made[name] = _one(params, files)
        except (InvalidArgument, UnsupportedOption) as error:
            raise type(error)(f"analyzer {name} params invalid: {error.message}", hint=error.hint) from error
    return MultiAnalyzer(field, made, alias)


def _one(options: Any, files: WordFiles | None) -> Analyzer:
    if isinstance(options, str):
        options = {"type": options}
    if not isinstance(options, Mapping):
        raise InvalidArgument(f"analyzer parameters must be a mapping, got {options!r}")
    if "type" in options:
        return _preset(options["type"], {name: one for name, one in options.items() if name != "type"})
    unknown = sorted(set(options) - {"tokenizer", "filter"})
    if unknown:
        raise UnsupportedOption(
            f"an analyzer has no parameter {unknown[0]!r}", hint="parameters: type, or tokenizer and filter"
        )
    filters = options.get("filter", [])
    if not isinstance(filters, list):
        raise InvalidArgument(f"analyzer: filter must be a list, got {filters!r}")
    tokenizer = tokenizer_of(options.get("tokenizer", "standard"), files)
    return Analyzer(tokenizer, [filter_of(one, files) for one in filters])


def _preset(name: Any, options: Mapping[str, Any]) -> Analyzer:
    if name not in PRESETS:
        raise UnsupportedOption(
            f"unknown analyzer {name!r}", hint=f"analyzers: {', '.join(PRESETS)}; or tokenizer and filter"
        )
    takes_words = name != "chinese"
    if set(options) - ({"stop_words"} if takes_words else set()):
        raise UnsupportedOption(
            f"analyzer {name} has no parameter {min(set(options) - {'stop_words'} or options)!r}",
            hint="parameters: stop_words" if takes_words else "it has none",
        )
    if name == "chinese":
        return Analyzer(tokenizer_of("jieba"), [filter_of("cnalphanumonly")])
    own = [stop_list(options["stop_words"])] if "stop_words" in options else []
    lowercase = filter_of("lowercase")
    if name == "standard":
        return Analyzer(Standard(), [lowercase, *own])
    stemmer = filter_of({"type": "stemmer", "language": name})
    if name == "english":
        # Milvus's order, and so its terms.
        return Analyzer(Standard(), [lowercase, stemmer, stop_list("_english_"), *own])
    if name == "arabic":
        folded = [filter_of("decimaldigit"), filter_of("arabic_normalization")]
        return Analyzer(Standard(), [lowercase, *folded, *own, stemmer])
    common = [stop_list(f"_{name}_")] if name in STOP_WORDS else []
    return Analyzer(Standard(), [lowercase, *common, *own, stemmer])
