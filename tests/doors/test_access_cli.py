"""Users and tokens from the command line, while a server runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from entering import REFRESH_S, SETTINGS, entered
from serving import Address, served
from typer.testing import CliRunner

from headwater.doors.cli import app


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def address(lake: Path) -> Iterator[Address]:
    with served(lake, SETTINGS) as found:
        yield found


def _run(lake: Path, *words: str, given: str = "") -> str:
    ran = CliRunner().invoke(app, ["--lake", str(lake), *words], input=given)
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def test_a_token_is_made_used_and_dropped(lake: Path, address: Address) -> None:
    token = _run(lake, "create-token", "root", "--about", "a job", "--days", "1").strip()
    [row] = json.loads(_run(lake, "tokens", "--json"))
    assert (row["user"], row["about"]) == ("root", "a job")
    assert row["expires"] > row["created"]
    assert token.split("_")[1] == row["token"]
    time.sleep(REFRESH_S)
    with entered(address, token) as client:
        assert client.list_users() == ["root"]
    _run(lake, "drop-token", row["token"])
    assert _run(lake, "tokens").strip() == "nothing"


def test_a_lost_password_of_root_is_set_anew(lake: Path, address: Address) -> None:
    said = _run(lake, "set-password", "root", given="found-again\nfound-again\n")
    assert "found-again" not in said
    time.sleep(REFRESH_S)
    with entered(address, "root:found-again") as client:
        client.create_user("ann", "secret-1", description="of the test")
    rows = json.loads(_run(lake, "users", "--json"))
    assert rows == [
        {"user": "ann", "roles": "", "about": "of the test"},
        {"user": "root", "roles": "admin", "about": ""},
    ]
