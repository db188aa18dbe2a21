"""What of a collection is loaded: a promise of servers to their clients, kept in the lake so that all of them agree.

Reads through the Python door need no loading. A server refuses to search what is not loaded, as Milvus does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

from headwater.engine.changing import change_newest
from headwater.engine.policies import warmup_mode
from headwater.engine.tiering import Tiering
from headwater.lake import Change, ExpectProperty, Manifest, SetProperties

__all__ = ["LOAD_PROPERTY", "Load", "LoadOptions", "Loading", "load_of"]

LOAD_PROPERTY = "headwater.load"


@dataclass(frozen=True)
class LoadOptions:
    """How a collection is loaded.

    Attributes:
        fields: what may be read; None for all.
        dynamic: whether the dynamic field may be.
        replicas: how many copies were asked for.
        resource_groups: where they were asked to be.
        priority: as it was asked for.
    """

    fields: tuple[str, ...] | None = None
    dynamic: bool = True
    replicas: int = 1
    resource_groups: tuple[str, ...] = ()
    priority: str = ""


@dataclass(frozen=True)
class Load:
    """What is loaded.

    Attributes:
        whole: the collection was loaded, and with it every partition that will be; else partitions were.
        others: ids of the partitions for which it is the other way round.
        options: how.
    """

    whole: bool = False
    others: frozenset[int] = frozenset()
    options: LoadOptions = LoadOptions()

    @property
    def anything(self) -> bool:
        """Whether anything is loaded."""
        return self.whole or bool(self.others)

    def has(self, partition: int) -> bool:
        """Whether a partition is loaded, by its id."""
        return (partition in self.others) != self.whole

    def stored(self) -> str | None:
        """As the manifest keeps it; None for nothing loaded."""
        if not self.anything:
            return None
        return json.dumps(
            {"whole": self.whole, "others": sorted(self.others), "options": asdict(self.options)},
            sort_keys=True,
        )


NOT_LOADED = Load()


@lru_cache(maxsize=4096)
def _read(stored: str) -> Load:
    data = json.loads(stored)
    options = data["options"]
    fields = options["fields"]
    return Load(
        data["whole"],
        frozenset(data["others"]),
        LoadOptions(
            None if fields is None else tuple(fields),
            options["dynamic"],
            options["replicas"],
            tuple(options["resource_groups"]),
            options["priority"],
        ),
    )


def load_of(manifest: Manifest) -> Load:
    """What is loaded at a version."""
    stored = manifest.properties.get(LOAD_PROPERTY)
    return NOT_LOADED if stored is None else _read(stored)


def _ids(manifest: Manifest) -> frozenset[int]:
    return frozenset((0, *manifest.partitions.values()))


class Loading(Tiering):
    """What is loaded is metadata; what is warmed up when it is loaded, `Warming` knows."""

    @property
    def load_state(self) -> Load:
        """What is loaded now."""
        return load_of(self._lake.latest())

    @property
    def known_load(self) -> tuple[Load, Mapping[str, int]]:
        """What this process knows to be loaded, and the ids of the named partitions; asks nobody."""
        manifest = self._lake.known or self._lake.latest()
        return load_of(manifest), manifest.partitions

    @property
    def spread_by_key(self) -> bool:
        """Whether a partition key decides where rows go; asks nobody."""
        return (self._lake.known or self._lake.latest()).schema.partition_key is not None

    def load(
        self,
        partitions: Sequence[str] | None = None,
        options: LoadOptions | None = None,
        *,
        warmup: str | None = None,
        wait: bool = True,
    ) -> Load:
        """Let servers search the collection, or some partitions of it, and bring its files to their tiers.

        Args:
            partitions: names; all, and those to come, by default.
            options: what is loaded of the rows; all of them by default.
            warmup: `sync`, `async` or `disable` for all of it; as each field and index says by default (`set_warmup`).
            wait: return when everything that is `sync` is at its tier; false lets that go on, see `warming`.

        Raises:
            PartitionNotFound: no such partition.
            InvalidArgument: there is no such warmup mode.
        """
        mode = "" if warmup is None else warmup_mode(warmup, "load").value

        def loaded(now: Load, manifest: Manifest) -> Load:
            chosen = options or LoadOptions()
            if partitions is None:
                return Load(True, frozenset(), chosen)
            ids = self._partition_ids(manifest, partitions)
            return replace(now, others=now.others - ids if now.whole else now.others | ids, options=chosen)

        done = self._set_load(loaded, "load")
        self._loaded(done, mode, wait=wait)
        return done

    def _loaded(self, load: Load, mode: str, *, wait: bool) -> None:
        """What else a load does."""

    def _released(self, load: Load) -> None:
        """What else a release does."""

    def release(self, partitions: Sequence[str] | None = None) -> Load:
        """Take back what `load` let, and let go of what this process has open of it.

        Args:
            partitions: names; all by default.

        Raises:
            PartitionNotFound: no such partition.
        """

        def released(now: Load, manifest: Manifest) -> Load:
            if partitions is None:
                return NOT_LOADED
            ids = self._partition_ids(manifest, partitions)
            left = replace(now, others=now.others | ids if now.whole else now.others - ids)
            return left if any(left.has(one) for one in _ids(manifest)) else NOT_LOADED

        done = self._set_load(released, "release")
        self._released(done)
        return done

    def place_replicas(self, groups: Sequence[str]) -> Load:
        """Say in which resource groups the copies are, one name for each."""
        return self._set_load(
            lambda now, _: replace(now, options=replace(now.options, resource_groups=tuple(groups))),
            "place replicas",
        )

    def _set_load(self, change: Callable[[Load, Manifest], Load], operation: str) -> Load:
        def changes(base: Manifest) -> list[Change]:
            now, stored = load_of(base), base.properties.get(LOAD_PROPERTY)
            wanted = change(now, base)
            if wanted == now:
                return []
            return [ExpectProperty(LOAD_PROPERTY, stored), SetProperties({LOAD_PROPERTY: wanted.stored()})]

        return load_of(change_newest(self._lake, changes, operation=operation))
