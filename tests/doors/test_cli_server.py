"""The command line on a lake that a server serves: what can be asked of it is, and the rest is refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import headwater as hw
from headwater.doors.cli import app
from headwater.doors.milvus.local import LocalServers
from headwater.errors import UnsupportedOption


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    servers = LocalServers()
    found = servers.address(tmp_path_factory.mktemp("served"))
    with hw.connect(found) as db:
        fields = {
            "id": hw.Int64,
            "text": hw.VarChar(99, analyzer="english"),
            "v": hw.FloatVector(2),
            "terms": hw.SparseFloatVector,
        }
        bm25 = hw.Function("bm25", "BM25", "text", "terms")
        notes = db.create_collection("notes", fields, "id", functions=[bm25], consistency_level="Strong")
        notes.insert([{"id": i, "text": f"word{i} here", "v": [1.0, i]} for i in range(30)])
    yield found
    servers.close()


def run(address: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--lake", address])


def told(address: str, *arguments: str) -> object:
    ran = run(address, *arguments, "--json")
    assert ran.exit_code == 0, ran.output + str(ran.exception)
    return json.loads(ran.stdout)


def test_a_server_is_read_like_a_lake(address: str, tmp_path: Path) -> None:
    assert told(address, "ls") == [{"name": "notes", "num_rows": 30, "external": False}]
    assert told(address, "count", "notes", "-f", "id < 3") == [{"count": 3}]
    assert told(address, "query", "notes", "-f", "id == 3", "--fields", "text") == [{"text": "word3 here"}]
    assert "BM25 of text" in " ".join(run(address, "describe", "notes").stdout.split())
    found = told(address, "search", "notes", "--vector", "[1, 0]", "--field", "v", "-k", "1")
    assert isinstance(found, dict)
    assert found["hits"][0]["id"] == 0
    assert found["info"]["index_coverage"] is None
    shown = run(address, "search", "notes", "--text", "word7", "--field", "terms", "--fields", "text")
    assert "word7 here" in shown.stdout
    assert "nan" not in shown.stdout
    assert run(address, "export", "notes", "-o", str(tmp_path / "rows.parquet")).exit_code == 0
    again = told(address, "insert", "notes", str(tmp_path / "rows.parquet"), "--upsert")
    assert isinstance(again, list)
    assert again[0]["rows"] == 30


def test_a_server_is_told_like_a_lake(address: str) -> None:
    assert run(address, "warmup", "notes").exit_code == 0
    assert run(address, "index", "notes", "v", "--type", "FLAT").exit_code == 0
    about = told(address, "describe", "notes")
    assert isinstance(about, dict)
    assert [one["field"] for one in about["indexes"]] == ["v"]
    assert told(address, "tiers", "notes", "--token", "anybody:at-all")


@pytest.mark.parametrize("command", ["history", "gc", "verify", "health", "cost", "refresh", "changes"])
def test_what_a_server_cannot_be_asked_is_refused_by_name(address: str, command: str) -> None:
    refused = run(address, command, "notes").exception
    assert isinstance(refused, UnsupportedOption), refused
    assert "cannot be asked of a server" in refused.message


def test_a_token_in_the_environment_is_for_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_TOKEN", "ann:secret")
    for command in ("ls", "tiers"):
        ran = run(str(tmp_path), command)
        assert ran.exit_code == 0, ran.exception
