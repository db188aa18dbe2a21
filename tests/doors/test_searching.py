"""Searching through an unmodified client: every word of a search does what it says, against exact answers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import numpy as np
import pytest
from pymilvus import (
    AnnSearchRequest,
    DataType,
    Function,
    FunctionScore,
    FunctionType,
    LexicalHighlighter,
    MilvusClient,
    MilvusException,
    RRFRanker,
    WeightedRanker,
)

DIM, ROWS = 16, 2_000
RNG = np.random.default_rng(5)
VECTORS = RNG.normal(size=(ROWS, DIM)).astype(np.float32)
COLOURS = ["red", "green", "blue", "black"]
WORDS = ["lake", "river", "delta", "spring", "brook"]


def row(number: int) -> dict:
    return {
        "id": number,
        "vector": VECTORS[number].tolist(),
        "colour": COLOURS[number % 4],
        "price": float(number % 100),
        "text": f"{WORDS[number % 5]} {WORDS[(number // 5) % 5]} number {number}",
        "extra": {"k": number % 7},
        "free": number % 3,
    }


@pytest.fixture(scope="module")
def name(address: str) -> Iterator[str]:
    client = MilvusClient(address)
    name = f"c{uuid.uuid4().hex[:8]}"
    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    schema.add_field("colour", DataType.VARCHAR, max_length=20)
    schema.add_field("price", DataType.DOUBLE)
    schema.add_field("text", DataType.VARCHAR, max_length=200, enable_analyzer=True, enable_match=True)
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_field("extra", DataType.JSON)
    schema.add_function(Function("bm25", FunctionType.BM25, ["text"], ["sparse"]))
    index = client.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="L2")
    index.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
    client.create_collection(name, schema=schema, index_params=index)
    client.insert(name, [row(number) for number in range(ROWS)])
    yield name
    client.drop_collection(name)
    client.close()


def exact(query: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    distances = ((VECTORS - query) ** 2).sum(axis=1)
    if mask is not None:
        distances[~mask] = np.inf
    return np.argsort(distances, kind="stable")


QUERIES = RNG.normal(size=(3, DIM)).astype(np.float32)


def search(client: MilvusClient, name: str, **words):
    words.setdefault("data", QUERIES)
    words.setdefault("anns_field", "vector")
    return client.search(name, **words)


def test_hits_are_the_nearest_with_their_fields(client: MilvusClient, name: str) -> None:
    found = search(client, name, limit=5, output_fields=["colour", "extra", "free", "vector"])
    for query, hits in zip(QUERIES, found, strict=True):
        want = exact(query)[:5].tolist()
        assert [hit["id"] for hit in hits] == want
        for hit in hits:
            entity = hit["entity"]
            assert entity["colour"] == COLOURS[hit["id"] % 4]
            assert entity["extra"] == {"k": hit["id"] % 7}
            assert entity["free"] == hit["id"] % 3
            np.testing.assert_array_equal(np.float32(entity["vector"]), VECTORS[hit["id"]])
            assert hit["distance"] == pytest.approx(((VECTORS[hit["id"]] - query) ** 2).sum(), rel=1e-4)


def test_filters_with_templates_select(client: MilvusClient, name: str) -> None:
    words = {"filter": "colour == {c} and price < {p}", "filter_params": {"c": "red", "p": 50}}
    [hits] = search(client, name, data=QUERIES[:1], limit=7, **words)
    mask = np.array([number % 4 == 0 and number % 100 < 50 for number in range(ROWS)])
    assert [hit["id"] for hit in hits] == exact(QUERIES[0], mask)[:7].tolist()


def test_pages_join_without_gap_or_repeat(client: MilvusClient, name: str) -> None:
    pages = [
        [hit["id"] for hit in search(client, name, data=QUERIES[:1], limit=4, offset=offset)[0]]
        for offset in (0, 4, 8)
    ]
    assert [one for page in pages for one in page] == exact(QUERIES[0])[:12].tolist()


def test_range_search_keeps_the_band(client: MilvusClient, name: str) -> None:
    band = {"params": {"radius": 20.0, "range_filter": 12.0}}
    [hits] = search(client, name, data=QUERIES[:1], limit=1000, search_params=band)
    distances = ((VECTORS - QUERIES[0]) ** 2).sum(axis=1)
    assert sorted(hit["id"] for hit in hits) == np.flatnonzero((distances < 20) & (distances >= 12)).tolist()


def test_a_range_from_zero_has_the_vector_itself(client: MilvusClient, name: str) -> None:
    near = {"params": {"radius": 1e6, "range_filter": 0.0}}
    found = search(client, name, data=VECTORS[:60], limit=2, search_params=near)
    assert [hits[0]["id"] for hits in found] == list(range(60))
    assert min(hits[0]["distance"] for hits in found) >= 0


def test_search_by_ids_is_search_by_their_vectors(client: MilvusClient, name: str) -> None:
    found = client.search(name, ids=[3, 8], anns_field="vector", limit=3)
    assert [hits[0]["id"] for hits in found] == [3, 8]
    assert [hit["id"] for hit in found[1]] == exact(VECTORS[8])[:3].tolist()


def test_groups_count_once(client: MilvusClient, name: str) -> None:
    [hits] = search(
        client, name, data=QUERIES[:1], limit=4, group_by_field="colour", output_fields=["colour"]
    )
    assert sorted(hit["entity"]["colour"] for hit in hits) == sorted(COLOURS)
    [hits] = search(
        client, name, data=QUERIES[:1], limit=4, group_by_field="colour", group_size=2, strict_group_size=True
    )
    assert len(hits) == 8


def test_groups_by_two_fields(client: MilvusClient, name: str) -> None:
    words = {"group_by_fields": ["colour", "free"], "output_fields": ["colour", "free"]}
    [hits] = search(client, name, data=QUERIES[:1], limit=12, **words)
    assert len({(hit["entity"]["colour"], hit["entity"]["free"]) for hit in hits}) == 12


def test_hints_are_known_by_name(client: MilvusClient, name: str) -> None:
    plain = search(client, name, limit=5, filter="price < 20")
    hinted = search(client, name, limit=5, filter="price < 20", search_params={"hints": "iterative_filter"})
    assert [[hit["id"] for hit in hits] for hits in hinted] == [[hit["id"] for hit in hits] for hits in plain]
    with pytest.raises(MilvusException, match="hints 'faster' is unknown"):
        search(client, name, limit=5, search_params={"hints": "faster"})


def test_recall_calculation_is_refused(client: MilvusClient, name: str) -> None:
    with pytest.raises(MilvusException, match="enable_recall_calculation is no parameter of any index type"):
        search(client, name, limit=5, search_params={"params": {"enable_recall_calculation": True}})


@pytest.mark.parametrize("level", ["Strong", "Session", "Bounded", "Eventually"])
def test_every_level_of_consistency_reads(client: MilvusClient, name: str, level: str) -> None:
    key = 50_000 + len(level)
    client.insert(name, [{**row(1), "id": key}])
    try:
        words = {"consistency_level": level, "limit": 1, "filter": f"id == {key}"}
        [hits] = search(client, name, data=QUERIES[:1], **words)
        assert [hit["id"] for hit in hits] == [key]
    finally:
        client.delete(name, ids=[key])
    [hits] = search(
        client, name, data=QUERIES[:1], limit=1, filter=f"id == {key}", consistency_level="Strong"
    )
    assert hits == []


def test_order_by_and_rounding(client: MilvusClient, name: str) -> None:
    [hits] = search(
        client,
        name,
        data=QUERIES[:1],
        limit=10,
        order_by_fields=[{"field": "price", "order": "desc"}],
        output_fields=["price"],
        round_decimal=2,
    )
    prices = [hit["entity"]["price"] for hit in hits]
    assert prices == sorted(prices, reverse=True)
    assert {hit["id"] for hit in hits} == set(exact(QUERIES[0])[:10].tolist())
    assert all(hit["distance"] == pytest.approx(round(hit["distance"], 2), abs=1e-5) for hit in hits)


def test_text_is_searched_and_highlighted(client: MilvusClient, name: str) -> None:
    [hits] = client.search(
        name,
        data=["delta spring"],
        anns_field="sparse",
        limit=5,
        output_fields=["text"],
        highlighter=LexicalHighlighter(pre_tags=["<b>"], post_tags=["</b>"], highlight_search_text=True),
    )
    assert len(hits) == 5
    for hit in hits:
        assert hit["distance"] > 0
        assert {"delta", "spring"} <= set(hit["entity"]["text"].split())
        assert "<b>delta</b>" in hit["highlight"]["text"]["fragments"][0]


@pytest.mark.parametrize("ranker", [RRFRanker(), WeightedRanker(0.5, 0.5)])
def test_hybrid_search_joins_both_legs(client: MilvusClient, name: str, ranker: object) -> None:
    legs = [
        AnnSearchRequest(QUERIES[:1], "vector", {"metric_type": "L2"}, limit=10),
        AnnSearchRequest(["river brook"], "sparse", {}, limit=10, expr="price < 90"),
    ]
    [hits] = client.hybrid_search(name, legs, ranker, limit=20, output_fields=["text", "price"])
    nearest = set(exact(QUERIES[0])[:10].tolist())
    others = [hit for hit in hits if hit["id"] not in nearest]
    assert nearest <= {hit["id"] for hit in hits}
    assert others
    assert all({"river", "brook"} <= set(hit["entity"]["text"].split()) for hit in others)
    scores = [hit["distance"] for hit in hits]
    assert scores == sorted(scores, reverse=True)


def test_declared_boosts_score_anew(client: MilvusClient, name: str) -> None:
    boost = Function(
        name="cheap",
        input_field_names=[],
        function_type=FunctionType.RERANK,
        params={"reranker": "boost", "filter": "price < 10", "weight": 0.01},
    )
    [plain] = search(client, name, data=QUERIES[:1], limit=200, output_fields=["price"])
    score = FunctionScore(functions=[boost], params={"boost_mode": "multiply"})
    [hits] = search(client, name, data=QUERIES[:1], limit=200, ranker=score, output_fields=["price"])
    cheap = [hit["id"] for hit in plain if hit["entity"]["price"] < 10]
    assert [hit["id"] for hit in hits][: len(cheap)] == cheap


@pytest.mark.parametrize("batch_size", [7, 300])
def test_search_iterators_bring_every_row_once_in_order(
    client: MilvusClient, name: str, batch_size: int
) -> None:
    iterator = client.search_iterator(
        name, QUERIES[:1], batch_size=batch_size, limit=700, anns_field="vector", output_fields=["price"]
    )
    found = []
    while batch := iterator.next():
        found += [hit["id"] for hit in batch]
    iterator.close()
    assert found == exact(QUERIES[0])[:700].tolist()


def test_an_iterator_goes_on_where_it_was_forgotten(client: MilvusClient, name: str, backend) -> None:
    iterator = client.search_iterator(name, QUERIES[:1], batch_size=50, limit=200, anns_field="vector")
    found = []
    while batch := iterator.next():
        backend.iterators._held.clear()
        found += [hit["id"] for hit in batch]
    assert found == exact(QUERIES[0])[:200].tolist()


WRONG = [
    ({"limit": 16385}, "topk [16385] is invalid, it should be in range [1, 16384], but got 16385"),
    ({"limit": 10, "offset": 16380}, "offset+topk [16390] is invalid"),
    ({"limit": 10, "anns_field": "nothing"}, "fieldName(nothing) not found"),
    (
        {"limit": 10, "anns_field": ""},
        "multiple anns_fields exist, please specify a anns_field in search_params",
    ),
    ({"limit": 10, "anns_field": "price"}, "is not of vector data type"),
    ({"limit": 10, "filter": "price >"}, "failed to create query plan: cannot parse expression: price >"),
    (
        {"limit": 10, "data": [[1.0, 2.0]]},
        "vector dimension mismatch, expected vector size(byte) 64, actual 8.",
    ),
    ({"limit": 10, "partition_names": ["nowhere"]}, "partition name nowhere not found"),
    ({"limit": 10, "output_fields": ["a b"]}, "parse output field name failed: a b: invalid parameter"),
    ({"limit": 10, "output_fields": ["sparse"]}, "not allowed to retrieve raw data of field sparse"),
    ({"limit": 10, "group_by_field": "price"}, "unsupported data type DOUBLE for group by operator"),
    (
        {"limit": 10, "search_params": {"metric_type": "IP"}},
        "metric type not match: invalid parameter[expected=L2]",
    ),
    ({"limit": 10, "search_params": {"params": {"nprob": 3}}}, "nprob is no parameter of any index type"),
    ({"limit": 10, "highlighter": LexicalHighlighter()}, "highlight"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[next(reversed(words)) for words, _ in WRONG])
def test_what_is_wrong_is_said_in_milvus_words(
    client: MilvusClient, name: str, words: dict, message: str
) -> None:
    with pytest.raises(MilvusException) as raised:
        search(client, name, **words)
    assert message in raised.value.message
    assert raised.value.code in (1100, 65535)


def test_a_missing_collection_is_code_100(client: MilvusClient) -> None:
    with pytest.raises(MilvusException, match="collection=nowhere") as raised:
        client.search("nowhere", data=QUERIES, anns_field="vector", limit=3)
    assert raised.value.code == 100
