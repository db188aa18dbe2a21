"""A collection's indexes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from headwater import jobs
from headwater.engine.changing import index_named
from headwater.engine.policies import MMAP_PARAM, check_params, forget_own
from headwater.engine.requests import named_metric
from headwater.engine.versions import Versions
from headwater.errors import AlreadyExists, IndexNotFound, InvalidArgument, UnsupportedOption
from headwater.index import SCALAR_KINDS, parse_params
from headwater.index.scalar import SAMPLE_ROWS, parse_scalar, path_of, spell_json_path
from headwater.index.text import TEXT_KIND
from headwater.jobs import BuildReport, Progress
from headwater.lake import SCAN_KIND, AddIndex, DescribeIndex, DropIndex, IndexSpec, Manifest
from headwater.query.inverted import text_analyzer
from headwater.query.max_sim import list_field, list_metric, member_path, single_metric
from headwater.schema import Field, FunctionType, Schema
from headwater.types import DataType, MetricType

__all__ = ["IndexProgress", "Indexing"]


@dataclass(frozen=True)
class IndexProgress:
    """How far an index has got.

    Attributes:
        spec: the index.
        field: name of its field.
        total_rows: rows in segments.
        pending_rows: those that are to have the index and have not yet.
    """

    spec: IndexSpec
    field: str
    total_rows: int
    pending_rows: int


_FEWEST_ROWS = 1024
"""Fewer are compared in less time than an index takes; the number is Milvus's."""


class Indexing(Versions):
    """An index changes what a search or a filter costs, not what it finds: rows without one are compared or scanned."""

    def create_index(
        self,
        field: str,
        index_type: str = "AUTOINDEX",
        *,
        metric_type: str | None = None,
        params: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        name: str | None = None,
    ) -> BuildReport:
        """Declare an index on a field and build it for every segment; rows in the log are sealed first.

        Calling it again with the same arguments covers what is not covered yet; with others it replaces the index. A
        field has one index, and beside it one of its words (TEXT); a JSON field has one for each path.

        Args:
            field: any field but binary, references and struct arrays; ``chunks[emb]`` for vectors in a struct array; of
                a text, the sparse field that BM25 fills.
            index_type: of a dense vector: FLAT, IVF_FLAT, IVF_SQ8, IVF_PQ, IVF_RABITQ, HNSW, HNSW_SQ; BIN_FLAT,
                BIN_IVF_FLAT. Of a sparse one: SPARSE_INVERTED_INDEX, SPARSE_WAND. Of a scalar: STL_SORT, INVERTED,
                BITMAP, TRIE, NGRAM, RTREE, BLOOM. TEXT of a text with an analyzer, for its text filters. AUTOINDEX for
                any; over a scalar field it chooses by the values that are there.
            metric_type: of vectors: L2, IP or COSINE (default); HAMMING (default) or JACCARD for binary vectors; IP for
                sparse ones, BM25 for those that it fills. Of those in struct arrays MAX_SIM_COSINE (default) and its
                like as well: an index by COSINE serves both.
            params: build parameters of the kind (`nlist`, `m`, `M`, `efConstruction`; `json_path`, `json_cast_type`;
                `min_gram`, `max_gram`; `bm25_k1`, `bm25_b`).
            progress: called with (rows indexed, rows to index).
            name: the index's name; the field's name by default, with its path.

        Raises:
            FieldNotFound: there is no such field.
            InvalidArgument: the index type does not fit the field, or a parameter does not fit.
            UnsupportedOption: there is no such index type, parameter or metric.
            AlreadyExists: the name is another index's.
        """
        with self._build_turns.asked(field):
            spec = self.declare_index(field, index_type, metric_type=metric_type, params=params, name=name)
            return jobs.build_index(self._lake, spec, self._open, progress=progress)

    def declare_index(
        self,
        field: str,
        index_type: str = "AUTOINDEX",
        *,
        metric_type: str | None = None,
        params: Mapping[str, Any] | None = None,
        name: str | None = None,
        declared: Mapping[str, str] | None = None,
    ) -> IndexSpec:
        """Declare an index and build nothing yet; `build_indexes` and the background do. Raises as `create_index`.

        Args:
            field: which.
            index_type: as in `create_index`.
            metric_type: as in `create_index`.
            params: as in `create_index`.
            name: as in `create_index`.
            declared: what it is to be described as, in the words of whoever asked.
        """
        target = _target(self._lake.latest().schema, field)
        self.flush()
        base = self._lake.latest()
        spec = self._spec(base, target, index_type, metric_type, params or {}, name)
        existing = next((one for one in base.indexes if one.place == spec.place), None)
        others = {one.name for one in base.indexes if one != existing}
        if name is None and spec.name in others:
            spec = replace(spec, name=f"{spec.name}_{spec.kind}")
        if existing is not None and _same_choice(existing, spec):
            spec = existing
        spec = replace(spec, declared=dict(declared or {}))
        if spec.name in others:
            raise AlreadyExists(
                f"collection {self.name!r} has an index {spec.name!r} on another field or path",
                hint="give this one another name",
            )
        if existing != spec:
            drop = [DropIndex(name=existing.name)] if existing else []
            also = forget_own(base, index=spec.name) if MMAP_PARAM in spec.declared else ()
            self._lake.commit(base, [*drop, AddIndex(spec), *also], operation=f"create index {spec.name}")
        return spec

    def declare_scan(
        self,
        field: str,
        *,
        path: str = "",
        name: str | None = None,
        declared: Mapping[str, str] | None = None,
    ) -> IndexSpec:
        """Declare an index that has no files: what it is on is always scanned, and described as indexed.

        Args:
            field: which; ``chunks[emb]`` for a member of a struct array.
            path: in a JSON field.
            name: the index's name; the field's name by default, with its path.
            declared: what it is to be described as.

        Raises:
            FieldNotFound: there is no such field.
            AlreadyExists: the name, or the place, is another index's.
        """
        base = self._lake.latest()
        parent, _, member = field.removesuffix("]").partition("[")
        inside = spell_json_path((member,)) if member else path
        options = (("json_path", inside),) if inside else ()
        number = base.schema.field(parent).id
        spec = IndexSpec(name or field + path, number, SCAN_KIND, "", options, dict(declared or {}))
        taken = next((one for one in base.indexes if spec.name == one.name or spec.place == one.place), None)
        if taken is not None:
            raise AlreadyExists(f"collection {self.name!r} has the index {taken.name!r} there")
        self._lake.commit(base, [AddIndex(spec)], operation=f"create index {spec.name}")
        return spec

    def _spec(
        self,
        manifest: Manifest,
        field: Field,
        index_type: str,
        metric_type: str | None,
        params: Mapping[str, Any],
        name: str | None,
    ) -> IndexSpec:
        if field.name.endswith("]"):
            return _list_spec(field, index_type, metric_type, params, name)
        if field.type.data_type.value.endswith("_vector"):
            metric_type = _metric(manifest, field, metric_type)
            parsed = parse_params(index_type, metric_type, params, field.type)
            return IndexSpec(name or field.name, field.id, parsed.kind, str(parsed.metric), parsed.options)
        if metric_type:
            raise UnsupportedOption(
                f"field {field.name!r} is {field.type}: an index of it has no metric_type, got {metric_type!r}"
            )
        if index_type.upper() == "TEXT":
            text_analyzer(field, self._opened.files)
            return _text_spec(field, params, name)
        sample = self._sample(manifest, field)
        chosen = parse_scalar(index_type, params, field, SCALAR_KINDS, sample)
        path = chosen.get("json_path", "")
        return IndexSpec(name or field.name + path, field.id, chosen.kind, "", chosen.options)

    def _sample(self, manifest: Manifest, field: Field) -> pa.Array | None:
        """Some values of a field, for AUTOINDEX to choose by."""
        readable = [segment for segment in manifest.segments if not segment.awaits(field)]
        if not readable or field.type.data_type in (DataType.JSON, DataType.GEOMETRY):
            return None
        snapshot = self._open(manifest)
        largest = max(readable, key=lambda segment: segment.num_rows)
        parts, rows = [], 0
        for batch in snapshot.opened.readers.of(largest, snapshot.schema).scan([field.name]):
            parts.append(batch.column(0).slice(0, SAMPLE_ROWS - rows))
            rows += len(parts[-1])
            if rows >= SAMPLE_ROWS:
                break
        return pa.concat_arrays(parts) if parts else None

    def drop_index(self, field: str) -> None:
        """Remove an index; searches and filters on its field become exact comparisons and scans.

        Args:
            field: the index's name, or that of its field.

        Raises:
            IndexNotFound: there is none.
            InvalidArgument: the field has several; name one.
        """
        base = self._lake.latest()
        found = [one for one in base.indexes if one.name == field]
        if not found:
            target = _target(base.schema, field)
            path = member_path(target) if field.endswith("]") else ""
            found = [one for one in base.indexes if one.field_id == target.id and path in ("", one.path)]
        if not found:
            raise IndexNotFound(f"field {field!r} of collection {self.name!r} has no index")
        if len(found) > 1:
            names = ", ".join(one.name for one in found)
            raise InvalidArgument(f"field {field!r} has {len(found)} indexes", hint=f"name one: {names}")
        spec = found[0]
        self._lake.commit(base, [DropIndex(name=spec.name)], operation=f"drop index {spec.name}")

    def describe_index_as(self, name: str, declared: Mapping[str, str]) -> None:
        """Replace what an index is described as.

        Raises:
            IndexNotFound: there is no index of that name.
            InvalidArgument: `mmap.enabled` or `warmup` has no such value.
        """
        check_params(declared, f"index {name!r}")
        base = self._lake.latest()
        index_named(base, self.name, name)
        also = forget_own(base, index=name) if MMAP_PARAM in declared else ()
        self._lake.commit(base, [DescribeIndex(name, declared), *also], operation=f"describe index {name}")

    def index_progress(self) -> list[IndexProgress]:
        """The indexes, and how far each has got. Segments so small that they are always scanned need none."""
        manifest = self._lake.latest()
        least = self._indexed_from
        built: dict[str, set[str]] = {spec.name: set() for spec in manifest.indexes}
        for build in manifest.builds:
            built[build.index].add(build.segment)
        total = sum(segment.num_rows for segment in manifest.segments)
        found = []
        for spec in manifest.indexes:
            field = manifest.schema.field_by_id(spec.field_id)
            pending = sum(
                segment.num_rows
                for segment in manifest.segments
                if segment.num_rows >= least
                and segment.id not in built[spec.name]
                and not segment.awaits(field)
            )
            lists = field.type.data_type is DataType.STRUCT_ARRAY
            place = f"{field.name}[{path_of(spec.path)[0]}]" if lists else field.name
            found.append(IndexProgress(spec, place, total, 0 if spec.kind == SCAN_KIND else pending))
        return found

    def build_pending(self) -> None:
        """Build what `index_progress` says is pending, and no more."""
        newest = self._lake.latest()
        for spec in newest.indexes:
            self._build_index(newest, spec, min_rows=self._indexed_from)

    @property
    def _indexed_from(self) -> int:
        """Rows of the smallest segment that gets an index when one is asked for; upkeep waits for more."""
        return min(self._settings.maintenance.index_rows, _FEWEST_ROWS)

    def build_indexes(self, progress: Progress | None = None) -> list[BuildReport]:
        """Cover the segments that the declared indexes do not cover yet, such as those of a refresh."""
        self.flush()
        newest = self._lake.latest()
        return [self._build_index(newest, spec, progress=progress) for spec in newest.indexes]

    def _build_index(self, manifest: Manifest, spec: IndexSpec, **how: Any) -> BuildReport:
        """`jobs.build_index` for somebody who waits for it; upkeep leaves the field alone meanwhile."""
        with self._build_turns.asked(manifest.schema.field_by_id(spec.field_id).name):
            return jobs.build_index(self._lake, spec, self._open, **how)


def _same_choice(existing: IndexSpec, wanted: IndexSpec) -> bool:
    """Whether both were chosen from the data, for the same options: the first choice stays."""
    return ("auto", True) in existing.options and existing.options == wanted.options


def _metric(manifest: Manifest, field: Field, asked: str | None) -> str | None:
    """The metric of an index on a vector field: what BM25 fills is scored by it, and nothing else is."""
    function = manifest.schema.outputs.get(field.name)
    if asked is None and function is not None and function.type is FunctionType.MINHASH:
        return MetricType.MHJACCARD.value
    if field.type.data_type is not DataType.SPARSE_FLOAT_VECTOR:
        return asked
    fits = "BM25" if field.name in manifest.schema.virtual else "IP"
    if asked is not None and asked.upper() != fits:
        filled = "is filled by BM25" if fits == "BM25" else "is not filled by BM25"
        raise InvalidArgument(
            f"metric_type {asked} does not fit {field.name!r}, which {filled}",
            hint=f'leave it out, or say "{fits}"',
        )
    return fits


def _target(schema: Schema, name: str) -> Field:
    """What an index is to be on: a field, or vectors in a struct array."""
    return list_field(schema, name) if name.endswith("]") else schema.field(name)


def _list_spec(
    field: Field, index_type: str, metric_type: str | None, params: Mapping[str, Any], name: str | None
) -> IndexSpec:
    """An index over the vectors of a struct array, which serves searches of rows and of elements alike."""
    metric = list_metric(field, named_metric(metric_type) if metric_type else None)
    parsed = parse_params(index_type, single_metric(metric), params, field.type.fields[0].type)
    options = (("json_path", member_path(field)), *parsed.options)
    return IndexSpec(name or field.name, field.id, parsed.kind, str(metric), options)


def _text_spec(field: Field, params: Mapping[str, Any], name: str | None) -> IndexSpec:
    if params:
        raise UnsupportedOption(f"a TEXT index has no build options, got {', '.join(params)}")
    return IndexSpec(name or field.name, field.id, TEXT_KIND, "")
