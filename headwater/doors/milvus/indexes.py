"""Which index a client means, what its name may be, and what clients are told of it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import INDEX_NOT_FOUND, MilvusError, invalid, unexpected
from headwater.doors.milvus.index_params import Declaration, declaration, flattened, list_declaration
from headwater.doors.milvus.index_types import HINTS
from headwater.doors.milvus.rpc import Call
from headwater.doors.milvus.scalar_index_params import SCAN
from headwater.engine import Collection
from headwater.engine.indexing import IndexProgress
from headwater.engine.policies import POLICY_PROPERTY, own_policies
from headwater.errors import CommitConflict, InvalidArgument
from headwater.index.scalar import parse_json_path, path_of, spell_json_path
from headwater.schema import DYNAMIC_FIELD, Field, Schema
from headwater.tiers import TierPolicy
from headwater.types import DataType

__all__ = [
    "check_index_name",
    "create",
    "descriptions",
    "index_id",
    "is_vector",
    "shown_field",
    "shown_params",
]

_FIELD = "headwater.field"
"""Beside the parameters that are shown: the field's name as the client has it, where it is a key of dynamic rows."""

_FINISHED = common_pb2.IndexState.Finished
_IN_PROGRESS = common_pb2.IndexState.InProgress
_FAILED = common_pb2.IndexState.Failed
_LONGEST_NAME = 255
_ATTEMPTS = 8


def check_index_name(name: str) -> None:
    """Check the name of an index; none is a name as well.

    Raises:
        MilvusError: 1100.
    """
    name = name.strip()
    if not name:
        return
    what = f"Invalid index name: {name}. "
    if len(name) > _LONGEST_NAME:
        raise invalid(f"{what}The length of a index name must be less than {_LONGEST_NAME} characters.")
    if not (name[0] == "_" or (name[0].isascii() and name[0].isalpha())):
        raise invalid(f"{what}The first character of a index name must be an underscore or letter.")
    if not all(one in "_[]" or (one.isascii() and one.isalnum()) for one in name):
        raise invalid(f"{what}Index name can only contain numbers, letters, and underscores.")


def create(collection: Collection, field_name: str, index_name: str, pairs: Iterable[Any]) -> bool:
    """Declare what a client asks for. Returns whether anything is new.

    Of clients that ask for the same at once one declares it, and the others find it declared.

    Raises:
        MilvusError: in Milvus's words.
    """
    pairs = list(pairs)
    check_index_name(index_name)
    for _ in range(_ATTEMPTS):
        with suppress(CommitConflict):
            return _create(collection, field_name, index_name, pairs)
    return _create(collection, field_name, index_name, pairs)


def _create(collection: Collection, field_name: str, index_name: str, pairs: list[Any]) -> bool:
    field, chosen = _declared(collection.schema, field_name, pairs)
    declared, policy = _without_policy(chosen.declared)
    if field == DYNAMIC_FIELD:
        declared = {**declared, _FIELD: field_name}
    path = _path(field, chosen)
    known = collection.index_progress()
    same = [one for one in known if one.field == field and (field.endswith("]") or one.spec.path == path)]
    name = index_name.strip() or (same[0].spec.name if len(same) == 1 else "")
    if not name and path:
        name = "/".join((field, *(str(step) for step in path_of(path))))
    for one in known:
        if one.spec.name == name and (one not in same or not _alike(one, chosen.declared)):
            raise invalid("CreateIndex failed: at most one distinct index is allowed per field")
    if any(one.spec.name == name for one in same):
        return False
    if same:
        raise invalid("CreateIndex failed: creating multiple indexes on same field is not supported")
    if chosen.index_type == SCAN:
        collection.declare_scan(field, name=name or None, declared=declared)
        return False
    made = collection.declare_index(
        field,
        chosen.index_type,
        metric_type=chosen.metric_type,
        params=chosen.params,
        name=name or None,
        declared=declared,
    )
    if policy is not None:
        collection.set_tier(policy, index=made.name)
    return True


def _without_policy(declared: Mapping[str, str]) -> tuple[dict[str, str], str | None]:
    """What an index is described as, with its hints beside its parameters; and its tier policy, which is kept apart."""
    pairs = [common_pb2.KeyValuePair(key=key, value=value) for key, value in declared.items()]
    hints = {key: value for key, value in flattened(pairs).items() if key in HINTS}
    kept = {key: value for key, value in declared.items() if key not in HINTS}
    if hints and "params" in kept:
        given = {key: value for key, value in json.loads(kept["params"]).items() if key not in HINTS}
        kept = {**kept, "params": json.dumps(given)}
    policy = hints.pop(POLICY_PROPERTY, None)
    return {**kept, **hints}, policy


def _declared(schema: Schema, name: str, pairs: list[Any]) -> tuple[str, Declaration]:
    """The field of ours that a name means, and what is asked for on it."""
    missing = unexpected(f"cannot create index on non-exist field: {name}")
    if name.endswith("]"):
        parent, _, member = name[:-1].partition("[")
        found = _named(schema, parent)
        inside = () if found is None else found.type.fields
        for one in inside:
            if one.name == member:
                return name, list_declaration(Field(one.name, one.type), pairs)
        raise missing
    field = _named(schema, name)
    if field is not None:
        return field.name, declaration(schema, field, pairs)
    dynamic = _named(schema, DYNAMIC_FIELD)
    if dynamic is None:
        raise missing
    chosen = declaration(schema, dynamic, pairs)
    if "json_path" not in flattened(pairs):
        chosen.params["json_path"] = name
    return dynamic.name, chosen


def _named(schema: Schema, name: str) -> Field | None:
    return next((field for field in schema.every_field if field.name == name), None)


def _path(field: str, chosen: Declaration) -> str:
    """The path in a JSON field in its one spelling; empty for the field itself."""
    path = chosen.params.get("json_path")
    if path is None:
        return ""
    try:
        return spell_json_path(parse_json_path(str(path), field, dynamic=field == DYNAMIC_FIELD))
    except InvalidArgument as error:
        raise invalid(f"cannot parse expression: {path}, error: {error.message}") from error


def _alike(known: IndexProgress, declared: Mapping[str, str]) -> bool:
    """Whether an index is what is asked for.

    As in Milvus, one that is asked for with hints never is: those of the one that is there are not looked at.
    """

    def said(one: Mapping[str, str], *without: str) -> dict[str, str]:
        pairs = [common_pb2.KeyValuePair(key=key, value=value) for key, value in one.items()]
        return {key: value for key, value in flattened(pairs).items() if key not in without}

    return said(shown_params(known), *HINTS, _FIELD) == said(declared, POLICY_PROPERTY, _FIELD)


def descriptions(
    call: Call, collection: Collection, index_name: str, field_name: str = ""
) -> list[milvus_pb2.IndexDescription]:
    """What clients are told of the indexes of a name, or of all; what is pending is built.

    Raises:
        MilvusError: 700, there is none.
    """
    found = [
        known
        for known in collection.index_progress()
        if index_name in ("", known.spec.name) and field_name in ("", shown_field(known))
    ]
    if not found and index_name:
        raise MilvusError(INDEX_NOT_FOUND, indexName=index_name)
    if not found:
        raise MilvusError(INDEX_NOT_FOUND, collection=collection.name)
    failure = call.backend.building.failure(collection)
    if any(known.pending_rows for known in found) and not failure:
        call.backend.building.start(collection)
    policies = own_policies(collection.manifest).indexes
    return [_description(known, failure, policies.get(known.spec.name)) for known in found]


def _description(
    known: IndexProgress, failure: str, policy: TierPolicy | None
) -> milvus_pb2.IndexDescription:
    pending = known.pending_rows
    params = shown_params(known) | ({} if policy is None else {POLICY_PROPERTY: policy.value})
    state = _FINISHED if not pending else _FAILED if failure else _IN_PROGRESS
    return milvus_pb2.IndexDescription(
        index_name=known.spec.name,
        indexID=index_id(known.spec.field_id, known.spec.name),
        field_name=shown_field(known),
        params=[common_pb2.KeyValuePair(key=key, value=value) for key, value in params.items()],
        indexed_rows=known.total_rows - pending,
        total_rows=known.total_rows,
        pending_index_rows=pending,
        state=state,
        index_state_fail_reason=failure if pending else "",
    )


def index_id(field_id: int, name: str) -> int:
    """A number for an index, the same on every server."""
    return (field_id << 32) | zlib.crc32(name.encode())


def shown_field(known: IndexProgress) -> str:
    """The field of an index as the client called it."""
    return known.spec.declared.get(_FIELD, known.field)


def shown_params(known: IndexProgress) -> dict[str, str]:
    """What an index is described as: what its maker asked for, or what it is where the Python door made it."""
    spec = known.spec
    if spec.declared:
        return {key: value for key, value in spec.declared.items() if key != _FIELD}
    metric = {"metric_type": spec.metric} if spec.metric else {}
    kind = {"sorted": "STL_SORT", "json_path": "INVERTED", "sparse_inverted": "SPARSE_INVERTED_INDEX"}
    hidden = ("auto", "json_path") if known.field.endswith("]") else ("auto",)
    options = {name: str(value) for name, value in spec.options if name not in hidden}
    return {"index_type": kind.get(spec.kind, spec.kind.upper()), **metric, **options}


def is_vector(schema: Schema, field: str) -> bool:
    """Whether an index on a field, or on a member of a struct array, is one of vectors."""
    parent, _, member = field.removesuffix("]").partition("[")
    found = _named(schema, parent)
    if found is None:
        return False
    if member:
        return any(one.name == member and one.type.data_type.dense_vector for one in found.type.fields)
    kind = found.type.data_type
    return kind.dense_vector or kind is DataType.SPARSE_FLOAT_VECTOR
