"""The key-value pairs of searches and queries: numbers, booleans and lists as clients write them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from headwater.doors.milvus.codes import invalid, unexpected

__all__ = ["CLUSTER_ID", "MAX_WINDOW", "Pairs", "checked_limit", "checked_window"]

MAX_WINDOW = 16_384
"""Most hits of a query, most queries of a search, and the end of the last page."""

CLUSTER_ID = "headwater"
"""The one cluster that there is."""

_TRUE, _FALSE = (
    frozenset(("1", "t", "T", "true", "TRUE", "True")),
    frozenset(("0", "f", "F", "false", "FALSE", "False")),
)


_TRUTHS = {"ignore_growing": "parse ignore growing field failed"}
"""What Milvus says of some booleans that are none."""


class Pairs:
    """Parameters that are taken one by one, so that one that nobody took is refused.

    Args:
        pairs: a repeated `KeyValuePair`.
    """

    __slots__ = ("_left",)

    def __init__(self, pairs: Iterable[Any]) -> None:
        self._left = {pair.key: pair.value for pair in pairs}

    def text(self, name: str) -> str | None:
        """A parameter as it was sent; None where it was not, or is empty."""
        return self._left.pop(name, None) or None

    def number(self, name: str) -> int | None:
        """A whole number.

        Raises:
            MilvusError: 65535, it is none.
        """
        text = self._left.pop(name, None)
        if text is None:
            return None
        try:
            return int(text, 0)
        except ValueError as error:
            raise unexpected(f"{name} [{text}] is invalid") from error

    def truth(self, name: str) -> bool | None:
        """A boolean, in any of Go's spellings.

        Raises:
            MilvusError: 1100, it is none.
        """
        text = self._left.pop(name, None)
        if text is None or text in ("", "None"):
            return None
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        said = _TRUTHS.get(name, f"value for {name} is invalid")
        raise invalid(said, expected="true or false", actual=text)

    def names(self, name: str) -> list[str]:
        """A list of names, separated by commas."""
        text = self._left.pop(name, None) or ""
        return [part for one in text.split(",") if (part := one.strip())]

    def mapping(self, name: str) -> dict[str, Any]:
        """A JSON object.

        Raises:
            MilvusError: 1100, it is none.
        """
        text = self._left.pop(name, None)
        if not text:
            return {}
        try:
            found = json.loads(text)
        except ValueError as error:
            raise invalid(f"failed to parse {name} {text!r}: {error}") from error
        if not isinstance(found, dict):
            raise invalid(f"{name} must be a JSON object, got {text!r}")
        return found

    def done(self, what: str) -> None:
        """Refuse what is left, and a cluster that this server is not.

        Raises:
            MilvusError: 1100, a parameter that nothing reads.
        """
        cluster = self._left.pop("cluster_id", None)
        if cluster not in (None, "", CLUSTER_ID):
            raise invalid(f"cluster_id {cluster!r}: this server is one cluster, {CLUSTER_ID!r}")
        for name in self._left:
            raise invalid(f"{what} has no parameter {name!r}, or it has no effect here")


def checked_limit(name: str, value: int) -> int:
    """A number of hits or queries.

    Raises:
        MilvusError: 65535, it is out of range.
    """
    if not 1 <= value <= MAX_WINDOW:
        raise unexpected(
            f"{name} [{value}] is invalid, it should be in range [1, {MAX_WINDOW}], but got {value}"
        )
    return value


def checked_window(offset: int, limit: int) -> None:
    """A page of a query or a hybrid search.

    Raises:
        MilvusError: 65535, it begins or ends out of range.
    """
    why = None
    if offset < 0:
        why = f"offset [{offset}] is invalid, should be gte than 0"
    elif limit <= 0:
        why = f"limit [{limit}] is invalid, should be greater than 0"
    elif offset + limit > MAX_WINDOW:
        why = f"(offset+limit) should be in range [1, {MAX_WINDOW}], but got {offset + limit}"
    if why is not None:
        raise unexpected(f"invalid max query result window, {why}")
