"""Peers as black boxes, each behind the same four calls, so that one loop measures all of them.

A search returns ids after the peer has also fetched one text field, as an application would.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

import headwater as hw

__all__ = ["PEERS", "Engine", "folder_bytes"]


class Engine(Protocol):
    """What every engine here does: cosine search over (id, year, text, vector) rows."""

    name: str
    efforts: Sequence[Any]

    def load(self, vectors: np.ndarray, years: np.ndarray) -> None: ...
    def index(self) -> None: ...
    def search(self, query: np.ndarray, k: int, effort: Any, year_below: int | None = None) -> list[int]: ...
    def batch(self, queries: np.ndarray, k: int, effort: Any) -> list[list[int]]: ...
    def close(self) -> None: ...


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def text_of(i: int) -> str:
    return f"document number {i} with a line of text"


class _OneByOne:
    folder: Path

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="headwater-bench-"))

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def batch(self, queries: np.ndarray, k: int, effort: Any) -> list[list[int]]:
        search: Callable[..., list[int]] = self.search  # type: ignore[attr-defined]
        return [search(query, k, effort) for query in queries]


_IVF_EFFORTS = (
    *((2, 2), (2, 4), (4, 2), (4, 3), (4, 5), (8, 2), (8, 3), (8, 5), (16, 3), (16, 5), (24, 3), (32, 3)),
    *((32, 5), (48, 5), (64, 5), (64, 10), (96, 5), (96, 10), (128, 10), (192, 10), (256, 20)),
)


_GRAPH_EFFORTS = (12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 192, 256, 512)


class Headwater(_OneByOne):
    """Ours, embedded, with one index kind."""

    def __init__(self, index_type: str = "AUTOINDEX") -> None:
        super().__init__()
        self.index_type = index_type
        self.name = f"headwater {index_type}"
        self.efforts: Sequence[Any] = (
            [{"ef": ef} for ef in _GRAPH_EFFORTS]
            if index_type.startswith("HNSW")
            else [{"nprobe": probes, "refine_k": refine} for probes, refine in _IVF_EFFORTS]
        )

    def load(self, vectors: np.ndarray, years: np.ndarray) -> None:
        n, dim = vectors.shape
        schema = {"id": hw.Int64, "year": hw.Int32, "text": hw.String, "v": hw.FloatVector(dim)}
        self.collection = hw.connect(self.folder).create_collection("t", schema, "id")
        self.collection.insert(
            pa.table(
                {
                    "id": np.arange(n),
                    "year": years.astype(np.int32),
                    "text": [text_of(i) for i in range(n)],
                    "v": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim),
                }
            )
        )

    def index(self) -> None:
        self.collection.create_index("v", self.index_type)

    def search(self, query: np.ndarray, k: int, effort: Any, year_below: int | None = None) -> list[int]:
        text = None if year_below is None else f"year < {year_below}"
        [hits] = self.collection.search([query], top_k=k, filter=text, output_fields=["text"], params=effort)
        return [hit["id"] for hit in hits]

    def batch(self, queries: np.ndarray, k: int, effort: Any) -> list[list[int]]:
        found = self.collection.search(queries, top_k=k, output_fields=["text"], params=effort)
        return [[hit["id"] for hit in hits] for hits in found]


class QdrantEdge(_OneByOne):
    name = "qdrant edge"
    efforts = _GRAPH_EFFORTS

    def load(self, vectors: np.ndarray, years: np.ndarray) -> None:
        import qdrant_edge as qe

        self.qe = qe
        params = qe.EdgeVectorParams(size=vectors.shape[1], distance=qe.Distance.Cosine)
        self.shard = qe.EdgeShard.create(str(self.folder), qe.EdgeConfig(vectors=params))
        for start in range(0, len(vectors), 2000):
            points = [
                qe.Point(i, vectors[i].tolist(), {"text": text_of(i), "year": int(years[i])})
                for i in range(start, min(start + 2000, len(vectors)))
            ]
            self.shard.update(qe.UpdateOperation.upsert_points(points))

    def index(self) -> None:
        self.shard.update(
            self.qe.UpdateOperation.create_field_index("year", self.qe.PayloadSchemaType.Integer)
        )
        self.shard.optimize()

    def search(self, query: np.ndarray, k: int, effort: Any, year_below: int | None = None) -> list[int]:
        qe = self.qe
        only = None
        if year_below is not None:
            only = qe.Filter(must=[qe.FieldCondition("year", range=qe.RangeFloat(lt=float(year_below)))])
        params = qe.SearchParams(hnsw_ef=effort) if effort else None
        request = qe.SearchRequest(
            query=qe.Query.Nearest(query.tolist()), limit=k, filter=only, params=params, with_payload=True
        )
        return [point.id for point in self.shard.search(request)]


class Chroma(_OneByOne):
    name = "chroma"
    efforts = (100,)

    def load(self, vectors: np.ndarray, years: np.ndarray) -> None:
        import chromadb

        client = chromadb.PersistentClient(str(self.folder))
        self.collection = client.create_collection("rows", configuration={"hnsw": {"space": "cosine"}})
        for start in range(0, len(vectors), 5000):
            stop = min(start + 5000, len(vectors))
            self.collection.add(
                ids=[str(i) for i in range(start, stop)],
                embeddings=vectors[start:stop],
                documents=[text_of(i) for i in range(start, stop)],
                metadatas=[{"year": int(year)} for year in years[start:stop]],
            )

    def index(self) -> None:
        """Built while loading."""

    def search(self, query: np.ndarray, k: int, effort: Any, year_below: int | None = None) -> list[int]:
        where: Any = None if year_below is None else {"year": {"$lt": year_below}}
        found = self.collection.query(
            query_embeddings=[query], n_results=k, where=where, include=["documents"]
        )
        return [int(one) for one in found["ids"][0]]

    def batch(self, queries: np.ndarray, k: int, effort: Any) -> list[list[int]]:
        found = self.collection.query(query_embeddings=queries, n_results=k, include=["documents"])
        return [[int(one) for one in ids] for ids in found["ids"]]


class LanceDb(_OneByOne):
    name = "lancedb"
    efforts = (4, 8, 16, 32, 64)

    def load(self, vectors: np.ndarray, years: np.ndarray) -> None:
        import lancedb

        n, dim = vectors.shape
        data = pa.table(
            {
                "id": np.arange(n),
                "year": years,
                "text": [text_of(i) for i in range(n)],
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim),
            }
        )
        self.table = lancedb.connect(str(self.folder)).create_table("t", data)

    def index(self) -> None:
        self.table.create_index(metric="cosine", vector_column_name="vector", index_type="IVF_RQ")

    def search(self, query: np.ndarray, k: int, effort: Any, year_below: int | None = None) -> list[int]:
        request = (
            self.table.search(query).distance_type("cosine").limit(k).select(["id", "text", "_distance"])
        )
        request = request.nprobes(effort or 16).refine_factor(5)
        if year_below is not None:
            request = request.where(f"year < {year_below}", prefilter=True)
        return [int(i) for i in request.to_arrow()["id"].to_pylist()]


class MilvusLite(_OneByOne):
    name = "milvus lite"
    efforts = (16, 64, 256)

    def load(self, vectors: np.ndarray, years: np.ndarray) -> None:
        from pymilvus import DataType, MilvusClient

        self.client = MilvusClient(str(self.folder / "milvus.db"))
        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("year", DataType.INT64)
        schema.add_field("text", DataType.VARCHAR, max_length=100)
        schema.add_field("v", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
        self.client.create_collection("t", schema=schema)
        for start in range(0, len(vectors), 1000):
            rows = [
                {"id": i, "year": int(years[i]), "text": text_of(i), "v": vectors[i].tolist()}
                for i in range(start, min(start + 1000, len(vectors)))
            ]
            self.client.insert("t", rows)
        self.client.flush("t")

    def index(self) -> None:
        params = self.client.prepare_index_params()
        params.add_index(
            "v", index_type="HNSW", metric_type="COSINE", params={"M": 16, "efConstruction": 200}
        )
        self.client.create_index("t", params)
        self.client.load_collection("t")

    def search(self, query: np.ndarray, k: int, effort: Any, year_below: int | None = None) -> list[int]:
        text = "" if year_below is None else f"year < {year_below}"
        [hits] = self.client.search(
            "t",
            [query.tolist()],
            limit=k,
            filter=text,
            output_fields=["text"],
            search_params={"params": {"ef": max(k, effort)}} if effort else None,
        )
        return [hit["id"] for hit in hits]

    def batch(self, queries: np.ndarray, k: int, effort: Any) -> list[list[int]]:
        params = {"params": {"ef": max(k, effort)}}
        found = self.client.search(
            "t", queries.tolist(), limit=k, output_fields=["text"], search_params=params
        )
        return [[hit["id"] for hit in hits] for hits in found]

    def close(self) -> None:
        self.client.close()
        super().close()


PEERS: tuple[Callable[[], Any], ...] = (QdrantEdge, Chroma, LanceDb, MilvusLite)
