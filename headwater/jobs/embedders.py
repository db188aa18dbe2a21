"""Embedders: texts to vectors.

`LexicalEmbedder` needs no model and no download. It sees words and their spelling, not their meaning: "car" and
"automobile" are strangers to it. It is for demos, tests and as a baseline.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np

from headwater.types import FloatMatrix

__all__ = ["LexicalEmbedder"]

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
        norms = np.linalg.norm(out, axis=1, keepdims=True)
        scaled: FloatMatrix = out / np.maximum(norms, 1e-12)
        return scaled
