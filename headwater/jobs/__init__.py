"""Batch work on a lake: each operator reads a snapshot, writes new immutable files and commits once per checkpoint."""

from headwater.jobs.add_column import ColumnValues, add_column, by_key, column_values, infer_field
from headwater.jobs.backfill import BackfillReport, backfill
from headwater.jobs.build_index import BuildReport, Progress, build_index
from headwater.jobs.compact import CompactReport, compact
from headwater.jobs.embed_registry import EmbedderRegistry
from headwater.jobs.functions import Functions
from headwater.jobs.health import IndexHealth, index_health

__all__ = [
    "BackfillReport",
    "BuildReport",
    "ColumnValues",
    "CompactReport",
    "EmbedderRegistry",
    "Functions",
    "IndexHealth",
    "Progress",
    "add_column",
    "backfill",
    "build_index",
    "by_key",
    "compact",
    "index_health",
    "column_values",
    "infer_field",
]
