"""Random writes, maintenance and crashes beside a plain dict, at every consistency level, on a folder and on S3."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import headwater as hw
from headwater.testing.s3_server import s3_server

DIM = 4
KEYS = 24

Row = dict[str, Any]
Model = dict[int, Row]


def vector_of(value: int) -> list[float]:
    return np.random.default_rng(value).normal(size=DIM).astype(np.float32).tolist()


class Writes(RuleBasedStateMachine):
    """One collection, a writer, and a reader in another connection."""

    level: str
    url: str
    options: dict[str, Any]

    @initialize(shards=st.sampled_from([1, 1, 2]))
    def create(self, shards: int) -> None:
        self.where = f"{self.url}/{uuid.uuid4().hex}"
        # Small numbers, so that everything that happens at scale happens here.
        self.settings = hw.Settings(
            write=hw.settings.WriteSettings(seal_entries=6, staleness_s=0.05, bulk_bytes=250),
            maintenance=hw.settings.MaintenanceSettings(
                automatic=False, merge_segments=3, index_rows=4, deleted_share=0.2
            ),
        )
        schema = {
            "id": hw.Int64,
            "value": hw.Int64,
            "tags": hw.Array(hw.Int64),
            "v": hw.FloatVector(DIM),
        }
        db = hw.connect(self.where, self.options, settings=self.settings)
        self.writer = db.create_collection("t", schema, "id", num_shards=shards, consistency_level=self.level)
        self.reader = hw.connect(self.where, self.options, settings=self.settings).collection("t")
        self.model: Model = {}
        self.states: list[Model] = [{}]
        self.seen = 0
        self.versions: dict[int, Model] = {}
        self.count = 0
        self.feed_version, self.feed_model = 0, {}

    def changed(self) -> None:
        self.states.append({key: dict(row) for key, row in self.model.items()})

    def row(self, key: int) -> Row:
        self.count += 1
        return {"id": key, "value": self.count, "tags": [self.count], "v": vector_of(self.count)}

    # -- writes ------------------------------------------------------------------------------------------------------

    @rule(keys=st.sets(st.integers(0, KEYS - 1), min_size=1, max_size=6))
    def upsert(self, keys: set[int]) -> None:
        rows = [self.row(key) for key in sorted(keys)]
        self.writer.upsert(rows)
        self.model.update({row["id"]: row for row in rows})
        self.changed()

    @rule(count=st.integers(1, 12))
    def insert(self, count: int) -> None:
        rows = [self.row(1000 + self.count) for _ in range(count)]
        assert self.writer.insert(rows).count == count
        self.model.update({row["id"]: row for row in rows})
        self.changed()

    @precondition(lambda self: self.model)
    @rule(data=st.data(), operation=st.sampled_from(["replace", "append", "remove"]))
    def upsert_in_part(self, data: st.DataObject, operation: str) -> None:
        key = data.draw(st.sampled_from(sorted(self.model)))
        self.count += 1
        tags = self.model[key]["tags"]
        given = [tags[0]] if operation == "remove" and tags else [self.count]
        self.writer.upsert([{"id": key, "tags": given}], partial=True, array_ops={"tags": operation})
        kept = {"replace": [], "append": tags, "remove": [tag for tag in tags if tag not in given]}[operation]
        self.model[key] = {**self.model[key], "tags": kept if operation == "remove" else [*kept, *given]}
        self.changed()

    @rule(keys=st.sets(st.integers(0, KEYS - 1), min_size=1, max_size=5))
    def delete(self, keys: set[int]) -> None:
        self.writer.delete(sorted(keys))
        for key in keys:
            self.model.pop(key, None)
        self.changed()

    @rule(rest=st.integers(0, 4))
    def delete_by_filter(self, rest: int) -> None:
        gone = [key for key, row in self.model.items() if row["value"] % 5 == rest and key % 2 == 0]
        assert self.writer.delete(filter=f"value % 5 == {rest} and id % 2 == 0").count == len(gone)
        for key in gone:
            del self.model[key]
        self.changed()

    @rule()
    def truncate(self) -> None:
        if self.count % 7 == 0:
            self.writer.truncate()
            self.model.clear()
            self.changed()

    # -- maintenance -------------------------------------------------------------------------------------------------

    @rule()
    def flush(self) -> None:
        self.versions[self.writer.flush()] = {key: dict(row) for key, row in self.model.items()}

    @rule()
    def upkeep(self) -> None:
        self.writer._tend()

    @rule()
    def optimize(self) -> None:
        self.writer.optimize()

    @rule(kind=st.sampled_from(["HNSW", "IVF_FLAT", "AUTOINDEX"]))
    def create_index(self, kind: str) -> None:
        self.writer.create_index("v", kind, metric_type="L2")

    @rule()
    def collect_garbage(self) -> None:
        self.writer.gc(retention_s=1e9, grace_s=3600)

    @precondition(lambda self: self.versions)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.versions)))
        self.writer.restore(version)
        self.model = {key: dict(row) for key, row in self.versions[version].items()}
        self.changed()

    @precondition(lambda self: self.count % 3 == 0)
    @rule()
    def split(self) -> None:
        shards = [one["number"] for one in self.writer.health(queries=1)["shards"] if not one["closed"]]
        if len(shards) < 4:
            self.writer.split_shard(shards[0])

    @rule(closed=st.booleans())
    def reopen(self, closed: bool) -> None:
        """With `close`, or as after a crash: whatever was only in memory is gone."""
        db = hw.connect(self.where, self.options, settings=self.settings)
        if closed:
            self.writer.flush()
        self.writer = db.collection("t")

    # -- reads -------------------------------------------------------------------------------------------------------

    def rows_of(self, table: Any) -> Model:
        rows = table.to_pylist()
        found = {row["id"]: row for row in rows}
        assert len(found) == len(rows), "a key is there twice"
        return found

    @invariant()
    def the_writer_sees_its_own_writes(self) -> None:
        if hasattr(self, "writer"):
            assert self.rows_of(self.writer.to_arrow()) == self.model

    @rule()
    def another_process_reads_strongly(self) -> None:
        assert self.rows_of(self.reader.to_arrow(consistency_level="Strong")) == self.model
        self.seen = len(self.states) - 1

    @rule()
    def another_process_reads_at_its_level(self) -> None:
        found = self.rows_of(self.reader.to_arrow())
        places = [place for place in range(self.seen, len(self.states)) if self.states[place] == found]
        if self.level == "Strong":
            assert found == self.model
        else:
            assert places, "it sees what never was, or goes back in time"
            self.seen = places[0]

    @precondition(lambda self: self.model)
    @rule(seed=st.integers(0, 99), top_k=st.integers(1, 8), filtered=st.booleans())
    def search(self, seed: int, top_k: int, filtered: bool) -> None:
        query = np.array(vector_of(10_000 + seed), np.float32)
        chosen = {key: row for key, row in self.model.items() if not filtered or row["value"] % 2 == 0}
        distances = sorted(
            float(((np.array(row["v"], np.float32) - query) ** 2).sum()) for row in chosen.values()
        )
        hits = self.writer.search(
            query, top_k=top_k, filter="value % 2 == 0" if filtered else None, params={"metric_type": "L2"}
        )[0]
        assert len({hit["id"] for hit in hits}) == len(hits) == min(top_k, len(chosen))
        np.testing.assert_allclose([hit["distance"] for hit in hits], distances[:top_k], rtol=1e-4, atol=1e-5)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def get(self, data: st.DataObject) -> None:
        keys = data.draw(
            st.lists(st.sampled_from([*sorted(self.model), -5]), min_size=1, max_size=5, unique=True)
        )
        found = self.writer.get(keys).to_arrow().to_pylist()
        assert found == [self.model[key] for key in keys if key in self.model]

    @rule()
    def the_change_feed_leads_from_one_state_to_the_next(self) -> None:
        changes = self.writer.changes(self.feed_version)
        state = dict(self.feed_model)
        rows = changes.to_arrow().to_pylist()
        assert len({row["id"] for row in rows}) == len(rows), "a key is told of twice"
        for row in rows:
            change = row.pop("change")
            assert (row["id"] in state) == (change != "insert")
            if change == "delete":
                del state[row["id"]]
            else:
                state[row["id"]] = row
        assert state == self.model
        self.feed_version, self.feed_model = changes.version, state


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    with s3_server() as server:
        yield server


def play(url: str, options: dict[str, Any], level: str, examples: int, steps: int) -> None:
    machine = type(f"Writes{level}", (Writes,), {"url": url, "options": options, "level": level})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("level", ["Strong", "Bounded", "Session", "Eventually"])
def test_a_folder_behaves_as_a_dict(level: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        play(folder, {}, level, 40, 50)


@pytest.mark.parametrize("level", ["Strong", "Bounded", "Session", "Eventually"])
def test_s3_behaves_as_a_dict(bucket: Any, level: str) -> None:
    play(bucket.url, bucket.options, level, 8, 30)
