"""What may be chosen when a collection is created."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from headwater.engine.core import CONSISTENCY_PROPERTY, consistency_level
from headwater.engine.policies import POLICY_PROPERTY, tier_policy
from headwater.errors import InvalidArgument, UnsupportedOption
from headwater.formats import get as get_format
from headwater.lake import FORMAT_PROPERTY

__all__ = ["CollectionOptions"]


_NAMED = ("primary_key", "dynamic", "auto_id", "partition_key", "functions")
"""Arguments of `create_collection` beside these."""


@dataclass(frozen=True)
class CollectionOptions:
    """Choices that most collections leave as they are.

    Attributes:
        num_partitions: partitions that a partition key spreads rows over, 1 to 1,024.
        num_shards: write streams, 1 to 16; `split_shard` makes more of them later.
        consistency_level: what reads are promised when they do not say: Strong, Bounded, Session or Eventually.
        format: keep every column in this open format, such as ``"parquet"``; by default vectors and long texts are
            uncompressed Arrow IPC and all else is Vortex, each the fastest for how it is read.
        properties: kept with the collection by name; those that the lake acts upon are named at `set_properties`.
        tier: where its bytes are wanted, as `set_tier` takes it.

    Raises:
        InvalidArgument: a value is out of range.
        UnsupportedOption: there is no such format.
    """

    num_partitions: int = 16
    num_shards: int = 1
    consistency_level: str = "Bounded"
    format: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    tier: str | None = None

    def __post_init__(self) -> None:
        for name, value, most in (
            ("num_shards", self.num_shards, 16),
            ("num_partitions", self.num_partitions, 1024),
        ):
            if not isinstance(value, int) or not 1 <= value <= most:
                raise InvalidArgument(f"{name} must be an integer from 1 to {most}, got {value!r}")
        consistency_level(self.consistency_level)
        if self.format is not None:
            get_format(self.format)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> CollectionOptions:
        """From keyword arguments.

        Raises:
            UnsupportedOption: there is no such option.
        """
        known = [one.name for one in fields(cls)]
        for name in options:
            if name not in known:
                near = difflib.get_close_matches(name, [*known, *_NAMED], n=1)
                hint = f"did you mean {near[0]}?" if near else f"options: {', '.join(known)}"
                raise UnsupportedOption(f"create_collection has no option {name!r}", hint=hint)
        given = {name: value for name, value in options.items() if value is not None}
        return cls(**given)

    def stored(self) -> dict[str, str]:
        """The properties that the collection keeps of them."""
        kept = {**self.properties, CONSISTENCY_PROPERTY: consistency_level(self.consistency_level).value}
        if self.format is not None:
            kept[FORMAT_PROPERTY] = get_format(self.format).name
        if self.tier is not None:
            kept[POLICY_PROPERTY] = tier_policy(self.tier).value
        return kept
