"""What a collection costs: its files are listed, its indexes' footers read, and the rest is computed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.engine.cost_probe import is_vector, probe_searches, round_trip_s
from headwater.engine.policies import policies_of
from headwater.errors import InvalidArgument
from headwater.index.artifact import open_artifact
from headwater.index.lists import DIRECTORY
from headwater.lake import ColumnGroup, IndexBuild, IndexSpec, Manifest, gc
from headwater.query.cost import (
    EXAMPLE_PRICES,
    Case,
    CostReport,
    Machine,
    Prices,
    QueryReads,
    Reads,
    Shape,
    Sizes,
    Workload,
    advice,
    bills,
    break_evens,
    load_prices,
    reads,
    sizes,
)
from headwater.schema import Field, Schema, arrow_type
from headwater.tiers import TierPolicy, open_object
from headwater.types import DataType

if TYPE_CHECKING:
    from headwater.engine.collection import Collection

__all__ = ["cost_report"]

_TEXTS = (DataType.VARCHAR, DataType.TEXT, DataType.JSON)
_FOOTERS = 4
"""Footers of index files that are read: segments of one collection are much alike."""

_MOST_MANIFESTS = 256
"""With more versions than this, what garbage collection would delete is not looked up."""

_ENOUGH_PAGES = 1_000
"""Pages that the disk cache was asked for, from which on its share of hits is taken for that of `auto`."""


def cost_report(
    collection: Collection,
    prices: Prices | Mapping[str, Any] | str | Path | None,
    workload: Workload | Mapping[str, Any] | None,
    *,
    policies: Sequence[str] = (),
    anns_field: str | None = None,
    probe: bool = False,
) -> CostReport:
    """What a collection costs; the arguments of `Collection.cost`."""
    seen = _seen(collection)
    chosen, asked, wanted = _prices(prices), _workload(workload, seen), _policies(policies)
    manifest = collection.manifest
    field = _searched(manifest, anns_field)
    shape = _shape(collection, manifest, field)
    stored, objects = _stored(collection, manifest)
    machine, measured = Machine(), {}
    first = None
    if probe:
        machine = replace(machine, round_trip_s=round_trip_s(collection))
        if field is not None and shape.rows:
            first, cold = probe_searches(collection, field)
            measured = {TierPolicy.COLD: cold, TierPolicy.ON_DEMAND: first}
    case = Case(shape, chosen, machine, _sizes(shape, stored), measured)
    found, crossings = bills(case, asked, wanted), break_evens(case, asked, wanted)
    return CostReport(
        collection=collection.name,
        version=manifest.version,
        policy=policies_of(manifest, collection._settings.tiers.policy).collection,
        shape=shape,
        stored=stored,
        objects=objects,
        external_bytes=_external_bytes(manifest),
        held=_held(collection),
        seen=seen,
        queries=_queries(shape, measured),
        bills=tuple(found),
        break_evens=tuple(crossings),
        workload=asked,
        prices=chosen,
        machine=machine,
        probed=probe,
        advice=advice(found, crossings, asked, chosen.currency),
    )


def _prices(given: Prices | Mapping[str, Any] | str | Path | None) -> Prices:
    if given is None:
        return EXAMPLE_PRICES
    if isinstance(given, Prices):
        return given
    return load_prices(given) if isinstance(given, str | Path) else Prices.of(given)


def _workload(given: Workload | Mapping[str, Any] | None, seen: Mapping[str, int]) -> Workload:
    if isinstance(given, Workload):
        return given
    given = dict(given or {})
    pages = seen["disk cache hits"] + seen["disk cache misses"]
    if "hit_share" not in given and pages >= _ENOUGH_PAGES:
        given["hit_share"] = seen["disk cache hits"] / pages
    known = Workload.__dataclass_fields__
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        raise InvalidArgument(f"workload: there is no {unknown!r}", hint=f"there are: {', '.join(known)}")
    return Workload(**given)


def _policies(given: Sequence[str]) -> tuple[TierPolicy, ...]:
    names = [one.value for one in TierPolicy]
    for one in given:
        if one not in names:
            raise InvalidArgument(f"policy {one!r}: expected one of {', '.join(names)}")
    order = ("hot", "warm", "auto", "cold", "on_demand")
    return tuple(TierPolicy(one) for one in (dict.fromkeys(given) if given else order))


# -- what it is ---------------------------------------------------------------------------------------------------


def _searched(manifest: Manifest, name: str | None) -> Field | None:
    """The dense vector field that queries search: the one that is named, or an indexed one, or the first."""
    if name is not None:
        field = manifest.schema.field(name)
        if not field.type.data_type.dense_vector:
            raise InvalidArgument(f"anns_field {name!r} is {field.type}: expected dense vectors")
        return field
    dense = [one for one in manifest.schema.fields if one.type.data_type.dense_vector]
    indexed = {spec.field_id for spec in manifest.indexes}
    return next((one for one in dense if one.id in indexed), dense[0] if dense else None)


def _shape(collection: Collection, manifest: Manifest, field: Field | None) -> Shape:
    rows = sum(segment.num_rows for segment in manifest.segments)
    spec = next((one for one in manifest.indexes if field is not None and one.field_id == field.id), None)
    builds = [one for one in manifest.builds if spec is not None and one.index == spec.name]
    groups = [group for segment in manifest.segments for group in segment.column_groups if group.file]
    by_kind = _by_kind(manifest.schema, groups)
    fields = [by_kind.get(kind, 0) for kind in ("scalars", "texts")]
    in_place = _in_place_bytes(manifest.schema, groups) / max(1, rows)
    shape = Shape(
        rows=rows,
        dim=0,
        kind=spec.kind if spec is not None and builds else "",
        segments=max(1, len(manifest.segments)),
        scalar_row_bytes=by_kind.get("scalars", 0) / max(1, rows),
        text_row_bytes=by_kind.get("texts", 0) / max(1, rows),
        scalar_fields=sum(not is_vector(one.type.data_type) for one in manifest.schema.fields),
        output_scalar_bytes=sum(fields) / max(1, rows) - in_place,
        output_text_bytes=in_place,
        extra_index_bytes=sum(
            one.file.size_bytes for one in manifest.builds if spec is None or one.index != spec.name
        ),
    )
    if field is not None:
        stored = arrow_type(field.type)
        width = stored.value_type.bit_width // 8
        shape = replace(shape, dim=stored.list_size, number_bytes=width)
    return _with_effort(collection, shape, spec, builds) if spec is not None and builds else shape


def _with_effort(
    collection: Collection, shape: Shape, spec: IndexSpec, builds: Sequence[IndexBuild]
) -> Shape:
    """With the lists and the effort that the indexes' footers say."""
    if not spec.kind.startswith("ivf"):
        return shape
    said = []
    for build in sorted(builds, key=lambda one: -one.num_rows)[:_FOOTERS]:
        source = open_object(
            collection._lake.store, build.file.key, size_bytes=build.file.size_bytes, tier="cold"
        )
        artifact = open_artifact(source, spec.kind)
        lists = artifact.size_of("directory") // DIRECTORY.itemsize
        effort = artifact.properties
        said.append((lists, effort["nprobe"], effort["refine_k"], artifact.has("lengths")))
    count, probes, refined, lengths = (statistics.fmean(column) for column in zip(*said, strict=True))
    return replace(shape, nlist=round(count), nprobe=round(probes), refine_k=refined, lengths=lengths >= 0.5)


# -- bytes --------------------------------------------------------------------------------------------------------


def _group_kind(schema: Schema, group: ColumnGroup) -> str:
    types = {one.type.data_type for one in schema.every_field if one.id in group.field_ids}
    if any(is_vector(one) for one in types):
        return "vectors"
    return "texts" if types & set(_TEXTS) else "scalars"


def _in_place_bytes(schema: Schema, groups: Sequence[ColumnGroup]) -> int:
    """Of files whose rows are read one by one: long texts; other fields come in pieces of many rows."""
    return sum(
        group.file.size_bytes
        for group in groups
        if group.file is not None and group.format == "arrow_ipc" and _group_kind(schema, group) != "vectors"
    )


def _by_kind(schema: Schema, groups: Sequence[ColumnGroup]) -> dict[str, int]:
    found: dict[str, int] = {}
    for group in groups:
        if group.file is not None:
            kind = _group_kind(schema, group)
            found[kind] = found.get(kind, 0) + group.file.size_bytes
    return found


def _stored(collection: Collection, manifest: Manifest) -> tuple[dict[str, int], int]:
    """Bytes of the collection's objects by kind, and how many objects they are: one listing."""
    kinds = {spec.name: spec.kind for spec in manifest.indexes}
    named = {build.file.key: f"index: {kinds[build.index]}" for build in manifest.builds}
    for segment in manifest.segments:
        for group in segment.column_groups:
            if group.file is not None:
                named[group.file.key] = _group_kind(manifest.schema, group)
        if segment.delete_vector is not None:
            named[segment.delete_vector.key] = "delete vectors"
        if segment.row_id_file is not None:
            named[segment.row_id_file.key] = "row ids"
    lake = collection._lake
    found: dict[str, int] = dict.fromkeys(("vectors", "scalars", "texts"), 0)
    objects = versions = 0
    for meta in lake.store.list(f"{lake.root}/"):
        folder = meta.key.removeprefix(f"{lake.root}/").split("/", 1)[0]
        kind = {"manifests": "manifests", "log": "log"}.get(folder) or named.get(meta.key, "older versions")
        found[kind] = found.get(kind, 0) + meta.size_bytes
        objects += 1
        versions += folder == "manifests"
    if versions <= _MOST_MANIFESTS:
        limits = collection._settings.lake
        waiting = gc(lake, retention_s=limits.retention_s, grace_s=limits.gc_grace_s, dry_run=True)
        _move_garbage(found, waiting.bytes_deleted)
    return {kind: size for kind, size in found.items() if size}, objects


def _move_garbage(found: dict[str, int], garbage: int) -> None:
    """Tell what garbage collection would delete from what older versions still need."""
    found["garbage"] = garbage
    for kind in ("older versions", "log"):
        part = min(garbage, found.get(kind, 0))
        found[kind] = found.get(kind, 0) - part
        garbage -= part


def _external_bytes(manifest: Manifest) -> int:
    fragments = {
        (one.path, one.size_bytes)
        for segment in manifest.segments
        for group in segment.column_groups
        for one in group.fragments
    }
    return sum(size for _, size in fragments)


def _sizes(shape: Shape, stored: Mapping[str, int]) -> Sizes:
    """Bytes as they are; what a process holds of them as modelled."""
    modelled = sizes(shape)
    other = shape.extra_index_bytes
    index = sum(size for kind, size in stored.items() if kind.startswith("index: ")) - other
    kept = sum(stored.get(kind, 0) for kind in ("log", "older versions", "garbage", "delete vectors"))
    return replace(
        modelled,
        vectors=stored.get("vectors", 0),
        scalars=stored.get("scalars", 0),
        texts=stored.get("texts", 0),
        index=index,
        lists=max(0, index - modelled.opened),
        manifest=stored.get("manifests", 0),
        kept=kept,
    )


def _seen(collection: Collection) -> dict[str, int]:
    """What this process's caches have answered since it began, of all its collections."""
    report = collection._opened.tiers.report()
    return {
        "disk cache hits": report.disk.hits,
        "disk cache misses": report.disk.misses,
        "disk cache bytes fetched": report.disk.bytes_fetched,
        "memory hits": sum(one.hits for one in report.memory.kinds),
        "memory misses": sum(one.misses for one in report.memory.kinds),
    }


def _held(collection: Collection) -> dict[str, int]:
    """Bytes that this process holds of the collection, by where and what they are."""
    found: dict[str, int] = {}
    for one in collection._opened.tiers.report().objects:
        if one.collection != collection.root:
            continue
        for where, size in (
            (f"memory, {one.kind}", one.memory_bytes),
            ("mapped files", one.mapped_bytes),
            ("disk cache", one.disk_bytes),
        ):
            if size:
                found[where] = found.get(where, 0) + size
    return found


# -- requests -----------------------------------------------------------------------------------------------------


def _queries(shape: Shape, measured: Mapping[TierPolicy, Reads]) -> tuple[QueryReads, ...]:
    cases = (
        ("hot", TierPolicy.HOT, False),
        ("warm", TierPolicy.WARM, False),
        ("cold", TierPolicy.COLD, False),
        ("cold, first of a process", TierPolicy.ON_DEMAND, True),
    )
    return tuple(
        QueryReads(
            case,
            measured.get(policy) or reads(shape, policy, first=first),
            "measured" if policy in measured else "modelled",
        )
        for case, policy, first in cases
    )
