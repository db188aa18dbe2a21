"""Tokenizers: a column of texts in, lists of raw tokens out; one text in, the places of its tokens out.

A tokenizer runs over bytes of a whole column. What costs more than that - characters outside ASCII - is looked at once
for each distinct token (`parts`), not once for each occurrence.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import InvalidArgument, UnsupportedOption
from headwater.extras import load_extra
from headwater.index.text.unicode_words import HAN, word_runs
from headwater.index.text.word_files import WordFiles, words_of

__all__ = ["TOKENIZERS", "Tokenizer", "tokenizer_of"]

TOKENIZERS = ("standard", "whitespace", "jieba", "icu")
"""Names that `tokenizer` takes."""

UNSUPPORTED = {
    "lindera": "its Japanese, Korean and Chinese dictionaries are not shipped",
    "thai": "its dictionary is not shipped",
    "language_identifier": "no model that tells languages apart is shipped; name the language in a field, by_field",
}
"""Tokenizers of Milvus's that there are not, and why."""

_NOT_WORD = r"[^\p{L}\p{N}\p{M}]+"


class Tokenizer(Protocol):
    """Cuts texts into raw tokens."""

    def split(self, texts: pa.StringArray) -> pa.ListArray:
        """Raw tokens of each text; empty ones may be among them."""
        ...

    def split_one(self, text: str) -> list[str]:
        """`split` of one text, without a column; empty tokens and white space may fall differently."""
        ...

    def parts(self, raw: pa.StringArray) -> pa.ListArray:
        """The tokens that each distinct raw token stands for: none, itself, or several in a row."""
        ...

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where the tokens are: [start, stop) in characters, in order; the same tokens as `split` and `parts` give."""
        ...


def _alone(raw: pa.StringArray) -> pa.ListArray:
    """Every raw token by itself, without the empty ones."""
    kept = pc.greater(pc.binary_length(raw), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(kept)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), raw.filter(pa.array(kept)))


class Standard:
    """Runs of letters, digits and marks of any script."""

    _table = np.arange(256, dtype=np.uint8)
    for _byte in range(128):
        if not chr(_byte).isalnum():
            _table[_byte] = 32
    _spaces: ClassVar[dict[int, str]] = {byte: " " for byte in range(128) if not chr(byte).isalnum()}

    def split(self, texts: pa.StringArray) -> pa.ListArray:
        """See `Tokenizer`. Bytes of ASCII that are no letter or digit become spaces; the rest waits for `parts`."""
        texts = pa.concat_arrays([texts]) if texts.offset else texts
        data = texts.buffers()[2]
        if data is None or data.size == 0:
            return pc.ascii_split_whitespace(texts)
        spaced = self._table[np.frombuffer(data, np.uint8)]
        buffers = [texts.buffers()[0], texts.buffers()[1], pa.py_buffer(spaced)]
        return pc.ascii_split_whitespace(pa.StringArray.from_buffers(len(texts), *buffers[1:], buffers[0]))

    def split_one(self, text: str) -> list[str]:
        """See `Tokenizer`."""
        return text.translate(self._spaces).split(" ")

    def parts(self, raw: pa.StringArray) -> pa.ListArray:
        """See `Tokenizer`."""
        if pc.all(pc.string_is_ascii(raw)).as_py() is not False:
            return _alone(raw)
        lists = pc.split_pattern_regex(raw, _NOT_WORD)
        flat = lists.flatten()
        kept = pc.greater(pc.binary_length(flat), 0).to_numpy(zero_copy_only=False)
        counted = np.concatenate([[0], np.cumsum(kept)])
        offsets = counted[lists.offsets.to_numpy()].astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), flat.filter(pa.array(kept)))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """See `Tokenizer`."""
        return _runs([unicodedata.category(one)[0] in "LNM" for one in text])


class Whitespace:
    """Whatever stands between ASCII white space."""

    def split(self, texts: pa.StringArray) -> pa.ListArray:
        """See `Tokenizer`."""
        return pc.ascii_split_whitespace(texts)

    def split_one(self, text: str) -> list[str]:
        """See `Tokenizer`."""
        return [text[start:stop] for start, stop in self.spans(text)]

    def parts(self, raw: pa.StringArray) -> pa.ListArray:
        """See `Tokenizer`."""
        return _alone(raw)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """See `Tokenizer`."""
        return _runs([one not in " \t\n\r\v\f" for one in text])


class _BySpans:
    """A tokenizer that looks at one text at a time, for what comes to at `spans`."""

    def split(self, texts: pa.StringArray) -> pa.ListArray:
        """See `Tokenizer`."""
        words = [None if text is None else self.split_one(text) for text in texts.to_pylist()]
        return pa.array(words, pa.list_(pa.string()))

    def split_one(self, text: str) -> list[str]:
        """See `Tokenizer`."""
        return [text[start:stop] for start, stop in self.spans(text)]

    def parts(self, raw: pa.StringArray) -> pa.ListArray:
        """See `Tokenizer`."""
        return _alone(raw)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """See `Tokenizer`."""
        raise NotImplementedError


class Jieba(_BySpans):
    """Chinese words by dictionary and hidden Markov model.

    Args:
        mode: `search`, which also gives the shorter words inside long ones, or `exact`.
        hmm: whether words that the dictionary lacks are guessed.
        words: words to know besides those of the dictionary: ``word``, ``word frequency`` or ``word frequency tag``.
        dictionary: whether the dictionary that comes with it is used.
    """

    def __init__(
        self, mode: str = "search", hmm: bool = True, words: Sequence[str] = (), *, dictionary: bool = True
    ) -> None:
        if mode not in ("search", "exact"):
            raise InvalidArgument(f"jieba: mode must be 'search' or 'exact', got {mode!r}")
        module = load_extra("rjieba", "chinese", need="the Chinese tokenizer")
        self._cut = module.Jieba() if dictionary else module.Jieba.empty()
        for line in words:
            word, *rest = line.split()
            if rest and not rest[0].isdecimal():
                raise InvalidArgument(
                    f"jieba: expected a word, its frequency and its tag in a line of the dictionary, got {line!r}"
                )
            # Without a frequency it gets one that wins over its parts.
            self._cut.add_word(word, int(rest[0]) if rest else None, rest[1] if len(rest) > 1 else None)
        self._library_mode, self._hmm = "search" if mode == "search" else "default", hmm

    def spans(self, text: str) -> list[tuple[int, int]]:
        """See `Tokenizer`; one call into the library for each text."""
        found = self._cut.tokenize(text, self._library_mode, self._hmm)
        return [(start, stop) for _, start, stop in found]


class Icu(_BySpans):
    """Words, spaces and punctuation by the rules of Unicode, Chinese words by jieba's dictionary."""

    def __init__(self) -> None:
        self._chinese = Jieba("exact", hmm=False)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """See `Tokenizer`."""
        found: list[tuple[int, int]] = []
        for start, stop, kind in word_runs(text):
            if kind == HAN:
                found += [(start + a, start + b) for a, b in self._chinese.spans(text[start:stop])]
            else:
                found.append((start, stop))
        return found


def _runs(inside: list[bool]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.array([False, *inside, False]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def tokenizer_of(params: Any, files: WordFiles | None = None) -> Tokenizer:
    """The tokenizer of a name, or of ``{"type": name, ...}``.

    Args:
        params: the declaration.
        files: where files of words are found.

    Raises:
        UnsupportedOption: there is none of that name, or it has no such parameter.
        MissingExtra: it needs a package that is not installed.
    """
    options: dict[str, Any] = (
        {"type": params} if isinstance(params, str) else dict(params) if isinstance(params, Mapping) else {}
    )
    name = options.pop("type", None)
    if name in UNSUPPORTED:
        raise UnsupportedOption(
            f"tokenizer {name} is not supported: {UNSUPPORTED[name]}",
            hint=f"tokenizers: {', '.join(TOKENIZERS)}",
        )
    if name not in TOKENIZERS:
        raise UnsupportedOption(
            f"analyzer: unknown tokenizer {name!r}", hint=f"tokenizers: {', '.join(TOKENIZERS)}"
        )
    if name == "jieba":
        return _jieba(options, files)
    if options:
        raise UnsupportedOption(f"tokenizer {name} has no parameter {min(options)!r}")
    made: dict[str, Callable[[], Tokenizer]] = {"standard": Standard, "whitespace": Whitespace, "icu": Icu}
    return made[name]()


def _jieba(options: Mapping[str, Any], files: WordFiles | None) -> Jieba:
    unknown = set(options) - {"mode", "hmm", "dict", "extra_dict_file"}
    if unknown:
        raise UnsupportedOption(
            f"tokenizer jieba has no parameter {min(unknown)!r}",
            hint="parameters: dict, extra_dict_file, mode, hmm",
        )
    given = options.get("dict", ["_default_"])
    if not isinstance(given, list) or not all(isinstance(word, str) and word.split() for word in given):
        raise InvalidArgument(f"jieba: dict must be a list of words, got {given!r}")
    if "_extend_default_" in given:
        raise UnsupportedOption(
            "jieba: the dictionary '_extend_default_' is not shipped",
            hint="use '_default_', or extra_dict_file",
        )
    words = [word for word in given if word != "_default_"]
    if "extra_dict_file" in options:
        words += words_of("extra_dict_file", options["extra_dict_file"], files)
    chosen = {name: options[name] for name in ("mode", "hmm") if name in options}
    return Jieba(**chosen, words=words, dictionary="_default_" in given)
