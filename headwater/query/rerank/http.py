"""A reranking service over HTTP: what Cohere, Jina, Voyage, vLLM and TEI answer to; needs the `http` extra."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

from headwater.errors import InvalidArgument, Unavailable
from headwater.extras import load_extra
from headwater.json_service import JsonService

__all__ = ["HttpScorer"]

_ANSWER_BYTES = 16 << 20
_STYLES = ("cohere", "tei")


class HttpScorer:
    """Scores texts by a service.

    Args:
        endpoint: the whole address, such as ``https://api.cohere.com/v2/rerank`` or ``http://localhost:8080/rerank``.
        model: the model's name, where the service has several.
        style: ``cohere``: documents in, ``results`` (or ``data``) with `index` and `relevance_score` out, as Cohere,
            Jina, Voyage, SiliconFlow and vLLM speak; ``tei``: texts in, a list of `index` and `score` out.
        api_key_env: the environment variable that holds the key, sent as a bearer token. It is read for each call and
            kept nowhere.
        timeout_s: how long one request may take.
        attempts: how often a request is sent that fails for a passing reason, waiting longer each time.
        batch: texts in a request, at most.
        options: further fields of the request, such as ``{"truncate": True}``.

    Raises:
        InvalidArgument: an argument is wrong.
        MissingExtra: httpx is not installed.
    """

    name: ClassVar[str] = "http"

    def __init__(
        self,
        endpoint: str,
        *,
        model: str | None = None,
        style: str = "cohere",
        api_key_env: str | None = None,
        timeout_s: float = 30.0,
        attempts: int = 3,
        batch: int = 128,
        options: dict[str, Any] | None = None,
    ) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidArgument(f"HttpScorer: expected an http(s) address, got {endpoint!r}")
        if parts.username or parts.password:
            raise InvalidArgument(
                "HttpScorer: an address holds no password; name the key's variable: api_key_env="
            )
        if style not in _STYLES:
            raise InvalidArgument(f"HttpScorer: style {style!r}: expected one of {', '.join(_STYLES)}")
        for what, value in (("timeout_s", timeout_s), ("attempts", attempts), ("batch", batch)):
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
                raise InvalidArgument(f"HttpScorer: {what} must be above 0, got {value!r}")
        self._service = JsonService(
            endpoint,
            "reranking service",
            timeout_s,
            attempts=int(attempts),
            key_hint=f"check the key in {api_key_env}" if api_key_env else "name a key: api_key_env=",
            request_hint="check endpoint, model and style",
        )
        load_extra("httpx", "http")
        self.endpoint, self.model, self.style, self.api_key_env = endpoint, model, style, api_key_env
        self.timeout_s, self.attempts, self.batch = timeout_s, int(attempts), int(batch)
        self.options = dict(options or {})

    def __call__(self, query: str, texts: Sequence[str]) -> list[float]:
        """A score for each text.

        Raises:
            Unavailable: the service does not answer, or answers what cannot be scores.
            Timeout: it takes too long.
            PermissionDenied: it refuses the key.
            InvalidArgument: it refuses the request.
        """
        scores: list[float] = []
        headers = self._headers()
        with self._service.client() as client:
            for start in range(0, len(texts), self.batch):
                some = list(texts[start : start + self.batch])
                answer = self._service.post(client, self._body(query, some), headers, _ANSWER_BYTES)
                scores += self._scores(self._parsed(answer), len(some))
        return scores

    def _headers(self) -> dict[str, str]:
        if self.api_key_env is None:
            return {}
        key = os.environ.get(self.api_key_env)
        if not key:
            raise InvalidArgument(
                f"HttpScorer: the environment variable {self.api_key_env} holds no key for {self.endpoint}"
            )
        return {"Authorization": f"Bearer {key}"}

    def _body(self, query: str, texts: list[str]) -> dict[str, Any]:
        body: dict[str, Any] = {"query": query, **self.options}
        body["texts" if self.style == "tei" else "documents"] = texts
        if self.model is not None:
            body["model"] = self.model
        return body

    def _parsed(self, answer: bytes) -> Any:
        try:
            return json.loads(answer)
        except ValueError as error:
            raise Unavailable(f"{self._service} answered no JSON: {answer[:80]!r}") from error

    def _scores(self, answer: Any, n: int) -> list[float]:
        """One score for each text, whatever order they come in."""
        entries = answer
        if isinstance(answer, dict):
            entries = answer.get("results", answer.get("data"))
        name = "score" if self.style == "tei" else "relevance_score"
        scores: list[float | None] = [None] * n
        for entry in entries if isinstance(entries, list) else []:
            index, score = (entry.get("index"), entry.get(name)) if isinstance(entry, dict) else (None, None)
            place = index if isinstance(index, int) and not isinstance(index, bool) else -1
            number = score if isinstance(score, int | float) and not isinstance(score, bool) else math.nan
            if not 0 <= place < n or not math.isfinite(number) or scores[place] is not None:
                raise Unavailable(
                    f"{self._service} answered {str(entry)[:80]}: expected each index of {n} texts "
                    f"once, with a number as its {name}"
                )
            scores[place] = float(number)
        given = [score for score in scores if score is not None]
        if len(given) != n:
            raise Unavailable(f"{self._service} answered {len(given)} scores for {n} texts")
        return given

    def __repr__(self) -> str:
        return f"HttpScorer({self.endpoint!r}, model={self.model!r}, style={self.style!r})"
