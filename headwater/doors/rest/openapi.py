"""The OpenAPI document and a page to read, made from the same values that the server is made from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import orjson

from headwater import __version__
from headwater.doors.rest.fields import Field, Kind, Listed, Mapped, Record, Schema
from headwater.doors.rest.route import Route

__all__ = ["document", "page"]

_HEADERS: tuple[tuple[str, Schema, str], ...] = (
    ("DB-Name", {"type": "string"}, "the database, where the body has no dbName"),
    (
        "Request-Timeout",
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1_000_000},
        "seconds to wait for an answer",
    ),
    (
        "Accept-Type-Allow-Int64",
        {"type": "string", "enum": ["true", "false"]},
        "whether int64 may be JSON numbers, which is so by default; strings otherwise",
    ),
)


def document(routes: Sequence[Route], prefix: str) -> Schema:
    """The OpenAPI 3.1 document of the routes."""
    records = {record.name: record for route in routes for record in _records(route.body)}
    schemas: dict[str, Schema] = {name: record.described() for name, record in records.items()}
    schemas["Error"] = {
        "type": "object",
        "properties": {
            "code": {"type": "integer", "not": {"const": 0}, "description": "Milvus's number"},
            "message": {"type": "string"},
        },
        "required": ["code", "message"],
        "additionalProperties": False,
    }
    headers = {
        name: {"name": name, "in": "header", "schema": schema, "description": about}
        for name, schema, about in _HEADERS
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headwater: RESTful API v2",
            "version": __version__,
            "description": "Milvus's routes. Every answer has HTTP status 200; `code` 0 is success.",
        },
        "security": [{}, {"token": []}],
        "paths": {prefix + route.path: {"post": _operation(route, list(headers))} for route in routes},
        "components": {
            "schemas": schemas,
            "parameters": headers,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "`user:password` or a token"}
            },
        },
    }


def _operation(route: Route, headers: Iterable[str]) -> Schema:
    success: Schema = {
        "type": "object",
        "properties": {"code": {"const": 0}, "data": route.data, **route.beside},
        "required": ["code", "data"],
        "additionalProperties": False,
    }
    answer = {"oneOf": [success, {"$ref": "#/components/schemas/Error"}]}
    return {
        "operationId": route.body.name,
        "summary": route.about,
        "description": f"Makes the call `{route.rpc}`.",
        "tags": [route.topic],
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in headers],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": route.body.schema(), "example": dict(route.example)}},
        },
        "responses": {
            "200": {"description": "the answer", "content": {"application/json": {"schema": answer}}}
        },
    }


def _records(kind: Kind | Field, seen: frozenset[str] = frozenset()) -> Iterable[Record]:
    """A record and those inside it, each once on any way down."""
    if isinstance(kind, Field):
        yield from _records(kind.kind, seen)
    elif isinstance(kind, Listed | Mapped):
        yield from _records(kind.of, seen)
    elif isinstance(kind, Record) and kind.name not in seen:
        yield kind
        for each in kind.fields:
            yield from _records(each, seen | {kind.name})
    elif hasattr(kind, "record") and kind.record.name not in seen:
        yield from _records(kind.record, seen)


def page(routes: Sequence[Route], prefix: str) -> str:
    """The routes as a page: what each takes, an example to paste."""
    parts = [
        "<!doctype html><meta charset=utf-8><title>Headwater: RESTful API v2</title>",
        "<style>body{font:15px/1.5 system-ui;margin:2rem auto;max-width:60rem;padding:0 1rem}"
        "pre{background:#8881;padding:.6rem;overflow:auto}summary{cursor:pointer}code{font-size:13px}</style>",
        "<h1>RESTful API v2</h1><p>POST a JSON body; the answer is "
        "<code>{&quot;code&quot;: 0, &quot;data&quot;: ...}</code> or "
        "<code>{&quot;code&quot;: n, &quot;message&quot;: ...}</code>. "
        "<a href=/openapi.json>OpenAPI document</a></p>",
    ]
    topic = ""
    for route in routes:
        if route.topic != topic:
            topic = route.topic
            parts.append(f"<h2>{escape(topic)}</h2>")
        parts.append(_entry(route, prefix))
    return "\n".join(parts)


def _entry(route: Route, prefix: str) -> str:
    rows = "".join(
        f"<li><code>{escape(each.name)}</code> {escape(_named(each.schema()))}"
        f"{', required' if each.required else ''}{': ' + escape(each.about) if each.about else ''}</li>"
        for each in route.body.fields
    )
    example = orjson.dumps(dict(route.example), option=orjson.OPT_INDENT_2).decode()
    return (
        f"<details><summary><code>{escape(prefix + route.path)}</code> {escape(route.about)}</summary>"
        f"<ul>{rows}</ul><pre>{escape(example)}</pre></details>"
    )


def _named(schema: Schema) -> str:
    kind: Any = schema.get("type") or schema.get("$ref", "any value").rpartition("/")[2]
    return " or ".join(kind) if isinstance(kind, list) else str(kind)
