"""External collections over JSON: a source may come with the first refresh."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rest_serving import Caller, both

from headwater.store import ObjectStore, open_store
from headwater.testing.s3_server import s3_server

SPEC = json.dumps(
    {
        "format": "parquet",
        "extfs": {
            "cloud_provider": "minio",
            "region": "us-east-1",
            "access_key_id": "test",
            "access_key_value": "test",
        },
    }
)


def _put(store: ObjectStore, key: str, first: int, last: int) -> None:
    sink = pa.BufferOutputStream()
    vectors = pa.array([[float(i), 1.0] for i in range(first, last)], pa.list_(pa.float32()))
    pq.write_table(pa.table({"number": pa.array(range(first, last), pa.int64()), "emb": vectors}), sink)
    store.put(key, sink.getvalue().to_pybytes())


def _refreshed(rest: Caller, name: str, **how: str) -> dict[str, Any]:
    job = rest.get("jobs/external_collection/refresh", collectionName=name, **how)["jobId"]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        told = rest.get("jobs/external_collection/describe", jobId=job)
        if told["state"] in ("RefreshCompleted", "RefreshFailed"):
            return dict(told)
        time.sleep(0.02)
    raise AssertionError("the refresh never ended")


def test_a_source_may_come_with_the_first_refresh(tmp_path: Path) -> None:
    fields = [
        {"fieldName": "number", "dataType": "Int64", "externalField": "number"},
        {
            "fieldName": "vec",
            "dataType": "FloatVector",
            "externalField": "emb",
            "elementTypeParams": {"dim": "2"},
        },
    ]
    index = [{"fieldName": "vec", "metricType": "L2"}]
    with s3_server("data") as server, both(tmp_path) as rest:
        store = open_store(server.url, server.options)
        where = f"s3://127.0.0.1:{server.port}/data"
        _put(store, "later/a.parquet", 0, 10)
        rest.get("collections/create", collectionName="later", schema={"fields": fields}, indexParams=index)
        described = rest.get("collections/describe", collectionName="later")
        assert (described["externalSource"], described["externalSpec"]) == ("", "")
        assert rest.get("jobs/external_collection/list", collectionName="later")["records"] == []
        code, said = rest.refused("jobs/external_collection/refresh", collectionName="later")
        assert (code, "no persisted external_source/external_spec" in said) == (1100, True)
        rest.get("collections/create", collectionName="managed", dimension=2)
        for verb in ("list", "refresh"):
            code, said = rest.refused(f"jobs/external_collection/{verb}", collectionName="managed")
            assert (code, "is not an external collection" in said) == (1100, True)
        count = {"collectionName": "later", "outputFields": ["count(*)"]}
        assert rest.get("entities/query", **count) == [{"count(*)": 0}]

        nothing = _refreshed(rest, "later", externalSource=f"{where}/nowhere/", externalSpec=SPEC)
        assert (nothing["state"], "nowhere/*.parquet" in nothing["reason"]) == ("RefreshFailed", True)
        assert _refreshed(rest, "later", externalSource=f"{where}/later/", externalSpec=SPEC)["state"] == (
            "RefreshCompleted"
        )
        assert rest.get("collections/describe", collectionName="later")["externalSource"] == f"{where}/later/"
        assert rest.get("entities/query", **count) == [{"count(*)": 10}]
        _put(store, "later/b.parquet", 10, 15)
        assert _refreshed(rest, "later")["state"] == "RefreshCompleted"
        [hit] = rest.get(
            "entities/search", collectionName="later", data=[[14, 1]], limit=1, outputFields=["number"]
        )
        assert (hit["number"], hit["distance"]) == (14, 0)
