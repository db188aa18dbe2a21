"""Every call leaves a line that says who did what, and how it ended; and nothing that is nobody's business."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from entering import SETTINGS, entered
from pymilvus import MilvusException
from serving import served

from headwater.settings import Settings


def _settings(path: Path) -> Settings:
    return Settings(access=replace(SETTINGS.access, audit_path=str(path)))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_for_each_call(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    with served(tmp_path / "lake", _settings(path)) as address:
        with entered(address, "root:Milvus") as root:
            root.create_user("ann", "a-secret-word")
            root.create_collection("docs", dimension=2)
            root.insert("docs", [{"id": 1, "vector": [0.25, 0.75]}], client_request_id="of-mine")
            root.search("docs", [[0.125, 0.5]], filter="id == 4711", limit=1)
            with pytest.raises(MilvusException):
                root.describe_collection("nowhere")
        with entered(address, "ann:a-secret-word") as ann, pytest.raises(grpc.RpcError):
            ann.drop_collection("docs")
        with pytest.raises(MilvusException):
            entered(address, "ann:a-wrong-word", timeout=2).__enter__()
    lines = _lines(path)
    by_call = {(line["user"], line["call"], line["outcome"]): line for line in lines}
    made = by_call["root", "CreateCredential", "ok"]
    assert (made["code"], made["database"], made["collection"]) == (0, "default", "")
    wrote = by_call["root", "Insert", "ok"]
    assert wrote["collection"] == "docs"
    assert wrote["peer"].startswith("ipv4:127.0.0.1:")
    assert wrote["latency_ms"] > 0
    assert len(wrote["request_id"]) > 3
    assert by_call["root", "Search", "ok"]["collection"] == "docs"
    assert by_call["root", "DescribeCollection", "error"]["code"] == 100
    assert by_call["ann", "DropCollection", "denied"]["code"] == 1401
    assert by_call["", "Connect", "unauthenticated"]["code"] == 1800
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    text = path.read_text()
    for secret in ("a-secret-word", "a-wrong-word", "Milvus:", "4711", "0.125", "scrypt", "cm9vdDpNaWx2dXM"):
        assert secret not in text


def test_calls_are_written_down_also_where_nobody_says_who_he_is(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    settings = replace(_settings(path), access=replace(_settings(path).access, authorization=False))
    with served(tmp_path / "lake", settings) as address, entered(address) as client:
        client.list_collections()
    assert ("", "ShowCollections", "ok") in {
        (line["user"], line["call"], line["outcome"]) for line in _lines(path)
    }


def test_calls_that_another_process_answers_are_guarded_and_written_down_here(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    passed_on: list[str] = []
    with served(tmp_path / "lake", _settings(path)) as address:
        with entered(address, "root:Milvus") as root:
            root.create_user("ann", "secret-1")
            root.create_collection("docs", dimension=2)

        async def forward(name: str, *_: object) -> bytes:
            passed_on.append(name)
            return b""

        address.service.forward = lambda name: (
            forward if name in ("DropCollection", "Flush", "ReleaseCollection") else None
        )
        with entered(address, "root:Milvus") as root, entered(address, "ann:secret-1") as ann:
            root.drop_collection("docs")
            with pytest.raises(grpc.RpcError, match="PrivilegeDropCollection: permission deny to ann"):
                ann.drop_collection("docs")
            with pytest.raises(grpc.RpcError, match="PrivilegeRelease: permission deny to ann"):
                ann.release_collection("docs")
            root.create_role("readers")
            root.grant_role("ann", "readers")
            root.grant_privilege_v2("readers", "Release", "docs")
            with pytest.raises(MilvusException, match="collection not found"):
                ann.release_collection("nowhere")
            ann.release_collection("docs")
    assert passed_on == ["DropCollection", "ReleaseCollection"]
    told = [(line["user"], line["call"], line["outcome"], line["collection"]) for line in _lines(path)]
    assert ("ann", "DropCollection", "denied", "docs") in told
    assert ("ann", "ReleaseCollection", "denied", "docs") in told
    assert ("ann", "ReleaseCollection", "error", "nowhere") in told
