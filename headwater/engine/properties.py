"""A collection's properties: those that the lake acts upon are checked, all others are kept as they are."""

from __future__ import annotations

import difflib
import zoneinfo
from collections.abc import Callable, Mapping
from typing import Any

from headwater.engine.changing import check_one_place, index_named
from headwater.engine.core import CONSISTENCY_PROPERTY, consistency_level
from headwater.engine.evolving import Evolving
from headwater.engine.maintaining import AUTOCOMPACTION_PROPERTY
from headwater.engine.policies import (
    MMAP_PARAM,
    POLICY_PROPERTY,
    WARMUP_PARAM,
    WARMUP_PROPERTIES,
    tier_policy,
    warmup_mode,
)
from headwater.engine.rows import ALLOW_KEYS_PROPERTY
from headwater.errors import InvalidArgument, UnsupportedOption
from headwater.lake import SetProperties
from headwater.query import ISOLATION_PROPERTY, TIMEZONE_PROPERTY, TTL_FIELD_PROPERTY, TTL_PROPERTY
from headwater.schema import Schema

__all__ = ["Properties", "checked_properties", "truth"]

_OWN = (TTL_PROPERTY, TTL_FIELD_PROPERTY)


def truth(name: str, value: str) -> bool:
    """A property that is true or false.

    Raises:
        InvalidArgument: it is neither.
    """
    known = {"true": True, "false": False}
    if value.lower() not in known:
        raise InvalidArgument(f"invalid {name} value: {value}, expected: true, false")
    return known[value.lower()]


def _check_timezone(schema: Schema, name: str, value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidArgument(
            f"unknown or invalid IANA Time Zone ID: {value}", hint="a name such as Europe/Zurich"
        ) from error
    return value


def _check_isolation(schema: Schema, name: str, value: str) -> str:
    if truth(name, value) and schema.partition_key is None:
        raise InvalidArgument(
            "partition key isolation mode is enabled but no partition key field is set. "
            "Please set the partition key first"
        )
    return value


def _check_keys(schema: Schema, name: str, value: str) -> str:
    if truth(name, value) and not schema.auto_id:
        raise InvalidArgument(f"the value for {name} must be false when autoID is false")
    return value


def _check_truth(schema: Schema, name: str, value: str) -> str:
    truth(name, value)
    return value


def _check_level(schema: Schema, name: str, value: str) -> str:
    return consistency_level(value).value


def _check_policy(schema: Schema, name: str, value: str) -> str:
    return tier_policy(value, f"property {name}").value


def _check_warmup(schema: Schema, name: str, value: str) -> str:
    return warmup_mode(value, f"property {name}").value


_CHECKS: dict[str, Callable[[Schema, str, str], str]] = {
    TIMEZONE_PROPERTY: _check_timezone,
    ISOLATION_PROPERTY: _check_isolation,
    ALLOW_KEYS_PROPERTY: _check_keys,
    AUTOCOMPACTION_PROPERTY: _check_truth,
    CONSISTENCY_PROPERTY: _check_level,
    MMAP_PARAM: _check_truth,
    POLICY_PROPERTY: _check_policy,
    **dict.fromkeys(WARMUP_PROPERTIES, _check_warmup),
}
"""Properties that the lake acts upon, and how each is checked."""


def inherited(database: Mapping[str, str]) -> dict[str, str]:
    """Those of a database's properties that a collection made in it has unless it is given its own."""
    return {name: value for name, value in database.items() if name == TIMEZONE_PROPERTY}


def checked_properties(schema: Schema, properties: Mapping[str, str]) -> dict[str, str]:
    """Properties of a collection in the form that is kept.

    Raises:
        InvalidArgument: a value of one that the lake acts upon does not fit; or a name is much like one of these.
    """
    checked = {}
    for name, value in properties.items():
        if not isinstance(value, str):
            raise InvalidArgument(f"property {name!r} must be a text, got {value!r}")
        check = _CHECKS.get(name)
        if check is None:
            near = difflib.get_close_matches(name, _CHECKS, n=1, cutoff=0.85)
            if near:
                raise UnsupportedOption(f"there is no property {name!r}", hint=f"did you mean {near[0]}?")
        checked[name] = value if check is None else check(schema, name, value)
    if MMAP_PARAM in checked and POLICY_PROPERTY in checked:
        raise InvalidArgument(
            f"{MMAP_PARAM} and {POLICY_PROPERTY} both say where a collection's bytes are wanted",
            hint=f"leave {MMAP_PARAM} out",
        )
    return checked


class Properties(Evolving):
    """What is kept with a collection by name."""

    def set_properties(self, properties: Mapping[str, str | None]) -> None:
        """Set properties; None removes one.

        The lake acts upon `timezone` (IANA name of the zone that times without an offset are in),
        `partitionkey.isolation` (every search must ask for one value of the partition key), `allow_insert_auto_id`
        (rows may bring keys that the lake would make), `collection.autocompaction.enabled`, `consistency_level`,
        `tier.policy` or `mmap.enabled` (where bytes are wanted, see `set_tier`) and `warmup.vectorField`,
        `.scalarField`, `.vectorIndex`, `.scalarIndex` (when they come there, see `set_warmup`).
        Any other is kept and told.

        Args:
            properties: by name.

        Raises:
            InvalidArgument: a value does not fit.
            UnsupportedOption: a name is the lake's own, or much like one that the lake acts upon.
        """
        for name in properties:
            if name.startswith(("_", "headwater.")) or name in _OWN:
                hint = "set_ttl() sets it" if name in _OWN else None
                raise UnsupportedOption(f"property {name!r} is the lake's own", hint=hint)
        base = self._lake.latest()
        given = {name: value for name, value in properties.items() if value is not None}
        changes: dict[str, Any] = {**properties, **checked_properties(base.schema, given)}
        for one, other in ((MMAP_PARAM, POLICY_PROPERTY), (POLICY_PROPERTY, MMAP_PARAM)):
            if one in given and changes.get(other) is None and other in base.properties:
                # They say the same thing, and the last word counts.
                changes[other] = None
        if all(base.properties.get(name) == value for name, value in changes.items()):
            return
        done = self._lake.commit(base, [SetProperties(changes)], operation="set properties")
        self._log.advance(done)

    def set_warmup(self, mode: str | None, *, field: str | None = None, index: str | None = None) -> None:
        """Say when what is loaded is brought to its tier.

        Args:
            mode: `sync`: before `load` is done; `async`: after it, in the background; `disable`: when it is first used;
                None to go by the collection's mode again, or by that of the settings.
            field: of this field; of all the collection's fields and indexes by default.
            index: of this index.

        Raises:
            InvalidArgument: there is no such mode, or both a field and an index are named.
            FieldNotFound: there is no such field.
            IndexNotFound: there is no such index.
        """
        check_one_place("set_warmup", field, index)
        value = None if mode is None else warmup_mode(mode, f"collection {self.name!r}").value
        if field is not None:
            self.alter_field(field, params={WARMUP_PARAM: value})
        elif index is not None:
            declared = index_named(self._lake.latest(), self.name, index).declared
            kept = {key: one for key, one in declared.items() if key != WARMUP_PARAM}
            self.describe_index_as(index, kept if value is None else {**kept, WARMUP_PARAM: value})
        else:
            self.set_properties(dict.fromkeys(WARMUP_PROPERTIES, value))

    @property
    def properties(self) -> dict[str, str]:
        """What is kept by name, without what the lake keeps for itself."""
        return {
            name: value
            for name, value in self._lake.latest().properties.items()
            if not name.startswith(("_", "headwater."))
        }
