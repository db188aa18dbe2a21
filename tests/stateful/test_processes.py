"""Several processes write and read one collection, are killed and come back, beside a plain dict."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

import headwater as hw

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["headwater", "headwater.index", "pandas", "pytest"])
PROCESSES = 3


def serve(folder: str, pipe: Any) -> None:
    """A process with the collection open, that does as it is told."""
    maintenance = hw.settings.MaintenanceSettings(automatic=False, merge_segments=2, index_rows=5)
    limits = hw.Settings(
        write=hw.settings.WriteSettings(seal_entries=5, bulk_bytes=200), maintenance=maintenance
    )
    collection = hw.connect(folder, settings=limits).collection("t")
    while True:
        verb, argument = pipe.recv()
        if verb == "read":
            rows = collection.to_arrow(consistency_level="Strong").to_pylist()
            pipe.send(sorted((row["id"], row["value"]) for row in rows))
            continue
        if verb == "upsert":
            collection.upsert([{"id": key, "value": value, "v": [key, value]} for key, value in argument])
        elif verb == "delete":
            collection.delete(argument)
        elif verb == "upkeep":
            collection._tend()
        elif verb == "split":
            shards = [one["number"] for one in collection.health(queries=1)["shards"] if not one["closed"]]
            if len(shards) < 3:
                collection.split_shard(shards[0])
        else:
            getattr(collection, verb)()
        pipe.send("done")


class Processes(RuleBasedStateMachine):
    """Processes that take turns at random."""

    @initialize()
    def create(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        schema = {"id": hw.Int64, "value": hw.Int64, "v": hw.FloatVector(2)}
        made = hw.connect(self.folder.name).create_collection("t", schema, "id")
        made.create_index("v", "IVF_FLAT", metric_type="L2")
        self.model: dict[int, int] = {}
        self.value = 0
        self.processes: list[Any] = [None] * PROCESSES

    def tell(self, which: int, verb: str, argument: Any = None) -> Any:
        if self.processes[which] is None:
            ours, theirs = _CONTEXT.Pipe()
            process = _CONTEXT.Process(target=serve, args=(self.folder.name, theirs), daemon=True)
            process.start()
            theirs.close()
            self.processes[which] = (process, ours)
        pipe = self.processes[which][1]
        pipe.send((verb, argument))
        assert pipe.poll(60), f"{verb} does not end"
        return pipe.recv()

    @rule(which=st.integers(0, PROCESSES - 1), keys=st.sets(st.integers(0, 30), min_size=1, max_size=4))
    def upsert(self, which: int, keys: set[int]) -> None:
        self.value += 1
        self.tell(which, "upsert", [(key, self.value) for key in sorted(keys)])
        self.model.update(dict.fromkeys(keys, self.value))

    @rule(which=st.integers(0, PROCESSES - 1), keys=st.sets(st.integers(0, 30), min_size=1, max_size=3))
    def delete(self, which: int, keys: set[int]) -> None:
        self.tell(which, "delete", sorted(keys))
        for key in keys:
            self.model.pop(key, None)

    @rule(which=st.integers(0, PROCESSES - 1))
    def read(self, which: int) -> None:
        assert self.tell(which, "read") == sorted(self.model.items())

    @rule(
        which=st.integers(0, PROCESSES - 1),
        verb=st.sampled_from(["flush", "upkeep", "optimize", "gc", "split"]),
    )
    def maintain(self, which: int, verb: str) -> None:
        self.tell(which, verb)

    @rule(which=st.integers(0, PROCESSES - 1))
    def kill(self, which: int) -> None:
        if self.processes[which] is not None:
            process, pipe = self.processes[which]
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            pipe.close()
            self.processes[which] = None

    def teardown(self) -> None:
        if hasattr(self, "model"):
            for which in range(PROCESSES):
                assert self.tell(which, "read") == sorted(self.model.items())
            for which in range(PROCESSES):
                self.kill(which)
            assert not list(Path(self.folder.name).rglob("*.hwtmp*"))
            self.folder.cleanup()


def test_processes_behave_as_one_dict() -> None:
    run_state_machine_as_test(
        Processes,
        settings=settings(max_examples=15, stateful_step_count=40, suppress_health_check=list(HealthCheck)),
    )
