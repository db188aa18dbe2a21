"""A cross-encoder on this machine: an ONNX model and its tokenizer, two files; needs the `onnx` extra."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from headwater.errors import InvalidArgument
from headwater.extras import load_extra

__all__ = ["OnnxScorer"]

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class OnnxScorer:
    """Scores texts by a cross-encoder, as exported by Optimum or sentence-transformers.

    The model takes `input_ids` and, where it has them, `attention_mask` and `token_type_ids`, all (n, length) int64;
    its first output is (n,) or (n, 1), a score, or (n, 2), of which the second is the score.

    Args:
        model: the `.onnx` file.
        tokenizer: the `tokenizer.json` file.
        max_length: tokens of a question and a text together; the text is cut.
        batch: texts in one run of the model.
        sigmoid: bring scores into (0, 1).

    Raises:
        InvalidArgument: a file is missing or no such model.
        MissingExtra: onnxruntime or tokenizers is not installed.
    """

    name: ClassVar[str] = "onnx"

    def __init__(
        self,
        model: str | Path,
        tokenizer: str | Path,
        *,
        max_length: int = 512,
        batch: int = 32,
        sigmoid: bool = False,
    ) -> None:
        runtime, tokenizers = load_extra("onnxruntime", "onnx"), load_extra("tokenizers", "onnx")
        for what, value in (("max_length", max_length), ("batch", batch)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InvalidArgument(f"OnnxScorer: {what} must be a whole number above 0, got {value!r}")
        for path in (Path(model), Path(tokenizer)):
            if not path.is_file():
                raise InvalidArgument(f"OnnxScorer: there is no file {path}")
        self._path, self._batch, self._sigmoid = Path(model), batch, sigmoid
        try:
            self._session = runtime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
            self._tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer))
        except Exception as error:
            raise InvalidArgument(f"OnnxScorer: {model}, {tokenizer}: {error}") from error
        self._tokenizer.enable_truncation(max_length, strategy="only_second")
        self._tokenizer.enable_padding()
        self._inputs = [one.name for one in self._session.get_inputs()]
        if "input_ids" not in self._inputs or set(self._inputs) - set(_INPUTS):
            raise InvalidArgument(
                f"OnnxScorer: {model} takes {', '.join(self._inputs)}: expected input_ids, and perhaps "
                "attention_mask and token_type_ids"
            )
        # The tokenizer's truncation is state; the session is made for many threads.
        self._lock = threading.Lock()

    def __call__(self, query: str, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(n,) scores."""
        parts = [
            self._run(query, texts[start : start + self._batch])
            for start in range(0, len(texts), self._batch)
        ]
        scores = np.concatenate(parts) if parts else np.empty(0)
        return 1.0 / (1.0 + np.exp(-scores)) if self._sigmoid else scores

    def _run(self, query: str, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
        with self._lock:
            encoded = self._tokenizer.encode_batch([(query, text) for text in texts])
        known = {
            "input_ids": np.array([one.ids for one in encoded], np.int64),
            "attention_mask": np.array([one.attention_mask for one in encoded], np.int64),
            "token_type_ids": np.array([one.type_ids for one in encoded], np.int64),
        }
        [logits, *_] = self._session.run(None, {name: known[name] for name in self._inputs})
        out = np.asarray(logits, np.float64)
        if out.shape[0] != len(texts) or out.ndim > 2 or (out.ndim == 2 and out.shape[1] not in (1, 2)):
            raise InvalidArgument(
                f"OnnxScorer: {self._path} answered {out.shape} for {len(texts)} texts: expected one score for each"
            )
        return out if out.ndim == 1 else out[:, -1]

    def __repr__(self) -> str:
        return f"OnnxScorer({str(self._path)!r})"
