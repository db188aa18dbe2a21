"""Files and tables that others own, as the rows of a collection."""

from headwater.lake.external.parquet_files import SourceFiles, external_schema, open_source
from headwater.lake.external.refresh import refresh
from headwater.lake.external.source import RefreshPlan, RefreshReport, SourceFile, plan_refresh

__all__ = [
    "RefreshPlan",
    "RefreshReport",
    "SourceFile",
    "SourceFiles",
    "external_schema",
    "open_source",
    "plan_refresh",
    "refresh",
]
