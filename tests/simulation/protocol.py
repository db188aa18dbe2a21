"""Processes that write, read, seal, split and collect garbage on one simulated lake; and what must hold of it."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import pyarrow as pa

from headwater.errors import CommitConflict, Conflict, Fenced, HeadwaterError, NotFound, Unavailable
from headwater.lake import FORMAT_PROPERTY, Lake, Segment, gc, write_segment
from headwater.lake.log import CollectionLog, Deletion, NewRows, seal, split_shard, write_large
from headwater.lake.log.entry import decode_entry
from headwater.lake.log.growing_segment import open_rows
from headwater.schema import Int64, Schema
from headwater.testing.simulation import Chances, Crash, World

from .history import ABSENT, FOREVER, Operation, linearizable
from .stored_keys import StoredKeys

ROOT = "default/t"
SCHEMA = Schema.of({"id": Int64, "value": Int64}, primary_key="id")
HOT_KEYS = 3


class Violation(AssertionError):
    """The protocol broke a promise."""


class Process:
    """One process with the collection open."""

    def __init__(self, simulation: Simulation, *, takeover: bool = True) -> None:
        world = simulation.world
        self.simulation = simulation
        self.lake = Lake(world.store, ROOT, clock=world.clock(world.dice.uniform(-2, 2)), parallel=False)
        self.log = CollectionLog(self.lake, StoredKeys(world.store), parallel=False, takeover=takeover)

    def upsert(self, keys: list[int], *, large: bool = False) -> None:
        self._write_rows(keys, upsert=True, large=large)

    def insert(self, keys: list[int], *, large: bool = False) -> None:
        self._write_rows(keys, upsert=False, large=large)

    def _write_rows(self, keys: list[int], *, upsert: bool, large: bool) -> None:
        """Write rows into the log, or, where they are large, as segments that it names."""
        values = [next(self.simulation.values) for _ in keys]
        table = pa.table({"1": pa.array(keys, pa.int64()), "2": pa.array(values, pa.int64())})
        rows = NewRows(table, pa.array(keys), upsert=upsert)
        if large:
            write = partial(write_large, large_bytes=0, room=lambda size_bytes: nullcontext())
            self._write(keys, values, lambda: write(self.log, rows, self._segment))
        else:
            self._write(keys, values, lambda: self.log.write(rows))

    def _segment(self, rows: NewRows) -> list[Segment]:
        table = rows.rows.rename_columns(["id", "value"])
        return [write_segment(self.lake.store, ROOT, table, SCHEMA, form="arrow_ipc")]

    def delete(self, keys: list[int]) -> None:
        self._write(keys, [ABSENT] * len(keys), lambda: self.log.write(Deletion(pa.array(keys))))

    def _write(self, keys: list[int], values: list[int], act: Callable[[], object]) -> None:
        start, end = self.simulation.tick(), FOREVER
        try:
            act()
            end = self.simulation.tick()
        except (Unavailable, Fenced):
            pass
        finally:
            for key, value in zip(keys, values, strict=True):
                self.simulation.record(key, Operation(False, value, start, end))

    def read(self) -> dict[int, int]:
        """A strong read of everything."""
        start = self.simulation.tick()
        live = self.log.pin()
        rows: list[tuple[int, int]] = []
        for segment in (*live.manifest.segments, *live.pinned.segments):
            reader = open_rows(self.lake.store, segment, live.manifest.schema)
            gone = live.pinned.gone.get(segment.id)
            deleted = reader.deleted() if gone is None else gone.bitmap
            for batch in reader.scan(["id", "value"], None if deleted is None else ~deleted):
                rows += zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)
        twice = [key for key, count in Counter(key for key, _ in rows).items() if count > 1]
        if twice:
            raise Violation(f"keys {twice} are there twice")
        found = dict(rows)
        end = self.simulation.tick()
        for key in range(self.simulation.next_key):
            self.simulation.record(key, Operation(True, found.get(key, ABSENT), start, end))
        return found

    def seal(self) -> None:
        seal(self.log, segment_rows=self.simulation.world.dice.choice((2, 1000)))

    def split(self) -> None:
        cursors = [cursor for cursor in self.log.pin().cursors.values() if not cursor.closed]
        if 0 < len(cursors) < 4:
            split_shard(self.log, self.simulation.world.dice.choice(cursors).shard.number)

    def collect(self) -> None:
        gc(self.lake, retention_s=0.0, grace_s=600.0)

    def rest(self) -> None:
        self.lake.clock.sleep(self.simulation.world.dice.choice((0.01, 0.5, 40.0)))


class Simulation:
    """One seed."""

    def __init__(self, seed: int, chances: Chances | None = None) -> None:
        random.seed(seed)
        self.world = World(seed, chances)
        self.values = itertools.count()
        self.next_key = HOT_KEYS
        self._ticks = itertools.count()
        self.operations: dict[int, list[Operation]] = {}
        quiet, self.world.chances = self.world.chances, Chances(0, 0, 0, 0, 0, 0, 0)
        properties = {FORMAT_PROPERTY: "arrow_ipc"}
        Lake.create(self.world.store, ROOT, SCHEMA, properties=properties, source=None)
        self.world.chances = quiet

    def tick(self) -> float:
        return float(next(self._ticks))

    def record(self, key: int, operation: Operation) -> None:
        self.operations.setdefault(key, []).append(operation)

    def run(self, steps: int = 9) -> None:
        """Play, then look at everything once more with a store that works."""
        dice = self.world.dice
        for _ in range(dice.choice((1, 2, 2, 3))):
            self.world.spawn(lambda: self._writer(steps))
        for _ in range(dice.choice((1, 2))):
            self.world.spawn(lambda: self._keeper(steps))
        self.world.run()
        self.world.settle()
        reader = Process(self)
        before = reader.read()
        reader.seal()
        if Process(self).read() != before:
            raise Violation("sealing changed what is there")
        self.check()

    def _writer(self, steps: int) -> None:
        dice, lives = self.world.dice, 4
        process = Process(self)
        for _ in range(steps):
            try:
                self._step(process)
            except Crash:
                lives -= 1
                if not lives:
                    return
                process = Process(self)
            except (Unavailable, Conflict, NotFound, Fenced):
                continue
            if dice.random() < 0.1:
                process = Process(self)

    def _step(self, process: Process) -> None:
        dice = self.world.dice
        kind = dice.random()
        if kind < 0.35:
            process.upsert(dice.sample(range(HOT_KEYS), dice.choice((1, 2))), large=dice.random() < 0.2)
        elif kind < 0.5:
            count = dice.choice((1, 2))
            first, self.next_key = self.next_key, self.next_key + count
            process.insert(list(range(first, first + count)), large=dice.random() < 0.2)
        elif kind < 0.65:
            process.delete([dice.randrange(self.next_key)])
        elif kind < 0.95:
            process.read()
        else:
            process.rest()

    def _keeper(self, steps: int) -> None:
        dice = self.world.dice
        process = Process(self)
        for _ in range(steps):
            act = dice.choices(
                (process.seal, process.split, process.collect, process.rest, process.read),
                (4, 0.5, 2, 3, 2),
            )[0]
            try:
                act()
            except Crash:
                process = Process(self)
            except (Unavailable, CommitConflict, HeadwaterError):
                continue

    def check(self) -> None:
        for key, operations in self.operations.items():
            if not linearizable(operations):
                shown = "\n".join(str(one) for one in sorted(operations, key=lambda one: one.start))
                raise Violation(f"no order explains key {key}:\n{shown}")
        self._check_epochs()

    def _check_epochs(self) -> None:
        """Along each log epochs do not go back, timestamps grow, and an epoch has one writer."""
        logs: dict[str, list[str]] = {}
        for key in sorted(self.world.store.objects):
            if key.startswith(f"{ROOT}/log/"):
                logs.setdefault(key.split("/")[-2], []).append(key)
        for keys in logs.values():
            entries = [decode_entry(self.world.store.objects[key][0], key) for key in keys]
            entries = [one for one in entries if one.sequence > self._dead_until(entries)]
            for one, after in itertools.pairwise(entries):
                same = one.epoch == after.epoch
                if after.epoch < one.epoch or (same and one.writer != after.writer):
                    raise Violation(f"two writers at once: {one} and {after}")
                if after.timestamp <= one.timestamp:
                    raise Violation("timestamps do not grow")

    @staticmethod
    def _dead_until(entries: list) -> int:
        """Entries before a gap were sealed, and what came to their place since is read by nobody."""
        numbers = [one.sequence for one in entries]
        gaps = [one for one, after in itertools.pairwise(numbers) if after != one + 1]
        return max(gaps, default=0)
