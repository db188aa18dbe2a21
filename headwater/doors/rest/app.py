"""The server of the routes: a body in, one call or several, a coded body out; the HTTP status says nothing."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route as HttpRoute

from headwater.doors.milvus.codes import DENIED
from headwater.doors.rest.ask import Ask, Caller, Schemas
from headwater.doors.rest.errors import BAD_FORMAT, BAD_RESULT, TIMED_OUT, TOO_LARGE, Refused, invalid_value
from headwater.doors.rest.openapi import document, page
from headwater.doors.rest.route import Answer, Route
from headwater.doors.rest.routes import ROUTES
from headwater.doors.rest.written import Written
from headwater.errors import HeadwaterError

__all__ = ["PREFIX", "rest_app"]

PREFIX = "/v2/vectordb/"
_log = logging.getLogger("headwater.server")
_LONG_BYTES = 256 << 10
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_FALSE = {"0", "f", "F", "false", "FALSE", "False"}


@dataclass(frozen=True)
class _Door:
    service: Caller
    max_body_bytes: int
    origins: frozenset[str]
    schemas: Schemas = field(default_factory=Schemas)


def rest_app(
    service: Caller, *, max_body_bytes: int = 256 << 20, allow_origins: Sequence[str] = ()
) -> Starlette:
    """The routes of the RESTful API v2, `/openapi.json` and a page about them at `/docs`.

    Args:
        service: answers the calls; the same as the gRPC server's.
        max_body_bytes: what a request may hold; more is refused with code 1102 before it is read.
        allow_origins: web pages that may call from a browser, such as `https://console.example.com`; none by default,
            so that no page can talk to a server on a visitor's own machine.
    """
    door = _Door(service, max_body_bytes, frozenset(allow_origins))
    told = orjson.dumps(document(ROUTES, PREFIX))

    async def openapi(request: Request) -> Response:
        return Response(told, media_type="application/json")

    async def about(request: Request) -> Response:
        return HTMLResponse(page(ROUTES, PREFIX))

    async def elsewhere(request: Request) -> Response:
        return _elsewhere(request, known)

    known = {PREFIX + each.path for each in ROUTES}
    served = [HttpRoute(PREFIX + each.path, _endpoint(door, each), methods=["POST"]) for each in ROUTES]
    served.append(HttpRoute("/openapi.json", openapi, methods=["GET"]))
    served.append(HttpRoute("/docs", about, methods=["GET"]))
    served.append(HttpRoute("/v2/{path:path}", elsewhere, methods=_METHODS))
    return Starlette(routes=served)


def _elsewhere(request: Request, known: Collection[str]) -> Response:
    """A path or method that no route has."""
    what = f"{request.method} {request.url.path}"
    if request.url.path in known:
        said = f"{what}: this route takes POST with a JSON body"
        return _json({"code": 405, "message": said}, 405, {"Allow": "POST"})
    return _json(
        {"code": 404, "message": f"{what}: there is no such route; GET /openapi.json lists them"}, 404
    )


def _json(body: Answer, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(_dumped(body), status, headers, media_type="application/json")


def _dumped(body: Answer) -> bytes:
    try:
        return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        reason = str(error)
    try:  # Documents that are nested deeper than orjson goes.
        return json.dumps(body, default=_plain, allow_nan=False, separators=(",", ":")).encode()
    except (RecursionError, TypeError, ValueError):
        return orjson.dumps({"code": BAD_RESULT.code, "message": f"{BAD_RESULT.base}, error: {reason}"})


def _plain(value: Any) -> Any:
    """A value of numpy as one of Python's."""
    return value.tolist()


def _endpoint(door: _Door, route: Route) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        headers = _cors(door, request)
        try:
            ask = await _ask(door, route, request)
            answer = await _within(request, route.run(ask))
            return await ask.aside(_json, {"code": 0, **answer}, headers=headers)
        except Refused as error:
            return _json({"code": error.code, "message": error.message}, headers=headers)
        except (HeadwaterError, RecursionError) as error:
            refused = Refused.because(error)
            return _json({"code": refused.code, "message": refused.message}, headers=headers)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:  # noqa: BLE001 (the door's boundary: a caller gets an answer whatever happens)
            _log.exception("%s failed", route.path)
            refused = Refused.because(error)
            return _json({"code": refused.code, "message": refused.message}, headers=headers)

    return serve


async def _ask(door: _Door, route: Route, request: Request) -> Ask:
    _check_origin(door, request)
    raw = await _read(request, door.max_body_bytes)
    parse = _parse if len(raw) < _LONG_BYTES else _aside(_parse)
    body, written = await parse(route, raw)
    metadata = {"client-request-id": request.headers.get("client-request-id", "")}
    database = body.get("dbName") or request.headers.get("db-name") or "default"
    metadata["dbname"] = database
    if authorization := _authorization(request.headers.get("authorization", "")):
        metadata["authorization"] = authorization
    return Ask(
        door.service,
        body,
        database,
        metadata,
        request.headers.get("accept-type-allow-int64", "") not in _FALSE,
        len(raw),
        f"http:{request.client.host}:{request.client.port}" if request.client else "http",
        door.schemas,
        written,
    )


async def _read(request: Request, limit: int) -> bytes:
    """The body, as long as it is not too long."""
    announced = request.headers.get("content-length", "0")
    size = int(announced) if announced.isdecimal() else 0
    parts: list[bytes] = []
    if size <= limit:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > limit:
                break
            parts.append(part)
    if size > limit:
        raise Refused.of(TOO_LARGE, f"the body has more than {limit} bytes")
    return b"".join(parts)


_Parsed = tuple[dict[str, Any], Written | None]
"""A body as its route reads it, and as it was written if that matters."""


async def _parse(route: Route, raw: bytes) -> _Parsed:
    return _parsed(route, raw)


def _aside(parse: Any) -> Callable[[Route, bytes], Awaitable[_Parsed]]:
    async def run(route: Route, raw: bytes) -> _Parsed:
        return await asyncio.to_thread(_parsed, route, raw)

    return run


def _parsed(route: Route, raw: bytes) -> _Parsed:
    if not raw.strip():
        raise Refused(
            BAD_FORMAT.code, f"{BAD_FORMAT.base}, the request body should be nil, however {{}} is valid"
        )
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Refused.of(BAD_FORMAT, str(error)) from error
    try:
        return route.body.read({} if found is None else found), Written(raw, found) if route.rows else None
    except RecursionError:
        raise Refused.of(BAD_FORMAT, "the body is nested too deeply") from None


async def _within(request: Request, answer: Awaitable[Answer]) -> Answer:
    """The answer, or an error when the caller's patience ends; what was begun goes on."""
    told = request.headers.get("request-timeout")
    if not told:
        return await answer
    task = asyncio.ensure_future(answer)
    try:
        patience = float(told)
        if not 0 < patience <= 1e6:
            raise ValueError
    except ValueError:
        task.cancel()
        raise invalid_value(
            f"header Request-Timeout: expected a number of seconds, got {told[:100]!r}"
        ) from None
    try:
        return await asyncio.wait_for(task, patience)
    except TimeoutError:
        raise Refused.of(TIMED_OUT, f"no answer within {told} seconds; the call itself goes on") from None


def _authorization(header: str) -> str:
    """What a gRPC client would send for it: the token, or user and password, in base 64."""
    scheme, _, token = header.partition(" ")
    if scheme.lower() == "basic" and token:
        return token.strip()
    token = token if scheme.lower() == "bearer" else header
    return base64.b64encode(token.strip().encode()).decode() if token.strip() else ""


def _check_origin(door: _Door, request: Request) -> None:
    """Refuse web pages of other sites: a browser names the page in `Origin`, and nothing else sends that."""
    origin = request.headers.get("origin")
    if not origin or origin in door.origins or "*" in door.origins:
        return
    if urlsplit(origin).netloc != request.headers.get("host"):
        raise Refused(DENIED.code, f"{DENIED.base}: pages of {origin[:200]} may not call; see allow_origins")


def _cors(door: _Door, request: Request) -> dict[str, str]:
    origin = request.headers.get("origin")
    if origin and (origin in door.origins or "*" in door.origins):
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
    return {}
