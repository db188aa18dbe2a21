"""Embeddings from a server that speaks OpenAI's protocol: OpenAI itself, vLLM, Ollama, llama.cpp, TEI and many more."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from headwater.errors import (
    DimensionMismatch,
    InvalidArgument,
    PermissionDenied,
    SchemaMismatch,
    Unavailable,
)
from headwater.extras import load_extra
from headwater.types import FloatMatrix

__all__ = ["HttpEmbedder"]

_ATTEMPTS = 5
_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 8.0
_AGAIN = frozenset((408, 409, 425, 429, 500, 502, 503, 504))
_SHOWN = 200


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
        url: str = "https://api.openai.com/v1/embeddings",
        credential: Callable[[], str | None] = lambda: os.environ.get("OPENAI_API_KEY"),
        batch: int = 128,
        timeout_s: float = 30.0,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise InvalidArgument(f"embedder url {url!r}: expected http:// or https://")
        self._url = url if url.rstrip("/").endswith("/embeddings") else f"{url.rstrip('/')}/embeddings"
        self._model = model
        self._dim = dim
        self._credential = credential
        self._batch = batch
        self._httpx = load_extra("httpx", "http")
        self._client = self._httpx.Client(timeout=timeout_s)

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
            raise DimensionMismatch(f"{self._url} gave vectors of different lengths")
        return np.concatenate(parts) if parts else np.empty((0, self._dim or 0), np.float32)

    def _request(self, texts: Sequence[str]) -> FloatMatrix:
        body: dict[str, Any] = {"model": self._model, "input": list(texts), "encoding_format": "float"}
        if self._dim is not None:
            body["dimensions"] = self._dim
        key = self._credential()
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        wait_s, why = _FIRST_WAIT_S, ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            try:
                answer = self._client.post(self._url, json=body, headers=headers)
            except self._httpx.TransportError as error:
                why = f"{type(error).__name__}: {error}"
                continue
            if answer.status_code == 200:
                return self._vectors(answer, len(texts))
            why = f"status {answer.status_code}: {answer.text[:_SHOWN]}"
            if answer.status_code in (401, 403):
                raise PermissionDenied(f"{self._url} refused: {why}", hint="check the key of the embedder")
            if answer.status_code not in _AGAIN:
                raise InvalidArgument(f"{self._url} refused model {self._model!r}: {why}")
            wait_s = max(wait_s, _asked_wait_s(answer.headers))
        raise Unavailable(f"{self._url} failed {_ATTEMPTS} times, last with {why}", url=self._url)

    def _vectors(self, answer: Any, count: int) -> FloatMatrix:
        try:
            found = sorted(answer.json()["data"], key=lambda one: one["index"])
            matrix = np.array([one["embedding"] for one in found], np.float32)
        except (ValueError, KeyError, TypeError) as error:
            raise SchemaMismatch(f"{self._url} gave no embeddings: {answer.text[:_SHOWN]}") from error
        if matrix.ndim != 2 or len(matrix) != count:
            raise SchemaMismatch(f"{self._url} gave vectors of shape {matrix.shape} for {count} texts")
        return matrix


def _asked_wait_s(headers: Mapping[str, str]) -> float:
    try:
        return min(float(headers.get("retry-after", 0)), _LONGEST_WAIT_S)
    except ValueError:
        return 0.0
