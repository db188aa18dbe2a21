"""Heavy reads have threads, bytes and processes of their own, and leave the others alone."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from process import get, serving
from pymilvus import MilvusClient
from pymilvus.grpc_gen import common_pb2, milvus_pb2

import headwater as hw
from headwater.doors.milvus.backend import Backend
from headwater.doors.milvus.heavy import HeavyLane
from headwater.doors.milvus.rpc import RPCS, Call
from headwater.doors.milvus.service import MilvusService
from headwater.settings import ServerSettings

DIM, ROWS = 8, 4000
SMALL = {"heavy_rows": 3000, "heavy_threads": 1}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("lake")
    with hw.connect(path) as database:
        docs = database.create_collection(
            "docs", {"id": hw.Int64, "n": hw.Int64, "v": hw.FloatVector(DIM)}, "id"
        )
        made = np.random.default_rng(0).random((ROWS, DIM), np.float32)
        docs.insert({"id": np.arange(ROWS), "n": np.arange(ROWS) % 7, "v": made})
        docs.flush()
        docs.load()
    return path


def search(nq: int) -> bytes:
    vectors = np.random.default_rng(1).random((nq, DIM), np.float32)
    group = common_pb2.PlaceholderGroup()
    values = [one.tobytes() for one in vectors]
    group.placeholders.add(tag="$0", type=common_pb2.PlaceholderType.FloatVector, values=values)
    pairs = {"anns_field": "v", "topk": "3", "metric_type": "COSINE", "params": "{}"}
    request = milvus_pb2.SearchRequest(
        collection_name="docs",
        nq=nq,
        dsl_type=common_pb2.DslType.BoolExprV1,
        placeholder_group=group.SerializeToString(),
        search_params=[common_pb2.KeyValuePair(key=key, value=value) for key, value in pairs.items()],
    )
    data: bytes = request.SerializeToString()
    return data


async def answered(service: MilvusService, nq: int) -> milvus_pb2.SearchResults:
    return milvus_pb2.SearchResults.FromString(await service.answer("Search", search(nq), {}))


class Held:
    """Lets searches of many queries wait until told, and notes the threads that calls run on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.threads: list[tuple[int, str]] = []
        plain = RPCS["Search"]

        def run(call: Call, request: Any) -> Any:
            self.threads.append((request.nq, threading.current_thread().name.partition("-")[0]))
            if request.nq > 1:
                self.go.wait(20)
            return plain.run(call, request)

        monkeypatch.setitem(RPCS, "Search", plain._replace(run=run))


async def test_searches_are_answered_while_heavy_ones_fill_their_lane(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    backend = Backend(hw.connect(lake))
    service = MilvusService(backend, ServerSettings(**SMALL, short_threads=1, long_threads=1))
    heavy = [asyncio.ensure_future(answered(service, 5)) for _ in range(3)]
    for _ in range(5):
        light = await answered(service, 1)
        assert (light.status.code, len(light.results.scores)) == (0, 3)
    assert not any(one.done() for one in heavy)
    assert service.heavy.waiting == 2
    held.go.set()
    for found in await asyncio.gather(*heavy):
        assert (found.status.code, len(found.results.scores)) == (0, 15)
    assert set(held.threads) == {(1, "short"), (5, "heavy")}
    assert service.in_flight == service.heavy.waiting == 0
    service.close()
    backend.close()


async def test_a_heavy_call_that_waits_too_long_or_finds_too_many_waiting_is_refused(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    backend = Backend(hw.connect(lake))
    service = MilvusService(backend, ServerSettings(**SMALL, heavy_wait_s=0.2, max_queue=1))
    running = asyncio.ensure_future(answered(service, 5))
    while service.heavy.lane.busy < 1:
        await asyncio.sleep(0.01)
    waiting = asyncio.ensure_future(answered(service, 5))
    while service.heavy.waiting < 1:
        await asyncio.sleep(0.01)
    crowded = (await answered(service, 5)).status
    assert (crowded.code, crowded.retriable, "server.max_queue" in crowded.reason) == (4, True, True)
    late = (await waiting).status
    assert (late.code, "server.heavy_wait_s" in late.reason) == (4, True)
    assert (await answered(service, 1)).status.code == 0
    held.go.set()
    assert (await running).status.code == 0
    assert (await answered(service, 5)).status.code == 0
    service.close()
    backend.close()


class Piece:
    """A heavy call that ends when it is told to."""

    def __init__(self, lane: HeavyLane, size_bytes: int) -> None:
        self.lane, self.heavy_bytes = lane, size_bytes
        self.begun, self.go = threading.Event(), threading.Event()
        self.done = asyncio.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        self.begun.set()
        self.go.wait(20)

    def fail(self, error: BaseException) -> None:
        self.error = error

    def finish(self) -> None:
        self.lane.finished(self)
        self.done.set()


async def test_heavy_calls_that_run_together_keep_to_their_bytes() -> None:
    lane = HeavyLane(ServerSettings(heavy_threads=3, heavy_bytes=100))
    first, second, third = Piece(lane, 70), Piece(lane, 60), Piece(lane, 500)
    for one in (first, second, third):
        lane.submit(one)
    assert await asyncio.to_thread(first.begun.wait, 20)
    assert (lane.waiting, second.begun.is_set()) == (2, False)
    first.go.set()
    await first.done.wait()
    assert await asyncio.to_thread(second.begun.wait, 20)
    assert not third.begun.is_set()
    second.go.set()
    await second.done.wait()
    # One that is larger than all the room runs alone.
    assert await asyncio.to_thread(third.begun.wait, 20)
    third.go.set()
    await third.done.wait()
    assert [one.error for one in (first, second, third)] == [None] * 3
    await asyncio.to_thread(lane.lane.close)


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        ({"expr": "n == 3", "limit": "10"}, False),
        ({"expr": "n == 3"}, True),
        ({"expr": "id in [1, 2, 3]"}, False),
        ({"expr": "", "limit": "10"}, False),
        ({"expr": "", "limit": "4000"}, True),
        ({"expr": "n == 3", "output_fields": ["count(*)"]}, False),
        ({"expr": "", "output_fields": ["count(*)"]}, False),
        ({"expr": "", "limit": "4000", "iterator": "True"}, False),
    ],
)
async def test_queries_are_weighed_by_the_rows_they_bring(
    lake: Path, monkeypatch: pytest.MonkeyPatch, words: dict[str, Any], heavy: bool
) -> None:
    threads = []
    plain = RPCS["Query"]

    def run(call: Call, request: Any) -> Any:
        threads.append(threading.current_thread().name.partition("-")[0])
        return plain.run(call, request)

    monkeypatch.setitem(RPCS, "Query", plain._replace(run=run))
    backend = Backend(hw.connect(lake))
    backend.lake.collection("docs")
    service = MilvusService(backend, ServerSettings(**SMALL))
    fields = words.pop("output_fields", ["id"])
    expr = words.pop("expr")
    pairs = [common_pb2.KeyValuePair(key=key, value=value) for key, value in words.items()]
    request = milvus_pb2.QueryRequest(
        collection_name="docs", expr=expr, output_fields=fields, query_params=pairs
    )
    answer = milvus_pb2.QueryResults.FromString(
        await service.answer("Query", request.SerializeToString(), {})
    )
    assert answer.status.code == 0, answer.status.reason
    assert threads == ["heavy" if heavy else "short"]
    service.close()
    backend.close()


def test_a_writer_and_analysts_are_processes_of_their_own(tmp_path: Path) -> None:
    settings = (
        "server.writer=process",
        "server.analytics_workers=1",
        "server.heavy_rows=500",
        "server.maintenance=off",
    )
    flags = [word for one in settings for word in ("--set", one)]
    with serving(tmp_path, *flags) as (_, port):
        client = MilvusClient(f"http://127.0.0.1:{port}")
        client.create_collection("docs", dimension=DIM, consistency_level="Strong")
        made = np.random.default_rng(0).random((300, DIM), np.float32)
        client.insert("docs", [{"id": n, "vector": one.tolist()} for n, one in enumerate(made)])
        client.flush("docs")
        [hits] = client.search("docs", data=made[:1], limit=1)
        assert hits[0]["id"] == 0
        found = client.search("docs", data=made[:20], limit=1)
        assert [hits[0]["id"] for hits in found] == list(range(20))
        client.delete("docs", ids=[5])
        assert client.query("docs", filter="id == 5") == []
        page = get(port, "/metrics")[1].decode()
        client.close()
    calls = {
        (line.split('worker="')[1][0], line.split('rpc="')[1].partition('"')[0]): float(
            line.rsplit(" ", 1)[1]
        )
        for line in page.splitlines()
        if line.startswith("headwater_requests_total")
    }
    # The worker is 0, the writer 1, and 2 is for analytics.
    assert calls["0", "Search"] == 2
    assert calls["2", "Search"] == 1
    assert calls["1", "Insert"] == calls["1", "CreateCollection"] == 1
    assert ("0", "Insert") not in calls
