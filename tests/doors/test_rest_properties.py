"""Random and malformed bodies on every route, made from the OpenAPI document: each answer is a documented one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from rest_serving import Caller, both
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from headwater.doors.rest.app import PREFIX
from headwater.doors.rest.openapi import document
from headwater.doors.rest.routes import ROUTES

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
BOOKS = {
    "fields": [
        {"fieldName": "id", "dataType": "Int64", "isPrimary": True},
        {"fieldName": "text", "dataType": "VarChar", "elementTypeParams": {"max_length": 100}},
        {"fieldName": "vector", "dataType": "FloatVector", "elementTypeParams": {"dim": 2}},
    ],
    "enableDynamicField": True,
}


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    with both(tmp_path_factory.mktemp("lake")) as caller:
        yield caller


schema = schemathesis.openapi.from_dict(document(ROUTES, PREFIX))
schema.config.phases.update(phases=["fuzzing"])
schema.config.generation.update(modes=list(schemathesis.GenerationMode), with_security_parameters=False)


def _rooted(rest: Caller, body: Any) -> None:
    """Let half of the bodies be about a collection that is there."""
    if not isinstance(body, dict) or len(repr(body)) % 2:
        return
    if not rest.get("collections/has", collectionName="books")["has"]:
        index = [{"fieldName": "vector"}]
        rest.get("collections/create", collectionName="books", schema=BOOKS, indexParams=index)
    body.pop("dbName", None)
    body["collectionName"] = "books"


@schema.parametrize()
@settings(
    max_examples=5,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_the_documented_one(
    case: schemathesis.Case, rest: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    _rooted(rest, case.body)
    case.headers.pop("DB-Name", None)
    case.headers["Request-Timeout"] = "20"
    answer = case.call(base_url=rest.url, timeout=30)
    case.validate_response(answer, checks=CHECKS)
    faults = [record for record in caplog.records if record.exc_info]
    assert not faults, (case.body, answer.json(), faults[0].exc_info)
