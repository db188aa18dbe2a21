"""`tier.policy`, a property of ours beside Milvus's `mmap.enabled`: of a collection, a field or an index.

It may be set and dropped while a collection is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pymilvus.grpc_gen import schema_pb2

from headwater.doors.milvus.codes import invalid
from headwater.engine import Collection
from headwater.engine.policies import POLICY_PROPERTY, own_policies
from headwater.lake import Manifest
from headwater.tiers import TierPolicy

__all__ = ["RESIDENCY_HINTS", "check_evictable", "check_policy", "set_policy", "show_field_policies"]

RESIDENCY_HINTS = ("warmup", "evictable")
"""Of a field or an index by themselves; of all of a collection's with what they are for: `warmup.vectorField`."""


def check_policy(key: str, value: str) -> None:
    """Check a policy.

    Raises:
        MilvusError: 1100, there is none of that name.
    """
    if value.lower() not in tuple(TierPolicy):
        raise invalid(f"invalid {key} value: {value}, must be one of {', '.join(TierPolicy)}")


def check_evictable(key: str, value: str) -> None:
    """Check whether a cache may give something up: yes or no, in words.

    Raises:
        MilvusError: 1100, it is neither.
    """
    if value.lower() not in ("true", "false"):
        raise invalid(f"invalid evictable value for key {key}: {value}, expected: true, false")


def set_policy(
    collection: Collection, given: Mapping[str, str], dropped: Sequence[str], **place: str
) -> None:
    """Set the policy of a field or an index, where a client gives one, or forget it where it drops it.

    Args:
        collection: whose.
        given: parameters.
        dropped: names of parameters.
        **place: `field` or `index`, by name.

    Raises:
        MilvusError: 1100, there is no such policy.
    """
    if POLICY_PROPERTY in given:
        check_policy(POLICY_PROPERTY, given[POLICY_PROPERTY])
        collection.set_tier(given[POLICY_PROPERTY], **place)
    elif POLICY_PROPERTY in dropped:
        collection.set_tier(None, **place)


def show_field_policies(manifest: Manifest, shown: schema_pb2.CollectionSchema) -> None:
    """Tell the policies that fields have of their own among their parameters."""
    own = own_policies(manifest).fields
    if own:
        names = {field.name: own.get(field.id) for field in manifest.schema.fields}
        for field in (*shown.fields, *shown.struct_array_fields):
            policy = names.get(field.name)
            if policy is not None:
                field.type_params.add(key=POLICY_PROPERTY, value=policy.value)
