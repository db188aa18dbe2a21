"""Resource groups: parts of a cluster that replicas may be confined to, as one machine can have them.

Every group is kept with its configuration, by Milvus's rules and in its words. The one node of this deployment is in
the first group that asks for a node, and in the default group when none does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from headwater.errors import AlreadyExists, InvalidArgument, QuotaExceeded, ResourceGroupNotFound
from headwater.lake import Chain
from headwater.store import ObjectStore

__all__ = ["DEFAULT_GROUP", "RESOURCES_FOLDER", "GroupConfig", "ResourceGroups"]

DEFAULT_GROUP = "__default_resource_group"
RESOURCES_FOLDER = "resource-groups"
"""Where the groups are in a lake; no database can be called this."""

NUM_NODES = 1
_DEFAULT_LIMIT = 1_000_000


@dataclass(frozen=True)
class GroupConfig:
    """What a group asks for.

    Attributes:
        requests: nodes it wants at least; None where nothing was said, which no group may have.
        limits: nodes it may have at most.
        transfer_from: groups that it takes missing nodes from first.
        transfer_to: groups that it gives redundant nodes to first.
        labels: of the nodes it prefers.
    """

    requests: int | None = 0
    limits: int | None = 0
    transfer_from: tuple[str, ...] = ()
    transfer_to: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


_Groups = Mapping[str, GroupConfig]
_FIRST: _Groups = {DEFAULT_GROUP: GroupConfig(0, _DEFAULT_LIMIT)}


class ResourceGroups:
    """The groups of a lake. Safe between threads and processes.

    Args:
        store: where the lake is.
        limit: groups there may be.
    """

    def __init__(self, store: ObjectStore, limit: int) -> None:
        self._limit = limit
        self._chain: Chain[_Groups] = Chain(
            store, RESOURCES_FOLDER, empty=_FIRST, encode=_encoded, decode=_decoded
        )

    def all(self) -> dict[str, GroupConfig]:
        """The groups by name, the default one first."""
        return dict(self._chain.latest())

    def get(self, name: str) -> GroupConfig:
        """A group's configuration.

        Raises:
            ResourceGroupNotFound: no such group.
        """
        return _found(self._chain.latest(), name)

    def num_nodes(self, name: str) -> int:
        """Nodes that a group has: one has the one node, the others none."""
        groups = self._chain.latest()
        _found(groups, name)
        asking = [one for one, config in groups.items() if (config.requests or 0) > 0]
        return int(name == (asking[0] if asking else DEFAULT_GROUP)) * NUM_NODES

    def create(self, name: str, config: GroupConfig | None = None) -> None:
        """Add a group; one that is there already with the same configuration is left as it is.

        Raises:
            AlreadyExists: it is there with another configuration.
            QuotaExceeded: there are as many as there may be.
            InvalidArgument: the configuration cannot be one.
        """
        wanted = config or GroupConfig()

        def alter(now: _Groups) -> _Groups:
            if name in now:
                if now[name] == wanted:
                    return now
                raise AlreadyExists(f"resource group {name!r} exists with another configuration", name=name)
            if len(now) >= self._limit:
                raise QuotaExceeded(
                    f"there are {len(now)} resource groups already",
                    limit=self._limit,
                    used=len(now),
                    unit="groups",
                )
            _check(now, name, wanted)
            return {**now, name: wanted}

        self._chain.change(alter)

    def update(self, configs: Mapping[str, GroupConfig]) -> None:
        """Give groups other configurations; all of them or none.

        Raises:
            ResourceGroupNotFound: no such group.
            InvalidArgument: a configuration cannot be one.
        """

        def alter(now: _Groups) -> _Groups:
            for name, config in configs.items():
                _found(now, name)
                _check(now, name, config)
            return {**now, **configs}

        self._chain.change(alter)

    def drop(self, name: str, *, in_use: Callable[[str], bool] = lambda _: False) -> None:
        """Forget a group; one that is not there is forgotten already.

        Args:
            name: of the group.
            in_use: whether replicas are in it.

        Raises:
            InvalidArgument: it is the default one, has nodes or replicas, or another group names it.
        """

        def alter(now: _Groups) -> _Groups:
            if name not in now:
                return now
            _check_droppable(now, name)
            if in_use(name):
                raise _refused("no replica in resource group", name, f"some replicas still loaded in {name}")
            return {key: one for key, one in now.items() if key != name}

        self._chain.change(alter)

    def transfer_nodes(self, source: str, target: str, count: int) -> None:
        """Let one group ask for nodes that another one asked for.

        Raises:
            InvalidArgument: they are the same group, or the number is not positive.
            ResourceGroupNotFound: no such group.
            QuotaExceeded: the source has fewer nodes.
        """
        if source == target:
            raise InvalidArgument(
                "source resource group and target resource group should not be the same, resource group: "
                f"{source}: invalid parameter"
            )
        if count <= 0:
            raise InvalidArgument(f"invalid parameter[expected=NumNode > 0][actual=invalid NumNode {count}]")
        _found(self._chain.latest(), source)
        _found(self._chain.latest(), target)
        held = self.num_nodes(source)
        if held < count:
            raise QuotaExceeded(
                f"resource group {source!r} has {held} nodes",
                limit=held,
                used=count,
                unit="nodes",
                group=source,
            )

        def alter(now: _Groups) -> _Groups:
            given, taken = _found(now, source), _found(now, target)
            left = max((given.requests or 0) - count, 0)
            limits = given.limits if source == DEFAULT_GROUP else max((given.limits or 0) - count, 0)
            wanted = (taken.requests or 0) + count
            return {
                **now,
                source: replace(given, requests=left, limits=limits),
                target: replace(taken, requests=wanted, limits=max(wanted, taken.limits or 0)),
            }

        self._chain.change(alter)


def _found(groups: _Groups, name: str) -> GroupConfig:
    if name not in groups:
        raise ResourceGroupNotFound(f"resource group not found[rg={name}]")
    return groups[name]


def _check(groups: _Groups, name: str, config: GroupConfig) -> None:
    if config.requests is None or config.limits is None:
        raise _illegal(name, config, "requests or limits is required")
    if config.requests < 0 or config.limits < 0:
        raise _illegal(name, config, "node num in `requests` or `limits` should not less than 0")
    if config.limits < config.requests:
        raise _illegal(name, config, "limits node num should not less than requests node num")
    for kind, others in (("TransferFrom", config.transfer_from), ("TransferTo", config.transfer_to)):
        for other in others:
            if other == name:
                raise _illegal(name, config, f"resource group in `{kind}` {name} should not be itself")
            if other not in groups:
                raise _illegal(name, config, f"resource group in `{kind}` {other} not exist")


def _check_droppable(groups: _Groups, name: str) -> None:
    if name == DEFAULT_GROUP:
        raise _refused("not default resource group", name, "default resource group is not deletable")
    if groups[name].limits:
        raise _refused("not empty resource group", name, "resource group's limits node num is not 0")
    for other, config in groups.items():
        for kind, named in (("TransferFrom", config.transfer_from), ("TransferTo", config.transfer_to)):
            if name in named:
                raise _refused(
                    f"not `{kind}` of resource group",
                    name,
                    f"resource group {name} is used by {other}'s `{kind}`, remove that configuration first",
                )


def _illegal(name: str, config: GroupConfig, why: str) -> InvalidArgument:
    return InvalidArgument(f"{why}: resource group illegal config[rg={name}][config={config}]", config=config)


def _refused(expected: str, name: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"{why}: invalid parameter[expected={expected}][actual={name}]")


def _encoded(groups: _Groups) -> dict[str, Any]:
    plain = {
        name: {
            "requests": one.requests,
            "limits": one.limits,
            "transfer_from": list(one.transfer_from),
            "transfer_to": list(one.transfer_to),
            "labels": dict(one.labels),
        }
        for name, one in groups.items()
    }
    return {"order": list(groups), "groups": plain}


def _decoded(stored: Mapping[str, Any]) -> _Groups:
    return {
        name: GroupConfig(
            one["requests"],
            one["limits"],
            tuple(one["transfer_from"]),
            tuple(one["transfer_to"]),
            one["labels"],
        )
        for name in stored["order"]
        for one in [stored["groups"][name]]
    }
