"""Random changes of a collection beside a model of plain lists: every version reads as it was, whatever came after."""

from __future__ import annotations

import copy
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

import headwater as hw
from headwater.settings import MaintenanceSettings

DIM = 4
Rows = list[dict[str, Any]]


class Collections(RuleBasedStateMachine):
    """A managed collection and what it should hold, version by version."""

    tags = Bundle("tags")

    @initialize()
    def create(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.open()
        schema = {"id": hw.Int64, "v": hw.FloatVector(DIM)}
        self.collection = self.db.create_collection("t", schema, "id")
        self.rows: Rows = []
        self.versions: dict[int, Rows] = {1: []}
        self.tagged: dict[str, int] = {}
        self.next_id = self.columns_made = 0

    def open(self) -> None:
        # Upkeep is a rule of its own, so that no version comes from elsewhere.
        quiet = hw.Settings(maintenance=MaintenanceSettings(automatic=False))
        self.db = hw.connect(self.folder / "lake", settings=quiet)

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def committed(self) -> None:
        version = self.collection.version
        assert version not in self.versions
        for number in range(max(self.versions) + 1, version + 1):
            self.versions[number] = copy.deepcopy(self.rows)

    @property
    def names(self) -> list[str]:
        return self.collection.schema.names

    @rule(count=st.integers(1, 30))
    def insert(self, count: int) -> None:
        made = []
        for number in range(self.next_id, self.next_id + count):
            row: dict[str, Any] = {name: number for name in self.names}
            row["v"] = np.random.default_rng(number).normal(size=DIM).astype(np.float32).tolist()
            made.append(row)
        self.next_id += count
        assert self.collection.insert(made).count == count
        self.collection.flush()
        self.rows += made
        self.committed()

    @precondition(lambda self: self.columns_made < 4)
    @rule(constant=st.booleans())
    def add_column(self, constant: bool) -> None:
        name = f"c{self.columns_made}"
        self.columns_made += 1
        values = [7 if constant else 10 * i for i in range(len(self.rows))]
        # By key: the order of rows is not that of insertion any more once segments were merged.
        by_key = pa.table({"id": pa.array([row["id"] for row in self.rows], pa.int64()), name: values})
        self.collection.add_column(name, 7 if constant else by_key, type=hw.Int64)
        for row, value in zip(self.rows, values, strict=True):
            row[name] = value
        self.committed()

    @precondition(lambda self: any(name.startswith("c") for name in self.names))
    @rule(data=st.data())
    def drop_column(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([name for name in self.names if name.startswith("c")]))
        self.collection.drop_column(name)
        for row in self.rows:
            del row[name]
        self.committed()

    @precondition(lambda self: any(name.startswith("c") for name in self.names))
    @rule(data=st.data())
    def rename_column(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([name for name in self.names if name.startswith("c")]))
        self.collection.rename_column(name, name + "x")
        for row in self.rows:
            row[name + "x"] = row.pop(name)
        self.committed()

    @rule(target=tags, name=st.sampled_from(["a", "b", "c"]), data=st.data())
    def tag(self, name: str, data: st.DataObject) -> str:
        version = data.draw(st.sampled_from(sorted(self.versions)))
        self.collection.tag(name, version)
        self.tagged[name] = version
        self.committed()
        return name

    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.versions)))
        self.collection.restore(version)
        self.rows = copy.deepcopy(self.versions[version])
        self.committed()

    @rule(kind=st.sampled_from(["HNSW", "IVF_RABITQ", "FLAT"]))
    def create_index(self, kind: str) -> None:
        before = self.collection.version
        self.collection.create_index("v", kind)
        if self.collection.version != before:
            self.committed()

    @rule()
    def optimize(self) -> None:
        before = self.collection.version
        self.collection.optimize()
        if self.collection.version != before:
            self.committed()

    @rule()
    def reopen(self) -> None:
        self.open()
        self.collection = self.db.collection("t")

    @rule()
    def gc(self) -> None:
        self.collection.gc(retention_s=0.0, grace_s=0.0)

    @invariant()
    def the_present_is_the_model(self) -> None:
        found = self.collection.to_arrow().to_pylist()
        assert sorted(found, key=lambda row: row["id"]) == sorted(self.rows, key=lambda row: row["id"])
        assert self.collection.num_rows == len(self.rows)

    @invariant()
    def search_is_complete(self) -> None:
        if self.rows:
            [hits] = self.collection.search(self.rows[-1]["v"], top_k=5, filter="id >= 0")
            assert hits[0]["id"] == self.rows[-1]["id"]
            assert len(hits) == min(5, len(self.rows))

    @rule(data=st.data())
    def the_past_is_what_it_was(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.versions)))
        found = self.collection.at(version=version).to_arrow().to_pylist()
        expected = self.versions[version]
        assert sorted(found, key=lambda row: row["id"]) == sorted(expected, key=lambda row: row["id"])
        assert [entry.version for entry in self.collection.history()] == sorted(self.versions)

    @rule(name=tags)
    def a_tag_names_its_version(self, name: str) -> None:
        pinned = self.collection.at(tag=name)
        assert pinned.num_rows == len(self.versions[pinned.version])


Collections.TestCase.settings = settings(max_examples=80, stateful_step_count=30)
TestCollections = Collections.TestCase
