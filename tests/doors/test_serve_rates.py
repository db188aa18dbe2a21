"""Rates of a server: what is too much in a second is refused in Milvus's words, and let in a little later."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient
from pymilvus.grpc_gen import milvus_pb2
from serving import Address, served

from headwater.doors.milvus.codes import MilvusError
from headwater.doors.milvus.rates import Rates
from headwater.settings import ServerSettings, Settings


def taken(rates: Rates, name: str, request: Any, times: int) -> int:
    """How many of some calls in a row are let in."""
    refused = []
    for _ in range(times):
        try:
            rates.take(name, request)
        except MilvusError as error:
            refused.append(error)
    assert {(one.row.code, one.row.retriable) for one in refused} <= {(8, True)}
    words = (
        "request is rejected by grpc RateLimiter middleware, please retry later: rate limit exceeded[rate="
    )
    assert all(one.message.startswith(words) for one in refused)
    return times - len(refused)


def test_a_seconds_worth_is_let_in_and_then_as_much_as_time_passes() -> None:
    now = [100.0]
    settings = ServerSettings(search_rate_vectors=10, query_rate=4, write_rate_mb=1)
    rates = Rates(settings, lambda: now[0])
    one = milvus_pb2.SearchRequest(nq=1)
    assert taken(rates, "Search", one, 50) == 10
    now[0] += 0.5
    both = milvus_pb2.HybridSearchRequest(requests=[one, milvus_pb2.SearchRequest(nq=2)])
    assert taken(rates, "HybridSearch", both, 50) == 2
    now[0] += 100
    assert taken(rates, "Search", one, 50) == 10
    now[0] += 1
    # One that is more than a second's worth is let in, and those after it wait for it.
    assert taken(rates, "Search", milvus_pb2.SearchRequest(nq=30), 2) == 1
    now[0] += 1.9
    assert taken(rates, "Search", one, 1) == 0
    now[0] += 0.2
    assert taken(rates, "Search", one, 1) == 1
    assert taken(rates, "Query", milvus_pb2.QueryRequest(), 50) == 4
    large = milvus_pb2.InsertRequest(collection_name="x" * (1 << 19))
    assert taken(rates, "Insert", large, 5) + taken(rates, "Delete", milvus_pb2.DeleteRequest(), 1) == 2
    assert taken(rates, "CreateCollection", milvus_pb2.CreateCollectionRequest(), 50) == 50
    assert taken(Rates(ServerSettings()), "Search", one, 1000) == 1000


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Any:
    settings = Settings(server=ServerSettings(search_rate_vectors=0.001, write_rate_mb=50))
    with served(tmp_path_factory.mktemp("lake"), settings) as address:
        yield address


async def test_the_door_refuses_what_is_too_much(limited: Address) -> None:
    client = MilvusClient(limited)
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=4)
    index = client.prepare_index_params()
    index.add_index("v", index_type="FLAT", metric_type="L2")
    client.create_collection("docs", schema=schema, index_params=index)
    client.insert("docs", [{"id": 1, "v": np.ones(4, np.float32)}])
    assert client.search("docs", [[1.0] * 4], limit=1)[0][0]["id"] == 1
    data = milvus_pb2.SearchRequest(collection_name="docs", nq=1).SerializeToString()
    answer = milvus_pb2.SearchResults.FromString(await limited.service.answer("Search", data, {}))
    assert (answer.status.code, answer.status.error_code, answer.status.retriable) == (8, 49, True)
    assert client.query("docs", "id == 1", output_fields=["id"]) == [{"id": 1}]
    client.close()
