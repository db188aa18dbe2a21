"""The scalar indexes of a version, and when asking one is cheaper than a scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from headwater import trace
from headwater.index.json_paths import JsonPath
from headwater.index.predicates import Answer, IsNull, OneOf, Predicate, Range
from headwater.index.scalar import SCALAR_KINDS, path_of
from headwater.lake import IndexBuild, IndexSpec, Segment
from headwater.query.opened import Opened
from headwater.schema import Schema
from headwater.types import ORDERED_TYPES, TEXT_TYPES, DataType

__all__ = ["ScalarIndexes"]

# Measured, one million rows: comparing a decoded column of numbers takes 1.2 ms whatever it selects; an index takes 20
# microseconds, and 2 microseconds for each 1000 rows that it marks, so it pays up to half of the rows, and in a small
# segment not at all. Comparing decoded texts takes 4 ms, a pattern 20 to 50 ms, a JSON path that is in memory 2 ms and
# one that is not 400 ms: there, and where the column is not decoded yet, an index pays whatever it selects.
_NUMBERS_SHARE = 0.4
_NUMBERS_LEAST_ROWS = 20_000

_CANDIDATES_SHARE = 0.25
"""Candidates are looked at one by one: with more of them than this share, a scan of all is cheaper."""


class ScalarIndexes:
    """Those of one version.

    Args:
        specs: all indexes of the version.
        builds: by index name and segment id.

    Attributes:
        cast_paths: JSON paths, by field id, at which texts that spell a number are numbers to filters.
    """

    def __init__(self, specs: Sequence[IndexSpec], builds: Mapping[tuple[str, str], IndexBuild]) -> None:
        self._builds = builds
        self._by_target: dict[tuple[int, JsonPath], list[IndexSpec]] = {}
        for spec in specs:
            if spec.kind in SCALAR_KINDS:
                self._by_target.setdefault((spec.field_id, path_of(spec.path)), []).append(spec)
        self.cast_paths = frozenset(
            target
            for target, found in self._by_target.items()
            if any("json_cast_function" in dict(spec.options) for spec in found)
        )

    def ask(
        self,
        opened: Opened,
        schema: Schema,
        segment: Segment,
        name: str,
        path: JsonPath,
        predicate: Predicate,
    ) -> Answer | None:
        """What an index says of a segment's rows; None where none is there, none serves it, or a scan is cheaper.

        Args:
            opened: opens indexes, and says what is decoded.
            schema: names the fields.
            segment: whose rows.
            name: the field.
            path: in a JSON field; empty for other fields.
            predicate: what is asked.
        """
        if not self._by_target:
            return None
        field = schema.field(name)
        for spec in self._by_target.get((field.id, path), ()):
            build = self._builds.get((spec.name, segment.id))
            if build is None:
                continue
            most = segment.num_rows
            if opened.fields.decoded(segment, schema, name, path):
                most = _worth_marking(predicate, field.type.data_type, segment.num_rows)
            answer = None if most <= 0 else opened.indexes.scalar(build, spec).select(predicate, most)
            if answer is not None and (answer.exact or _few(answer, segment.num_rows)):
                if trace.recording():
                    with trace.step("scalar index", index=spec.name, kind=spec.kind):
                        trace.note(tier=opened.open_files.tier_of(build.file))
                        trace.note(rows_marked=int(np.count_nonzero(answer.rows)), exact=answer.exact)
                return answer
        return None


def _worth_marking(predicate: Predicate, data_type: DataType, num_rows: int) -> int:
    """How many rows an index may mark before scanning the decoded column is cheaper; 0 for none."""
    if isinstance(predicate, IsNull):
        return 0
    if data_type in ORDERED_TYPES - TEXT_TYPES and isinstance(predicate, OneOf | Range):
        return int(num_rows * _NUMBERS_SHARE) if num_rows >= _NUMBERS_LEAST_ROWS else 0
    return num_rows


def _few(answer: Answer, num_rows: int) -> bool:
    return int(np.count_nonzero(answer.rows)) <= max(num_rows * _CANDIDATES_SHARE, 1)
