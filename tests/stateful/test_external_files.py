"""Files of others that come, change, grow and go, and columns of ours over their rows, beside plain dicts."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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
from headwater.errors import CommitConflict, SourceChanged

from .between import come_between

DIM = 4
NAMES = ("a", "b", "c", "d", "e")
WORDS = ("ash", "birch", "cedar", "elm")
SIGNATURE_BITS = 128

Row = dict[str, Any]


class Files(RuleBasedStateMachine):
    """A folder of Parquet files, and a collection over it through two handles that share nothing but the lake."""

    @initialize(data=st.data())
    def create(self, data: st.DataObject) -> None:
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / "files").mkdir()
        self.settings = hw.Settings(
            lake=hw.settings.LakeSettings(target_segment_rows=25, shared_fragment_rows=15),
            maintenance=hw.settings.MaintenanceSettings(automatic=False, index_rows=3),
        )
        self.next_key = self.count = 0
        self.indexing = ""
        self.files: dict[str, list[Row]] = {}
        self.write(data, "a", nulls="none")
        fields = [
            hw.Field("id", hw.Int64),
            hw.Field("n", hw.Int64, nullable=True),
            hw.Field("s", hw.VarChar(100), nullable=True),
            hw.Field("v", hw.FloatVector(DIM), nullable=True),
            hw.Field("g", hw.BinaryVector(SIGNATURE_BITS), nullable=True),
        ]
        hw.connect(self.folder / "lake", settings=self.settings).create_external_collection(
            "t",
            self.folder / "files",
            hw.Schema.of(fields, primary_key="id"),
            "id",
            functions=[hw.Function("f", "MINHASH", ["s"], "g")],
        )
        self.handles = [self.opened(), self.opened()]
        self.ours: list[str] = []
        self.seen: dict[str, list[Row]] = {}
        self.look()

    def opened(self) -> hw.Collection:
        return hw.connect(self.folder / "lake", settings=self.settings).collection("t")

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder, ignore_errors=True)

    # -- the files ---------------------------------------------------------------------------------------------------

    def write(self, data: st.DataObject, name: str, nulls: str | None = None) -> None:
        count = data.draw(st.integers(0, 30), label="rows")
        nulls = nulls or data.draw(st.sampled_from(["none", "some", "all", "absent"]), label="nulls")
        rows = []
        for key in range(self.next_key, self.next_key + count):
            rng = np.random.default_rng(key)
            gone = nulls in ("all", "absent") or (nulls == "some" and key % 3 == 0)
            vector = rng.normal(size=DIM).astype(np.float32).tolist()
            rows.append(
                {
                    "id": key,
                    "n": None if gone else key % 17,
                    "s": None if key % 5 == 4 else WORDS[key % 4] + " " + WORDS[key % 3],
                    "v": None if gone and key % 2 else vector,
                }
            )
        self.next_key += count
        types = {"id": pa.int64(), "n": pa.int64(), "s": pa.string(), "v": pa.list_(pa.float32(), DIM)}
        if nulls == "absent":
            del types["n"]
        table = pa.table(
            {column: pa.array([row[column] for row in rows], kind) for column, kind in types.items()}
        )
        path = self.folder / "files" / f"{name}.parquet"
        # Put in place at once, as whoever writes files that others read does.
        pq.write_table(table, path.with_suffix(".part"), row_group_size=data.draw(st.integers(3, 30)))
        path.with_suffix(".part").rename(path)
        self.files[name] = rows

    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def a_file_comes_or_changes(self, data: st.DataObject, name: str) -> None:
        self.write(data, name)

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def a_file_goes(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        (self.folder / "files" / f"{name}.parquet").unlink()
        del self.files[name]

    # -- the collection ----------------------------------------------------------------------------------------------

    @property
    def current(self) -> bool:
        """Whether the files are those that the collection was refreshed from."""
        return all(self.files.get(name) is self.from_files[name] for name in self.from_files)

    def look(self) -> None:
        """What a refresh sees: rows of files that are as they were keep what we have of them."""
        before = getattr(self, "from_files", {})
        self.seen = {
            name: self.seen[name]
            if before.get(name) is rows
            else [{**row, **dict.fromkeys(self.ours)} for row in rows]
            for name, rows in self.files.items()
        }
        self.from_files = dict(self.files)

    @rule(which=st.integers(0, 1))
    def refresh(self, which: int) -> None:
        self.handles[which].refresh()
        self.look()

    @rule(which=st.integers(0, 1))
    def both_refresh_at_once(self, which: int) -> None:
        self.between(which, self.handles[1 - which].refresh)
        self.look()

    @precondition(lambda self: len(self.ours) < 3)
    @rule(which=st.integers(0, 1))
    def a_column_comes_while_the_other_refreshes(self, which: int) -> None:
        self.count += 1
        name = f"ours{self.count}"
        self.between(which, lambda: self.handles[1 - which].add_column(name, 70, type=hw.Int64))
        self.ours.append(name)
        for row in self.rows:
            row[name] = 70
        self.look()

    @precondition(lambda self: self.current)
    @rule(
        data=st.data(),
        which=st.integers(0, 1),
        first=st.sampled_from(["refresh", "column", "index", "upkeep"]),
        second=st.sampled_from(["refresh", "change", "column", "drop"]),
        later=st.integers(0, 2),
    )
    def one_comes_between(self, data: st.DataObject, which: int, first: str, second: str, later: int) -> None:
        """What one handle does, and right before it is stored, what the other does."""
        other = partial(self.done_by, data, 1 - which, second)
        with come_between(self.handles[which]._lake.store, other, later) as pending:
            try:
                self.done_by(data, which, first)
            except SourceChanged:
                # It was reading rows of a file that is another by now.
                assert first != "refresh"
                assert second == "change"
            except CommitConflict:
                # The field that was to have an index is gone.
                assert (first, second) == ("index", "drop")
                assert self.indexing not in self.ours
        for work in pending:
            work()

    def done_by(self, data: st.DataObject, which: int, what: str) -> None:
        if what == "change":
            self.write(data, data.draw(st.sampled_from(NAMES)))
        if what in ("change", "refresh"):
            self.refresh(which=which)
        elif what == "column":
            self.column(which)
        elif what == "index":
            self.create_index(data=data, which=which)
        elif what == "upkeep":
            self.handles[which]._tend()
        elif self.ours:
            self.drop_column(data=data, which=which)

    def between(self, which: int, work: Callable[[], Any]) -> None:
        """A refresh, and something that is done after it has looked at the files."""
        source = self.handles[which]._source
        listed = source.list_files

        def list_files() -> Any:
            found = listed()
            source.list_files = listed
            work()
            return found

        source.list_files = list_files
        self.handles[which].refresh()

    def column(self, which: int) -> None:
        self.count += 1
        name = f"ours{self.count}"
        keys = [row["id"] for rows in self.seen.values() for row in rows]
        values = {key: None if key % 4 == 1 else key * 10 for key in keys}
        table = pa.table(
            {"id": pa.array(keys, pa.int64()), name: pa.array([values[key] for key in keys], pa.int64())}
        )
        self.handles[which].add_column(name, table, type=hw.Int64)
        self.ours.append(name)
        for row in self.rows:
            # Of a file that came meanwhile, nothing was known.
            row[name] = values.get(row["id"])

    @precondition(lambda self: self.current and len(self.ours) < 3)
    @rule(which=st.integers(0, 1))
    def add_column(self, which: int) -> None:
        self.column(which)

    @precondition(lambda self: self.ours)
    @rule(data=st.data(), which=st.integers(0, 1))
    def drop_column(self, data: st.DataObject, which: int) -> None:
        name = data.draw(st.sampled_from(self.ours))
        self.handles[which].drop_column(name)
        self.ours.remove(name)
        for rows in self.seen.values():
            for row in rows:
                del row[name]

    @precondition(lambda self: self.current)
    @rule(data=st.data(), which=st.integers(0, 1))
    def create_index(self, data: st.DataObject, which: int) -> None:
        field = data.draw(st.sampled_from(["n", "s", "v", *self.ours]))
        kind = data.draw(
            st.sampled_from(["HNSW", "IVF_FLAT", "AUTOINDEX"] if field == "v" else ["INVERTED", "AUTOINDEX"])
        )
        self.indexing = field
        self.handles[which].create_index(field, kind, metric_type="L2" if field == "v" else None)

    @precondition(lambda self: self.current)
    @rule(which=st.integers(0, 1))
    def upkeep(self, which: int) -> None:
        self.handles[which]._tend()

    @rule(which=st.integers(0, 1))
    def collect_garbage(self, which: int) -> None:
        self.handles[which].gc(retention_s=1e9, grace_s=3600)

    @rule(which=st.integers(0, 1))
    def reopen(self, which: int) -> None:
        self.handles[which] = self.opened()

    # -- reads -------------------------------------------------------------------------------------------------------

    @property
    def rows(self) -> list[Row]:
        return [row for rows in self.seen.values() for row in rows]

    @invariant()
    def both_handles_see_the_files_as_they_were_or_say_so(self) -> None:
        if not hasattr(self, "handles"):
            return
        names = ["id", "n", "s", "v", "g", *self.ours]
        for handle in self.handles:
            try:
                found = handle.to_arrow(names, consistency_level="Strong").to_pylist()
            except SourceChanged:
                assert not self.current
                continue
            signatures = {row["s"]: row["g"] for row in found}
            assert all(row.pop("g") == signatures[row["s"]] for row in found)
            assert all((text is None) == (signature is None) for text, signature in signatures.items())
            assert sorted(found, key=lambda row: row["id"]) == sorted(self.rows, key=lambda row: row["id"])

    @precondition(lambda self: self.current)
    @rule(data=st.data(), which=st.integers(0, 1), value=st.integers(0, 20))
    def rows_of_a_filter(self, data: st.DataObject, which: int, value: int) -> None:
        name = data.draw(st.sampled_from(["n", *self.ours]))
        value = value if name == "n" else 10 * value
        tests: dict[str, Callable[[Any], bool]] = {
            f"{name} < {value}": lambda n: n is not None and n < value,
            f"{name} == {value}": lambda n: n is not None and n == value,
            f"{name} != {value}": lambda n: n is not None and n != value,
            f"{name} >= {value}": lambda n: n is not None and n >= value,
            f"{name} is null": lambda n: n is None,
            f"{name} is not null": lambda n: n is not None,
        }
        text = data.draw(st.sampled_from(sorted(tests)))
        wanted = sorted(row["id"] for row in self.rows if tests[text](row[name]))
        found = self.handles[which].query(text, output_fields=["id"], consistency_level="Strong")
        assert sorted(row["id"] for row in found) == wanted, text

    @precondition(lambda self: self.current)
    @rule(which=st.integers(0, 1), top_k=st.integers(1, 10))
    def nearest(self, which: int, top_k: int) -> None:
        query = np.random.default_rng(self.next_key + 1).normal(size=DIM).astype(np.float32)
        far = sorted(
            float(((np.array(row["v"], np.float32) - query) ** 2).sum())
            for row in self.rows
            if row["v"] is not None
        )
        hits = self.handles[which].search(
            query, anns_field="v", top_k=top_k, params={"metric_type": "L2"}, consistency_level="Strong"
        )[0]
        assert len({hit["id"] for hit in hits}) == len(hits) == min(top_k, len(far))
        np.testing.assert_allclose([hit["distance"] for hit in hits], far[:top_k], rtol=1e-4, atol=1e-5)


def test_a_collection_over_files_behaves_as_the_files() -> None:
    run_state_machine_as_test(
        Files,
        settings=settings(max_examples=40, stateful_step_count=40, suppress_health_check=list(HealthCheck)),
    )
