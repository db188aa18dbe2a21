"""Random changes of rows, schema, indexes and partitions by two processes' handles, beside a plain dict.

Whatever a row was written under, whichever handle wrote it, and wherever it is by now, in the log, in a segment, under
an index or not: every filter, search, iterator and older version finds what the dict says.
"""

from __future__ import annotations

import copy
import datetime
import math
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
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

from .between import come_between

DIM = 4
KEYS = 30
WORDS = ("ash", "birch", "cedar", "elm")
PAST = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
LATER = datetime.datetime(2101, 1, 1, tzinfo=datetime.UTC)

Row = dict[str, Any]
Truth = bool | None


def no(found: Truth) -> Truth:
    return None if found is None else not found


def both(one: Truth, other: Truth) -> Truth:
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


def either(one: Truth, other: Truth) -> Truth:
    return no(both(no(one), no(other)))


def of(name: str, test: Callable[[Any], bool]) -> Callable[[Row], Truth]:
    """A condition on a field, unknown where it is null."""
    return lambda row: None if row.get(name) is None else test(row[name])


Condition = tuple[str, Callable[[Row], Truth]]


def conditions(number: str, value: int) -> dict[str, Condition]:
    """Filters and what they mean.

    Args:
        number: a field of integers.
        value: to compare with.
    """
    word = WORDS[value % len(WORDS)]
    return {
        "less": (f"{number} < {value}", of(number, lambda n: n < value)),
        "equal": (f"{number} == {value}", of(number, lambda n: n == value)),
        "unequal": (f"{number} != {value}", of(number, lambda n: n != value)),
        "range": (
            f"{value - 3} <= {number} < {value + 3}",
            of(number, lambda n: value - 3 <= n < value + 3),
        ),
        "member": (f"{number} in [{value}, {value + 1}]", of(number, lambda n: n in (value, value + 1))),
        "null": (f"{number} is null", lambda row: row.get(number) is None),
        "there": (f"{number} is not null", lambda row: row.get(number) is not None),
        "text": (f's == "{word}"', of("s", lambda s: s == word)),
        "start": (f's like "{word[:2]}%"', of("s", lambda s: s.startswith(word[:2]))),
        "words": (f"text_match(s, '{word}')", of("s", lambda s: word in s.split())),
        "holds": (f"array_contains(tags, {value})", of("tags", lambda tags: value in tags)),
        "length": (f"array_length(tags) == {value % 3}", of("tags", lambda tags: len(tags) == value % 3)),
        "key": (f"id < {value}", lambda row: row["id"] < value),
        "more": (f"more == {value}", of("more", lambda more: more == value)),
    }


class Evolving(RuleBasedStateMachine):
    """One collection, changed through two handles that share nothing but the lake."""

    @initialize(shards=st.sampled_from([1, 1, 2]), mortal=st.booleans())
    def create(self, shards: int, mortal: bool) -> None:
        self.folder, self.mortal = tempfile.mkdtemp(), mortal
        self.settings = hw.Settings(
            write=hw.settings.WriteSettings(seal_entries=6, staleness_s=0.0, bulk_bytes=700),
            maintenance=hw.settings.MaintenanceSettings(
                automatic=False, merge_segments=3, index_rows=4, deleted_share=0.2
            ),
        )
        fields = [
            hw.Field("id", hw.Int64),
            hw.Field("n", hw.Int32, nullable=True),
            hw.Field("s", hw.VarChar(100).analyzed({"tokenizer": "whitespace"}), nullable=True),
            hw.Field("tags", hw.Array(hw.Int64), nullable=True),
            hw.Field("v", hw.FloatVector(DIM), nullable=True),
            hw.Field("w", hw.SparseFloatVector, nullable=True),
            hw.Field("until", hw.TimestampTz, nullable=True),
            hw.Field("b", hw.SparseFloatVector),
        ]
        made = hw.connect(self.folder, settings=self.settings).create_collection(
            "t", fields, "id", dynamic=True, num_shards=shards, functions=[hw.Function("f", "BM25", "s", "b")]
        )
        if self.mortal:
            made.set_ttl(field="until")
        self.handles = [self.opened(), self.opened()]
        self.rows: dict[int, Row] = {}
        self.numbers = {"n": None}
        self.partitions = ["_default"]
        self.versions: dict[int, Any] = {}
        self.count = 0

    def opened(self) -> hw.Collection:
        return hw.connect(self.folder, settings=self.settings).collection("t")

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder, ignore_errors=True)

    # -- rows --------------------------------------------------------------------------------------------------------

    def drawn(self, data: st.DataObject, key: int) -> Row:
        """A row that leaves some fields out."""
        self.count += 1
        row: Row = {"id": key}
        rng = np.random.default_rng(self.count)
        for name in self.numbers:
            if (value := data.draw(st.none() | st.integers(0, 12), label=name)) is not None:
                row[name] = value
        chosen = data.draw(st.sets(st.sampled_from(["s", "tags", "v", "w", "more"])), label="given")
        if "s" in chosen:
            row["s"] = " ".join(data.draw(st.lists(st.sampled_from(WORDS), max_size=3)))
        if "tags" in chosen:
            row["tags"] = data.draw(st.lists(st.integers(0, 12), max_size=3))
        if "v" in chosen:
            row["v"] = rng.normal(size=DIM).astype(np.float32).tolist()
        if "w" in chosen:
            places = rng.choice(9, data.draw(st.integers(0, 3)), replace=False)
            row["w"] = {int(place): float(np.float32(rng.random() + 0.1)) for place in places}
        if "more" in chosen:
            row["more"] = data.draw(st.integers(0, 12))
        if self.mortal:
            row["until"] = data.draw(st.sampled_from([None, LATER, LATER, PAST]))
        return row

    def put(self, row: Row) -> None:
        if row["until"] == PAST:
            self.rows.pop(row["id"], None)
        else:
            self.rows[row["id"]] = row

    def whole(self, row: Row, before: Row | None = None) -> Row:
        """The row as it is read."""
        empty: Row = {
            **self.numbers, "s": None, "tags": None, "v": None, "w": None, "more": None, "until": None
        }  # fmt: skip
        return {**empty, **(before or {}), **row}

    @rule(
        data=st.data(),
        which=st.integers(0, 1),
        keys=st.sets(st.integers(0, KEYS - 1), min_size=1, max_size=8),
    )
    def upsert(self, data: st.DataObject, which: int, keys: set[int]) -> None:
        place = data.draw(st.sampled_from(self.partitions))
        rows = [self.drawn(data, key) for key in sorted(keys)]
        self.handles[which].upsert(rows, partition=place)
        for row in rows:
            self.put({**self.whole(row), "place": place})

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), which=st.integers(0, 1))
    def upsert_in_part(self, data: st.DataObject, which: int) -> None:
        keys = data.draw(st.sets(st.sampled_from(sorted(self.rows)), min_size=1, max_size=3))
        rows = [self.drawn(data, key) for key in sorted(keys)]
        place = data.draw(st.sampled_from(self.partitions))
        how = data.draw(st.sampled_from(["replace", "append", "remove"]))
        self.handles[which].upsert(rows, partial=True, array_ops={"tags": how}, partition=place)
        for row in rows:
            # Another may have deleted it since it was drawn.
            before = self.rows.get(row["id"])
            after = {**self.whole(row, before), "place": place}
            held = None if before is None else before["tags"]
            if how == "append" and "tags" in row:
                after["tags"] = [*(held or []), *row["tags"]]
            elif how == "remove" and "tags" in row:
                after["tags"] = None if held is None else [one for one in held if one not in row["tags"]]
            self.put(after)

    @rule(which=st.integers(0, 1), keys=st.sets(st.integers(0, KEYS - 1), min_size=1, max_size=6))
    def delete(self, which: int, keys: set[int]) -> None:
        self.handles[which].delete(sorted(keys))
        for key in keys:
            self.rows.pop(key, None)

    @rule(data=st.data(), which=st.integers(0, 1))
    def delete_by_filter(self, data: st.DataObject, which: int) -> None:
        text, test = self.condition(data)
        count = self.handles[which].delete(filter=f"({text}) and id % 2 == 1").count
        gone = [key for key, row in self.rows.items() if key % 2 and test(row)]
        assert count == len(gone)
        for key in gone:
            del self.rows[key]

    # -- both handles at once ----------------------------------------------------------------------------------------

    @rule(
        data=st.data(),
        which=st.integers(0, 1),
        first=st.sampled_from(
            ["upsert", "part", "delete", "filter", "seal", "tend", "optimize", "index", "add", "rename"]
        ),
        second=st.sampled_from(["upsert", "part", "delete", "filter", "seal", "tend", "optimize"]),
        later=st.integers(0, 3),
    )
    def one_comes_between(self, data: st.DataObject, which: int, first: str, second: str, later: int) -> None:
        """What one handle does, and right before it is stored, what the other does."""
        if first in ("upsert", "part", "delete", "filter"):
            # Of several shards, some have it already where it comes later.
            later = 0
        other = partial(self.done_by, data, 1 - which, second)
        with come_between(self.handles[which]._lake.store, other, later) as pending:
            self.done_by(data, which, first)
        for work in pending:
            work()

    def done_by(self, data: st.DataObject, which: int, what: str) -> None:
        handle = self.handles[which]
        if what == "upsert":
            keys = data.draw(st.sets(st.integers(0, KEYS - 1), min_size=1, max_size=4))
            self.upsert(data=data, which=which, keys=keys)
        elif what == "delete":
            keys = data.draw(st.sets(st.integers(0, KEYS - 1), min_size=1, max_size=4))
            self.delete(which=which, keys=keys)
        elif what == "part":
            if self.rows:
                self.upsert_in_part(data=data, which=which)
        elif what == "filter":
            self.delete_by_filter(data=data, which=which)
        elif what == "index":
            self.create_index(data=data, which=which)
        elif what == "add":
            self.add_field(which=which, default=data.draw(st.none() | st.integers(0, 12)))
        elif what == "rename":
            self.rename_field(data=data, which=which)
        else:
            {"seal": handle.flush, "tend": handle._tend, "optimize": handle.optimize}[what]()

    # -- what the collection is --------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.numbers) < 4)
    @rule(which=st.integers(0, 1), default=st.none() | st.integers(0, 12))
    def add_field(self, which: int, default: int | None) -> None:
        self.count += 1
        name = f"n{self.count}"
        self.handles[which].add_field(hw.Field(name, hw.Int64, nullable=True, default=default))
        self.numbers[name] = default
        for row in self.rows.values():
            row[name] = default

    @precondition(lambda self: len(self.numbers) > 1)
    @rule(data=st.data(), which=st.integers(0, 1))
    def drop_field(self, data: st.DataObject, which: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.numbers)))
        self.handles[which].drop_field(name)
        del self.numbers[name]
        for row in self.rows.values():
            del row[name]

    @rule(data=st.data(), which=st.integers(0, 1))
    def rename_field(self, data: st.DataObject, which: int) -> None:
        old = data.draw(st.sampled_from(sorted(self.numbers)))
        self.count += 1
        new = f"r{self.count}"
        self.handles[which].rename_column(old, new)
        self.numbers[new] = self.numbers.pop(old)
        for row in self.rows.values():
            row[new] = row.pop(old)

    @rule(data=st.data(), which=st.integers(0, 1))
    def create_index(self, data: st.DataObject, which: int) -> None:
        field = data.draw(st.sampled_from([*sorted(self.numbers), "s", "s", "tags", "v", "v", "w", "b"]))
        kinds = {
            "v": ["FLAT", "HNSW", "IVF_FLAT", "IVF_RABITQ", "HNSW_SQ"],
            "w": ["SPARSE_INVERTED_INDEX"],
            "b": ["SPARSE_INVERTED_INDEX"],
            "s": ["TEXT", "INVERTED", "TRIE", "NGRAM", "BITMAP"],
            "tags": ["INVERTED", "BITMAP"],
        }.get(field, ["STL_SORT", "INVERTED", "BITMAP", "BLOOM"])
        kind = data.draw(st.sampled_from(kinds))
        params = {"min_gram": 2, "max_gram": 3} if kind == "NGRAM" else {}
        metric = {"v": "L2", "w": "IP", "b": "BM25"}.get(field)
        self.handles[which].create_index(field, kind, metric_type=metric, params=params)

    @rule(data=st.data(), which=st.integers(0, 1))
    def drop_index(self, data: st.DataObject, which: int) -> None:
        names = [spec.name for spec in self.handles[which].manifest.indexes]
        if names:
            self.handles[which].drop_index(data.draw(st.sampled_from(sorted(names))))

    @precondition(lambda self: len(self.partitions) < 3)
    @rule(which=st.integers(0, 1))
    def create_partition(self, which: int) -> None:
        self.count += 1
        self.partitions.append(f"p{self.count}")
        self.handles[which].create_partition(self.partitions[-1])

    @precondition(lambda self: len(self.partitions) > 1)
    @rule(which=st.integers(0, 1))
    def drop_partition(self, which: int) -> None:
        name = self.partitions.pop()
        self.handles[which].drop_partition(name)
        self.rows = {key: row for key, row in self.rows.items() if row["place"] != name}

    # -- maintenance -------------------------------------------------------------------------------------------------

    def remembered(self) -> Any:
        return copy.deepcopy((self.rows, self.numbers, self.partitions))

    @rule(which=st.integers(0, 1))
    def flush(self, which: int) -> None:
        self.versions[self.handles[which].flush()] = self.remembered()

    @rule(which=st.integers(0, 1))
    def upkeep(self, which: int) -> None:
        self.handles[which]._tend()

    @rule(which=st.integers(0, 1))
    def optimize(self, which: int) -> None:
        self.handles[which].optimize()

    @rule(which=st.integers(0, 1))
    def reopen(self, which: int) -> None:
        self.handles[which] = self.opened()

    @rule(which=st.integers(0, 1))
    def collect_garbage(self, which: int) -> None:
        self.handles[which].gc(retention_s=1e9, grace_s=3600)

    @precondition(lambda self: self.versions)
    @rule(data=st.data(), which=st.integers(0, 1))
    def restore(self, data: st.DataObject, which: int) -> None:
        version = data.draw(st.sampled_from(sorted(self.versions)))
        self.handles[which].restore(version)
        self.rows, self.numbers, self.partitions = copy.deepcopy(self.versions[version])

    # -- reads -------------------------------------------------------------------------------------------------------

    def condition(self, data: st.DataObject) -> Condition:
        number = data.draw(st.sampled_from(sorted(self.numbers)))
        known = conditions(number, data.draw(st.integers(0, 12)))
        text, test = known[data.draw(st.sampled_from(sorted(known)))]
        if data.draw(st.booleans()):
            text, test = f"not ({text})", lambda row, inner=test: no(inner(row))
        how = data.draw(st.sampled_from(["", "", "and", "or"]))
        if how:
            other, joined = self.condition(data)
            together = both if how == "and" else either
            return f"({text}) {how} ({other})", lambda row: together(test(row), joined(row))
        return text, test

    def plain(self, row: Row) -> Row:
        weights = row.get("w")
        if isinstance(weights, list):
            row = {**row, "w": {one["index"]: one["value"] for one in weights}}
        return row

    def read(self, rows: Any) -> dict[int, Row]:
        found = [self.plain(dict(row)) for row in rows]
        by_key = {row["id"]: row for row in found}
        assert len(by_key) == len(found), "a key is there twice"
        return by_key

    def expected(self, rows: dict[int, Row], names: Any) -> dict[int, Row]:
        return {key: {name: row[name] for name in names} for key, row in rows.items()}

    @property
    def names(self) -> list[str]:
        return ["id", *sorted(self.numbers), "s", "tags", "v", "w", "more"]

    @invariant()
    def both_handles_see_all(self) -> None:
        if hasattr(self, "handles"):
            for handle in self.handles:
                found = handle.query("", output_fields=self.names, consistency_level="Strong")
                rows = [{name: row.get(name) for name in self.names} for row in found]
                assert self.read(rows) == self.expected(self.rows, self.names)

    @rule(data=st.data(), which=st.integers(0, 1))
    def rows_of_a_filter(self, data: st.DataObject, which: int) -> None:
        text, test = self.condition(data)
        places = data.draw(st.none() | st.sets(st.sampled_from(self.partitions), min_size=1))
        reading: dict[str, Any] = {"consistency_level": "Strong"}
        if places is not None:
            reading["partitions"] = sorted(places)
        wanted = sorted(
            key for key, row in self.rows.items() if test(row) and (places is None or row["place"] in places)
        )
        found = self.handles[which].query(text, output_fields=["id"], **reading)
        assert sorted(row["id"] for row in found) == wanted, text
        assert self.handles[which].count(text, **reading) == len(wanted), text
        size = data.draw(st.integers(1, 5))
        batches = self.handles[which].query_iterator(text, batch_size=size, output_fields=["id"], **reading)
        assert [row["id"] for batch in batches for row in batch] == wanted, text

    @rule(data=st.data(), which=st.integers(0, 1), top_k=st.integers(1, 8), filtered=st.booleans())
    def nearest(self, data: st.DataObject, which: int, top_k: int, filtered: bool) -> None:
        text, test = self.condition(data) if filtered else (None, lambda row: True)
        query = np.random.default_rng(self.count + 7).normal(size=DIM).astype(np.float32)
        far = {
            key: float(((np.array(row["v"], np.float32) - query) ** 2).sum())
            for key, row in self.rows.items()
            if row["v"] is not None and test(row)
        }
        hits = self.handles[which].search(
            query,
            anns_field="v",
            top_k=top_k,
            filter=text,
            params={"metric_type": "L2"},
            output_fields=["id", "s"],
            consistency_level="Strong",
        )[0]
        assert len({hit["id"] for hit in hits}) == len(hits) == min(top_k, len(far)), text
        np.testing.assert_allclose(
            [hit["distance"] for hit in hits], sorted(far.values())[:top_k], rtol=1e-4, atol=1e-5
        )
        for hit in hits:
            assert hit["entity"]["s"] == self.rows[hit["id"]]["s"]

    @rule(data=st.data(), which=st.integers(0, 1), top_k=st.integers(1, 8), filtered=st.booleans())
    def by_weights(self, data: st.DataObject, which: int, top_k: int, filtered: bool) -> None:
        text, test = self.condition(data) if filtered else (None, lambda row: True)
        query = {place: 1.0 + place for place in data.draw(st.sets(st.integers(0, 8), min_size=1))}
        scores = {
            key: sum(query.get(place, 0.0) * weight for place, weight in row["w"].items())
            for key, row in self.rows.items()
            if row["w"] is not None and test(row)
        }
        scores = {key: score for key, score in scores.items() if score > 0}
        hits = self.handles[which].search(
            [query], anns_field="w", top_k=top_k, filter=text, consistency_level="Strong"
        )[0]
        assert len({hit["id"] for hit in hits}) == len(hits) == min(top_k, len(scores)), text
        best = sorted(scores.values(), reverse=True)[:top_k]
        np.testing.assert_allclose([hit["distance"] for hit in hits], best, rtol=1e-4)

    @rule(data=st.data(), which=st.integers(0, 1), top_k=st.integers(1, 8), filtered=st.booleans())
    def by_words(self, data: st.DataObject, which: int, top_k: int, filtered: bool) -> None:
        text, test = self.condition(data) if filtered else (None, lambda row: True)
        asked = data.draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3))
        texts = {key: row["s"].split() for key, row in self.rows.items() if row["s"] is not None}
        mean = (sum(map(len, texts.values())) or 1) / max(1, len(texts))
        scores = {}
        for key, words in texts.items():
            score = 0.0
            for word in asked:
                holding = sum(word in other for other in texts.values())
                rarity = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
                times = words.count(word)
                score += rarity * 2.2 * times / (times + 1.2 * (0.25 + 0.75 * len(words) / mean))
            if score > 0 and test(self.rows[key]):
                scores[key] = score
        hits = self.handles[which].search(
            " ".join(asked), anns_field="b", top_k=top_k, filter=text, consistency_level="Strong"
        )[0]
        assert len({hit["id"] for hit in hits}) == len(hits) == min(top_k, len(scores)), text
        best = sorted(scores.values(), reverse=True)[:top_k]
        np.testing.assert_allclose([hit["distance"] for hit in hits], best, rtol=1e-3)

    @precondition(lambda self: self.versions)
    @rule(data=st.data(), which=st.integers(0, 1))
    def an_older_version_is_what_it_was(self, data: st.DataObject, which: int) -> None:
        version = data.draw(st.sampled_from(sorted(self.versions)))
        rows, numbers, _ = self.versions[version]
        names = ["id", *sorted(numbers), "s", "tags"]
        found = self.handles[which].at(version=version).query("", output_fields=names)
        assert self.read(found) == self.expected(rows, names)


def test_a_collection_that_evolves_behaves_as_a_dict() -> None:
    run_state_machine_as_test(
        Evolving,
        settings=settings(max_examples=40, stateful_step_count=50, suppress_health_check=list(HealthCheck)),
    )
