"""Services of others that are asked with JSON over HTTP: models that embed, models that rerank.

What may pass is tried again, with pauses; what will not is an error that says what to mend. An answer is read up to a
bound, so that no service fills the memory. Needs the `http` extra.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headwater.errors import HeadwaterError, InvalidArgument, PermissionDenied, Timeout, Unavailable
from headwater.extras import load_extra

__all__ = ["JsonService"]

_AGAIN = frozenset((408, 409, 425, 429, 500, 502, 503, 504))
_SHOWN_BYTES = 300


@dataclass(frozen=True)
class JsonService:
    """One address, and how often and how long it is asked.

    Attributes:
        url: that requests are posted to; never followed elsewhere.
        kind: what it is, for messages: `reranking service`.
        timeout_s: how long one request may take.
        attempts: how often a request is sent that fails for a passing reason.
        first_wait_s: before the second attempt; the wait doubles from one to the next.
        longest_wait_s: that the wait grows to; the service's Retry-After is honoured up to that.
        key_hint: what to do when it refuses the key.
        request_hint: what to look at when it refuses the request.
    """

    url: str
    kind: str
    timeout_s: float = 30.0
    attempts: int = 3
    first_wait_s: float = 0.1
    longest_wait_s: float = 4.0
    key_hint: str = "check the key"
    request_hint: str = "check the address and the model"

    def client(self) -> Any:
        """An `httpx.Client`, which several threads may share and whoever made it closes.

        Raises:
            MissingExtra: httpx is not installed.
        """
        return load_extra("httpx", "http").Client(timeout=self.timeout_s)

    def post(self, client: Any, body: Any, headers: Mapping[str, str], most_bytes: int) -> bytes:
        """The service's answer to a request.

        Args:
            client: that `client` gave.
            body: what JSON can hold.
            headers: of the request, with its key.
            most_bytes: that the answer may have.

        Raises:
            Unavailable: the service does not answer, or answers more than it may.
            Timeout: it takes too long.
            PermissionDenied: it refuses the key.
            InvalidArgument: it refuses the request; carries its words.
        """
        httpx = load_extra("httpx", "http")
        for attempt in range(1, self.attempts + 1):
            wait_s = min(self.longest_wait_s, self.first_wait_s * 2 ** (attempt - 1))
            # Many that were refused at once do not come back at once.
            wait_s *= random.uniform(0.5, 1.0)  # noqa: S311
            last = attempt == self.attempts
            try:
                with client.stream("POST", self.url, json=body, headers=dict(headers)) as response:
                    if response.status_code == 200:
                        return self._read(response, most_bytes)
                    if response.status_code not in _AGAIN or last:
                        raise self._refusal(response.status_code, _start_of(response), attempt)
                    wait_s = max(wait_s, self._asked_wait_s(response.headers.get("retry-after")))
            except httpx.TimeoutException as error:
                if last:
                    raise Timeout(
                        f"{self}: no answer within {self.timeout_s} s, {attempt} times", url=self.url
                    ) from error
            except httpx.HTTPError as error:
                if last:
                    raise Unavailable(
                        f"{self} does not answer: {type(error).__name__}: {error}", url=self.url
                    ) from error
            except httpx.InvalidURL as error:
                raise Unavailable(f"{self} cannot be asked: {error}", url=self.url) from error
            time.sleep(wait_s)
        raise AssertionError("unreachable")

    def _read(self, response: Any, most_bytes: int) -> bytes:
        data = bytearray()
        for chunk in response.iter_bytes():
            data += chunk
            if len(data) > most_bytes:
                raise Unavailable(f"{self} answered more than {most_bytes} bytes", url=self.url)
        return bytes(data)

    def _refusal(self, status: int, text: str, attempts: int) -> HeadwaterError:
        message = f"{self} answered {status}: {text}"
        if status in _AGAIN:
            return Unavailable(f"{message} (asked {attempts} times)", url=self.url)
        if status in (401, 403):
            return PermissionDenied(message, hint=self.key_hint)
        return InvalidArgument(message, hint=self.request_hint)

    def _asked_wait_s(self, text: str | None) -> float:
        try:
            return min(self.longest_wait_s, max(0.0, float(text or 0)))
        except ValueError:
            return 0.0

    def __str__(self) -> str:
        return f"{self.kind} {self.url}"


def _start_of(response: Any) -> str:
    data = b""
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) > _SHOWN_BYTES:
            break
    return data[:_SHOWN_BYTES].decode("utf-8", "replace")
