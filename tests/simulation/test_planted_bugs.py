"""Bugs planted on purpose: a simulator that does not find them is not one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from headwater.errors import AlreadyExists, Corrupt, ObjectNotFound, StoreUnavailable
from headwater.lake import applying, changes, lake
from headwater.lake.log import collection_log, cursor, growing, large, live
from headwater.lake.manifest import Manifest

from . import protocol
from .protocol import Simulation, Violation

SEEDS = 1500

# Modules that are hidden by the function of the same name.
gc = importlib.import_module("headwater.lake.gc")
seal = importlib.import_module("headwater.lake.log.seal")

Patch = Callable[[Any, str, Any], None]


def _overwrites(patch: Patch) -> None:
    """The log is written by a plain PUT: the last of two writers wins."""

    def put(store: Any, key: str, data: bytes, **_: Any) -> bool:
        store.put(key, data)
        return True

    patch(collection_log, "put_if_absent", put)


def _takes_its_own_answer_for_anothers(patch: Patch) -> None:
    """A retry that finds the key taken by its own bytes counts as lost, and the entry is written again."""

    def put(store: Any, key: str, data: bytes, **_: Any) -> bool:
        for _attempt in range(8):
            try:
                store.create(key, data)
            except AlreadyExists:
                return False
            except StoreUnavailable:
                continue
            return True
        raise StoreUnavailable("gave up")

    patch(collection_log, "put_if_absent", put)


def _acknowledges_before_it_is_durable(patch: Patch) -> None:
    """A failed PUT of a log entry is taken for done."""
    real = collection_log.put_if_absent

    def put(store: Any, key: str, data: bytes, **options: Any) -> bool:
        try:
            store.create(key, data)
        except StoreUnavailable:
            return True
        except AlreadyExists:
            return real(store, key, data, **options)
        return True

    patch(collection_log, "put_if_absent", put)


def _truncates_one_entry_too_many(patch: Patch) -> None:
    """The seal says that one more entry is in segments than is."""
    real = seal._after
    patch(seal, "_after", lambda at: replace(real(at), sealed=at.sequence + 1))


def _seals_what_is_sealed(patch: Patch) -> None:
    """A seal that lost the race is applied to the newer version all the same."""
    real = applying.apply.dispatch(changes.Seal)

    def apply(change: Any, manifest: Manifest) -> Manifest:
        if isinstance(change, changes.Seal):
            known = {shard.number: shard.sealed for shard in manifest.all_shards}
            change = replace(change, sealed_from=known)
            return real(change, manifest)
        return applying.apply(change, manifest)

    patch(lake, "apply", apply)


def _reads_the_log_before_the_manifest(patch: Patch) -> None:
    """The log's end is looked up first: what is sealed in between is in neither."""

    def catch_up(self: Any) -> None:
        for number in sorted(self._cursors):
            self._read_on(number)
        manifest = self.lake.latest()
        if self._state is None or manifest is not self._state.manifest:
            self._state, self._cursors = None, {}
            self._go_to(manifest)
        self._checked_s = self._leased_s = self._monotonic()

    patch(live.LogReader, "_catch_up", catch_up)


def _forgets_deletes_when_it_goes_to_a_newer_version(patch: Patch) -> None:
    """What is deleted in the log of rows in segments is not carried over to the next version."""
    patch(growing.GrowingState, "_carried", lambda self, manifest, remaining: {})


def _collects_entries_that_are_not_sealed(patch: Patch) -> None:
    """Garbage collection takes every old entry of the log."""
    real = gc._entries

    def entries(lake: Any, objects: Any, manifests: Any) -> list[Any]:
        return [meta for _, _, meta in real(lake, objects)]

    patch(gc, "_sealed_entries", entries)


def _collects_entries_at_once(patch: Patch) -> None:
    """Sealed entries are deleted without waiting for writers that do not know yet that they are sealed."""
    real = gc._entries

    def entries(lake: Any, objects: Any, manifests: Any) -> list[Any]:
        newest = max(manifests, key=lambda manifest: manifest.version)
        sealed = {shard.log: shard.sealed for shard in newest.all_shards}
        return [meta for log, number, meta in real(lake, objects) if number <= sealed.get(log, 1 << 60)]

    patch(gc, "_sealed_entries", entries)


def _keeps_the_epoch_of_another_writer(patch: Patch) -> None:
    """A writer that takes over goes on with the epoch it found."""
    patch(collection_log.CollectionLog, "_epoch", lambda self, lane, at: max(1, at.epoch))


def _stops_at_the_first_failed_look(patch: Patch) -> None:
    """A request for the next entry that fails is taken for the end of the log."""
    real = cursor._get

    def get(store: Any, key: str) -> bytes | None:
        try:
            return real(store, key)
        except StoreUnavailable:
            return None

    patch(cursor, "_get", get)


def _puts_segments_of_a_split_shard_anywhere(patch: Patch) -> None:
    """A large write whose shard was split meanwhile goes into the log of any other."""
    real = large.NewSegments
    patch(large, "NewSegments", lambda segments, replaces, shard: real(segments, replaces))


def _collects_segments_that_only_the_log_names(patch: Patch) -> None:
    """Garbage collection does not look into the log for files, and waits for nobody."""
    real = gc.gc
    patch(gc, "_named_in_logs", lambda lake, objects, newest: set())
    patch(protocol, "gc", lambda lake, **options: real(lake, retention_s=0.0, grace_s=0.0))


BUGS = [
    _overwrites,
    _takes_its_own_answer_for_anothers,
    _acknowledges_before_it_is_durable,
    _truncates_one_entry_too_many,
    _seals_what_is_sealed,
    _reads_the_log_before_the_manifest,
    _forgets_deletes_when_it_goes_to_a_newer_version,
    _collects_entries_that_are_not_sealed,
    _collects_entries_at_once,
    _keeps_the_epoch_of_another_writer,
    _stops_at_the_first_failed_look,
    _puts_segments_of_a_split_shard_anywhere,
    _collects_segments_that_only_the_log_names,
]


@pytest.mark.parametrize("bug", BUGS, ids=[bug.__name__.strip("_") for bug in BUGS])
def test_a_planted_bug_is_found(bug: Callable[[Patch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch.setattr)
    for seed in range(SEEDS):
        try:
            Simulation(seed).run()
        except (Violation, ObjectNotFound, Corrupt):
            return
    pytest.fail(f"{SEEDS} seeds did not find it")
