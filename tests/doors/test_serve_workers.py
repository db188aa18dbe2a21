"""Several processes on one port: one writes, all read, and any may die."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from process import serving
from pymilvus import DataType, MilvusClient
from pymilvus.grpc_gen import milvus_pb2

DIM = 8


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], int, Path]]:
    log = tmp_path_factory.mktemp("log") / "log"
    with (
        log.open("w") as stderr,
        serving(tmp_path_factory.mktemp("lake"), "--workers", "3", stderr=stderr) as (process, port),
    ):
        yield process, port, log
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()


def clients(port: int, number: int) -> list[MilvusClient]:
    """Clients, each with a connection of its own, so that every worker has one."""
    own = {"grpc.use_local_subchannel_pool": 1}
    return [
        MilvusClient(f"http://127.0.0.1:{port}", alias=f"c{n}", dedicated=True, grpc_options=own)
        for n in range(number)
    ]


def made(client: MilvusClient, name: str) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=DIM)
    index = client.prepare_index_params()
    index.add_index("v", index_type="FLAT", metric_type="L2")
    client.create_collection(name, schema=schema, index_params=index)
    client.load_collection(name)


def rows(start: int, count: int) -> list[dict[str, Any]]:
    vectors = np.random.default_rng(start).random((count, DIM), np.float32)
    return [{"id": start + n, "v": vectors[n]} for n in range(count)]


def workers_of(process: subprocess.Popen[str]) -> set[int]:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
    )
    return {int(pid) for pid in found.stdout.split()}


def writer_of(log: Path) -> int:
    """The pid of the worker that was last told to write."""
    return int(re.findall(r"writes.*?(\d+)\)", log.read_text())[-1])


def test_every_worker_answers_and_sees_what_another_one_changed(server: Any) -> None:
    _, port, _ = server
    held = clients(port, 6)
    for turn, client in enumerate(held):
        name = f"turn{turn}"
        made(client, name)
        for reader in held:
            assert name in reader.list_collections()
        client.insert(name, rows(turn * 100, 5))
        for reader in held:
            found = reader.query(name, filter="id >= 0", output_fields=["id"], consistency_level="Strong")
            assert sorted(row["id"] for row in found) == [turn * 100 + n for n in range(5)]
        client.drop_collection(name)
        for reader in held:
            assert not reader.has_collection(name)


def test_a_name_used_again_is_the_new_collection_everywhere(server: Any) -> None:
    _, port, _ = server
    held = clients(port, 4)
    for turn in range(3):
        made(held[turn], "again")
        held[turn].insert("again", rows(1000 * turn, 3))
        for reader in held:
            found = reader.query("again", filter="id >= 0", output_fields=["id"], consistency_level="Strong")
            assert sorted(row["id"] for row in found) == [1000 * turn + n for n in range(3)]
            [hits] = reader.search("again", data=[np.zeros(DIM, np.float32)], limit=10)
            assert len(hits) == 3
        held[turn].drop_collection("again")


@pytest.mark.parametrize("which", ["writer", "reader"])
def test_a_worker_killed_is_replaced_and_nothing_acknowledged_is_lost(server: Any, which: str) -> None:
    process, port, log = server
    [client] = clients(port, 1)
    name = f"killed_{which}"
    made(client, name)
    acknowledged: list[int] = []
    killed: int | None = None
    until = time.monotonic() + 180
    while len(acknowledged) < 400:
        assert time.monotonic() < until, f"{len(acknowledged)} rows after three minutes"
        if len(acknowledged) >= 100 and killed is None:
            writer = writer_of(log)
            killed = writer if which == "writer" else min(workers_of(process) - {writer})
            os.kill(killed, signal.SIGKILL)
        start = len(acknowledged)
        # The outcome of a write that was under way is not known: upserts may be repeated.
        try:
            client.upsert(name, rows(start, 20))
        except Exception:  # noqa: BLE001
            continue
        acknowledged += range(start, start + 20)
    while len(workers_of(process)) < 3:
        assert time.monotonic() < until, "the dead worker was not replaced"
        time.sleep(0.1)
    assert killed not in workers_of(process)
    if which == "writer":
        assert writer_of(log) != killed
    for reader in clients(port, 4):
        found = reader.query(name, filter="id >= 0", output_fields=["id"], consistency_level="Strong")
        assert sorted(row["id"] for row in found) == acknowledged


def test_idle_connections_that_ping_are_left_open(server: Any) -> None:
    _, port, _ = server
    options = [
        ("grpc.keepalive_time_ms", 100),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        states: list[grpc.ChannelConnectivity] = []
        grpc.channel_ready_future(channel).result(60)
        channel.subscribe(states.append)
        time.sleep(3)
        version = channel.unary_unary(
            "/milvus.proto.milvus.MilvusService/GetVersion",
            milvus_pb2.GetVersionRequest.SerializeToString,
            milvus_pb2.GetVersionResponse.FromString,
        )(milvus_pb2.GetVersionRequest(), timeout=60)
        assert version.version
        assert set(states) == {grpc.ChannelConnectivity.READY}
