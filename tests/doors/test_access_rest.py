"""The RESTful door asks the same guard, and says so in its answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from entering import SETTINGS
from pymilvus.grpc_gen import common_pb2
from rest_serving import Caller, both

ROOT = {"Authorization": "Bearer root:Milvus"}
ANN = {"Authorization": "Bearer ann:secret-1"}


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    with both(tmp_path_factory.mktemp("lake"), SETTINGS, "root:Milvus") as found:
        found.client.create_user("ann", "secret-1")
        found.client.create_role("readers")
        found.client.grant_role("ann", "readers")
        found.client.create_collection("docs", dimension=2)
        found.client.create_collection("others", dimension=2)
        yield found


@pytest.mark.parametrize(
    "headers", [None, {"Authorization": "Bearer root:wrong"}, {"Authorization": "Bearer hwt_1_2"}]
)
def test_who_does_not_show_who_he_is_is_told_so(caller: Caller, headers: dict[str, str] | None) -> None:
    code, words = caller.refused("collections/list", headers=headers)
    assert code == 1800
    assert "user hasn't authenticated" in words


@pytest.mark.parametrize("said", ["Bearer root:Milvus", "root:Milvus", "Basic cm9vdDpNaWx2dXM="])
def test_ways_of_saying_who_one_is(caller: Caller, said: str) -> None:
    assert set(caller.get("collections/list", headers={"Authorization": said})) == {"docs", "others"}


def test_privileges_hold_here_too(caller: Caller) -> None:
    code, words = caller.refused("entities/query", headers=ANN, collectionName="docs", filter="id > 0")
    assert code == 65535
    assert "permission deny to ann" in words
    assert caller.get("collections/list", headers=ANN) == []
    caller.get(
        "roles/grant_privilege_v2",
        headers=ROOT,
        roleName="readers",
        privilege="CollectionReadOnly",
        collectionName="docs",
        dbName="default",
    )
    assert caller.get("collections/list", headers=ANN) == ["docs"]
    assert caller.get("entities/query", headers=ANN, collectionName="docs", filter="id > 0") == []
    assert caller.refused("collections/drop", headers=ANN, collectionName="docs")[0] == 65535
    assert caller.refused("users/create", headers=ANN, userName="eve", password="secret-1")[0] == 65535
    assert caller.get("users/describe", headers=ANN, userName="ann") == ["readers"]


def test_a_call_that_another_process_answers_is_checked_before_it_goes_there(caller: Caller) -> None:
    gone: list[str] = []

    async def forward(
        name: str, data: bytes, metadata: Mapping[str, str], left_s: float | None, peer: str
    ) -> bytes:
        gone.append(name)
        return common_pb2.Status().SerializeToString()

    before = caller.service.forward
    caller.service.forward = lambda name: forward if name == "DropCollection" else None
    try:
        wrong = {"Authorization": "Bearer root:wrong"}
        assert caller.refused("collections/drop", headers=wrong, collectionName="docs")[0] == 1800
        assert caller.refused("collections/drop", headers=ANN, collectionName="docs")[0] == 65535
        assert gone == []
        caller.get("collections/drop", headers=ROOT, collectionName="docs")
        assert gone == ["DropCollection"]
    finally:
        caller.service.forward = before
