"""The lake: a chain of immutable, numbered versions, and the segments they are made of.

Promises: a commit is all or nothing and exactly once; a version never changes; a crash at any byte leaves the last
committed version readable.
"""

from headwater.lake.applying import apply
from headwater.lake.catalog import CATALOG_FOLDER, Catalog, catalog_chain
from headwater.lake.chain import Chain
from headwater.lake.changes import (
    AddBuilds,
    AddColumns,
    AddIndex,
    AlterSchema,
    AppendSegments,
    Change,
    DeletedRows,
    DeleteRows,
    DescribeIndex,
    DropBuilds,
    DropIndex,
    DropTag,
    ExpectProperty,
    FillColumn,
    ReplaceSegments,
    Restore,
    SetPartition,
    SetProperties,
    SetSnapshot,
    SetSource,
    SetTag,
    Truncate,
)
from headwater.lake.clock import SYSTEM_CLOCK, Clock
from headwater.lake.compaction import CompactionTask, plan_compaction, plan_optimization
from headwater.lake.copying import copy_object, copy_version
from headwater.lake.files import FILES_FOLDER, FileResource, FileResources
from headwater.lake.gc import GcReport, gc
from headwater.lake.job_records import JobRecord, JobRecords, JobState, new_id
from headwater.lake.keys import KeyLookup
from headwater.lake.lake import Lake, SnapshotInfo
from headwater.lake.lineage import Lineage, lineage
from headwater.lake.manifest import (
    SCAN_KIND,
    ColumnGroup,
    ExternalSource,
    FieldStats,
    FileRef,
    Fragment,
    IndexBuild,
    IndexSpec,
    Manifest,
    Segment,
    SnapshotEntry,
)
from headwater.lake.segment_files import (
    FORMAT_PROPERTY,
    Rows,
    preferred_format,
    with_row_ids,
    write_column_group,
    write_rows,
    write_segment,
)
from headwater.lake.segments import FileOpener, SegmentReader, open_segment
from headwater.lake.stats import bloom_may_contain
from headwater.lake.verify import VerifyReport, verify

__all__ = [
    "CATALOG_FOLDER",
    "FILES_FOLDER",
    "FileOpener",
    "SCAN_KIND",
    "SYSTEM_CLOCK",
    "AddBuilds",
    "AddColumns",
    "AddIndex",
    "AlterSchema",
    "AppendSegments",
    "Catalog",
    "Chain",
    "Change",
    "Clock",
    "DeleteRows",
    "DeletedRows",
    "DescribeIndex",
    "ColumnGroup",
    "CompactionTask",
    "DropBuilds",
    "DropIndex",
    "DropTag",
    "ExpectProperty",
    "FileResource",
    "FileResources",
    "FillColumn",
    "ExternalSource",
    "FieldStats",
    "FileRef",
    "Fragment",
    "GcReport",
    "IndexBuild",
    "IndexSpec",
    "JobRecord",
    "JobRecords",
    "JobState",
    "KeyLookup",
    "Lake",
    "Lineage",
    "Manifest",
    "ReplaceSegments",
    "Restore",
    "Rows",
    "Segment",
    "SegmentReader",
    "SetPartition",
    "SetProperties",
    "SetSnapshot",
    "SetSource",
    "SnapshotEntry",
    "copy_object",
    "copy_version",
    "SetTag",
    "SnapshotInfo",
    "Truncate",
    "apply",
    "VerifyReport",
    "bloom_may_contain",
    "catalog_chain",
    "gc",
    "new_id",
    "open_segment",
    "lineage",
    "plan_compaction",
    "plan_optimization",
    "FORMAT_PROPERTY",
    "preferred_format",
    "verify",
    "with_row_ids",
    "write_column_group",
    "write_rows",
    "write_segment",
]
