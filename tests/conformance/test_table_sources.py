"""Every kind of source keeps the promises of `TableSourceTests`."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headwater.testing.table_source import TableSourceTests


class TestParquet(TableSourceTests):
    format = "parquet"
    suffix = ".parquet"

    def write(self, table: pa.Table, path: Path) -> None:
        pq.write_table(table, path, row_group_size=50)


class TestParquetOfOneRowGroup(TableSourceTests):
    """As small files usually are; a file cannot be split here."""

    format = "parquet"
    suffix = ".pq"

    def write(self, table: pa.Table, path: Path) -> None:
        pq.write_table(table, path, row_group_size=100, compression="zstd", data_page_version="2.0")
