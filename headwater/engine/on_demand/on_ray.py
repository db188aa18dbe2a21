"""Workers as Ray actors: one for a call, on whatever machine of the cluster has room, and gone with its answer.

An actor answers in a thread and looks at its own memory meanwhile; the caller looks at the time, since a machine that
hangs does not. Batches go through Ray's shared memory, so that rows are copied once.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Generator
from typing import Any

from headwater.engine.on_demand.calls import Call, result_of
from headwater.engine.on_demand.messages import packed_call
from headwater.engine.on_demand.places import Bounds
from headwater.engine.on_demand.workers import Workers
from headwater.errors import Timeout, WorkerLost
from headwater.extras import load_extra

__all__ = ["RayWorkers"]


class RayWorkers:
    """Starts an actor for each call.

    Args:
        bounds: what each may take.
        max_workers: so many at a time; further calls wait, and their time runs.

    Raises:
        MissingExtra: Ray is not installed.
    """

    def __init__(self, bounds: Bounds, max_workers: int) -> None:
        self._ray: Any = load_extra("ray", "ray", need='executor="ray"')
        self._actor = load_extra("headwater.engine.on_demand.actor", "ray").Actor
        if not self._ray.is_initialized():
            self._ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        self._bounds = bounds
        self._workers: Workers[Any] = Workers(bounds, max_workers, self._ray.kill)

    def run(self, call: Call) -> Any:
        """Answer a call in an actor of its own.

        Raises:
            HeadwaterError: what the same call raises here.
            Timeout: it took longer than it may.
            QuotaExceeded: it took more memory than it may.
            WorkerLost: the actor died, or `close` ended it.
        """
        return result_of(self._answer(call, packed_call(call)))

    def _answer(self, call: Call, packed: bytes) -> Generator[Any, None, None]:
        memory = self._bounds.memory_bytes
        asked = {"num_cpus": 1, "max_restarts": 0} | ({"memory": memory} if memory is not None else {})
        actors = self._ray.remote(self._actor).options(**asked)
        try:
            with self._workers.one(call, lambda _: actors.remote()) as (actor, until):
                messages = actor.answer.options(num_returns="streaming").remote(packed, memory)
                while True:
                    said, value = self._next(call, messages, until)
                    if said == "error":
                        raise pickle.loads(value)  # noqa: S301 (our own worker's)
                    if said == "end":
                        return
                    yield value
        except self._ray.exceptions.RayActorError as error:
            raise WorkerLost(
                f"{call}: its actor died before it had answered: {str(error).splitlines()[0]}",
                hint="the same call may succeed again",
            ) from error

    def _next(self, call: Call, messages: Any, until: float) -> tuple[str, Any]:
        left = None if until == float("inf") else max(0.0, until - time.monotonic())
        ready, _ = self._ray.wait([messages], timeout=left, fetch_local=False)
        if not ready:
            raise Timeout(f"{call}: no answer within {self._bounds.timeout_s:g} s")
        message: tuple[str, Any] = self._ray.get(next(messages))
        return message

    def close(self) -> None:
        """End every actor; calls that wait for one raise `WorkerLost`."""
        for actor in self._workers.close():
            self._ray.kill(actor)
