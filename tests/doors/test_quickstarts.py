"""The first steps that the documentations of Milvus and LangChain teach, call for call, on the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_milvus import BM25BuiltInFunction, Milvus
from pymilvus import (
    AnnSearchRequest,
    Collection,
    CollectionSchema,
    DataType,
    FieldSchema,
    Function,
    FunctionType,
    MilvusClient,
    RRFRanker,
    WeightedRanker,
    connections,
)
from words import DIM, embed

pytestmark = pytest.mark.usefixtures("brief_waits")

DOCS = [
    "Artificial intelligence became an academic discipline in 1956.",
    "Alan Turing did substantial research in artificial intelligence.",
    "Turing grew up in the south of England.",
]
BIOLOGY = [
    "Machine learning designs drugs.",
    "Algorithms predict the properties of molecules.",
    "DDR1 has a part in cancers and fibrosis.",
]
VECTORS = np.random.default_rng(5).normal(size=(200, 5)).astype(np.float32)
COLORS = ["green", "blue", "yellow", "red", "black"]
QUERY = np.random.default_rng(6).normal(size=5).astype(np.float32)


def cosines(vectors: Any = VECTORS) -> dict[int, float]:
    scores = vectors @ QUERY / np.linalg.norm(vectors, axis=1) / np.linalg.norm(QUERY)
    return dict(enumerate(scores.tolist()))


def nearest(keys: Any, number: int) -> list[int]:
    scores = cosines()
    return sorted(keys, key=lambda key: -scores[key])[:number]


@pytest.fixture
def colored(client: MilvusClient) -> Iterator[str]:
    """A collection of colours, set up quickly."""
    name = f"c{uuid4().hex}"
    client.create_collection(collection_name=name, dimension=5, consistency_level="Strong")
    rows = [
        {"id": key, "vector": VECTORS[key].tolist(), "color": COLORS[key % 5], "likes": key, "docId": key % 7}
        for key in range(len(VECTORS))
    ]
    assert client.insert(collection_name=name, data=rows)["insert_count"] == len(VECTORS)
    yield name
    client.drop_collection(name)


def test_the_quickstart(client: MilvusClient) -> None:
    name = f"demo_{uuid4().hex}"
    if client.has_collection(collection_name=name):
        client.drop_collection(collection_name=name)
    client.create_collection(collection_name=name, dimension=DIM)
    data = [
        {"id": i, "vector": embed(text), "text": text, "subject": "history"} for i, text in enumerate(DOCS)
    ]
    res = client.insert(collection_name=name, data=data)
    assert (res["insert_count"], list(res["ids"])) == (3, [0, 1, 2])
    question = [embed("What did Alan Turing do research in?")]
    res = client.search(collection_name=name, data=question, limit=2, output_fields=["text", "subject"])
    assert res[0][0]["entity"] == {"text": DOCS[1], "subject": "history"}
    data = [
        {"id": 3 + i, "vector": embed(text), "text": text, "subject": "biology"}
        for i, text in enumerate(BIOLOGY)
    ]
    client.insert(collection_name=name, data=data)
    res = client.search(
        collection_name=name,
        data=[embed("algorithms predict molecules")],
        filter="subject == 'biology'",
        limit=2,
        output_fields=["text", "subject"],
    )
    assert [hit["entity"]["subject"] for hit in res[0]] == ["biology"] * 2
    assert res[0][0]["id"] == 4
    rows = client.query(
        collection_name=name, filter="subject == 'history'", output_fields=["text", "subject"]
    )
    assert [row["text"] for row in rows] == DOCS
    rows = client.query(collection_name=name, ids=[0, 2], output_fields=["vector", "text", "subject"])
    assert [len(row["vector"]) for row in rows] == [DIM, DIM]
    assert client.delete(collection_name=name, ids=[0, 2])["delete_count"] == 2
    assert client.delete(collection_name=name, filter="subject == 'biology'")["delete_count"] == 3
    assert [row["id"] for row in client.query(name, filter="id >= 0")] == [1]
    client.drop_collection(collection_name=name)


def test_filtered_search_in_both_its_ways(client: MilvusClient, colored: str) -> None:
    expected = nearest([key for key in range(200) if COLORS[key % 5] == "red" and key > 50], 5)
    for search_params in ({}, {"hints": "iterative_filter"}):
        [hits] = client.search(
            collection_name=colored,
            data=[QUERY.tolist()],
            limit=5,
            filter='color like "red%" and likes > 50',
            output_fields=["color", "likes"],
            search_params=search_params,
        )
        assert [hit["id"] for hit in hits] == expected
    rows = client.query(
        colored,
        filter="color in {colors} and likes < {most}",
        filter_params={"colors": ["red", "blue"], "most": 11},
        output_fields=["color"],
    )
    assert sorted(row["id"] for row in rows) == [1, 3, 6, 8]


def test_range_search(client: MilvusClient, colored: str) -> None:
    params = {"params": {"radius": 0.4, "range_filter": 0.6}}
    [hits] = client.search(colored, data=[QUERY.tolist()], limit=100, search_params=params)
    expected = [key for key, score in cosines().items() if 0.4 < score <= 0.6]
    assert [hit["id"] for hit in hits] == nearest(expected, 100)


def test_grouping_search(client: MilvusClient, colored: str) -> None:
    order = nearest(range(200), 200)
    [hits] = client.search(
        colored, data=[QUERY.tolist()], limit=3, group_by_field="docId", output_fields=["docId"]
    )
    groups = list(dict.fromkeys(key % 7 for key in order))
    assert [hit["entity"]["docId"] for hit in hits] == groups[:3]
    [hits] = client.search(
        collection_name=colored,
        data=[QUERY.tolist()],
        limit=5,
        group_by_field="docId",
        group_size=2,
        strict_group_size=True,
        output_fields=["docId"],
    )
    found = [hit["entity"]["docId"] for hit in hits]
    assert {group: found.count(group) for group in found} == dict.fromkeys(groups[:5], 2)


def test_iterators(client: MilvusClient, colored: str) -> None:
    iterator = client.search_iterator(
        collection_name=colored, data=[QUERY.tolist()], batch_size=50, output_fields=["color"], limit=120
    )
    found = []
    while result := iterator.next():
        found += [hit["id"] for hit in result]
    iterator.close()
    assert found == nearest(range(200), 120)
    rows = client.query_iterator(colored, filter='color like "bl%"', batch_size=10, output_fields=["color"])
    keys = []
    while batch := rows.next():
        keys += [row["id"] for row in batch]
    rows.close()
    assert keys == [key for key in range(200) if key % 5 in (1, 4)]


def test_full_text_search(client: MilvusClient) -> None:
    name = f"texts_{uuid4().hex}"
    schema = client.create_schema()
    schema.add_field(field_name="id", datatype=DataType.INT64, is_primary=True, auto_id=True)
    schema.add_field(field_name="text", datatype=DataType.VARCHAR, max_length=1000, enable_analyzer=True)
    schema.add_field(field_name="sparse", datatype=DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(
        Function(
            name="text_bm25_emb",
            input_field_names=["text"],
            output_field_names=["sparse"],
            function_type=FunctionType.BM25,
        )
    )
    index_params = client.prepare_index_params()
    index_params.add_index(
        field_name="sparse",
        index_type="SPARSE_INVERTED_INDEX",
        metric_type="BM25",
        params={"inverted_index_algo": "DAAT_MAXSCORE", "bm25_k1": 1.2, "bm25_b": 0.75},
    )
    client.create_collection(collection_name=name, schema=schema, index_params=index_params)
    client.insert(
        name,
        [
            {"text": "information retrieval is a field of study."},
            {"text": "information retrieval finds what is relevant in large collections."},
            {"text": "data mining and machine learning overlap."},
        ],
    )
    res = client.search(
        collection_name=name,
        data=["whats the focus of information retrieval in collections?"],
        anns_field="sparse",
        output_fields=["text"],
        limit=3,
        search_params={"params": {"level": 10}},
    )
    assert [hit["entity"]["text"].split()[0] for hit in res[0]] == ["information", "information"]
    assert "collections" in res[0][0]["entity"]["text"]
    client.drop_collection(name)


def test_hybrid_search(client: MilvusClient) -> None:
    name = f"hybrid_{uuid4().hex}"
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=1000, enable_analyzer=True)
    schema.add_field("text_dense", DataType.FLOAT_VECTOR, dim=DIM)
    schema.add_field("text_sparse", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_field("image_dense", DataType.FLOAT_VECTOR, dim=5)
    schema.add_function(Function("bm25", FunctionType.BM25, ["text"], ["text_sparse"]))
    index_params = client.prepare_index_params()
    index_params.add_index(
        "text_dense", index_name="text_dense_index", index_type="AUTOINDEX", metric_type="IP"
    )
    index_params.add_index("image_dense", index_name="image_index", index_type="AUTOINDEX", metric_type="IP")
    index_params.add_index("text_sparse", index_name="sparse_index", index_type="SPARSE_INVERTED_INDEX",
                           metric_type="BM25", params={"inverted_index_algo": "DAAT_MAXSCORE"})  # fmt: skip
    client.create_collection(name, schema=schema, index_params=index_params, consistency_level="Strong")
    texts = DOCS + BIOLOGY
    client.insert(
        name,
        [
            {"id": i, "text": text, "text_dense": embed(text), "image_dense": VECTORS[i].tolist()}
            for i, text in enumerate(texts)
        ],
    )
    question = "research in artificial intelligence"
    reqs = [
        AnnSearchRequest(data=[embed(question)], anns_field="text_dense", param={"nprobe": 10}, limit=2),
        AnnSearchRequest(data=[question], anns_field="text_sparse", param={}, limit=2),
        AnnSearchRequest(data=[VECTORS[1].tolist()], anns_field="image_dense", param={"nprobe": 10}, limit=2),
    ]
    ranker = Function(
        name="rrf",
        input_field_names=[],
        function_type=FunctionType.RERANK,
        params={"reranker": "rrf", "k": 100},
    )
    scores: dict[int, float] = {}
    for req in reqs:
        [leg] = client.search(name, req.data, anns_field=req.anns_field, limit=2)
        for place, hit in enumerate(leg, 1):
            scores[hit["id"]] = scores.get(hit["id"], 0) + 1 / (100 + place)
    for one in (ranker, RRFRanker(100)):
        [hits] = client.hybrid_search(collection_name=name, reqs=reqs, ranker=one, limit=2)
        assert hits[0]["id"] == 1
        assert [hit["distance"] for hit in hits] == pytest.approx(sorted(scores.values())[::-1][:2], abs=1e-6)
    client.drop_collection(name)


@pytest.mark.filterwarnings("ignore:.*is an ORM-style PyMilvus API")
def test_the_same_with_the_orm(address: str) -> None:
    connections.connect("quick", uri=str(address))
    fields = [
        FieldSchema(name="film_id", dtype=DataType.INT64, is_primary=True),
        FieldSchema(name="filmVector", dtype=DataType.FLOAT_VECTOR, dim=5),
        FieldSchema(name="posterVector", dtype=DataType.FLOAT_VECTOR, dim=5),
    ]
    schema = CollectionSchema(fields=fields, enable_dynamic_field=False)
    collection = Collection(
        name=f"films_{uuid4().hex}", schema=schema, using="quick", consistency_level="Strong"
    )
    index_params = {"metric_type": "L2", "index_type": "IVF_FLAT", "params": {"nlist": 128}}
    collection.create_index("filmVector", index_params)
    collection.create_index("posterVector", index_params)
    collection.insert(
        [
            {"film_id": i, "filmVector": VECTORS[i].tolist(), "posterVector": VECTORS[-i - 1].tolist()}
            for i in range(200)
        ]
    )
    collection.load()
    reqs = [
        AnnSearchRequest([QUERY.tolist()], field, {"metric_type": "L2", "params": {"nprobe": 128}}, limit=10)
        for field in ("filmVector", "posterVector")
    ]
    [hits] = collection.hybrid_search(reqs, WeightedRanker(1.0, 0.0), limit=2)
    order = np.argsort(((VECTORS - QUERY) ** 2).sum(1))
    assert [hit.id for hit in hits] == order[:2].tolist()
    iterator = collection.search_iterator(
        data=[QUERY.tolist()],
        anns_field="filmVector",
        batch_size=10,
        param={"metric_type": "L2", "params": {"nprobe": 128}},
        limit=30,
    )
    found = []
    while result := iterator.next():
        found += result.ids()
    iterator.close()
    assert found == order[:30].tolist()
    rows = collection.query_iterator(batch_size=10, expr="film_id < 25", output_fields=["film_id"])
    keys = []
    while batch := rows.next():
        keys += [row["film_id"] for row in batch]
    rows.close()
    assert keys == list(range(25))
    collection.drop()
    connections.disconnect("quick")


def test_partition_keys(client: MilvusClient) -> None:
    name = f"tenants_{uuid4().hex}"
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=5)
    schema.add_field(
        field_name="my_varchar", datatype=DataType.VARCHAR, max_length=512, is_partition_key=True
    )
    index_params = client.prepare_index_params()
    index_params.add_index(
        "vector", index_type="HNSW", metric_type="COSINE", params={"M": 16, "efConstruction": 64}
    )
    client.create_collection(
        collection_name=name,
        schema=schema,
        index_params=index_params,
        num_partitions=8,
        properties={"partitionkey.isolation": True},
        consistency_level="Strong",
    )
    client.insert(
        name,
        [{"id": i, "vector": VECTORS[i].tolist(), "my_varchar": f"tenant {i % 10}"} for i in range(200)],
    )
    [hits] = client.search(name, [QUERY.tolist()], filter='my_varchar == "tenant 3"', limit=5)
    assert [hit["id"] for hit in hits] == nearest(range(3, 200, 10), 5)
    client.drop_collection(name)


# -- LangChain ------------------------------------------------------------------------------------------------------


class Words(Embeddings):
    """Embeds without a model."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [embed(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return embed(text)


NOTES = [
    Document(
        page_content="I had chocolate chip pancakes and scrambled eggs for breakfast",
        metadata={"source": "tweet"},
    ),
    Document(
        page_content="The weather forecast for tomorrow is cloudy and overcast", metadata={"source": "news"}
    ),
    Document(page_content="LangGraph builds stateful agents and graphs", metadata={"source": "tweet"}),
    Document(page_content="The stock market is down today", metadata={"source": "news"}),
    Document(page_content="I have a bad feeling about eggs and pancakes", metadata={"source": "website"}),
]


@pytest.fixture
def store(address: str, request: pytest.FixtureRequest) -> Iterator[Milvus]:
    made = Milvus(
        embedding_function=Words(),
        collection_name=f"c{uuid4().hex}",
        connection_args={"uri": str(address)},
        consistency_level="Strong",
        **getattr(request, "param", {}),
    )
    made.add_documents(documents=NOTES, ids=[str(number) for number in range(len(NOTES))])
    yield made
    made.client.close()


def test_langchain_searches_with_filters_and_scores(store: Milvus) -> None:
    [found] = store.similarity_search("pancakes for breakfast", k=1, expr='source == "tweet"')
    assert found.page_content == NOTES[0].page_content
    assert found.metadata["source"] == "tweet"
    scored = store.similarity_search_with_score("will it be cloudy tomorrow", k=2, expr='source == "news"')
    assert [document.metadata["source"] for document, _ in scored] == ["news", "news"]
    assert scored[0][0].page_content == NOTES[1].page_content
    retriever = store.as_retriever(search_type="mmr", search_kwargs={"k": 2})
    assert retriever.invoke("stateful agents")[0].page_content == NOTES[2].page_content
    assert store.delete(ids=["0"]) is True
    assert store.similarity_search("chocolate chip breakfast", k=1)[0].metadata["pk"] != "0"
    assert store.get_pks('source == "news"') == ["1", "3"]
    store.upsert(
        ids=["3"], documents=[Document(page_content="The market is up", metadata={"source": "news"})]
    )
    assert store.similarity_search("market", k=1)[0].page_content == "The market is up"


@pytest.mark.parametrize(
    "store",
    [{"builtin_function": BM25BuiltInFunction(), "vector_field": ["dense", "sparse"]}],
    indirect=True,
)
def test_langchain_searches_by_words_and_meaning(store: Milvus) -> None:
    for params in ({"reranker": "weighted", "weights": [0.6, 0.4]}, {"reranker": "rrf", "k": 100}):
        reranker = Function("r", FunctionType.RERANK, [], params=params)
        found = store.similarity_search("bad feeling", k=1, reranker=reranker)
        assert found[0].page_content == NOTES[4].page_content


@pytest.mark.parametrize("store", [{"partition_key_field": "source"}], indirect=True)
async def test_langchain_keeps_tenants_apart(store: Milvus) -> None:
    retriever = store.as_retriever(search_kwargs={"expr": 'source == "website"', "k": 5})
    assert [one.page_content for one in await retriever.ainvoke("pancakes")] == [NOTES[4].page_content]
