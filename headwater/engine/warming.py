"""Warmup: bringing a collection's files to their tiers before a search asks for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from headwater.engine.changing import index_named
from headwater.engine.loading import Load, Loading, load_of
from headwater.engine.policies import WarmupMode, Warmups, earliest, warmups_of
from headwater.engine.warmer import Warmer, Warmth
from headwater.lake import Manifest
from headwater.query.letting_go import forget
from headwater.query.warming import WarmPiece, fields_in_memory, pieces, searched_here
from headwater.schema import DYNAMIC_FIELD

__all__ = ["Warming", "WarmupReport"]

_REHEARSALS = 10
"""As often as Python looks at a function before it makes its steps the fast ones."""

_FEW_REHEARSALS = 3
"""Where keys are read in place: whoever reads them often has them decoded, and that is for others to decide."""


@dataclass(frozen=True)
class WarmupReport:
    """What `warm_up` did.

    Attributes:
        files: that are at their tiers now.
        size_bytes: of them.
        seconds: wall time.
        left: files that there was no room for, and that are where they were.
    """

    files: int
    size_bytes: int
    seconds: float
    left: int = 0


class Warming(Loading):
    """A warm-up changes how soon the first answers come, and none of them."""

    _warmers: tuple[Warmer, Warmer] | None = None
    """For what a load waits for, and for what it does not; of the database."""

    _serves = False
    """Whether this process serves what is loaded, so that it keeps it warm."""

    _needed: Warmth | None = None
    _behind: tuple[Warmth, ...] = ()
    _was_loaded = False
    _brought: frozenset[tuple[str, str]] = frozenset()

    def warm_up(
        self,
        *,
        fields: Sequence[str] | None = None,
        indexes: Sequence[str] | None = None,
        partitions: Sequence[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> WarmupReport:
        """Bring the collection's files to their tiers now, whatever their warmup modes are.

        Hot files are read into memory, warm ones into files of this machine, of cold ones what every search begins
        with; what is to be on demand is left alone. Naming fields leaves out the indexes of others.

        Args:
            fields: names; all by default.
            indexes: names; those of the fields by default.
            partitions: names; all by default.
            progress: called with (bytes done, bytes in all).

        Raises:
            FieldNotFound: there is no such field.
            IndexNotFound: there is no such index.
            PartitionNotFound: there is no such partition.
        """
        # Every search begins with the log.
        manifest = self._log.pin().manifest
        warmth = self._warmth(self._pieces(manifest, fields, indexes, partitions))
        warmth.run(progress)
        return WarmupReport(warmth.done_files, warmth.done_bytes, warmth.seconds, warmth.left_files)

    @property
    def warming(self) -> Warmth | None:
        """How far what the last `load` waits for has got in this process; None where it waits for nothing."""
        return self._needed

    def _pieces(
        self,
        manifest: Manifest,
        fields: Sequence[str] | None = None,
        indexes: Sequence[str] | None = None,
        partitions: Sequence[str] | None = None,
    ) -> list[WarmPiece]:
        self._follow(manifest)
        for name in indexes or ():
            index_named(manifest, self.name, name)
        ids = None if fields is None else {manifest.schema.field(name).id for name in fields}
        if indexes is None and ids is not None:
            indexes = [spec.name for spec in manifest.indexes if spec.field_id in ids]
        elif indexes is not None and ids is None:
            ids = set()
        snapshot = self._open(manifest)
        if partitions is not None:
            snapshot = snapshot.within(self._partition_ids(manifest, partitions))
        return list(pieces(snapshot, ids, indexes))

    def _warmth(self, chosen: list[WarmPiece]) -> Warmth:
        indexes = {piece.names[0] for piece in chosen if piece.kind == "index"}
        return Warmth(self.name, chosen, partial(self._rehearse, indexes) if indexes else None)

    def _rehearse(self, indexes: set[str]) -> None:
        """Search by each of some indexes, where nothing is a request away: a first search sets up much that stays.

        Each time for another number of hits, and so by another plan: what plans a search is as cold as what searches.
        """
        snapshot = self._snapshot(self._log.pin(max_age_s=math.inf))
        names = fields_in_memory(snapshot)
        times = _REHEARSALS if snapshot.schema.primary_key in names else _FEW_REHEARSALS
        for field in searched_here(snapshot, indexes):
            query = np.ones((1, field.type.dim or 0), np.float32)
            for top_k in range(1, 1 + times):
                self._now().search(query, anns_field=field.name, top_k=top_k, output_fields=names)[0]

    # -- what loading and releasing do ------------------------------------------------------------------------------

    def _loaded(self, load: Load, mode: str, *, wait: bool) -> None:
        """Warm what was loaded.

        Args:
            load: what.
            mode: for all of it; what each says by default.
            wait: do what is `sync` before this returns.
        """
        manifest = self._lake.latest()
        needed, rest = self._by_mode(manifest, load, mode)
        self._cancel()
        self._was_loaded = True
        self._brought |= {(one.file.key, one.policy) for one in (*needed, *rest)}
        if rest:
            self._start_behind(rest)
        if not needed:
            return
        self._log.pin()
        first = self._needed = self._warmth(needed)
        if wait or self._warmers is None:
            first.run()
        else:
            self._warmers[0].start(first)

    def _start_behind(self, chosen: list[WarmPiece]) -> None:
        if self._warmers is not None:
            warmth = self._warmth(chosen)
            self._behind = (*(one for one in self._behind if not one.ended), warmth)
            self._warmers[1].start(warmth)

    def _by_mode(self, manifest: Manifest, load: Load, mode: str) -> tuple[list[WarmPiece], list[WarmPiece]]:
        """Files of what is loaded that a load waits for, and those that come after it."""
        modes = warmups_of(manifest, mode or self._settings.tiers.warmup)
        if mode:
            chosen = WarmupMode(mode)
            modes = Warmups(dict.fromkeys(modes.fields, chosen), dict.fromkeys(modes.indexes, chosen))
        if not {*modes.fields.values(), *modes.indexes.values()} - {WarmupMode.DISABLE}:
            return [], []
        ids = {one.name: one.id for one in manifest.schema.fields}
        names = load.options.fields
        fields = None
        if names is not None or not load.options.dynamic:
            fields = [name for name in ids if names is None or name in names or name == DYNAMIC_FIELD]
            if not load.options.dynamic:
                fields = [name for name in fields if name != DYNAMIC_FIELD]
        partitions = {segment.id: segment.partition for segment in manifest.segments}
        found: dict[WarmupMode, list[WarmPiece]] = {one: [] for one in WarmupMode}
        for piece in self._pieces(manifest, fields):
            if not load.has(partitions[piece.segment]):
                continue
            own = (
                [modes.indexes[piece.names[0]]]
                if piece.kind == "index"
                else [modes.fields[ids[name]] for name in piece.names]
            )
            found[earliest(own)].append(piece)
        return found[WarmupMode.SYNC], found[WarmupMode.ASYNC]

    def _released(self, load: Load) -> None:
        """Let go of what is not loaded any more."""
        self._cancel()
        self._brought = frozenset()
        self._was_loaded = load.anything
        if not load.anything:
            self._opened.clear()
            return
        manifest = self._lake.latest()
        gone = {one.id: one for one in manifest.segments if not load.has(one.partition)}
        builds = (build for build in manifest.builds if build.segment in gone)
        forget(self._opened.caches.values(), gone.values(), builds)

    def _cancel(self) -> None:
        for one in (self._needed, *self._behind):
            if one is not None:
                one.cancel()
        self._needed, self._behind = None, ()

    def _came_to(self, manifest: Manifest) -> None:
        """Keep what is loaded warm, and let go of what somebody else released; in a process that serves."""
        if not self._serves or not self._coming.acquire(blocking=False):
            return
        try:
            load = load_of(manifest)
            if not load.anything:
                if self._was_loaded:
                    self._released(load)
                return
            self._was_loaded = True
            new = [
                one
                for some in self._by_mode(manifest, load, "")
                for one in some
                if (one.file.key, one.policy) not in self._brought
            ]
            if new:
                self._brought |= {(one.file.key, one.policy) for one in new}
                self._start_behind(new)
        finally:
            self._coming.release()
