"""LlamaIndex's `MilvusVectorStore` as it is, the calls of its documentation, against the server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.core.vector_stores.types import VectorStoreQueryMode
from llama_index.vector_stores.milvus import MilvusVectorStore
from llama_index.vector_stores.milvus.utils import BM25BuiltInFunction
from words import DIM, embed

pytestmark = pytest.mark.usefixtures("brief_waits")

FILMS = {
    "The Shawshank Redemption": (1994, "drama", "a banker finds hope in prison"),
    "The Godfather": (1972, "crime", "the ageing patriarch of a crime family hands over control"),
    "Inception": (2010, "science fiction", "a thief who steals secrets from dreams"),
    "To Kill a Mockingbird": (1960, "drama", "a lawyer defends an innocent man"),
    "Harry Potter": (2001, "fantasy", "an orphan learns that he is a wizard"),
}


def films() -> list[TextNode]:
    return [
        TextNode(
            id_=title,
            text=text,
            metadata={"title": title, "year": year, "genre": genre},
            embedding=embed(text),
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"doc {title}")},
        )
        for title, (year, genre, text) in FILMS.items()
    ]


@pytest.fixture
async def store(address: str, request: pytest.FixtureRequest) -> AsyncIterator[MilvusVectorStore]:
    options: dict[str, Any] = getattr(request, "param", {})
    made = MilvusVectorStore(
        uri=str(address),
        collection_name=f"c{uuid4().hex}",
        dim=DIM,
        overwrite=True,
        consistency_level="Strong",
        **options,
    )
    yield made
    made.client.close()
    await made.aclient.close()


def asking(text: str, filters: MetadataFilters | None = None, **more: Any) -> VectorStoreQuery:
    return VectorStoreQuery(
        query_embedding=embed(text), query_str=text, similarity_top_k=2, filters=filters, **more
    )


def only(*conditions: tuple[str, FilterOperator, Any], any_of: bool = False) -> MetadataFilters:
    return MetadataFilters(
        filters=[MetadataFilter(key=key, operator=op, value=value) for key, op, value in conditions],
        condition=FilterCondition.OR if any_of else FilterCondition.AND,
    )


@pytest.mark.filterwarnings("ignore:The specified `sparse_embedding_function`")
async def test_nodes_are_added_found_and_deleted(store: MilvusVectorStore) -> None:
    assert store.add(films()) == list(FILMS)
    found = store.query(asking("a wizard and an orphan"))
    assert found.ids[0] == "Harry Potter"
    assert found.nodes[0].metadata == {"title": "Harry Potter", "year": 2001, "genre": "fantasy"}
    assert found.nodes[0].text == FILMS["Harry Potter"][2]
    assert found.similarities[0] > found.similarities[1]
    store.delete("doc Harry Potter")
    assert "Harry Potter" not in store.query(asking("a wizard and an orphan")).ids
    store.delete_nodes(["Inception"])
    assert {node.node_id for node in store.get_nodes(filters=only(("year", FilterOperator.GT, 0)))} == {
        "The Shawshank Redemption",
        "The Godfather",
        "To Kill a Mockingbird",
    }
    store.clear()
    assert store.client.has_collection(store.collection_name) is False


async def test_the_same_with_the_asynchronous_client(store: MilvusVectorStore) -> None:
    assert await store.async_add(films()) == list(FILMS)
    assert (await store.aquery(asking("steals secrets from dreams"))).ids[0] == "Inception"
    await store.adelete("doc Inception")
    await store.adelete_nodes(["The Godfather"])
    left = {node.node_id for node in await store.aget_nodes(filters=only(("year", FilterOperator.GT, 0)))}
    assert left == {"The Shawshank Redemption", "To Kill a Mockingbird", "Harry Potter"}
    await store.aclear()


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (only(("year", FilterOperator.GT, 1994)), {"Inception", "Harry Potter"}),
        (only(("year", FilterOperator.LTE, 1972)), {"The Godfather", "To Kill a Mockingbird"}),
        (only(("title", FilterOperator.EQ, "The Godfather")), {"The Godfather"}),
        (
            only(("genre", FilterOperator.NE, "drama"), ("year", FilterOperator.LT, 2005)),
            {"The Godfather", "Harry Potter"},
        ),
        (only(("genre", FilterOperator.IN, ["fantasy", "crime"])), {"The Godfather", "Harry Potter"}),
        (only(("genre", FilterOperator.NIN, ["drama", "crime"])), {"Inception", "Harry Potter"}),
        (
            only(("year", FilterOperator.EQ, 1960), ("genre", FilterOperator.EQ, "crime"), any_of=True),
            {"To Kill a Mockingbird", "The Godfather"},
        ),
        (only(("title", FilterOperator.TEXT_MATCH, "The")), {"The Godfather", "The Shawshank Redemption"}),
    ],
)
async def test_metadata_filters(
    store: MilvusVectorStore, filters: MetadataFilters, expected: set[str]
) -> None:
    store.add(films())
    assert set(store.query(asking("a", filters)).ids) == expected


async def test_a_filter_in_milvuss_own_words(store: MilvusVectorStore) -> None:
    store.add(films())
    found = store.query(asking("a"), string_expr="title like '%Potter%' or year == 2010")
    assert set(found.ids) == {"Harry Potter", "Inception"}


async def test_mmr_spreads_the_answer(store: MilvusVectorStore) -> None:
    store.add(films())
    found = store.query(asking("a wizard", mode=VectorStoreQueryMode.MMR))
    assert found.ids[0] == "Harry Potter"
    assert len(set(found.ids)) == 2


HYBRID = {
    "enable_sparse": True,
    "sparse_embedding_function": BM25BuiltInFunction(),
    "hybrid_ranker": "RRFRanker",
    "hybrid_ranker_params": {"k": 60},
}


@pytest.mark.parametrize("store", [HYBRID], indirect=True)
async def test_hybrid_search_with_bm25(store: MilvusVectorStore) -> None:
    store.add(films())
    query = asking("the patriarch of a crime family", mode=VectorStoreQueryMode.HYBRID)
    assert store.query(query).ids[0] == "The Godfather"
    assert (await store.aquery(query)).ids[0] == "The Godfather"
    sparse = asking("lawyer", mode=VectorStoreQueryMode.SPARSE)
    assert store.query(sparse).ids == ["To Kill a Mockingbird"]


@pytest.mark.parametrize("store", [{"upsert_mode": True}], indirect=True)
async def test_upsert_mode_replaces(store: MilvusVectorStore) -> None:
    store.add(films())
    store.add(
        [TextNode(id_="Inception", text="dreams again", metadata={"year": 2011}, embedding=embed("dreams"))]
    )
    found = store.get_nodes(filters=only(("year", FilterOperator.GTE, 2010)))
    assert [(node.node_id, node.text) for node in found] == [("Inception", "dreams again")]


class Words(BaseEmbedding):
    """Embeds without a model."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return embed(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return embed(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return embed(query)


async def test_an_index_over_documents(store: MilvusVectorStore) -> None:
    documents = [Document(text=text, metadata={"title": title}) for title, (_, _, text) in FILMS.items()]
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex.from_documents(documents, storage_context=context, embed_model=Words())
    [found] = index.as_retriever(similarity_top_k=1).retrieve("an innocent man and a lawyer")
    assert found.metadata["title"] == "To Kill a Mockingbird"
    again = VectorStoreIndex.from_vector_store(store, embed_model=Words())
    filters = only(("title", FilterOperator.EQ, "Inception"))
    [filtered] = await again.as_retriever(filters=filters).aretrieve("a lawyer")
    assert filtered.metadata["title"] == "Inception"
