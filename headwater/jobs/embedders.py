"""Embedders: texts to vectors, without a server and without a download.

`WordLlamaEmbedder` sees meaning ("car" is near "automobile"): averaged token embeddings of a language model, whose
weights come with the `embed` extra. `LexicalEmbedder` needs no extra and sees words and their spelling only; it is for
tests and as a baseline.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from headwater.errors import InvalidArgument, MissingExtra
from headwater.extras import load_extra
from headwater.types import FloatMatrix

__all__ = [
    "EMBEDDER_PROPERTY",
    "Embedder",
    "LexicalEmbedder",
    "WordLlamaEmbedder",
    "best_embedder",
    "embedder",
]

EMBEDDER_PROPERTY = "headwater.embedder"
"""Collection property that names the embedder of its texts, so that questions are embedded alike."""


class Embedder(Protocol):
    """Texts to vectors of length one.

    Attributes:
        name: the word that `embedder` knows it by.
        dim: numbers in a vector.
    """

    name: ClassVar[str]
    dim: int

    def embed(self, texts: Sequence[str]) -> FloatMatrix:
        """(n, dim) float32 of length one; zeros for a text without a word."""
        ...


_WORD = re.compile(r"[a-z0-9]+")
_STOP = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "by",
        "can",
        "do",
        "does",
        "for",
        "from",
        "has",
        "have",
        "how",
        "i",
        "if",
        "in",
        "is",
        "it",
        "its",
        "not",
        "of",
        "on",
        "or",
        "that",
        "the",
        "this",
        "to",
        "was",
        "what",
        "when",
        "where",
        "which",
        "who",
        "will",
        "with",
        "you",
        "your",
    ]
)


class LexicalEmbedder:
    """Hashed words and character trigrams, signed, square-root weighted, scaled to length one.

    Args:
        dim: numbers in a vector.

    Reference: Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", 2009.
    """

    name: ClassVar[str] = "lexical"

    def __init__(self, dim: int = 256) -> None:
        self.dim = dim
        self._features: dict[str, list[tuple[int, float]]] = {}

    def _of_word(self, word: str) -> list[tuple[int, float]]:
        found = self._features.get(word)
        if found is None:
            padded = f"<{word}>"
            grams = [padded[i : i + 3] for i in range(len(padded) - 2)]
            weighted = [(f"w:{word}", 1.0), *((gram, 0.5 / len(grams) ** 0.5) for gram in grams)]
            found = []
            for text, weight in weighted:
                code = zlib.crc32(text.encode())
                found.append((code % self.dim, weight if code & 0x8000_0000 else -weight))
            if len(self._features) < 500_000:
                self._features[word] = found
        return found

    def embed(self, texts: Sequence[str]) -> FloatMatrix:
        """(n, dim) float32 of length one; zeros for a text without a word."""
        out = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            counts: dict[str, int] = {}
            for word in _WORD.findall(text.lower()):
                if word not in _STOP:
                    counts[word] = counts.get(word, 0) + 1
            for word, count in counts.items():
                weight = count**0.5
                for position, value in self._of_word(word):
                    out[row, position] += weight * value
        return _unit(out)


class WordLlamaEmbedder:
    """Averaged token embeddings distilled from language models, 256 numbers; needs the `embed` extra.

    Raises:
        MissingExtra: the extra is not installed.

    Reference: Miller, "WordLlama: Recycled Token Embeddings from Large Language Models", 2024.
    """

    name: ClassVar[str] = "wordllama"

    def __init__(self) -> None:
        wordllama = load_extra("wordllama", "embed")
        # The package looks for its own tokenizer in a cache folder; the one it ships has that folder's layout.
        own = Path(str(wordllama.__file__)).parent
        self._model = wordllama.WordLlama.load(cache_dir=own, disable_download=True)
        self.dim = 256

    def embed(self, texts: Sequence[str]) -> FloatMatrix:
        """See `Embedder`."""
        if not texts:
            return np.empty((0, self.dim), np.float32)
        return _unit(np.nan_to_num(self._model.embed(list(texts), norm=False)))


def _unit(vectors: FloatMatrix) -> FloatMatrix:
    scaled: FloatMatrix = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return scaled.astype(np.float32, copy=False)


def embedder(name: str, dim: int = 256) -> Embedder:
    """An embedder by name.

    Args:
        name: `lexical` or `wordllama`.
        dim: numbers in a vector, where the embedder lets one choose.

    Raises:
        InvalidArgument: there is none of that name.
        MissingExtra: its extra is not installed.
    """
    if name == LexicalEmbedder.name:
        return LexicalEmbedder(dim)
    if name == WordLlamaEmbedder.name:
        return WordLlamaEmbedder()
    raise InvalidArgument(
        f"no embedder {name!r}", hint=f"embedders: {LexicalEmbedder.name}, {WordLlamaEmbedder.name}"
    )


def best_embedder() -> Embedder:
    """The one that sees meaning where its extra is installed, the lexical one elsewhere."""
    try:
        return WordLlamaEmbedder()
    except MissingExtra:
        return LexicalEmbedder()
