"""What a worker takes on: sizes, numbers, deadlines, and slow calls beside quick ones."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException
from pymilvus.grpc_gen import common_pb2, milvus_pb2
from serving import served

import headwater as hw
from headwater.doors.milvus import service as service_module
from headwater.doors.milvus.backend import Backend
from headwater.doors.milvus.limits import Limits
from headwater.doors.milvus.record import Record
from headwater.doors.milvus.rpc import RPCS, Call, Lane, Rpc
from headwater.doors.milvus.service import MilvusService
from headwater.engine import Database
from headwater.errors import HeadwaterError
from headwater.settings import ServerSettings, Settings
from headwater.store import FaultyStore, open_store

Handler = Callable[[Call, Any], Any]


@pytest.fixture
def dummy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have a call of the protocol answered by a function."""

    def install(run: Handler, lane: Lane = "short", name: str = "Connect") -> None:
        rpc = Rpc(name, run, lane, milvus_pb2.ConnectRequest, milvus_pb2.ConnectResponse)
        monkeypatch.setitem(RPCS, name, rpc)

    return install


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    made = Backend(hw.connect(tmp_path))
    yield made
    made.close()


async def connect(service: MilvusService, **options: Any) -> common_pb2.Status:
    data = milvus_pb2.ConnectRequest().SerializeToString()
    answer = await service.answer("Connect", data, {}, **options)
    return milvus_pb2.ConnectResponse.FromString(answer).status


async def test_more_calls_than_may_wait_are_refused_with_milvus_code(backend: Backend, dummy: Any) -> None:
    go = threading.Event()
    ran: list[int] = []

    def wait(call: Call, request: Any) -> Any:
        go.wait(20)
        ran.append(1)
        return milvus_pb2.ConnectResponse()

    dummy(wait, "long")
    service = MilvusService(backend, ServerSettings(long_threads=2, max_queue=3))
    calls = [asyncio.create_task(connect(service)) for _ in range(2)]
    await asyncio.sleep(0.2)
    calls += [asyncio.create_task(connect(service)) for _ in range(10)]
    await asyncio.sleep(0.2)
    refused = [call.result() for call in calls if call.done()]
    # Two run and three wait; the others came while the queue was full.
    assert len(refused) == 7
    assert {(one.code, one.retriable) for one in refused} == {(4, True)}
    assert "too many concurrent requests" in refused[0].reason
    go.set()
    assert [status.code for status in await asyncio.gather(*calls)].count(0) == len(ran) == 12 - len(refused)
    assert service.in_flight == 0
    service.close()


class Clock:
    """The clocks by which calls are told quick from slow: what passes is what a test says, however busy the machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s, self._waits = 1000.0, itertools.count()
        self.pushed_off = False
        monkeypatch.setattr(service_module, "time", self)
        monkeypatch.setattr(service_module, "thread_waits", self._thread_waits)

    def _thread_waits(self) -> int:
        return -1 if self.pushed_off else next(self._waits)

    def perf_counter(self) -> float:
        return self.now_s

    def thread_time(self) -> float:
        return 0.0

    def time_ns(self) -> int:
        return time.time_ns()


async def test_quick_reads_of_files_of_this_machine_are_answered_on_the_loop(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[bool] = []
    pause_s, clock = [0.0], Clock(monkeypatch)

    def run(call: Call, request: Any) -> Any:
        ran.append(threading.current_thread() is threading.main_thread())
        clock.now_s += pause_s[0]
        return milvus_pb2.QueryResults()

    rpc = Rpc("Query", run, "short", milvus_pb2.QueryRequest, milvus_pb2.QueryResults)
    monkeypatch.setitem(RPCS, "Query", rpc)
    monkeypatch.setitem(RPCS, "Flush", rpc._replace(name="Flush"))
    monkeypatch.setattr(service_module, "_AT_ONCE_S", 0.2)

    async def calls(backend: Backend, *names: str) -> list[bool]:
        """Whether each of some calls, made at once, ran on the loop; a quick one went before."""
        service = MilvusService(backend)
        ran.clear()
        pause_s[0] = 0.0
        await service.answer(names[0], b"", {})
        first = ran.copy()
        await asyncio.gather(*(service.answer(name, b"", {}) for name in names))
        await service.answer(names[0], b"", {})
        pause_s[0] = 0.3
        await service.answer(names[0], b"", {})
        await service.answer(names[0], b"", {})
        service.close()
        return [*first, *ran[len(first) :]]

    # Nothing is known of the first; what took long is not expected to be quick the next time.
    assert await calls(backend, "Query") == [False, True, True, True, False]
    assert not any(await calls(backend, "Flush"))
    far = Database(FaultyStore(open_store("memory://far")), "default", Settings())
    assert not any(await calls(Backend(far), "Query"))


async def test_a_call_that_was_only_kept_from_its_core_counts_as_quick(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[bool] = []
    clock = Clock(monkeypatch)

    def run(call: Call, request: Any) -> Any:
        ran.append(threading.current_thread() is threading.main_thread())
        clock.now_s += 0.01
        return milvus_pb2.QueryResults()

    monkeypatch.setitem(
        RPCS, "Query", Rpc("Query", run, "short", milvus_pb2.QueryRequest, milvus_pb2.QueryResults)
    )
    service = MilvusService(backend)
    await service.answer("Query", b"", {})
    await service.answer("Query", b"", {})
    # As if the thread had been pushed off its core meanwhile, and not waited.
    clock.pushed_off = True
    service._took.clear()
    await service.answer("Query", b"", {})
    await service.answer("Query", b"", {})
    assert ran == [False, False, False, True]
    service.close()


@pytest.mark.parametrize("pushed_off", [True, False])
async def test_a_call_that_took_long_once_is_judged_by_the_next(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, pushed_off: bool
) -> None:
    ran: list[bool] = []
    clock = Clock(monkeypatch)
    clock.pushed_off = pushed_off

    def run(call: Call, request: Any) -> Any:
        ran.append(threading.current_thread() is threading.main_thread())
        clock.now_s += 0.02
        return milvus_pb2.QueryResults()

    rpc = Rpc("Query", run, "short", milvus_pb2.QueryRequest, milvus_pb2.QueryResults)
    monkeypatch.setitem(RPCS, "Query", rpc)
    service = MilvusService(backend)
    service._took["Query"] = 0.0, True
    for _ in range(3):
        await service.answer("Query", b"", {})
    assert ran == [True, False, pushed_off]
    service.close()


async def test_calls_in_flight_are_bounded(backend: Backend, dummy: Any) -> None:
    go = threading.Event()
    dummy(lambda call, request: (go.wait(20), milvus_pb2.ConnectResponse())[1])
    service = MilvusService(backend, ServerSettings(max_concurrent_requests=2))
    calls = [asyncio.create_task(connect(service)) for _ in range(2)]
    await asyncio.sleep(0.1)
    status = await connect(service)
    assert (status.code, "max_concurrent_requests" in status.reason) == (4, True)
    go.set()
    assert [one.code for one in await asyncio.gather(*calls)] == [0, 0]
    service.close()


async def test_a_call_whose_deadline_has_passed_or_whose_caller_has_gone_is_not_run(
    backend: Backend, dummy: Any
) -> None:
    go, ran = threading.Event(), []

    def run(call: Call, request: Any) -> Any:
        ran.append(call.request_id)
        go.wait(20)
        return milvus_pb2.ConnectResponse()

    dummy(run, "long")
    service = MilvusService(backend, ServerSettings(long_threads=1))
    first = asyncio.create_task(connect(service))
    late = asyncio.create_task(connect(service, left_s=0.05))
    gone = asyncio.create_task(connect(service))
    await asyncio.sleep(0.2)
    gone.cancel()
    await asyncio.sleep(0)
    go.set()
    assert (await first).code == 0
    assert (await late).code == 10001
    with pytest.raises(asyncio.CancelledError):
        await gone
    service.close()
    await asyncio.sleep(0.05)
    assert len(ran) == 1
    assert service.in_flight == 0


async def test_sizes_numbers_and_memory_are_bounded_in_milvus_words(backend: Backend) -> None:
    settings = ServerSettings(max_message_bytes=1000, max_top_k=100, max_queries=10)
    service = MilvusService(backend, settings)

    async def search(**fields: Any) -> common_pb2.Status:
        request = milvus_pb2.SearchRequest(collection_name="c", **fields)
        data = request.SerializeToString()
        return milvus_pb2.SearchResults.FromString(await service.answer("Search", data, {})).status

    large = await search(placeholder_group=b"x" * 2000)
    assert (large.code, "max_message_bytes is 1000" in large.reason) == (1102, True)
    many = await search(nq=11)
    assert (many.code, "nq [11] is invalid" in many.reason) == (65535, True)
    topk = await search(nq=1, search_params=[common_pb2.KeyValuePair(key="topk", value="101")])
    assert topk.code == 65535
    assert topk.reason.startswith("topk [101] is invalid, it should be in range [1, 100], but got 101")
    for data in (b"\xff\xff\xff", b"\x0a\xff"):
        broken = milvus_pb2.SearchResults.FromString(await service.answer("Search", data, {})).status
        assert broken.code == 1100
        assert broken.error_code == common_pb2.IllegalArgument
    service.close()
    small = Limits(ServerSettings(memory_bytes=1))
    small.admit("Search", 10, 0, 0)
    with pytest.raises(HeadwaterError, match="memory limit exceeded"):
        small.admit("Insert", 10, 0, 0)


async def test_slow_calls_among_the_quick_ones_do_not_hold_those_up(backend: Backend, dummy: Any) -> None:
    go = threading.Event()

    def run(call: Call, request: Any) -> Any:
        if call.metadata.get("slow"):
            go.wait(60)
        return milvus_pb2.ConnectResponse()

    dummy(run)
    service = MilvusService(backend, ServerSettings(short_threads=2, long_threads=2))
    data = milvus_pb2.ConnectRequest().SerializeToString()
    slow = [asyncio.create_task(service.answer("Connect", data, {"slow": "1"})) for _ in range(3)]
    await asyncio.sleep(0.05)
    for _ in range(20):
        assert (await connect(service)).code == 0
    assert not any(one.done() for one in slow)
    assert service.lanes["short"].threads == 4
    go.set()
    await asyncio.gather(*slow)
    service.close()


def test_scans_on_every_long_thread_leave_searches_quick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = hw.connect(tmp_path)
    big = database.create_collection(
        "big", {"id": hw.Int64, "word": hw.String, "v": hw.FloatVector(16)}, "id"
    )
    rng = np.random.default_rng(0)
    rows = 60_000
    words = [f"word {n} of many" for n in range(rows)]
    big.insert({"id": np.arange(rows), "word": words, "v": rng.random((rows, 16), np.float32)})
    big.flush()
    big.create_index("v", "IVF_FLAT")
    database.close()
    stop, scans = threading.Event(), []

    def scan(call: Call, request: Any) -> Any:
        collection = call.db.collection("big")
        while not stop.is_set():
            # A filter of its own each time, so that no cache answers.
            collection.count(f'word like "%{len(scans)} of%" or id == {len(scans)}')
            scans.append(1)
        return milvus_pb2.CheckHealthResponse(isHealthy=True)

    rpc = Rpc("CheckHealth", scan, "long", milvus_pb2.CheckHealthRequest, milvus_pb2.CheckHealthResponse)
    monkeypatch.setitem(RPCS, "CheckHealth", rpc)
    with served(tmp_path) as address:
        client = MilvusClient(address)
        client.load_collection("big")
        query = rng.random(16, np.float32)
        client.search("big", data=[query], limit=10)
        import grpc

        with grpc.insecure_channel(address.removeprefix("http://")) as channel:
            call = channel.unary_unary(
                "/milvus.proto.milvus.MilvusService/CheckHealth",
                milvus_pb2.CheckHealthRequest.SerializeToString,
                milvus_pb2.CheckHealthResponse.FromString,
            )
            running = [call.future(milvus_pb2.CheckHealthRequest(), timeout=60) for _ in range(8)]
            while len(scans) < 8:
                time.sleep(0.01)
            # They are answered while every scan is under way, none of which ends before it is told to.
            for _ in range(60):
                [hits] = client.search("big", data=[query], limit=10)
                assert len(hits) == 10
            assert not any(one.done() for one in running)
            before = len(scans)
            stop.set()
            assert all(one.result().isHealthy for one in running)
        client.close()
    assert before > 8, "the scans went on meanwhile"


def test_observers_hear_of_every_call_once(tmp_path: Path) -> None:
    heard: list[Record] = []

    async def run() -> None:
        backend = Backend(hw.connect(tmp_path))
        service = MilvusService(backend)
        service.observers.append(heard.append)
        await service.answer("GetVersion", b"", {"client-request-id": "mine"}, peer="somebody")
        await service.call("HasCollection", milvus_pb2.HasCollectionRequest(collection_name="x"), {})
        await service.answer("Query", b"\xff", {})
        service.close()
        backend.close()

    asyncio.run(run())
    assert [(one.name, one.code) for one in heard] == [
        ("GetVersion", 0),
        ("HasCollection", 0),
        ("Query", 1100),
    ]
    assert (heard[0].request_id, heard[0].peer) == ("mine", "somebody")
    assert heard[1].collection == "x"
    assert all(one.total_s > 0 for one in heard)


def test_a_message_over_the_limit_is_told_in_the_status(tmp_path: Path) -> None:
    with served(tmp_path, Settings(server=ServerSettings(max_message_bytes=20_000))) as address:
        client = MilvusClient(address)
        client.create_collection("c", dimension=8)
        rows = [{"id": n, "vector": [0.0] * 8} for n in range(1000)]
        with pytest.raises(MilvusException, match="max_message_bytes") as caught:
            client.insert("c", rows)
        assert caught.value.code == 1102
        client.close()
