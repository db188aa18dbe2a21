"""Routes of partitions."""

from __future__ import annotations

from headwater.doors.rest.fields import TEXTS, need
from headwater.doors.rest.route import (
    COLLECTION,
    HAS,
    NAMES,
    PARTITION,
    ROW_COUNT,
    Route,
    direct,
    has,
    listed,
    row_count,
)

__all__ = ["ROUTES"]

_ONE = (COLLECTION, PARTITION)
_SEVERAL = (COLLECTION, need("partitionNames", TEXTS))
_EXAMPLE = {"collectionName": "books", "partitionName": "old"}
_EXAMPLES = {"collectionName": "books", "partitionNames": ["old"]}

ROUTES: tuple[Route, ...] = (
    direct("partitions/create", "CreatePartition", "Create a partition.", _ONE, example=_EXAMPLE),
    direct(
        "partitions/list",
        "ShowPartitions",
        "The names of a collection's partitions.",
        (COLLECTION,),
        show=listed("partition_names"),
        data=NAMES,
        example={"collectionName": "books"},
    ),
    direct(
        "partitions/has",
        "HasPartition",
        "Whether a partition is there.",
        _ONE,
        show=has,
        data=HAS,
        example=_EXAMPLE,
    ),
    direct(
        "partitions/get_stats",
        "GetPartitionStatistics",
        "How many rows a partition has.",
        _ONE,
        show=row_count,
        data=ROW_COUNT,
        example=_EXAMPLE,
    ),
    direct(
        "partitions/load",
        "LoadPartitions",
        "Make partitions ready for searches.",
        _SEVERAL,
        example=_EXAMPLES,
    ),
    direct(
        "partitions/release",
        "ReleasePartitions",
        "Take partitions out of searches.",
        _SEVERAL,
        example=_EXAMPLES,
    ),
    direct(
        "partitions/drop", "DropPartition", "Drop a released partition and its rows.", _ONE, example=_EXAMPLE
    ),
)
"""The routes under `partitions/`."""
