"""`import headwater.pymilvus`: clients of Milvus open lakes by their paths, several processes at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pymilvus import AsyncMilvusClient, Collection, MilvusClient, connections

import headwater as hw
import headwater.pymilvus
from headwater.errors import InvalidArgument

ROWS = [{"id": key, "vector": [float(key), 1.0], "word": f"w{key}"} for key in range(10)]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("lakes") / "x.db")


@pytest.fixture(autouse=True, scope="module")
def _ended() -> object:
    yield
    headwater.pymilvus._servers.close()


def test_a_client_opens_a_path_and_what_it_wrote_is_a_lake(path: str) -> None:
    client = MilvusClient(path)
    client.create_collection("docs", dimension=2, metric_type="L2")
    client.insert("docs", ROWS)
    [found] = client.search("docs", [[3.0, 1.0]], limit=1, output_fields=["word"])
    assert (found[0]["id"], found[0]["entity"]["word"]) == (3, "w3")
    client.close()
    assert hw.connect(path).collection("docs").get([7], output_fields=["word"])[0]["word"] == "w7"


async def test_the_asynchronous_client_too(path: str) -> None:
    client = AsyncMilvusClient(path)
    assert (await client.query("docs", filter="id == 4", output_fields=["word"]))[0]["word"] == "w4"
    await client.close()


@pytest.mark.filterwarnings("ignore:.*is an ORM-style PyMilvus API")
def test_and_the_orm(path: str) -> None:
    connections.connect("orm", uri=path)
    found = Collection("docs", using="orm").query("id < 3", output_fields=["word"])
    assert sorted(row["word"] for row in found) == ["w0", "w1", "w2"]
    connections.disconnect("orm")


def test_a_process_has_one_server_of_a_lake_however_its_path_is_written(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(path).parent)
    assert headwater.pymilvus.address("x.db") == headwater.pymilvus.address(path)
    assert headwater.pymilvus.address(Path("..") / Path(path).parent.name / "x.db").startswith("unix:/")


def test_a_lake_of_any_name_is_opened_by_our_own_functions(path: str) -> None:
    (Path(path).parent / "lake").symlink_to(path)
    client = headwater.pymilvus.client(Path(path).parent / "lake")
    assert client.list_collections() == ["docs"]
    client.close()
    MilvusClient(headwater.pymilvus.address(path)).close()


def test_a_server_that_was_killed_is_started_again(path: str) -> None:
    client = MilvusClient(path)
    server = headwater.pymilvus._servers._servers[path]
    first = server._process
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    again = MilvusClient(path)
    assert len(again.query("docs", filter="id >= 0")) == len(ROWS)
    assert len(client.query("docs", filter="id >= 0")) == len(ROWS), "older clients find the new one"
    client.close()
    again.close()


def test_what_is_no_lake_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.db").write_bytes(b"SQLite format 3")
    with pytest.raises(InvalidArgument, match="is a file; a lake is a folder"):
        MilvusClient(str(tmp_path / "file.db"))
    lite = tmp_path / "lite.db"
    (lite / "collections").mkdir(parents=True)
    (lite / "LOCK").touch()
    with pytest.raises(InvalidArgument, match="is a database of Milvus Lite"):
        MilvusClient(str(lite))
    with pytest.raises(InvalidArgument, match="in the memory of another process"):
        headwater.pymilvus.client("memory://x")
    with pytest.raises(InvalidArgument, match="nonsense"):
        headwater.pymilvus.client("nonsense://x")


def test_a_forked_process_leaves_the_server_to_its_parent(path: str) -> None:
    program = """
import os, sys
from headwater.doors.milvus.local import LocalServers
servers = LocalServers()
socket = servers.address(sys.argv[1]).removeprefix("unix:")
[server] = servers._servers.values()
child = os.fork()
if child == 0:
    sys.exit(0 if not servers._servers else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert os.path.exists(socket) and server._process.poll() is None
assert servers.address(sys.argv[1]) == f"unix:{socket}"
servers.close()
assert not os.path.exists(socket) and server._process.poll() == 0
"""
    subprocess.run([sys.executable, "-c", program, path], check=True, timeout=120)


def test_a_program_ends_without_a_word(path: str) -> None:
    """Libraries that the server has used would tell of all that they have left."""
    program = """
import sys
import headwater.pymilvus
client = headwater.pymilvus.client(sys.argv[1])
client.create_collection("notes", dimension=2)
client.insert("notes", [{"id": i, "vector": [1.0, i], "year": 2000 + i} for i in range(5)])
assert len(client.search("notes", [[1.0, 1.0]], limit=3, filter="year > 2002")[0]) == 2
client.close()
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=False, timeout=120
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_processes_write_to_one_lake_in_turn_and_one_may_be_killed(path: str) -> None:
    """Each row that either was told is written is there, and the server of the killed one ends by itself."""
    client = MilvusClient(path)
    client.create_collection("shared", dimension=2, consistency_level="Strong")
    writer = _writer(path, 0, 100_000)
    server = int(_line(writer).split()[1])
    assert writer.stdin is not None
    writer.stdin.write("go\n")
    writer.stdin.flush()
    told = []
    for key in range(1_000_000, 1_000_030):
        told.append(int(_line(writer)))
        client.insert("shared", [{"id": key, "vector": [0.0, 1.0]}])
    writer.kill()
    assert writer.stdout is not None
    told += [int(line) for line in writer.stdout.read().split()]
    writer.communicate()
    for key in range(1_000_030, 1_000_040):
        client.insert("shared", [{"id": key, "vector": [0.0, 1.0]}])
    found = {row["id"] for row in client.query("shared", filter="id >= 0", limit=16384)}
    assert found >= {*told, *range(1_000_000, 1_000_040)}
    assert found - {*told, *range(1_000_000, 1_000_040)} <= {max(told) + 1}, "one may have been on its way"
    client.close()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{server}").exists():
        assert time.monotonic() < deadline, "a server outlived its process"
        time.sleep(0.05)


def _writer(path: str, first: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).parent / "local_writer.py"), path, str(first), str(count)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _line(writer: subprocess.Popen[str]) -> str:
    assert writer.stdout is not None
    line = writer.stdout.readline()
    assert line, f"the writer ended with {writer.wait()}"
    return line
