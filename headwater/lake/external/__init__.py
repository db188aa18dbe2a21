"""Files and tables that others own, as the rows of a collection."""

from headwater.lake.external.opening import external_schema, open_source
from headwater.lake.external.parquet_files import ParquetFiles
from headwater.lake.external.refresh import refresh
from headwater.lake.external.source import (
    FoundFragment,
    RefreshPlan,
    RefreshReport,
    SourceFile,
    TableSource,
    plan_refresh,
)
from headwater.lake.external.spec import (
    SOURCE_PROPERTY,
    SPEC_PROPERTY,
    source_of,
    spec_options,
    without_secrets,
)

__all__ = [
    "SOURCE_PROPERTY",
    "SPEC_PROPERTY",
    "FoundFragment",
    "ParquetFiles",
    "RefreshPlan",
    "RefreshReport",
    "SourceFile",
    "TableSource",
    "external_schema",
    "open_source",
    "plan_refresh",
    "refresh",
    "source_of",
    "spec_options",
    "without_secrets",
]
