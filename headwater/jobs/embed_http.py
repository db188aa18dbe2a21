"""Embeddings from a server that speaks OpenAI's protocol: OpenAI itself, vLLM, Ollama, llama.cpp, TEI and many more."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from headwater.errors import DimensionMismatch, InvalidArgument, SchemaMismatch
from headwater.json_service import JsonService
from headwater.types import FloatMatrix

__all__ = ["HttpEmbedder"]

_ATTEMPTS = 5
_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 8.0
_HEAD_BYTES = 1 << 20
_TEXT_BYTES = 1 << 20
"""An answer may have so much for each text: the longest vector, 32,768 numbers of 25 digits, is less."""

_SHOWN_BYTES = 200


class HttpEmbedder:
    """`POST {url}` with ``{"model", "input", "dimensions"}``; needs the `http` extra.

    A request that fails on the way, or is answered by 408, 409, 425, 429, 500, 502, 503 or 504, is tried five times in
    all, with waits that double from 0.25 s, at most 8 s each; a server's Retry-After is honoured up to that.

    Args:
        model: the server's name of the model.
        dim: numbers in a vector; None for what the model gives.
        url: of the endpoint; a base such as ``http://localhost:11434/v1`` is completed.
        credential: gives the secret when a request is made; None for none.
        batch: most texts of a request.
        timeout_s: for one request.

    Raises:
        MissingExtra: the extra is not installed.
        InvalidArgument: the URL is not one of HTTP.
    """

    params: ClassVar[tuple[str, ...]] = (
        "model_name",
        "dim",
        "url",
        "credential",
        "max_client_batch_size",
        "timeout_ms",
        "ingestion_prompt",
        "search_prompt",
    )

    def __init__(
        self,
        model: str,
        *,
        dim: int | None = None,
        url: str,
        credential: Callable[[], str | None],
        batch: int = 128,
        timeout_s: float = 30.0,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise InvalidArgument(f"embedder url {url!r}: expected http:// or https://")
        self._service = JsonService(
            url if url.rstrip("/").endswith("/embeddings") else f"{url.rstrip('/')}/embeddings",
            "embedding service",
            timeout_s,
            attempts=_ATTEMPTS,
            first_wait_s=_FIRST_WAIT_S,
            longest_wait_s=_LONGEST_WAIT_S,
            key_hint="check the credential that the function names; OPENAI_API_KEY is sent to OPENAI_BASE_URL only",
            request_hint="check url and model_name",
        )
        self._model = model
        self._dim = dim
        self._credential = credential
        self._batch = batch
        self._client = self._service.client()

    def embed(self, texts: Sequence[str]) -> FloatMatrix:
        """(n, dim) float32, as the server gives them.

        Raises:
            Unavailable: the server did not answer well within the attempts.
            PermissionDenied: the server refused the key.
            InvalidArgument: the server refused the request; carries its words.
        """
        parts = [
            self._request(texts[start : start + self._batch]) for start in range(0, len(texts), self._batch)
        ]
        if len({part.shape[1] for part in parts}) > 1:
            raise DimensionMismatch(f"{self._service} gave vectors of different lengths")
        return np.concatenate(parts) if parts else np.empty((0, self._dim or 0), np.float32)

    def _request(self, texts: Sequence[str]) -> FloatMatrix:
        body: dict[str, Any] = {"model": self._model, "input": list(texts), "encoding_format": "float"}
        if self._dim is not None:
            body["dimensions"] = self._dim
        key = self._credential()
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        answer = self._service.post(self._client, body, headers, _HEAD_BYTES + len(texts) * _TEXT_BYTES)
        return self._vectors(answer, len(texts))

    def _vectors(self, answer: bytes, count: int) -> FloatMatrix:
        try:
            found = sorted(json.loads(answer)["data"], key=lambda one: one["index"])
            matrix = np.array([one["embedding"] for one in found], np.float32)
        except (ValueError, KeyError, TypeError) as error:
            said = answer[:_SHOWN_BYTES].decode("utf-8", "replace")
            raise SchemaMismatch(f"{self._service} gave no embeddings: {said}") from error
        if matrix.ndim != 2 or len(matrix) != count:
            raise SchemaMismatch(f"{self._service} gave vectors of shape {matrix.shape} for {count} texts")
        return matrix
