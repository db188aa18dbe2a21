"""Values that come more than once in a column that may be larger than memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from headwater.store import scratch_folder

__all__ = ["repeated_values"]

_MEMORY = "1GB"


def repeated_values(batches: Iterator[pa.RecordBatch], type: pa.DataType, most: int) -> list[Any]:
    """The least few values that are there more than once, null among them, in order.

    Args:
        batches: one column each.
        type: of the column.
        most: no more than so many.

    Cost: a gigabyte of memory at most; what goes beyond is spilt to a temporary folder.
    """
    import duckdb

    schema = pa.schema([pa.field("value", type)])
    column = (pa.RecordBatch.from_arrays([batch.column(0)], schema=schema) for batch in batches)
    found = "SELECT value FROM given GROUP BY value HAVING count(*) > 1 ORDER BY value LIMIT ?"
    with scratch_folder("repeated") as folder:
        config: dict[str, Any] = {"memory_limit": _MEMORY, "temp_directory": str(folder)}
        database = duckdb.connect(":memory:", config=config)
        try:
            database.register("given", pa.RecordBatchReader.from_batches(schema, column))
            return [value for (value,) in database.execute(found, [most]).fetchall()]
        finally:
            database.close()
