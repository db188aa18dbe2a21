"""What Milvus refuses of a reranker that a request declares, in its words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from headwater.doors.milvus.codes import invalid, unexpected
from headwater.doors.milvus.index_types import DATA_TYPE_NAMES
from headwater.errors import FieldNotFound, FilterSyntax
from headwater.query.expr import bind, parse
from headwater.query.rerank import model_params
from headwater.schema import Schema
from headwater.types import NUMBER_TYPES, DataType

__all__ = ["check_groups", "check_reranker", "read_params"]

_RERANKERS = ("rrf", "weighted", "decay", "boost", "model")
_SHAPES = ("gauss", "exp", "linear")
_OUT_OF_RANGE: dict[str, tuple[Callable[[float], bool], str]] = {
    "scale": (lambda value: value > 0, "scale must be > 0"),
    "offset": (lambda value: value >= 0, "offset must be >= 0"),
    "decay": (lambda value: 0 < value < 1, "decay must be 0 < decay < 1"),
}


def check_reranker(
    inputs: Sequence[str], params: Mapping[str, str], schema: Schema, num_queries: int, *, lenient: bool
) -> None:
    """Check a declared reranker.

    Args:
        inputs: the fields that it reads.
        params: its parameters.
        schema: of the collection.
        num_queries: of the search.
        lenient: whether what Milvus refuses and we can do is done, as our own clients ask for.

    Raises:
        MilvusError: 65535 or 1100, there is no such reranker, or a field or a parameter does not go.
    """
    kind = params.get("reranker", "").lower()
    if not kind:
        raise unexpected("reranker name not specified")
    if kind not in _RERANKERS:
        raise unexpected(f"unsupported reranker {params['reranker']}")
    if kind in ("decay", "model") and len(inputs) != 1:
        raise unexpected(f"{kind} reranker requires exactly 1 input field, got {len(inputs)}")
    for name in inputs:
        if name not in schema.names:
            raise unexpected(f"input field {name} not found in collection schema")
    if kind == "decay":
        _check_decay(inputs[0], params, schema, lenient)
    if kind == "model":
        _check_model(inputs[0], params, schema, num_queries)
    if kind == "boost":
        _check_boost(params, schema)


def read_params(params: Mapping[str, str]) -> dict[str, str]:
    """The parameters of a checked reranker that something reads: as in Milvus, a model may be told more."""
    known = model_params(params["provider"]) if params["reranker"].lower() == "model" else None
    return {name: value for name, value in params.items() if known is None or name in known}


def check_groups(options: Mapping[str, Any]) -> None:
    """Check that no boost scores hits that are grouped.

    Args:
        options: of the search.

    Raises:
        MilvusError: 1100, one does.
    """
    grouped = "group_by_field" in options or "group_by_fields" in options
    declared = getattr(options.get("ranker"), "functions", ())
    if grouped and any(one.params.get("reranker", "").lower() == "boost" for one in declared):
        raise invalid("not support segment scorer with group_by")


def _check_decay(name: str, params: Mapping[str, str], schema: Schema, lenient: bool) -> None:
    type_ = schema.field(name).type.data_type
    if type_ in (DataType.VARCHAR, DataType.BOOL):
        raise unexpected(f"decay input field {name} must be numeric, got {DATA_TYPE_NAMES[type_]}")
    moment = lenient and type_ is DataType.TIMESTAMPTZ
    if type_ not in NUMBER_TYPES and not moment:
        raise unexpected(f"unsupported field type: {DATA_TYPE_NAMES.get(type_, type_)}")
    if "function" in params and params["function"] not in _SHAPES:
        raise unexpected(
            f'decay: invalid function "{params["function"]}", must be one of [{", ".join(_SHAPES)}]'
        )
    for what in ("origin", "scale"):
        if what not in params:
            raise unexpected(f"decay {what} not specified")
    for what in ("origin", "scale", "offset", "decay"):
        if what in params and not (what == "origin" and moment):
            _check_number(what, params[what])


def _check_number(what: str, text: str) -> None:
    try:
        value = float(text)
    except ValueError as error:
        raise unexpected(f"decay param {what}: {text} is not a number") from error
    if what in _OUT_OF_RANGE and not _OUT_OF_RANGE[what][0](value):
        raise unexpected(f"decay: {_OUT_OF_RANGE[what][1]}, got {value:f}")


def _check_model(name: str, params: Mapping[str, str], schema: Schema, num_queries: int) -> None:
    type_ = schema.field(name).type.data_type
    if type_ not in (DataType.VARCHAR, DataType.TEXT):
        raise unexpected(f"model input field {name} must be VarChar, got {DATA_TYPE_NAMES.get(type_, type_)}")
    if "queries" not in params:
        raise unexpected("rerank function missing required param: queries")
    num_texts = _num_texts(params["queries"])
    if not num_texts:
        raise unexpected(f"parse rerank params [queries] failed: {params['queries']!r} is no list of texts")
    provider = params.get("provider", "")
    if model_params(provider) is None:
        raise unexpected(f"unknown rerank model provider:{provider}")
    endpoint = params.get("endpoint", "")
    if not _is_link(endpoint):
        raise unexpected(f"endpoint: [{endpoint}] is not a valid http/https link")
    if "api_key_env" in params:
        raise invalid("api_key_env is not for clients: what the server's environment holds is sent for none")
    if num_queries and num_texts != num_queries:
        raise unexpected(f"model: queries count ({num_texts}) != nq count ({num_queries})")


def _is_link(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _num_texts(value: str) -> int:
    """How many texts a parameter lists; 0 where it is no list of texts."""
    try:
        found = json.loads(value)
    except ValueError:
        return 0
    return len(found) if isinstance(found, list) and all(isinstance(one, str) for one in found) else 0


def _check_boost(params: Mapping[str, str], schema: Schema) -> None:
    if "weight" not in params:
        raise invalid("boost rank must set weight params")
    try:
        float(params["weight"])
    except ValueError as error:
        raise invalid(f"parse boost weight failed, weight: {params['weight']}") from error
    if params.get("filter"):
        try:
            bind(parse(params["filter"]), schema)
        except (FilterSyntax, FieldNotFound) as error:
            raise invalid(f"parse expr failed: {error.message}") from error
