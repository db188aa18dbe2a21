"""What is opened of segments and indexes that are gone does not stay until the budget of memory is full."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import headwater as hw
from headwater.query.coded import wait_for_codes
from headwater.query.expr import Bound
from headwater.settings import Settings

ROWS, DIM = 400, 8
VECTORS = np.random.default_rng(3).random((4 * ROWS, DIM), np.float32)
QUIET = Settings.from_values({"maintenance": {"automatic": False}})


@pytest.fixture
def docs(tmp_path: Path) -> Iterator[hw.Collection]:
    with hw.connect(tmp_path / "lake", settings=QUIET) as db:
        fields = {"id": hw.Int64, "n": hw.Int32, "title": hw.String, "v": hw.FloatVector(DIM)}
        made = db.create_collection("docs", fields, "id")
        for start in range(0, len(VECTORS), ROWS):
            ids = np.arange(start, start + ROWS)
            titles = [f"title {number}" for number in ids]
            made.insert({"id": ids, "n": ids % 10, "title": titles, "v": VECTORS[ids]})
            made.flush()
        made.create_index("v", "HNSW")
        made.create_index("n", "STL_SORT")
        yield made


def search(docs: hw.Collection | hw.CollectionAt) -> list[int]:
    found = []
    for filter in (None, "n == 3", "title == 'title 7'"):
        for _ in range(3):
            [hits] = docs.search(VECTORS[5], top_k=5, filter=filter, output_fields=["title"])
        found += [hit["id"] for hit in hits]
    return found


def names_of(docs: hw.Collection) -> set[str]:
    """Segments and files that anything is kept of."""
    keys = [key for cache in docs._opened.caches.values() for key in cache.keys()]  # noqa: SIM118 - no mapping
    return {
        word for key in keys for word in (key if isinstance(key, tuple) else (key,)) if isinstance(word, str)
    }


def had(docs: hw.Collection) -> set[str]:
    manifest = docs.manifest
    return {one.id for one in manifest.segments} | {one.file.key for one in manifest.builds}


def test_merged_segments_and_their_indexes_are_let_go(docs: hw.Collection) -> None:
    want, old, version = search(docs), had(docs), docs.manifest.version
    assert len(old) == 4 * 3
    assert old <= names_of(docs)
    docs.optimize()
    assert search(docs) == want
    wait_for_codes()
    assert not old & names_of(docs)
    assert had(docs) <= names_of(docs)
    assert search(docs.at(version=version)) == want


def test_an_index_that_is_built_anew_is_let_go_and_its_segments_stay(docs: hw.Collection) -> None:
    search(docs)
    segments = {one.id for one in docs.manifest.segments}
    old = {one.file.key for one in docs.manifest.builds if one.index == "v"}
    docs.drop_index("v")
    docs.create_index("v", "HNSW", params={"M": 8})
    search(docs)
    wait_for_codes()
    assert not old & names_of(docs)
    assert segments <= names_of(docs)


def test_what_a_handle_has_opened_goes_with_the_handle(docs: hw.Collection, tmp_path: Path) -> None:
    with hw.connect(tmp_path / "lake", settings=QUIET) as db:
        handle = db.database("default").collection("docs")
        want = search(handle)
        assert len(handle.query("id >= 0", output_fields=["title"])) == len(VECTORS)
        opened, memory = weakref.ref(handle._opened), db.tiers.memory
        assert memory.used_bytes > 0
        del handle
        gc.collect()
        assert opened() is None
        memory.tick()
        assert memory.used_bytes == 0
        assert search(db.collection("docs")) == want


def test_filters_do_not_stay_with_the_rows_that_they_select(docs: hw.Collection) -> None:
    def filters() -> list[Bound]:
        gc.collect()
        return [one for one in gc.get_objects() if type(one) is Bound]

    before, kept = len(filters()), len(docs._opened.caches["filters"])
    for start in range(40):
        keys = list(range(start, start + 500))
        [hits] = docs.search(VECTORS[5], top_k=5, filter="id in {keys}", filter_params={"keys": keys})
        assert all(hit["id"] in keys for hit in hits)
        assert len(docs.query("id in {keys}", filter_params={"keys": keys})) == 500
    assert len(docs._opened.caches["filters"]) > kept
    assert len(filters()) <= before + 2
