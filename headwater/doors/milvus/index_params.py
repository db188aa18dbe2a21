"""Milvus's index types and their parameters, and which of our kinds serves each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from headwater.doors.milvus.codes import invalid
from headwater.schema import Field

__all__ = ["Declaration", "declaration"]


class Declaration(NamedTuple):
    """A checked declaration of an index.

    Attributes:
        index_type: of ours.
        metric_type: of vectors; None for scalars.
        params: of ours.
        declared: what the client is shown.
    """

    index_type: str
    metric_type: str | None
    params: dict[str, Any]
    declared: dict[str, str]


def declaration(field: Field, given: Mapping[str, str]) -> Declaration:
    """What a client asks for, in our terms.

    Raises:
        MilvusError: 1100, in Milvus's words.
    """
    flat = dict(given)
    if "params" in flat:
        try:
            flat |= json.loads(flat.pop("params") or "{}")
        except ValueError as error:
            raise invalid(f"params is not JSON: {error}") from error
    index_type = flat.pop("index_type", "") or "AUTOINDEX"
    metric = flat.pop("metric_type", None)
    params = {name: _number(value) for name, value in flat.items()}
    shown = {**given, "index_type": index_type}
    if field.type.data_type.value.endswith("_vector"):
        metric = metric or "COSINE"
        shown["metric_type"] = metric
    return Declaration(index_type, metric, params, shown)


def _number(value: Any) -> Any:
    try:
        return int(value)
    except (TypeError, ValueError):
        return value
