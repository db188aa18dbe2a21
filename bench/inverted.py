"""What the benchmarks of full text and of sparse vectors share: our side, Milvus Lite's, and a stopwatch."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import headwater as hw

__all__ = ["K", "MilvusLite", "Ours", "seconds"]

K = 10
"""Hits of each query."""


class Ours:
    """Headwater, embedded, through `Collection.search`.

    Args:
        folder: for the lake.
        fields: of the collection; the key is `id`.
        field: that is searched.
        functions: fields that the lake fills.
    """

    name = "headwater"

    def __init__(self, folder: Path, fields: dict[str, Any], field: str, functions: Any = ()) -> None:
        self.field = field
        self.collection = hw.connect(folder).create_collection("docs", fields, "id", functions=functions)

    def search(self, query: Any) -> list[float]:
        [hits] = self.collection.search([query], anns_field=self.field, top_k=K)
        return [hit["distance"] for hit in hits]

    def index_bytes(self) -> int:
        return sum(build.file.size_bytes for build in self.collection.manifest.builds)

    def close(self) -> None:
        pass


class MilvusLite:
    """Milvus Lite, in this process; how large its index is, it does not tell.

    Args:
        folder: for its file.
        field: that is searched.
    """

    name = "milvus lite"

    def __init__(self, folder: Path, field: str) -> None:
        from pymilvus import DataType, MilvusClient

        self.field, self.client = field, MilvusClient(str(folder / "milvus.db"))
        self.schema = MilvusClient.create_schema(auto_id=False)
        self.schema.add_field("id", DataType.INT64, is_primary=True)

    def insert(self, rows: list[dict[str, Any]], metric: str) -> None:
        """Make the collection, fill it, index it and load it."""
        self.client.create_collection("docs", schema=self.schema)
        for start in range(0, len(rows), 2000):
            self.client.insert("docs", rows[start : start + 2000])
        self.client.flush("docs")
        params = self.client.prepare_index_params()
        params.add_index(self.field, index_type="SPARSE_INVERTED_INDEX", metric_type=metric)
        self.client.create_index("docs", params)
        self.client.load_collection("docs")

    def search(self, query: Any) -> list[float]:
        [hits] = self.client.search("docs", [query], anns_field=self.field, limit=K)
        return [hit["distance"] for hit in hits]

    def index_bytes(self) -> int:
        return 0

    def close(self) -> None:
        self.client.close()


def seconds(search: Callable[[Any], Any], query: Any) -> float:
    """Wall time of one query."""
    start = time.perf_counter()
    search(query)
    return time.perf_counter() - start
