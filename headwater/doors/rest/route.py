"""A route as a value: its path, what its body holds, the call it makes, what it answers.

The OpenAPI document, the reader of bodies and the server are all made from these values.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from google.protobuf.message import Message
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.rest.ask import Ask
from headwater.doors.rest.fields import Field, Record, Schema

__all__ = [
    "COLLECTION",
    "DB",
    "HAS",
    "NAMES",
    "NOTHING",
    "PARTITION",
    "ROW_COUNT",
    "Answer",
    "Route",
    "as_text",
    "direct",
    "has",
    "listed",
    "pairs",
    "route",
    "row_count",
    "shape",
]

Answer = dict[str, Any]
"""What stands in the body beside the code: `data`, and for searches `cost` and `topks`."""
Run = Callable[[Ask], Awaitable[Answer]]
_CALLS = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"].methods_by_name

DB = Field("dbName", about="the database; the header DB-Name, or `default`, if absent")
COLLECTION = Field("collectionName", required=True, about="a collection, or an alias of one")
PARTITION = Field("partitionName", required=True)

NOTHING: Schema = {"type": "object", "additionalProperties": False}
HAS: Schema = {"type": "object", "properties": {"has": {"type": "boolean"}}, "required": ["has"]}
NAMES: Schema = {"type": "array", "items": {"type": "string"}}
ROW_COUNT: Schema = {
    "type": "object",
    "properties": {"rowCount": {"type": "integer"}},
    "required": ["rowCount"],
}


@dataclass(frozen=True)
class Route:
    """One route.

    Attributes:
        path: after `/v2/vectordb/`.
        rpc: the call of the protocol that it makes (the first, when it makes several).
        about: one line.
        body: what the request holds.
        run: makes the calls and translates the answer.
        data: the shape of the answer's `data`.
        example: a body that works after the examples of the routes that made what it names.
        beside: what may stand beside `data`.
        rows: whether the body holds rows, of which it matters how a number was written.
    """

    path: str
    rpc: str
    about: str
    body: Record
    run: Run
    data: Schema = field(default_factory=lambda: NOTHING)
    example: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, Schema] = field(default_factory=dict)
    rows: bool = False

    @property
    def topic(self) -> str:
        """The family of the route."""
        return self.path.rpartition("/")[0]


def _title(path: str) -> str:
    return "".join(part.capitalize() for part in re.split(r"[/_]", path))


def route(
    path: str,
    rpc: str,
    about: str,
    fields: tuple[Field, ...],
    run: Run,
    **more: Any,
) -> Route:
    """A route that a function of its own serves.

    Args:
        path: after `/v2/vectordb/`.
        rpc: the call that it makes.
        about: one line.
        fields: what the body holds; `dbName` is added.
        run: serves it.
        **more: the other attributes of `Route`.
    """
    if all(each.name != "dbName" for each in fields):
        fields = (DB, *fields)
    return Route(path, rpc, about, Record(_title(path), fields), run, **more)


def direct(
    path: str,
    rpc: str,
    about: str,
    fields: tuple[Field, ...] = (),
    *,
    show: Callable[[Ask, Any], Any] | None = None,
    fixed: Mapping[str, Any] | None = None,
    into: Mapping[str, str] | None = None,
    **more: Any,
) -> Route:
    """A route that makes one call, whose message has a field for each name of the body.

    Args:
        path: after `/v2/vectordb/`.
        rpc: the call.
        about: one line.
        fields: what the body holds. `partitionName` goes into the message's `partition_name`.
        show: the `data` of the answer, from the response; nothing if absent.
        fixed: fields of the message that are the same in every request.
        into: names of the body that the message calls differently.
        **more: the other attributes of `Route`.
    """
    kind = _CALLS[rpc].input_type._concrete_class
    targets = {
        each.name: (into or {}).get(each.name) or re.sub(r"(?<!^)([A-Z])", r"_\1", each.name).lower()
        for each in fields
        if each.name != "dbName"
    }
    for target in (*targets.values(), *(fixed or ())):
        if target not in kind.DESCRIPTOR.fields_by_name:
            raise ValueError(f"{path}: {rpc} has no field {target}")

    async def run(ask: Ask) -> Answer:
        request = kind(**(fixed or {}))
        for name, target in targets.items():
            _put(request, target, ask[name])
        response = await ask.call(rpc, request)
        return {"data": show(ask, response) if show else {}}

    return route(path, rpc, about, fields, run, **more)


def _put(request: Message, name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, dict):
        getattr(request, name).extend(pairs(value))
    elif isinstance(value, list):
        getattr(request, name).extend(value)
    else:
        setattr(request, name, value)


def as_text(value: Any) -> str:
    """A value as the protocol's properties hold it: text as it is, all else as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def pairs(values: Mapping[str, Any] | None) -> list[common_pb2.KeyValuePair]:
    """Properties as the protocol has them."""
    return [
        common_pb2.KeyValuePair(key=name, value=as_text(value))
        for name, value in (values or {}).items()
        if value is not None
    ]


def shape(optional: tuple[str, ...] = (), **properties: str | Schema) -> Schema:
    """An object of an answer as JSON Schema; types by name, such as `"integer"`."""
    return {
        "type": "object",
        "properties": {
            name: {"type": kind} if isinstance(kind, str) else kind for name, kind in properties.items()
        },
        "required": [name for name in properties if name not in optional],
    }


def has(ask: Ask, response: milvus_pb2.BoolResponse) -> Any:
    """`{"has": true}`."""
    return {"has": response.value}


def listed(name: str) -> Callable[[Ask, Any], Any]:
    """A repeated string of the response."""

    def show(ask: Ask, response: Any) -> Any:
        return list(getattr(response, name))

    return show


def row_count(ask: Ask, response: Any) -> Any:
    """`{"rowCount": 3}`, from statistics."""
    counts = {pair.key: pair.value for pair in response.stats}
    return {"rowCount": int(counts.get("row_count", 0))}
