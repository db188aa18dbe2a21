"""Highlighters, from the protocol's message to the engine's value, with Milvus's words for what is wrong in one."""

from __future__ import annotations

import json
import re
from typing import Any

from pymilvus.grpc_gen import common_pb2

from headwater.doors.milvus.codes import SERVICE_INTERNAL, MilvusError, invalid
from headwater.doors.milvus.rpc import named_values
from headwater.query.highlighting import LexicalHighlighter
from headwater.schema import Field, Schema

__all__ = ["highlighter"]


def highlighter(
    message: common_pb2.Highlighter, schema: Schema, field: Field, metric: str | None
) -> LexicalHighlighter:
    """A highlighter.

    Args:
        message: what the request asks.
        schema: of the collection.
        field: that is searched.
        metric: that the request names.

    Raises:
        MilvusError: 1100, a kind or a parameter that there is not here; 5, the field is not searched by text.
    """
    if message.type != common_pb2.HighlightType.Lexical:
        raise invalid("semantic highlighting is not supported: it needs a model, use a lexical highlighter")
    params: dict[str, Any] = {}
    for name, text in named_values(message.params).items():
        if name in _LEAST:
            params[name] = _number(name, text)
        elif name in ("pre_tags", "post_tags"):
            params[name] = _tags(name, text)
        elif name == "highlight_search_text":
            params[name] = text.lower() == "true"
        elif name == "highlight_query":
            params[name] = _parsed(name, text)
        else:
            raise invalid(f"highlighter has no parameter {name!r}")
    if params.get("highlight_search_text") and field.name not in schema.virtual:
        if metric != "BM25":
            raise invalid('Search highlight only support with metric type "BM25" but was: ')
        error = MilvusError(SERVICE_INTERNAL)
        error.message += ": Search with highlight failed, input field of BM25 annsField not found"
        raise error
    return LexicalHighlighter(**params)


_LEAST = {"fragment_size": 1, "fragment_offset": 0, "num_of_fragments": 0}


def _number(name: str, text: str) -> int:
    if not re.fullmatch(r"[+-]?\d+", text) or int(text) < _LEAST[name]:
        raise invalid(f"invalid {name}: {text}")
    return int(text)


def _tags(name: str, text: str) -> list[str]:
    tags = _parsed(name, text)
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise invalid(f"unmarshal {name} as string list failed: {text}")
    if not tags:
        raise invalid(f"{name} cannot be empty list")
    return tags


def _parsed(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise invalid(f"highlighter: {name}={text!r} does not parse: {error}") from error
