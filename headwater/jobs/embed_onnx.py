"""A sentence model that runs here: an ONNX file and its tokenizer, no server and no download."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from headwater.errors import Corrupt, InvalidArgument, ObjectNotFound
from headwater.extras import load_extra
from headwater.types import FloatMatrix

__all__ = ["OnnxEmbedder"]

MODEL_FILES = ("model.onnx", "onnx/model.onnx")


class OnnxEmbedder:
    """Mean of the token vectors that are not padding, scaled to length one; needs the `onnx` extra.

    A model that gives one vector a text (an output `sentence_embedding`, or one of two dimensions) is taken as it is.

    Args:
        path: a folder with `model.onnx` (or `onnx/model.onnx`) and `tokenizer.json`, as exported by
            sentence-transformers.
        pooling: `mean`, or `cls` for the first token's vector.
        normalize: whether vectors are scaled to length one.
        max_length: most tokens of a text; the rest is cut.
        batch: texts that run together.

    Raises:
        MissingExtra: the extra is not installed.
        ObjectNotFound: a file is not there.
        Corrupt: a file is not what it should be.
        InvalidArgument: the model needs an input that a tokenizer does not give.

    Reference: Reimers and Gurevych, "Sentence-BERT", 2019.
    """

    params: ClassVar[tuple[str, ...]] = (
        "path",
        "dim",
        "pooling",
        "normalize",
        "max_length",
        "max_client_batch_size",
        "ingestion_prompt",
        "search_prompt",
    )

    def __init__(
        self,
        path: str | Path,
        *,
        pooling: str = "mean",
        normalize: bool = True,
        max_length: int = 512,
        batch: int = 32,
    ) -> None:
        if pooling not in ("mean", "cls"):
            raise InvalidArgument(f"onnx embedder: pooling must be 'mean' or 'cls', got {pooling!r}")
        runtime, tokenizers = load_extra("onnxruntime", "onnx"), load_extra("tokenizers", "onnx")
        folder = Path(path)
        model = next((folder / name for name in MODEL_FILES if (folder / name).is_file()), None)
        vocabulary = folder / "tokenizer.json"
        if model is None or not vocabulary.is_file():
            missing = MODEL_FILES[0] if model is None else vocabulary.name
            raise ObjectNotFound(f"onnx embedder: no {missing} in {str(folder)!r}")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(vocabulary))
        except Exception as error:  # the library raises no narrower class
            raise Corrupt(f"{str(vocabulary)!r} is not a tokenizer: {error}") from error
        self._tokenizer.enable_truncation(max_length)
        self._tokenizer.enable_padding()
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library raises no narrower class
            raise Corrupt(f"{str(model)!r} is not an ONNX model: {error}") from error
        self._inputs = [one.name for one in self._session.get_inputs()]
        unknown = set(self._inputs) - {"input_ids", "attention_mask", "token_type_ids"}
        if unknown or "input_ids" not in self._inputs:
            raise InvalidArgument(
                f"{str(model)!r} has the inputs {', '.join(self._inputs)}",
                hint="expected input_ids, and attention_mask and token_type_ids where the model needs them",
            )
        names = [one.name for one in self._session.get_outputs()]
        self._output = "sentence_embedding" if "sentence_embedding" in names else names[0]
        self._pooling = pooling
        self._normalize = normalize
        self._batch = batch

    def embed(self, texts: Sequence[str]) -> FloatMatrix:
        """(n, dim) float32."""
        # Texts of like length run together, so that little is computed for padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        parts = [
            self._run([texts[i] for i in order[start : start + self._batch]])
            for start in range(0, len(order), self._batch)
        ]
        if not parts:
            return np.empty((0, self._run([""]).shape[1]), np.float32)
        vectors = np.empty((len(texts), parts[0].shape[1]), np.float32)
        vectors[order] = np.concatenate(parts)
        return vectors

    def _run(self, texts: Sequence[str]) -> FloatMatrix:
        encoded = self._tokenizer.encode_batch(list(texts))
        mask = np.array([one.attention_mask for one in encoded], np.int64)
        given: dict[str, Any] = {
            "input_ids": np.array([one.ids for one in encoded], np.int64),
            "attention_mask": mask,
            "token_type_ids": np.array([one.type_ids for one in encoded], np.int64),
        }
        if mask.shape[1] == 0:
            given = {name: np.zeros((len(texts), 1), np.int64) for name in given}
            mask = given["attention_mask"]
        [found] = self._session.run([self._output], {name: given[name] for name in self._inputs})
        vectors = found.astype(np.float32)
        if vectors.ndim == 3 and self._pooling == "cls":
            vectors = vectors[:, 0]
        elif vectors.ndim == 3:
            weights = mask[:, :, None].astype(np.float32)
            vectors = (vectors * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1.0)
        if self._normalize:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        pooled: FloatMatrix = np.ascontiguousarray(vectors, np.float32)
        return pooled
