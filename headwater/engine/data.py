"""What a caller may hand over as rows, brought to one form."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from headwater.errors import Corrupt, InvalidArgument, ObjectNotFound

__all__ = ["as_table", "parquet_pieces"]

_PIECE_BYTES = 8 << 20
_BUFFER_BYTES = 4 << 20


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
    return pa.concat_tables(parquet_pieces(data))


def parquet_pieces(data: str | Path) -> Iterator[pa.Table]:
    """The rows of a file in pieces of some 8 MiB; at least one, which may be empty.

    Args:
        data: the path of a Parquet file.

    Raises:
        ObjectNotFound: the path names no file.
        Corrupt: the file is not readable Parquet.
        InvalidArgument: the path is not a Parquet file by its name.
    """
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
        with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, coerce_int96_timestamp_unit="us") as opened:
            if not opened.metadata.num_rows:
                yield opened.schema_arrow.empty_table()
            for number in range(opened.num_row_groups):
                group = opened.metadata.row_group(number)
                each = max(1, _PIECE_BYTES * group.num_rows // max(1, group.total_byte_size))
                for batch in opened.iter_batches(each, [number]):
                    yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        raise Corrupt(f"{str(path)!r} is not readable Parquet: {error}") from error
