"""Searches of every kind of vector, in lists of vectors, in buckets and through chains, by unmodified clients."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from pymilvus import AsyncMilvusClient, DataType, Function, FunctionType, MilvusClient, MilvusException
from pymilvus.client.embedding_list import EmbeddingList
from pymilvus.client.search_aggregation import SearchAggregation, TopHits
from pymilvus.function_chain import FunctionChain, FunctionChainStage, col, fn
from structs import add_structs

DIM, ROWS = 32, 1_200
RNG = np.random.default_rng(11)
FLOATS = RNG.normal(size=(ROWS, DIM)).astype(np.float32)
BITS = RNG.integers(0, 256, size=(ROWS, DIM // 8), dtype=np.uint8)
BYTES = RNG.integers(-128, 128, size=(ROWS, DIM), dtype=np.int8)


def cosine(base: np.ndarray, query: np.ndarray) -> np.ndarray:
    base, query = base.astype(np.float64), query.astype(np.float64)
    return -(base @ query) / np.linalg.norm(base, axis=1) / np.linalg.norm(query)


def hamming(base: np.ndarray, query: np.ndarray) -> np.ndarray:
    return np.bitwise_count(base ^ query).sum(axis=1)


def bfloat16(values: np.ndarray) -> np.ndarray:
    return values.astype(ml_dtypes.bfloat16)


KINDS: dict[str, tuple[DataType, np.ndarray, Callable[[np.ndarray], Any], str, Callable[..., np.ndarray]]] = {
    "float": (DataType.FLOAT_VECTOR, FLOATS, np.asarray, "COSINE", cosine),
    "half": (DataType.FLOAT16_VECTOR, FLOATS.astype(np.float16), np.asarray, "COSINE", cosine),
    "brain": (DataType.BFLOAT16_VECTOR, bfloat16(FLOATS), np.asarray, "COSINE", cosine),
    "bytes": (DataType.INT8_VECTOR, BYTES, np.asarray, "COSINE", cosine),
    "bits": (DataType.BINARY_VECTOR, BITS, lambda one: one.tobytes(), "HAMMING", hamming),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flushed", [False, True], ids=["growing", "sealed"])
def test_every_kind_of_vector_finds_its_nearest(client: MilvusClient, kind: str, flushed: bool) -> None:
    data_type, base, sent, metric, distance = KINDS[kind]
    name = f"c{uuid.uuid4().hex[:8]}"
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", data_type, dim=DIM)
    index = client.prepare_index_params()
    index.add_index("v", metric_type=metric)
    client.create_collection(name, schema=schema, index_params=index)
    client.insert(name, [{"id": i, "v": sent(base[i])} for i in range(ROWS)])
    if flushed:
        client.flush(name)
    queries = [sent(base[7]), sent(base[70])]
    found = client.search(
        name, queries, anns_field="v", limit=10, output_fields=["v"], consistency_level="Strong"
    )
    for number, hits in zip((7, 70), found, strict=True):
        order = np.sort(distance(base, base[number]))
        got = np.sort(distance(base[[hit["id"] for hit in hits]], base[number]))
        assert hits[0]["id"] == number
        assert np.mean(got <= order[9] + 1e-6) >= 0.9
    client.drop_collection(name)


def test_sparse_vectors_are_scored_by_inner_product(client: MilvusClient) -> None:
    name = f"c{uuid.uuid4().hex[:8]}"
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("s", DataType.SPARSE_FLOAT_VECTOR)
    index = client.prepare_index_params()
    index.add_index("s", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    client.create_collection(name, schema=schema, index_params=index)
    dense = np.where(RNG.random((300, 50)) < 0.1, RNG.random((300, 50)), 0).astype(np.float32)
    dense[:, 0] += 0.01
    rows = [{int(j): float(row[j]) for j in np.flatnonzero(row)} for row in dense]
    client.insert(name, [{"id": i, "s": row} for i, row in enumerate(rows)])
    [hits] = client.search(
        name, [rows[5]], anns_field="s", limit=20, output_fields=["s"], consistency_level="Strong"
    )
    want = np.sort(dense @ dense[5])[::-1][:20]
    np.testing.assert_allclose([hit["distance"] for hit in hits], want, rtol=1e-4)
    assert hits[0]["entity"]["s"] == pytest.approx(rows[hits[0]["id"]])
    client.drop_collection(name)


@pytest.fixture(scope="module")
def chunks(address: str) -> Iterator[str]:
    """Documents whose chunks have vectors, and a few fields to count by."""
    client = MilvusClient(address)
    name = f"c{uuid.uuid4().hex[:8]}"
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=4)
    schema.add_field("brand", DataType.VARCHAR, max_length=10)
    schema.add_field("year", DataType.INT32)
    schema.add_field("price", DataType.DOUBLE)
    schema.add_field("meta", DataType.JSON)
    add_structs(
        schema,
        "parts",
        {"text": (DataType.VARCHAR, {"max_length": 50}), "emb": (DataType.FLOAT_VECTOR, {"dim": DIM})},
    )
    index = client.prepare_index_params()
    index.add_index("v", index_type="FLAT", metric_type="L2")
    index.add_index("parts[emb]", index_type="HNSW", metric_type="MAX_SIM_COSINE")
    client.create_collection(name, schema=schema, index_params=index)
    rows = [
        {
            "id": i,
            "v": [float(i), 0.0, 0.0, 0.0],
            "brand": "abc"[i % 3],
            "year": 2020 + i % 4,
            "price": float(i),
            "meta": {"region": f"r{i % 5}"},
            "parts": [{"text": f"{i}.{j}", "emb": FLOATS[i * 3 + j].tolist()} for j in range(1 + i % 3)],
        }
        for i in range(200)
    ]
    client.insert(name, rows)
    client.flush(name)
    yield name
    client.drop_collection(name)
    client.close()


def test_lists_of_vectors_are_matched_late(client: MilvusClient, chunks: str) -> None:
    query = EmbeddingList()
    for row in FLOATS[30:32]:
        query.add(row)
    [hits] = client.search(chunks, [query], anns_field="parts[emb]", limit=5, output_fields=["parts"])
    unit = FLOATS / np.linalg.norm(FLOATS, axis=1, keepdims=True)
    scores = {
        i: sum(max(float(unit[i * 3 + j] @ unit[q]) for j in range(1 + i % 3)) for q in (30, 31))
        for i in range(200)
    }
    want = sorted(scores, key=lambda i: -scores[i])[:5]
    assert [hit["id"] for hit in hits] == want
    assert [hit["distance"] for hit in hits] == pytest.approx([scores[i] for i in want], rel=1e-4)
    assert len(hits[0]["entity"]["parts"]) == 1 + want[0] % 3
    assert hits[0]["entity"]["parts"][0]["text"] == f"{want[0]}.0"


def test_single_vectors_find_elements(client: MilvusClient, chunks: str) -> None:
    params = {"metric_type": "COSINE"}
    found = client.search(chunks, FLOATS[31:32], anns_field="parts[emb]", limit=3, search_params=params)
    unit = FLOATS / np.linalg.norm(FLOATS, axis=1, keepdims=True)
    near = {(i, j): float(unit[i * 3 + j] @ unit[31]) for i in range(200) for j in range(1 + i % 3)}
    assert [(hit["id"], hit["offset"]) for hit in found[0]] == sorted(near, key=lambda at: -near[at])[:3]
    assert (found[0][0]["id"], found[0][0]["offset"]) == (10, 1)


def test_buckets_count_and_show_their_best(client: MilvusClient, chunks: str) -> None:
    spec = SearchAggregation(
        fields=["brand"],
        size=3,
        metrics={"dear": {"max": "price"}, "n": {"count": "*"}},
        order=[{"_key": "asc"}],
        top_hits=TopHits(size=2, sort=[{"_score": "asc"}]),
        sub_aggregation=SearchAggregation(fields=["year"], size=2),
    )
    found = client.search(
        chunks, [[0.0] * 4], anns_field="v", limit=10, search_aggregation=spec, output_fields=["price"]
    )
    [buckets] = found.agg_buckets
    assert [[one["value"] for one in bucket.key] for bucket in buckets] == [["a"], ["b"], ["c"]]
    for bucket, first in zip(buckets, range(3), strict=True):
        # Two rows of each of two years: of brand a those of rows 0, 3, 12 and 15.
        assert (bucket.count, bucket.metrics["n"], bucket.metrics["dear"]) == (4, 4, first + 15.0)
    assert [hit.pk for hit in buckets[1].hits] == [1, 4]
    assert len(buckets[0].sub_groups) == 2


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (SearchAggregation(["gone"], 2), 'field "gone" not found in schema'),
        (SearchAggregation(["price"], 2), "FLOAT / DOUBLE fields are not supported with search_aggregation"),
        (
            SearchAggregation(["meta"], 2),
            "JSON / dynamic fields are not yet supported with search_aggregation",
        ),
        (
            SearchAggregation(["year"], 2, metrics={"t": {"sum": "meta"}}),
            'invalid metric "t": metric field "meta": JSON',
        ),
        (
            SearchAggregation(["year"], 2, top_hits=TopHits(2, [{"meta": "asc"}])),
            'top_hits.sort field "meta": JSON',
        ),
        (
            SearchAggregation(["year"], 2, top_hits=TopHits(2, [{"meta['a']": "asc"}])),
            "JSON path is not yet supported",
        ),
        (
            SearchAggregation(["year"], 1, sub_aggregation=SearchAggregation(["year"], 1)),
            'duplicated group_by field "year" across levels',
        ),
        (
            SearchAggregation(
                ["year"], 50, sub_aggregation=SearchAggregation(["brand"], 50, top_hits=TopHits(5))
            ),
            "number of search_aggregation result entries is too large",
        ),
    ],
)
def test_buckets_that_milvus_does_not_make_are_refused(
    client: MilvusClient, chunks: str, spec: SearchAggregation, said: str
) -> None:
    with pytest.raises(MilvusException, match=re.escape(said)) as raised:
        client.search(chunks, [[0.0] * 4], anns_field="v", limit=10, search_aggregation=spec)
    assert raised.value.code == 1100


def test_what_does_not_go_with_buckets_is_refused(client: MilvusClient, chunks: str) -> None:
    def refused(said: str, spec: SearchAggregation, data: Any = None, field: str = "v", **how: Any) -> None:
        with pytest.raises(MilvusException, match=re.escape(said)):
            client.search(
                chunks,
                [[0.0] * 4] if data is None else [data],
                anns_field=field,
                limit=10,
                search_aggregation=spec,
                **how,
            )

    deep = SearchAggregation(["year"], 1)
    for name in ("brand", "id", "price", "meta"):
        deep = SearchAggregation([name], 1, sub_aggregation=deep)
    refused("search_aggregation nesting exceeds max 4 levels", deep)
    plain = SearchAggregation(["year"], 2)
    refused("offset is not supported with search_aggregation", plain, search_params={"offset": 1})
    said = "order_by_fields is not supported with search_aggregation"
    refused(said, plain, order_by_fields=[{"field": "year", "order": "asc"}])
    near = {"search_params": {"metric_type": "COSINE"}}
    refused("only group by primary key is supported", plain, FLOATS[0], "parts[emb]", **near)
    refused(
        "only group by primary key is supported",
        SearchAggregation(["id", "year"], 2),
        FLOATS[0],
        "parts[emb]",
        **near,
    )
    with pytest.raises(MilvusException, match="search iterator is not supported with search_aggregation"):
        client.search_iterator(chunks, [[0.0] * 4], anns_field="v", batch_size=5, search_aggregation=plain)


def test_chains_score_sort_and_cut(client: MilvusClient, chunks: str) -> None:
    chain = (
        FunctionChain(FunctionChainStage.L2_RERANK)
        .map("near", fn.decay(col("price"), function="linear", origin=10, scale=10))
        .map("$score", fn.round_decimal(col("near"), decimal=3))
        .sort(col("$score"), desc=True, tie_break_col=col("$id"))
        .limit(3)
    )
    [hits] = client.search(
        chunks, [[0.0] * 4], anns_field="v", limit=30, function_chains=chain, output_fields=["price"]
    )
    assert [hit["id"] for hit in hits] == [10, 9, 11]
    assert hits[0]["distance"] == 1.0
    early = FunctionChain(FunctionChainStage.L0_RERANK).sort(col("$score"))
    with pytest.raises(MilvusException, match="FunctionChainStageL0Rerank is not supported in search"):
        client.search(chunks, [[0.0] * 4], anns_field="v", limit=3, function_chains=early)


def test_decay_ranks_and_json_paths_group(client: MilvusClient, chunks: str) -> None:
    decay = Function(
        name="near",
        input_field_names=["price"],
        function_type=FunctionType.RERANK,
        params={"reranker": "decay", "function": "gauss", "origin": 50, "scale": 5},
    )
    [hits] = client.search(
        chunks, [[50.0, 0, 0, 0]], anns_field="v", limit=5, ranker=decay, output_fields=["price"]
    )
    assert hits[0]["id"] == 50
    [hits] = client.search(
        chunks,
        [[0.0] * 4],
        anns_field="v",
        limit=10,
        group_by_field="meta",
        json_path="/region",
        output_fields=["meta"],
    )
    assert sorted(hit["entity"]["meta"]["region"] for hit in hits) == [f"r{i}" for i in range(5)]


def test_growing_rows_are_ignored_where_asked(client: MilvusClient, chunks: str) -> None:
    key = 999_999
    row = client.get(chunks, [3], output_fields=["*"])[0]
    client.insert(chunks, {**row, "id": key})
    try:
        words = {"anns_field": "v", "limit": 2, "consistency_level": "Strong"}
        [hits] = client.search(chunks, [row["v"]], **words)
        assert {hit["id"] for hit in hits} == {3, key}
        [hits] = client.search(chunks, [row["v"]], search_params={"ignore_growing": True}, **words)
        assert key not in {hit["id"] for hit in hits}
        found = client.query(
            chunks, filter=f"id == {key}", limit=1, ignore_growing=True, consistency_level="Strong"
        )
        assert not found
    finally:
        client.delete(chunks, ids=[key])


async def test_async_clients_search_and_query(address: str, chunks: str) -> None:
    client = AsyncMilvusClient(address)
    [hits] = await client.search(chunks, [[7.0, 0, 0, 0]], anns_field="v", limit=1, output_fields=["brand"])
    assert (hits[0]["id"], hits[0]["entity"]["brand"]) == (7, "b")
    assert [row["id"] for row in await client.query(chunks, filter="id in [4]", output_fields=["id"])] == [4]
    assert await client.query(chunks, output_fields=["count(*)"])
    await client.close()


@pytest.mark.parametrize("metric", ["MAX_SIM_HAMMING", "MAX_SIM_JACCARD"])
@pytest.mark.parametrize("flushed", [False, True])
def test_lists_of_bits_are_matched_late(client: MilvusClient, metric: str, flushed: bool) -> None:
    name = f"c{uuid.uuid4().hex[:8]}"
    bits = RNG.integers(0, 2, size=(120, 16), dtype=np.uint8)
    packed = np.packbits(bits, axis=1)
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=2)
    add_structs(schema, "parts", {"code": (DataType.BINARY_VECTOR, {"dim": 16})})
    index = client.prepare_index_params()
    index.add_index("v", metric_type="L2")
    index.add_index("parts[code]", index_type="BIN_FLAT", metric_type=metric)
    client.create_collection(name, schema=schema, index_params=index)
    parts = {i: range(i * 3, i * 3 + 1 + i % 3) for i in range(40)}
    client.insert(
        name,
        [
            {"id": i, "v": [0.0, i], "parts": [{"code": packed[j].tobytes()} for j in own]}
            for i, own in parts.items()
        ],
    )
    if flushed:
        client.flush(name)

    def apart(one: int, other: int) -> float:
        both, either = (bits[one] & bits[other]).sum(), (bits[one] | bits[other]).sum()
        return float((bits[one] ^ bits[other]).sum()) if metric.endswith("HAMMING") else 1.0 - both / either

    query = EmbeddingList(dtype=np.dtype(np.uint8))
    for row in (5, 70):
        query.add(packed[row])
    [hits] = client.search(name, [query], anns_field="parts[code]", limit=40, consistency_level="Strong")
    want = {i: sum(min(apart(q, j) for j in own) for q in (5, 70)) for i, own in parts.items()}
    assert {hit["id"]: hit["distance"] for hit in hits} == pytest.approx(want, rel=1e-5)
    assert [hit["distance"] for hit in hits] == sorted(hit["distance"] for hit in hits)
    client.drop_collection(name)


def test_lists_are_matched_by_cosine_where_only_max_sim_is_said(client: MilvusClient) -> None:
    name = f"c{uuid.uuid4().hex[:8]}"
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=2)
    add_structs(schema, "parts", {"emb": (DataType.FLOAT_VECTOR, {"dim": DIM})})
    index = client.prepare_index_params()
    index.add_index("v", metric_type="L2")
    index.add_index("parts[emb]", index_type="HNSW", metric_type="MAX_SIM")
    client.create_collection(name, schema=schema, index_params=index)
    client.insert(name, [{"id": i, "v": [0, i], "parts": [{"emb": FLOATS[i].tolist()}]} for i in range(20)])
    query = EmbeddingList()
    query.add(FLOATS[7])
    for words in ({}, {"search_params": {"metric_type": "MAX_SIM"}}):
        [hits] = client.search(name, [query], anns_field="parts[emb]", limit=1, **words)
        assert (hits[0]["id"], hits[0]["distance"]) == (7, pytest.approx(1.0, rel=1e-5))
    client.drop_collection(name)


@pytest.mark.parametrize("hashing", ["xxhash64", "sha1"])
def test_near_duplicates_are_told_by_the_share_of_hashes_that_agree(address: str, hashing: str) -> None:
    client = MilvusClient(address)
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=99)
    schema.add_field("signature", DataType.BINARY_VECTOR, dim=64 * 32)
    params = {"num_hashes": 64, "shingle_size": 3, "token_level": "char", "hash_function": hashing}
    names = {"input_field_names": ["text"], "output_field_names": ["signature"]}
    schema.add_function(Function("near", FunctionType.MINHASH, params=params, **names))
    index = client.prepare_index_params()
    index.add_index(
        "signature", index_type="MINHASH_LSH", metric_type="MHJACCARD", params={"mh_lsh_band": 16}
    )
    name = f"duplicates_{hashing}"
    client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")
    texts = ["nothing like it", "a text that is copied", "a text that was copied"]
    client.insert(name, [{"id": n, "text": text} for n, text in enumerate(texts)])
    for within in ({}, {"mh_search_with_jaccard": False}):
        [hits] = client.search(
            name, texts[1:2], anns_field="signature", search_params={"params": within}, limit=3
        )
        assert [hit["id"] for hit in hits] == [1, 2, 0]
        assert hits[0]["distance"] == 1.0 > hits[1]["distance"] > hits[2]["distance"]
    [hits] = client.search(
        name, texts[1:2], anns_field="signature", search_params={"params": {"radius": 0.3}}
    )
    assert [hit["id"] for hit in hits] == [1, 2]
    client.close()
