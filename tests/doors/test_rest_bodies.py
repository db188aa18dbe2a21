"""Whatever a body or a header holds, the answer is coded and says what was wrong."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf.message import Message
from pymilvus.grpc_gen import common_pb2, milvus_pb2
from rest_serving import Caller, both
from starlette.testclient import TestClient

from headwater.doors.rest import rest_app
from headwater.doors.rest.routes import ROUTES


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    with both(tmp_path_factory.mktemp("lake")) as caller:
        yield caller


BROKEN: list[tuple[bytes, int, str]] = [
    (b"", 1801, "the request body should be nil, however {} is valid"),
    (b"   ", 1801, "however {} is valid"),
    (b"{", 1801, "can only accept json format request, error: "),
    (b"\xff\xfe", 1801, "can only accept json format request"),
    (b"[]", 1801, "the body: expected an object, got an array"),
    (b"null", 1802, "missing required parameters"),
    (b'"text"', 1801, "expected an object, got a string"),
    (b"3", 1801, "expected an object, got an integer 3"),
    (b"{}", 1802, "missing required parameters, error: Key: 'collectionName' Error:Field validation"),
    (b'{"collectionName": ""}', 1802, "failed on the 'required' tag"),
    (b'{"collectionName": null}', 1802, "'CollectionName' failed on the 'required' tag"),
    (b'{"collectionName": 5}', 1801, "collectionName: expected a string, got an integer 5"),
    (b'{"collectionName": ["a"]}', 1801, "collectionName: expected a string, got an array"),
    (b'{"collectionName": "a", "filtr": "x"}', 1801, "did you mean filter?"),
    (b'{"collectionName": "a", "limit": "10"}', 1801, "limit: expected an integer, got a string"),
    (b'{"collectionName": "a", "limit": 1.5}', 1801, "limit: expected an integer, got a number 1.5"),
    (b'{"collectionName": "a", "limit": 3000000000}', 1801, "limit: expected an integer of 32 bits"),
    (b'{"collectionName": "a", "limit": 1e400}', 1801, "can only accept json format request"),
    (b'{"collectionName": "a", "outputFields": "id"}', 1801, "outputFields: expected an array, got a string"),
    (b'{"collectionName": "a", "outputFields": [1]}', 1801, "outputFields[0]: expected a string"),
    (b'{"collectionName": "a", "outputFields": [null]}', 1801, "outputFields[0]: expected a value, got null"),
    (b'{"collectionName": "a", "exprParams": []}', 1801, "exprParams: expected an object, got an array"),
    (b'{"collectionName": "\\ud800"}', 1801, "can only accept json format request"),
    (b"[" * 5000 + b"]" * 5000, 1801, "can only accept json format request"),
]


@pytest.mark.parametrize(("body", "code", "said"), BROKEN, ids=[str(body[:40]) for body, _, _ in BROKEN])
def test_a_broken_body_is_answered_with_what_is_wrong(
    rest: Caller, body: bytes, code: int, said: str
) -> None:
    answer = rest.raw("entities/query", body)
    assert answer["code"] == code, answer
    assert said in answer["message"]


def test_names_are_read_in_any_case_as_milvus_reads_them(rest: Caller) -> None:
    assert rest.get("collections/has", CollectionName="a") == {"has": False}
    schema = {"autoId": True, "fields": [{"fieldname": "id", "datatype": "Int64", "isprimary": True},
              {"fieldName": "v", "dataType": "FloatVector", "elementtypeparams": {"dim": "2"}}]}  # fmt: skip
    rest.get("collections/create", collectionName="cases", schema=schema)
    assert rest.get("collections/describe", collectionName="cases")["autoId"] is True


def test_nested_fields_are_named_with_their_place(rest: Caller) -> None:
    fields = [{"fieldName": "id", "dataType": "Int64"}, {"fieldName": "v"}]
    code, said = rest.refused("collections/create", collectionName="c", schema={"fields": fields})
    assert (code, "schema.fields[1].dataType" in said) == (1802, True)
    fields = [{"fieldName": "id", "dataType": "int64"}]
    assert rest.refused("collections/create", collectionName="c", schema={"fields": fields}) == (
        1100,
        "data type int64 is invalid(case sensitive): invalid parameter",
    )


@pytest.mark.parametrize(
    ("path", "body", "code", "said"),
    [
        ("jobs/external_collection/describe", {"jobId": "soon"}, 1801, "expected the number of a job"),
        ("jobs/import/describe", {"jobId": "soon"}, 1100, "expected the number of a job"),
        (
            "jobs/import/create",
            {"collectionName": "a", "files": [["a"]], "options": {"timeout": None}},
            1801,
            "options.timeout: expected a value, got null",
        ),
        (
            "jobs/import/create",
            {"collectionName": "a", "files": [["a"]], "options": {"timeout": 300}},
            1801,
            "options.timeout: expected a string",
        ),
        (
            "collections/create",
            {"collectionName": "a", "dimension": 4, "externalSource": "s3://bucket/data"},
            1100,
            "schema.externalSource/schema.externalSpec",
        ),
    ],
)
def test_what_is_of_another_type_or_elsewhere_is_told(
    rest: Caller, path: str, body: dict[str, Any], code: int, said: str
) -> None:
    found, message = rest.refused(path, **body)
    assert found == code
    assert said in message


def test_deep_bodies_are_refused_wherever_they_are_deep(rest: Caller) -> None:
    deep = '{"fields": ["a"], "size": 1, "subAggregation": ' * 400 + "{}" + "}" * 400
    body = f'{{"collectionName": "a", "data": [[1]], "searchAggregation": {deep}}}'
    assert rest.raw("entities/search", body.encode())["code"] in (1100, 1801)
    document = '{"a": ' * 600 + "1" + "}" * 600
    rest.get("collections/create", collectionName="deep", dimension=2)
    row = f'{{"collectionName": "deep", "data": [{{"id": 1, "vector": [0, 1], "doc": {document}}}]}}'
    assert rest.raw("entities/insert", row.encode())["code"] == 0
    [found] = rest.get("entities/get", collectionName="deep", id=1)
    assert json.dumps(found["doc"]) == document
    expr = (
        '{"collectionName": "deep", "filter": "id == {x}", "exprParams": {"x": ' + "[" * 500 + "1" + "]" * 500
    )
    assert rest.raw("entities/query", (expr + "}}").encode())["code"] == 1100


def test_unknown_paths_and_methods_are_told_apart(rest: Caller) -> None:
    answer = rest.http.post("collections/paint", json={})
    assert (answer.status_code, answer.json()["code"]) == (404, 404)
    answer = rest.http.get("collections/list")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert "POST with a JSON body" in answer.json()["message"]


class Listener:
    """A service that keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Message, Mapping[str, str]]] = []

    async def call(
        self, name: str, request: Message, metadata: Mapping[str, str], *, peer: str = ""
    ) -> Message:
        self.asked.append((name, request, metadata))
        return milvus_pb2.BoolResponse(status=common_pb2.Status(), value=True)


def _told(headers: dict[str, str], body: dict[str, Any] | None = None) -> tuple[Message, Mapping[str, str]]:
    listener = Listener()
    client = TestClient(rest_app(listener))
    answer = client.post(
        "/v2/vectordb/collections/has", json={"collectionName": "a", **(body or {})}, headers=headers
    )
    assert answer.json() == {"code": 0, "data": {"has": True}}
    [(_, request, metadata)] = listener.asked
    return request, metadata


def test_headers_go_on_as_a_grpc_client_would_send_them() -> None:
    user = base64.b64encode(b"root:Milvus").decode()
    for header in ("Bearer root:Milvus", "root:Milvus", f"Basic {user}"):
        assert _told({"Authorization": header})[1]["authorization"] == user
    assert "authorization" not in _told({})[1]
    assert _told({"Authorization": "Bearer tok-1"})[1]["authorization"] == base64.b64encode(b"tok-1").decode()
    assert _told({"client-request-id": "r-7"})[1]["client-request-id"] == "r-7"


def test_the_database_is_that_of_the_body_or_else_the_header() -> None:
    for headers, body, name in (
        ({}, {}, "default"),
        ({"DB-Name": "shop"}, {}, "shop"),
        ({"DB-Name": "shop"}, {"dbName": "home"}, "home"),
    ):
        request, metadata = _told(headers, body)
        assert (request.db_name, metadata["dbname"]) == (name, name)


def test_bodies_are_bounded() -> None:
    client = TestClient(rest_app(Listener(), max_body_bytes=1000))
    body = json.dumps({"collectionName": "a" * 2000})
    answer = client.post("/v2/vectordb/collections/has", content=body)
    assert answer.json() == {
        "code": 1102,
        "message": "parameter too large, error: the body has more than 1000 bytes",
    }

    def parts() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 100

    assert client.post("/v2/vectordb/collections/has", content=parts()).json()["code"] == 1102


def test_a_call_that_outlasts_the_callers_patience_is_answered(rest: Caller) -> None:
    import asyncio

    class Slow(Listener):
        async def call(
            self, name: str, request: Message, metadata: Mapping[str, str], *, peer: str = ""
        ) -> Message:
            await asyncio.sleep(5)
            return milvus_pb2.BoolResponse()

    client = TestClient(rest_app(Slow()))
    asked = {"url": "/v2/vectordb/collections/has", "json": {"collectionName": "a"}}
    answer = client.post(**asked, headers={"Request-Timeout": "0.05"})
    assert (answer.status_code, answer.json()["code"]) == (200, 10001)
    answer = client.post(**asked, headers={"Request-Timeout": "soon"})
    assert "header Request-Timeout: expected a number of seconds" in answer.json()["message"]


def test_pages_of_other_sites_may_not_call() -> None:
    """A browser says which page asks; a server on a visitor's own machine must not answer any page."""
    body = {"url": "/v2/vectordb/collections/has", "json": {"collectionName": "a"}}
    listener = Listener()
    client = TestClient(rest_app(listener))
    answer = client.post(**body, headers={"Origin": "https://evil.example"})
    assert (answer.json()["code"], listener.asked) == (9, [])
    assert client.post(**body, headers={"Origin": "http://testserver"}).json()["code"] == 0
    client = TestClient(rest_app(listener, allow_origins=["https://console.example"]))
    answer = client.post(**body, headers={"Origin": "https://console.example"})
    assert answer.headers["access-control-allow-origin"] == "https://console.example"


def test_a_fault_is_answered_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Listener):
        async def call(
            self, name: str, request: Message, metadata: Mapping[str, str], *, peer: str = ""
        ) -> Message:
            raise RuntimeError("out of order")

    answer = TestClient(rest_app(Broken())).post("/v2/vectordb/collections/has", json={"collectionName": "a"})
    assert (answer.status_code, answer.json()) == (200, {"code": 65535, "message": "out of order"})
    assert "collections/has failed" in caplog.text


def test_every_route_of_milvus_is_there() -> None:
    listed = (Path(__file__).parent / "rest_routes.txt").read_text().split()
    assert sorted(route.path for route in ROUTES) == sorted([*listed, "tiers/describe"])


def test_the_version_is_told_with_and_without_the_build(rest: Caller) -> None:
    version = rest.client.get_server_version()
    assert rest.get("server/version") == {"version": version}
    assert rest.get("server/version", detail=False) == {"version": version}
    told = rest.get("server/version", detail=True)
    assert set(told) == {"version", "buildTags", "buildTime", "gitCommit", "goVersion", "deployMode"}
    theirs = rest.client.get_server_version(detail=True)
    assert (told["version"], told["gitCommit"]) == (theirs["version"], theirs["git_commit"])


def test_the_port_serves_the_routes_too(tmp_path: Path) -> None:
    from test_serve_port import serving

    with serving(tmp_path) as (_, port):
        url = f"http://127.0.0.1:{port}"
        answer = httpx.post(f"{url}/v2/vectordb/collections/list", json={})
        assert answer.json() == {"code": 0, "data": []}
        assert httpx.get(f"{url}/openapi.json").json()["openapi"] == "3.1.0"
        assert httpx.get(f"{url}/healthz").status_code == 200
