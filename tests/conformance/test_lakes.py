"""The main job on every kind of lake: a folder, an S3 server, Azurite, and the real Ceph gateway (`make test-ceph`)."""

from __future__ import annotations

import multiprocessing
import shutil
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headwater as hw
from headwater.store import ObjectStore, open_store
from headwater.testing.azurite import azurite
from headwater.testing.ceph_gateway import ceph_gateway
from headwater.testing.object_store import ObjectStoreTests
from headwater.testing.s3_server import s3_server

DIM = 24


@pytest.fixture(scope="module")
def ceph() -> Iterator[Any]:
    with ceph_gateway() as running:
        yield running


@pytest.fixture(scope="module", params=["folder", "s3", "azure", pytest.param("ceph", marks=pytest.mark.rgw)])
def server(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "folder":
        yield SimpleNamespace(
            url=str(request.getfixturevalue("tmp_path_factory").mktemp("lakes")), options={}
        )
    elif request.param == "s3":
        with s3_server() as running:
            yield running
    elif request.param == "azure":
        if shutil.which("npm") is None:
            pytest.skip("needs Node.js and npm, which run Azurite")
        with azurite() as running:
            yield running
    else:
        yield request.getfixturevalue("ceph")


def rows(first: int, count: int) -> pa.Table:
    vectors = np.random.default_rng(first).normal(size=(count, DIM)).astype(np.float32)
    return pa.table(
        {
            "id": pa.array(range(first, first + count), pa.int64()),
            "text": [f"row {i} " * 20 for i in range(first, first + count)],
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM),
        }
    )


def put_parquet(store: ObjectStore, key: str, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=100)
    store.put(key, sink.getvalue().to_pybytes())


def test_the_main_job_straight_from_the_store(server: Any) -> None:
    prefix = f"{server.url}/{uuid.uuid4().hex}"
    source = open_store(f"{prefix}/docs", server.options)
    for part in range(3):
        put_parquet(source, f"part-{part}.parquet", rows(1000 * part, 800))
    db = hw.connect(f"{prefix}/lake", server.options)
    docs = db.create_external_collection(
        "docs", f"{prefix}/docs/*.parquet", primary_key="id", source_options=server.options
    )
    assert docs.num_rows == 2400
    table = pa.concat_tables([rows(1000 * part, 800) for part in range(3)])
    vectors = np.stack(table.column("embedding").to_numpy(zero_copy_only=False))
    ids = table.column("id").to_numpy()

    def exact(query: np.ndarray, k: int) -> list[int]:
        cosine = vectors @ query / np.linalg.norm(vectors, axis=1)
        return ids[np.argsort(-cosine)[:k]].tolist()

    for index_type in ("AUTOINDEX", "HNSW"):
        docs.create_index("embedding", index_type)
        result = docs.search(vectors[17], top_k=5, output_fields=["text"])
        assert [hit["id"] for hit in result[0]] == exact(vectors[17], 5)
        assert result[0][0]["entity"]["text"] == table.column("text")[17].as_py()
        assert result.info.index_coverage == 1.0
    put_parquet(source, "part-1.parquet", rows(5000, 400))
    report = docs.refresh()
    assert (len(report.changed), report.unchanged, report.rows) == (1, 2, 2000)
    docs.add_column("length", pa.array(range(2000), pa.int64()))
    docs.tag("v1")
    assert docs.at(tag="v1").count("length < 10") == 10
    # A reader with nothing but the store sees the same.
    again = hw.connect(f"{prefix}/lake", server.options).collection("docs", source_options=server.options)
    assert again.to_arrow().equals(docs.to_arrow())
    assert again.verify().damaged == ()
    docs.gc(grace_s=0.0)
    assert again.get([5001], output_fields=["text"])[0]["text"] == "row 5001 " * 20


def _insert(url: str, options: dict[str, Any], first: int, count: int) -> None:
    notes = hw.connect(url, options).collection("notes")
    for i in range(count):
        notes.insert([{"id": first + i}])


def test_processes_that_race_lose_nothing(request: pytest.FixtureRequest, server: Any) -> None:
    if server.url.startswith("s3") and "test" in str(server.options.get("access_key_id")):
        pytest.skip("moto looks before it writes: its put-if-absent is not atomic between requests")
    url = f"{server.url}/{uuid.uuid4().hex}"
    notes = hw.connect(url, server.options).create_collection("notes", {"id": hw.Int64}, "id")
    context = multiprocessing.get_context("forkserver")
    writers = [
        context.Process(target=_insert, args=(url, server.options, 100 * n, 8), daemon=True) for n in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    assert sorted(notes.to_arrow().column("id").to_pylist()) == sorted(
        100 * n + i for n in range(4) for i in range(8)
    )
    assert notes.flush() == 2


@pytest.mark.rgw
class TestCeph(ObjectStoreTests):
    @pytest.fixture
    def store(self, ceph: Any) -> ObjectStore:
        return open_store(f"{ceph.url}/{uuid.uuid4().hex}/nested", ceph.options)
