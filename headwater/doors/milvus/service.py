"""Running calls: off the event loop, errors made into statuses, the same way whichever door they came through."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater import trace
from headwater.doors.milvus import calls as _calls  # noqa: F401 (registers what is served)
from headwater.doors.milvus.backend import Backend
from headwater.doors.milvus.codes import DEADLINE, UNSUPPORTED, MilvusError, invalid, status_of
from headwater.doors.milvus.database_rules import check_allowed
from headwater.doors.milvus.gate import Gate
from headwater.doors.milvus.guard import Refused, database_of
from headwater.doors.milvus.heavy import HeavyLane
from headwater.doors.milvus.in_place import read_request
from headwater.doors.milvus.lanes import Lane
from headwater.doors.milvus.limits import Limits
from headwater.doors.milvus.record import REQUEST_ID, Observer, Record
from headwater.doors.milvus.rpc import RPCS, Call, Rpc
from headwater.doors.milvus.waits import thread_waits
from headwater.doors.milvus.weights import Weight, weigh
from headwater.errors import HeadwaterError, InvalidArgument
from headwater.settings import ServerSettings

__all__ = ["Forward", "MilvusService", "failed"]

_log = logging.getLogger("headwater.server")
_MOST_OF_A_STATUS = 4096
"""A longer answer is no refusal, and is passed on unread."""

_READS = frozenset(("Search", "HybridSearch", "Query"))
"""Calls that change nothing."""

_AT_ONCE_S = 0.001
_AT_ONCE_BYTES = 64 << 10
_REMEMBERED = 0.95
"""How much of the time that a slow call took the next one is still expected to take."""

_UNKNOWN = (1.0, True)
"""What a call of a kind that was never run is expected to take."""

_WATCHED = 100
"""So many calls after one that took long are looked at closely."""

_request_numbers = count(1)
_request_prefix = uuid.uuid4().hex[:20]
_SERVICE = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"]

Forward = Callable[[str, bytes, Mapping[str, str], float | None, str], Awaitable[bytes]]
"""Has another process answer a call: name, message, headers, the seconds that are left for it, and who is connected."""


class MilvusService:
    """The calls of the Milvus protocol over one lake.

    Args:
        backend: the lake.
        settings: threads and limits.
    """

    def __init__(self, backend: Backend, settings: ServerSettings | None = None) -> None:
        settings = settings or ServerSettings()
        self._backend = backend
        self.settings = settings
        self.heavy = HeavyLane(settings)
        self.lanes = {
            "short": Lane("short", settings.short_threads, spare=settings.long_threads),
            "long": Lane("long", settings.long_threads),
            "heavy": self.heavy.lane,
        }
        self.limits = Limits(settings)
        self.gate = Gate(backend.lake)
        self.observers: list[Observer] = [self.gate.audit]
        self.forward: Callable[[str], Forward | None] = _here
        self.analysts: Callable[[], Awaitable[Forward | None]] | None = None
        self.sampled: Callable[[str], bool] = _never
        self.before: Callable[[], None] = _nothing
        self.in_flight = 0
        self._analysing: set[asyncio.Future[None]] = set()
        self._took: dict[str, tuple[float, bool]] = {}
        self.watching = 0
        self._nearby = backend.lake.nearby

    async def call(
        self, name: str, request: Message, metadata: Mapping[str, str], *, peer: str = ""
    ) -> Message:
        """Run one call; whatever goes wrong is in the answer's status.

        Args:
            name: of the call, as in `milvus.proto`.
            request: its message.
            metadata: the headers of the call: `dbname`, `authorization`, `client-request-id`.
            peer: who is connected.
        """
        if self.forward(name) is not None:
            data = await self.answer(name, request.SerializeToString(), metadata, peer=peer)
            return _response_class(name).FromString(data)
        task = _Task(self, name, request, metadata, peer=peer)
        await self._run(task, 0)
        return task.answer

    async def answer(
        self,
        name: str,
        data: bytes,
        metadata: Mapping[str, str],
        *,
        peer: str = "",
        left_s: float | None = None,
    ) -> bytes:
        """The same between bytes, as they come and go on the wire.

        Args:
            name: of the call.
            data: its message.
            metadata: the headers of the call.
            peer: who is connected.
            left_s: how long the caller waits; a call that has not begun by then is not run.
        """
        try:
            return await self.let_in(name, data, metadata, peer=peer, left_s=left_s)
        except Refused as refusal:
            refused: bytes = failed(_response_class(name), refusal).SerializeToString()
            return refused

    async def let_in(
        self, name: str, data: bytes, metadata: Mapping[str, str], *, peer: str, left_s: float | None
    ) -> bytes:
        """The same; who is not let in is told by gRPC itself.

        Raises:
            MilvusError: the call was refused.
        """
        forward = self.forward(name)
        task = _Task(self, name, data, metadata, peer=peer)
        if forward is not None:
            try:
                await self.gate.check(task.record, data, metadata)
            except HeadwaterError as error:
                self.in_flight += 1
                task.fail(error)
                task.finish()
                if task.refusal is not None:
                    raise task.refusal from None
                return task.data
            return await forward(name, data, metadata, left_s, peer)
        if left_s is not None:
            task.until = task.record.began + left_s
        await self._run(task, len(data))
        if task.refusal is not None:
            raise task.refusal
        return task.data

    def at_once(
        self, name: str, data: bytes, metadata: Mapping[str, str], *, peer: str, left_s: float | None
    ) -> bytes | None:
        """The same, where a call is answered on the event loop; None where it has to be awaited.

        Raises:
            MilvusError: the call was refused.
        """
        if not self._quick(name, len(data)) or self.forward(name) is not None:
            return None
        try:
            user = self.gate.known(metadata)
            self.limits.admit(name, len(data), self.in_flight, self.lanes["short"].waiting)
        except MilvusError:
            return None
        if user is None:
            return None
        task = _Task(self, name, data, metadata, peer=peer)
        task.record.user = user
        if left_s is not None:
            task.until = task.record.began + left_s
        self.in_flight += 1
        task.run(here=True)
        if task.moving:
            self.in_flight -= 1
            return None
        task.finish()
        if task.refusal is not None:
            raise task.refusal
        return task.data

    def handlers(self, *, forwarded: bool = False) -> grpc.GenericRpcHandler:
        """What a gRPC server is given to serve the calls.

        Args:
            forwarded: the calls come from our own processes, which say who is connected.
        """
        made = {method.name: self._handler(method.name, forwarded) for method in _SERVICE.methods}
        return grpc.method_handlers_generic_handler(_SERVICE.full_name, made)

    def close(self) -> None:
        """Wait for the calls that run."""
        for lane in self.lanes.values():
            lane.close()
        self.gate.close()

    async def _run(self, task: _Task, size_bytes: int) -> None:
        lane = self.lanes["short" if task.method is None else task.method.lane]
        try:
            self.limits.admit(task.record.name, size_bytes, self.in_flight, lane.waiting)
        except MilvusError as error:
            task.fail(error)
            self.in_flight += 1
            task.finish()
            return
        self.in_flight += 1
        try:
            task.record.user = await self.gate.caller(task.metadata, task.record.peer)
        except HeadwaterError as error:
            task.fail(error)
            task.finish()
            return
        except asyncio.CancelledError:
            task.fail(MilvusError(DEADLINE, "the caller has gone"))
            task.finish()
            raise
        future = task.future = asyncio.get_running_loop().create_future()
        if self._quick(task.record.name, size_bytes):
            task.run(here=True)
            task.finish()
        else:
            lane.submit(task)
        await future

    def move(self, task: _Task) -> None:
        """A call that turned out heavy goes to where heavy ones are run; on the event loop."""
        if self.analysts is None:
            self.heavy.submit(task)
            return
        forwarded = asyncio.ensure_future(self._analysed(task, self.analysts))
        self._analysing.add(forwarded)
        forwarded.add_done_callback(self._analysing.discard)

    async def _analysed(self, task: _Task, analysts: Callable[[], Awaitable[Forward | None]]) -> None:
        """Have a process for heavy reads answer a call."""
        forward = await analysts()
        if forward is None:
            self.heavy.submit(task)
            return
        given, record = task.given, task.record
        data = given if isinstance(given, bytes) else given.SerializeToString()
        left_s = None if task.until is None else task.until - time.perf_counter()
        task.take(await forward(record.name, data, task.metadata, left_s, record.peer))
        task.finish()

    def _quick(self, name: str, size_bytes: int) -> bool:
        """Whether a call is answered on the event loop: handing it to a thread and back would take longer than it does.

        Reads that ask no store, of a kind that has been taking less than `_AT_ONCE_S`.
        """
        near = name in _READS and size_bytes < _AT_ONCE_BYTES and self._nearby
        return near and self._took.get(name, _UNKNOWN)[0] < _AT_ONCE_S

    def finished(self, record: Record) -> None:
        """A call was answered."""
        self.in_flight -= 1
        if record.name in _READS:
            # What took long once is remembered for a while: the next may be like it. While calls are quick nobody looks
            # whether one is only kept from its core, as that takes four calls to the system: then the next one tells.
            before_s, surely = self._took.get(record.name, (0.0, True))
            kept_s = _REMEMBERED * before_s if surely else 0.0
            self._took[record.name] = max(min(record.held_s, 4 * _AT_ONCE_S), kept_s), record.held_surely
            self.watching = max(0, self.watching - 1) if record.held_surely else _WATCHED
        for observe in self.observers:
            observe(record)

    def _handler(self, name: str, forwarded: bool) -> grpc.RpcMethodHandler:
        async def handle(data: bytes, context: grpc.aio.ServicerContext) -> bytes:
            metadata = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
            peer = metadata.get("headwater-peer", "") if forwarded else str(context.peer())
            try:
                return await self.let_in(name, data, metadata, peer=peer, left_s=context.time_remaining())
            except Refused as refusal:
                await context.abort(refusal.status, refusal.detail)
                raise

        return grpc.unary_unary_rpc_method_handler(handle)


class _Heavy(Exception):
    """A call is too heavy for the threads that it began on."""

    def __init__(self, weight: Weight) -> None:
        super().__init__(weight)
        self.weight = weight


class _Task:
    """A call on its way: begun and ended on the event loop, run on a thread between."""

    __slots__ = (
        "answer", "data", "future", "given", "heavy_bytes", "metadata", "method", "moving", "placed", "record",
        "refusal", "service", "until",
    )  # fmt: skip

    answer: Message
    data: bytes

    def __init__(
        self,
        service: MilvusService,
        name: str,
        given: Message | bytes,
        metadata: Mapping[str, str],
        *,
        peer: str,
    ) -> None:
        self.service = service
        self.method: Rpc | None = RPCS.get(name)
        self.given = given
        self.metadata = metadata
        self.until: float | None = None
        self.heavy_bytes = 0
        self.moving = self.placed = False
        self.refusal: Refused | None = None
        self.future: asyncio.Future[None] | None = None
        self.record = Record(
            name,
            request_id=metadata.get("client-request-id") or _request_id(),
            peer=peer,
            began=time.perf_counter(),
            began_ns=time.time_ns(),
            traceparent=metadata.get("traceparent", ""),
        )

    def run(self, *, here: bool = False) -> None:
        """Read, do, and write; on a thread.

        Args:
            here: on the event loop, where all the time that passes is this call's.
        """
        record = self.record
        started = time.perf_counter()
        record.queue_s = started - record.began
        if self.future is not None and self.future.cancelled():
            self.fail(MilvusError(DEADLINE, "the caller has gone"))
            return
        token = REQUEST_ID.set(record.request_id)
        looked = self._look() if not here or self.service.watching else None
        try:
            self.answer = self._do(started)
        except _Heavy as found:
            self.heavy_bytes, self.moving = found.weight.size_bytes, True
        except (HeadwaterError, InvalidArgument) as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001 (the door's boundary: a caller gets an answer whatever happens)
            _log.exception("%s failed", record.name, extra={"request_id": record.request_id})
            self.fail(error)
        else:
            self._write()
        finally:
            REQUEST_ID.reset(token)
            record.held_s = time.perf_counter() - started
            if record.held_s >= _AT_ONCE_S:
                self._look_closely(looked, here)

    @staticmethod
    def _look() -> tuple[float, int]:
        """Seconds of a core that this thread has worked, and how often it has waited. Asks the system twice."""
        return time.thread_time(), thread_waits()

    def _look_closely(self, before: tuple[float, int] | None, here: bool) -> None:
        """Of a call that took long, tell what it did from what was done to it.

        A thread that never waited was only kept from its core, and another would have been too. Beside other threads,
        what it waited for was most likely them.
        """
        if before is None:
            self.record.held_surely = False
            return
        worked_s, waits = self._look()
        alone = here or self.service.in_flight <= 1
        if not alone or waits == before[1]:
            self.record.held_s = min(self.record.held_s, worked_s - before[0])

    def _do(self, started: float) -> Message:
        record, method = self.record, self.method
        if method is None:
            raise MilvusError(UNSUPPORTED, f"{record.name} is not served by Headwater")
        if self.until is not None and started >= self.until:
            raise MilvusError(DEADLINE, f"{record.name} waited {record.queue_s:.3f} s for a thread")
        request: Any = self.given
        vectors: Mapping[str, memoryview] = {}
        if isinstance(request, bytes):
            record.bytes_in = len(request)
            try:
                request, vectors = read_request(method.request, request)
            except DecodeError as error:
                raise invalid(f"the message is no {method.request.DESCRIPTOR.name}: {error}") from error
        record.request = request
        record.database = database_of(request, self.metadata)
        parsed = time.perf_counter()
        record.parse_s = parsed - started
        guard = self.service.gate.guard
        guard.authorize(record.name, request, record.user, record.database)
        self.service.limits.check(record.name, request)
        self.service.before()
        call = Call(
            self.service._backend,
            database=record.database,
            user=record.user,
            request_id=record.request_id,
            metadata=self.metadata,
            vectors=vectors,
        )
        check_allowed(call, record.name, request)
        if not self.placed:
            weight = weigh(call, record.name, request, self.service.settings)
            if weight is not None:
                raise _Heavy(weight)
        self.service.limits.rates.take(record.name, request, record.bytes_in)
        try:
            if self.service.sampled(record.name):
                with trace.record(record.name, explained=False) as record.step:
                    answer = method.run(call, request)
            else:
                answer = method.run(call, request)
            return guard.shown(record.name, answer, record.user, record.database)
        finally:
            record.run_s = time.perf_counter() - parsed

    def _write(self) -> None:
        status = (
            self.answer
            if isinstance(self.answer, common_pb2.Status)
            else getattr(self.answer, "status", None)
        )
        if status is not None and status.code:
            self.record.code, self.record.reason = status.code, status.reason
        if isinstance(self.given, bytes):
            before = time.perf_counter()
            self.data = self.answer.SerializeToString()
            self.record.bytes_out = len(self.data)
            self.record.serialise_s = time.perf_counter() - before
            try:
                self.service.limits.check_size(f"the answer of {self.record.name}", len(self.data))
            except MilvusError as error:
                self.fail(error)

    def take(self, answer: bytes) -> None:
        """Answer with what another process said."""
        self.data = answer
        if not isinstance(self.given, bytes) or len(answer) < _MOST_OF_A_STATUS:
            self.answer = _response_class(self.record.name).FromString(answer)
            status = getattr(self.answer, "status", None)
            if status is not None and status.code:
                self.record.code, self.record.reason = status.code, status.reason
        self.record.bytes_out = len(answer)

    def fail(self, error: BaseException) -> None:
        """Answer with what went wrong."""
        status = status_of(error)
        self.refusal = error if isinstance(error, Refused) else None
        self.record.code, self.record.reason = status.code, status.reason
        self.answer = failed(_response_class(self.record.name), error)
        if isinstance(self.given, bytes):
            self.data = self.answer.SerializeToString()
            self.record.bytes_out = len(self.data)

    def finish(self) -> None:
        """Say that it is done, or have it go on where heavy calls are run; on the event loop."""
        if self.moving:
            self.moving, self.placed = False, True
            self.service.move(self)
            return
        if self.placed:
            self.service.heavy.finished(self)
        self.record.total_s = time.perf_counter() - self.record.began
        self.service.finished(self.record)
        if self.future is not None and not self.future.done():
            self.future.set_result(None)


def _request_id() -> str:
    """An id that no other process makes; asking the system for random numbers each time costs more than that."""
    return f"{_request_prefix}{next(_request_numbers):012x}"


def failed(kind: type[Message], error: BaseException) -> Message:
    """A response that says what went wrong."""
    status = status_of(error)
    if kind is common_pb2.Status:
        return status
    for name in ("status", "alter_status"):
        if name in kind.DESCRIPTOR.fields_by_name:
            return kind(**{name: status})
    return kind()


def _response_class(name: str) -> type[Message]:
    kind: type[Message] = _SERVICE.methods_by_name[name].output_type._concrete_class
    return kind


def _here(name: str) -> None:
    return None


def _nothing() -> None:
    return None


def _never(name: str) -> bool:
    return False
