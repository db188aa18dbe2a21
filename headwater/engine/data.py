"""What a caller may hand over as rows, brought to one form."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from headwater.errors import Corrupt, InvalidArgument, ObjectNotFound

__all__ = ["as_table"]


def as_table(data: Any) -> Any:
    """Read paths, readers and iterators; hand everything else on to validation as it is.

    Args:
        data: Arrow, pandas, Polars, dicts or record batches, an iterator of either, or the path of a Parquet file.

    Raises:
        ObjectNotFound: the path names no file.
        Corrupt: the file is not readable Parquet.
        InvalidArgument: the path is not a Parquet file by its name.
    """
    if isinstance(data, pa.RecordBatchReader):
        return data.read_all()
    if isinstance(data, Iterator | list | tuple):
        rows = list(data) if isinstance(data, Iterator) else data
        if (
            rows
            and isinstance(rows[0], pa.RecordBatch)
            and all(isinstance(one, pa.RecordBatch) for one in rows)
        ):
            return pa.Table.from_batches(rows)
        return rows
    if not isinstance(data, str | Path):
        return data
    if "://" in str(data):
        raise InvalidArgument(
            f"cannot insert from {str(data)!r}: expected the path of a file of this machine",
            hint="create_external_collection takes URLs; or read the file, and insert the table",
        )
    path = Path(data)
    if path.suffix.lower() not in (".parquet", ".pq"):
        raise InvalidArgument(f"cannot insert from {str(path)!r}: expected a .parquet file")
    if not path.is_file():
        raise ObjectNotFound(f"no file {str(path)!r}")
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise Corrupt(f"{str(path)!r} is not readable Parquet: {error}") from error
