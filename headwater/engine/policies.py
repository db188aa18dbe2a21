"""Where a collection's bytes are wanted, as its manifest says it.

A place is the collection, a field or an index. Each may have a policy of its own; the nearest holds: that of the field
or the index, else that of the collection, else the one of the settings. Milvus's `mmap.enabled` is a policy too, `warm`
where it is true and `hot` where it is false. A place has one or the other, whichever was set last.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from headwater.errors import InvalidArgument
from headwater.lake import Change, ExpectProperty, Manifest, SetProperties
from headwater.schema import Field
from headwater.tiers import Policies, TierPolicy

__all__ = [
    "MMAP_PARAM",
    "POLICY_PROPERTY",
    "WARMUP_PARAM",
    "WARMUP_PROPERTIES",
    "WarmupMode",
    "Warmups",
    "warmup_mode",
    "warmups_of",
    "TIERS_PROPERTY",
    "check_params",
    "earliest",
    "forget_own",
    "own_policies",
    "policies_of",
    "stored_policies",
    "tier_policy",
]

POLICY_PROPERTY = "tier.policy"
"""Property of a collection that is its policy; doors give the parameters of fields and indexes the same name."""

TIERS_PROPERTY = "headwater.tiers"
"""Property of a collection that holds the policies of its fields and indexes."""

MMAP_PARAM = "mmap.enabled"
WARMUP_PARAM = "warmup"
"""Parameter of a field, or of an index, that says when it is brought to its tier."""

WARMUP_PROPERTIES = ("warmup.vectorField", "warmup.scalarField", "warmup.vectorIndex", "warmup.scalarIndex")
"""Properties of a collection that say the same of all its fields and indexes of a kind."""


class WarmupMode(enum.StrEnum):
    """When what is loaded is brought to its tier.

    SYNC: before the load is done.
    ASYNC: after it, in the background.
    DISABLE: piece by piece, when it is first used.
    """

    SYNC = "sync"
    ASYNC = "async"
    DISABLE = "disable"


@dataclass(frozen=True)
class Warmups:
    """The warmup modes of a version.

    Attributes:
        fields: by field id; of every field.
        indexes: by name; of every index.
    """

    fields: Mapping[int, WarmupMode]
    indexes: Mapping[str, WarmupMode]


_MAPPED = {
    **dict.fromkeys(("true", "1", "t"), TierPolicy.WARM),
    **dict.fromkeys(("false", "0", "f"), TierPolicy.HOT),
}
_NONE = Policies()


def tier_policy(name: str | TierPolicy, where: str = "tier") -> TierPolicy:
    """A policy by its name, in any case.

    Args:
        name: auto, hot, warm, cold or on_demand.
        where: what is to have it, for the message.

    Raises:
        InvalidArgument: there is none of that name.
    """
    try:
        return TierPolicy(str(name).lower())
    except ValueError as error:
        raise InvalidArgument(
            f"{where}: no tier policy {name!r}", hint=f"one of {', '.join(TierPolicy)}"
        ) from error


@lru_cache(maxsize=4096)
def _read(stored: str) -> Policies:
    data = json.loads(stored)
    return Policies(
        fields={int(number): TierPolicy(value) for number, value in data.get("fields", {}).items()},
        indexes={name: TierPolicy(value) for name, value in data.get("indexes", {}).items()},
    )


def own_policies(manifest: Manifest) -> Policies:
    """The policies that fields and indexes have of their own; `mmap.enabled` left aside."""
    stored = manifest.properties.get(TIERS_PROPERTY)
    return _NONE if stored is None else _read(stored)


def stored_policies(fields: Mapping[int, TierPolicy], indexes: Mapping[str, TierPolicy]) -> str | None:
    """As the manifest keeps them; None for none."""
    data: dict[str, Any] = {}
    if fields:
        data["fields"] = {str(number): value for number, value in fields.items()}
    if indexes:
        data["indexes"] = dict(indexes)
    return json.dumps(data, sort_keys=True) if data else None


def forget_own(
    manifest: Manifest, *, field: int | None = None, index: str | None = None
) -> tuple[Change, ...]:
    """What takes the own policy of a field or an index away, because `mmap.enabled` is set there.

    Args:
        manifest: the version before.
        field: id of the field.
        index: name of the index.
    """
    placed = own_policies(manifest)
    fields = {number: one for number, one in placed.fields.items() if number != field}
    indexes = {name: one for name, one in placed.indexes.items() if name != index}
    stored, before = stored_policies(fields, indexes), manifest.properties.get(TIERS_PROPERTY)
    if stored == before:
        return ()
    return ExpectProperty(TIERS_PROPERTY, before), SetProperties({TIERS_PROPERTY: stored})


def policies_of(manifest: Manifest, default: str) -> Policies:
    """What holds at a version.

    Args:
        manifest: the version.
        default: of the settings.

    Raises:
        InvalidArgument: there is no such default.
    """
    placed = own_policies(manifest)
    fields = dict(placed.fields)
    for field in manifest.schema.every_field:
        mapped = _mapped(field)
        if mapped is not None:
            fields.setdefault(field.id, mapped)
    indexes = dict(placed.indexes)
    for spec in manifest.indexes:
        mapped = _MAPPED.get(spec.declared.get(MMAP_PARAM, "").lower())
        if mapped is not None:
            indexes.setdefault(spec.name, mapped)
    usual = tier_policy(default, "setting tiers.policy")
    given = manifest.properties.get(POLICY_PROPERTY, "")
    if given in tuple(TierPolicy):
        usual = TierPolicy(given)
    else:
        usual = _MAPPED.get(manifest.properties.get(MMAP_PARAM, "").lower(), usual)
    return Policies(usual, fields, indexes)


def _mapped(field: Field) -> TierPolicy | None:
    """What `mmap.enabled` says of a field; of a struct array, what its members say, the nearest first."""
    said = [dict(one.params).get(MMAP_PARAM, "").lower() for one in (field, *field.type.fields) if one.params]
    found = [_MAPPED[one] for one in said if one in _MAPPED]
    return TierPolicy.HOT if TierPolicy.HOT in found else found[0] if found else None


def warmup_mode(name: str, where: str) -> WarmupMode:
    """A warmup mode by its name.

    Args:
        name: sync, async or disable.
        where: what is to have it, for the message.

    Raises:
        InvalidArgument: there is none of that name.
    """
    try:
        return WarmupMode(name)
    except ValueError as error:
        raise InvalidArgument(
            f"{where}: invalid warmup policy {name!r}", hint=f"one of {', '.join(WarmupMode)}"
        ) from error


def check_params(params: Mapping[str, str | None], where: str) -> None:
    """Check the parameters of a field, or of an index, that say where and when it is to be.

    Args:
        params: by name; others are left alone.
        where: whose they are, for the message.

    Raises:
        InvalidArgument: a value is none of those that there are.
    """
    mapped, warmup = params.get(MMAP_PARAM), params.get(WARMUP_PARAM)
    if mapped is not None and mapped.lower() not in _MAPPED:
        raise InvalidArgument(f"{where}: invalid {MMAP_PARAM} value {mapped!r}", hint="true or false")
    if warmup is not None:
        warmup_mode(warmup, where)


def warmups_of(manifest: Manifest, default: str) -> Warmups:
    """When each field and index of a version is warmed: as it says itself, else as the collection says for its kind.

    Args:
        manifest: the version.
        default: of the settings.

    Raises:
        InvalidArgument: there is no such default.
    """
    usual = warmup_mode(default, "setting tiers.warmup")

    def chosen(own: str | None, kind: str) -> WarmupMode:
        said = own or manifest.properties.get(f"warmup.{kind}")
        return usual if said is None else warmup_mode(said, f"warmup.{kind}")

    schema = manifest.schema
    fields = {
        one.id: chosen(
            dict(one.params).get(WARMUP_PARAM), "vectorField" if _is_vector(one) else "scalarField"
        )
        for one in schema.every_field
    }
    indexes = {
        spec.name: chosen(spec.declared.get(WARMUP_PARAM), "vectorIndex" if spec.metric else "scalarIndex")
        for spec in manifest.indexes
    }
    return Warmups(fields, indexes)


def earliest(modes: Iterable[WarmupMode]) -> WarmupMode:
    """Of a file that holds several fields: the earliest that one of them has."""
    return min(modes, key=list(WarmupMode).index)


def _is_vector(field: Field) -> bool:
    return field.type.data_type.value.endswith("_vector")
