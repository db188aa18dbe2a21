"""A world for the commit and log protocol: virtual time, a store that fails in every way, processes that crash.

Each process is a greenlet that gives way at every request to the store, so one seed is one interleaving, and the same
seed is the same interleaving. Between two requests a process runs alone, as the protocol may not depend on it.

The store loses answers to requests that took effect, delivers requests late and twice, and lists what was there a
while ago; a single request stays atomic, which is all that the protocol asks of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from greenlet import getcurrent, greenlet

from headwater.errors import AlreadyExists, Corrupt, HeadwaterError, ObjectNotFound, StoreUnavailable
from headwater.lake import Clock
from headwater.store.objects import Buffers, Keys, ObjectMeta, check_etag
from headwater.types import ByteRange

__all__ = ["Chances", "Crash", "SimulatedStore", "World"]

T = TypeVar("T")

Metas = list[ObjectMeta]

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Crash(BaseException):
    """The process is gone. No code of the process may run after it."""


@dataclass(frozen=True)
class Chances:
    """How often the store misbehaves, per request.

    Attributes:
        unsent: the request fails and never happens.
        lost: it happens and its answer is lost.
        late: it fails, and happens some time later, if it still can.
        twice: it happens now and once more some time later.
        stale: a listing shows what was there up to `stale_s` ago.
        crash: the process dies before or after it.
        pause: the process stands still for up to two minutes.
        stale_s: seconds.
    """

    unsent: float = 0.02
    lost: float = 0.03
    late: float = 0.01
    twice: float = 0.01
    stale: float = 0.2
    crash: float = 0.004
    pause: float = 0.004
    stale_s: float = 3.0


NO_FAULTS = Chances(0, 0, 0, 0, 0, 0, 0)


class _WorldClock(Clock):
    def __init__(self, world: World, ahead_s: float) -> None:
        super().__init__(ahead_s)
        self._world = world

    def now_ms(self) -> int:
        return int((_EPOCH.timestamp() + self._world.now_s + self.ahead_s) * 1000)

    def monotonic(self) -> float:
        return self._world.now_s

    def sleep(self, seconds: float) -> None:
        self._world.give_way(seconds)


class World:
    """Processes, time and one store.

    Attributes:
        now_s: virtual seconds since the start.
        store: the objects.

    Args:
        seed: of every choice.
        chances: how often the store misbehaves.
    """

    def __init__(self, seed: int, chances: Chances | None = None) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self.chances = chances or Chances()
        self.now_s = 0.0
        self.steps = 0
        self.store = SimulatedStore(self)
        self._waiting: list[tuple[float, int, greenlet]] = []
        self._late: list[tuple[float, Callable[[], None]]] = []
        self._errors: list[BaseException] = []
        self._hub: greenlet | None = None

    def clock(self, ahead_s: float = 0.0) -> Clock:
        """The clock of a process, whose time of day may be off."""
        return _WorldClock(self, ahead_s)

    def spawn(self, run: Callable[[], None]) -> None:
        """Add a process; `Crash` ends it quietly, any other exception ends the simulation."""

        def guarded() -> None:
            try:
                run()
            except Crash:
                return
            except BaseException as error:  # noqa: BLE001 - a process of the world, shown by `run`
                self._errors.append(error)

        self._waiting.append((self.now_s, len(self._waiting), greenlet(guarded)))

    def run(self, limit_steps: int = 100_000) -> None:
        """Let the processes run, one request at a time, until all have ended, or one has failed."""
        self._hub = getcurrent()
        while self._waiting and not self._errors:
            self.steps += 1
            assert self.steps < limit_steps, "the processes do not end"
            soonest = min(wake for wake, _, _ in self._waiting)
            ready = [i for i, (wake, _, _) in enumerate(self._waiting) if wake <= max(soonest, self.now_s)]
            wake, _, process = self._waiting.pop(self.dice.choice(ready))
            self.now_s = max(self.now_s, wake) + self.dice.uniform(0.0, 0.004)
            self._deliver_late()
            process.switch()
        if self._errors:
            raise self._errors[0]

    def give_way(self, seconds: float = 0.0) -> None:
        """Stop here until others had their turn; called by the store and the clocks."""
        if self._hub is None or getcurrent() is self._hub:
            self.now_s += seconds
            return
        self._waiting.append((self.now_s + seconds, self.steps, getcurrent()))
        self._hub.switch()

    def later(self, action: Callable[[], None]) -> None:
        """Do something at some later moment."""
        delay = self.dice.choice((0.01, 0.1, 1.0, 20.0)) * self.dice.random()
        self._late.append((self.now_s + delay, action))

    def _deliver_late(self) -> None:
        due = [action for moment, action in self._late if moment <= self.now_s]
        self._late = [(moment, action) for moment, action in self._late if moment > self.now_s]
        for action in due:
            action()

    def settle(self) -> None:
        """Deliver everything that is under way and stop misbehaving."""
        self.now_s += 100.0
        self._deliver_late()
        self.chances = NO_FAULTS


class SimulatedStore:
    """An `ObjectStore` in memory that gives way at each request, and fails as its world's chances say."""

    url = "simulated://"

    def __init__(self, world: World) -> None:
        self._world = world
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self._deleted: list[tuple[float, str, tuple[bytes, datetime]]] = []
        self.requests = 0
        self.crash_at: tuple[int, str] | None = None

    def put(self, key: str, data: bytes | memoryview) -> ObjectMeta:
        """See `ObjectStore.put`."""
        content = bytes(data)
        self._request(lambda: self._place(key, content))
        return self._meta(key)

    def put_file(self, key: str, path: Path) -> ObjectMeta:
        """See `ObjectStore.put_file`."""
        return self.put(key, path.read_bytes())

    def create(self, key: str, data: bytes | memoryview) -> None:
        """See `ObjectStore.create`."""
        content = bytes(data)

        def place() -> None:
            if key in self.objects:
                raise AlreadyExists(f"{key!r} exists")
            self._place(key, content)

        self._request(place)

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        return self._request(lambda: self._found(key)[0])

    def get_ranges(
        self,
        key: str,
        ranges: Sequence[ByteRange],
        *,
        near_bytes: int | None = None,
        etag: str | None = None,
    ) -> Buffers:
        """See `ObjectStore.get_ranges`."""
        data, meta = self._request(lambda: (memoryview(self._found(key)[0]), self._meta(key)))
        check_etag(key, etag, meta.etag)
        for one in ranges:
            if one.stop > len(data):
                raise Corrupt(f"{key!r} ends at {len(data)}", key=key)
        return [data[one.start : one.stop] for one in ranges]

    def head(self, key: str) -> ObjectMeta:
        """See `ObjectStore.head`."""
        return self._request(lambda: self._meta(key))

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectMeta]:
        """See `ObjectStore.list`; may show what was there a while ago."""
        yield from self._request(lambda: self._listing(prefix, start_after))

    def list_prefixes(self, prefix: str = "") -> Keys:
        """See `ObjectStore.list_prefixes`."""
        folder = prefix.rstrip("/") + "/" if prefix else ""
        names = {key.removeprefix(folder).split("/")[0] for key in self.objects if key.startswith(folder)}
        return sorted(names)

    def delete(self, keys: Sequence[str]) -> None:
        """See `ObjectStore.delete`."""
        for key in keys:
            self._request(partial(self._remove, key))

    def local_path(self, key: str) -> Path | None:
        """See `ObjectStore.local_path`."""
        return None

    # -- what a request does ----------------------------------------------------------------------------------------

    def _now(self) -> datetime:
        return _EPOCH + timedelta(seconds=self._world.now_s)

    def _place(self, key: str, data: bytes) -> None:
        self.objects[key] = (data, self._now())

    def _found(self, key: str) -> tuple[bytes, datetime]:
        if key not in self.objects:
            raise ObjectNotFound(f"no object {key!r}")
        return self.objects[key]

    def _meta(self, key: str) -> ObjectMeta:
        data, modified = self._found(key)
        return ObjectMeta(key, len(data), f"{hash(data):x}", modified)

    def _remove(self, key: str) -> None:
        if key in self.objects:
            self._deleted.append((self._world.now_s, key, self.objects.pop(key)))

    def _listing(self, prefix: str, start_after: str | None) -> Metas:
        world, folder = self._world, prefix.rstrip("/") + "/" if prefix else ""
        shown = dict(self.objects)
        if world.dice.random() < world.chances.stale:
            since = world.now_s - world.dice.uniform(0, world.chances.stale_s)
            moment = _EPOCH + timedelta(seconds=since)
            shown = {key: found for key, found in shown.items() if found[1] <= moment}
            shown.update({key: found for gone, key, found in self._deleted if gone > since})
        chosen = [
            ObjectMeta(key, len(data), f"{hash(data):x}", modified)
            for key, (data, modified) in shown.items()
            if key.startswith(folder) and (start_after is None or key > start_after)
        ]
        return sorted(chosen, key=lambda meta: meta.key)

    def _request(self, act: Callable[[], T]) -> T:
        world, chances, dice = self._world, self._world.chances, self._world.dice
        self.requests += 1
        mine = self.crash_at is not None and self.requests == self.crash_at[0]
        world.give_way(dice.uniform(0.0, 120.0) if dice.random() < chances.pause else 0.0)
        if mine and self.crash_at is not None and self.crash_at[1] == "before":
            raise Crash
        crash = dice.random() < chances.crash
        if crash and dice.random() < 0.5:
            raise Crash
        kind = dice.random()
        if kind < chances.unsent:
            raise StoreUnavailable("simulated: not sent")
        kind -= chances.unsent
        if 0 <= kind < chances.late:
            world.later(lambda: _quietly(act))
            raise StoreUnavailable("simulated: no answer; the request is still on its way")
        kind -= chances.late
        try:
            result = act()
        finally:
            if crash or mine:
                raise Crash
        if 0 <= kind < chances.lost:
            raise StoreUnavailable("simulated: the answer is lost")
        kind -= chances.lost
        if 0 <= kind < chances.twice:
            world.later(lambda: _quietly(act))
        return result


def _quietly(act: Callable[[], object]) -> None:
    try:
        act()
    except HeadwaterError:
        return
