"""LangChain's own tests of vector stores, through `langchain-milvus` as it is, and through one that keeps ids.

`langchain-milvus` gives documents back without their ids (it puts the key among the metadata) and has no `get_by_ids`,
so that 18 of the 25 tests fail with it on every server; each is named here and must go on failing in just that way.
A subclass that mends the two shows that the server does the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.documents import Document
from langchain_milvus import Milvus
from langchain_tests.integration_tests import VectorStoreIntegrationTests

pytestmark = [
    # Of the adapter: it was given no ids, and lets the server make them.
    pytest.mark.filterwarnings("ignore:No ids provided and auto_id is False"),
    pytest.mark.usefixtures("brief_waits"),
]

WITHOUT_IDS = {
    "test_add_documents",
    "test_deleting_documents",
    "test_deleting_bulk_documents",
    "test_add_documents_with_ids_is_idempotent",
    "test_add_documents_by_id_with_mutation",
    "test_add_documents_with_existing_ids",
}
"""Fail because the adapter's documents have no ids."""

WITHOUT_GET = {"test_get_by_ids", "test_get_by_ids_missing", "test_add_documents_documents"}
"""Fail because the adapter has no `get_by_ids`."""


class TestAdapterAsItIs(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, address: str, request: pytest.FixtureRequest) -> Iterator[Milvus]:  # type: ignore[override]
        test = request.node.name.removesuffix("_async")
        if test in WITHOUT_IDS:
            reason = "the adapter gives documents back without their ids"
            request.applymarker(pytest.mark.xfail(reason=reason, raises=AssertionError, strict=True))
        if test in WITHOUT_GET:
            reason = "the adapter has no get_by_ids"
            request.applymarker(pytest.mark.xfail(reason=reason, raises=NotImplementedError, strict=True))
        yield from store(Milvus, address, self.get_embeddings())


class MilvusWithIds(Milvus):
    """The adapter, with ids on its documents."""

    def add_documents(self, documents: list[Document], **options: Any) -> list[str]:
        keys = _keys(documents, options)
        if self.col is not None:
            self.delete(keys)
        return super().add_documents(documents, ids=keys, **options)

    async def aadd_documents(self, documents: list[Document], **options: Any) -> list[str]:
        keys = _keys(documents, options)
        if self.col is not None:
            await self.adelete(keys)
        return await super().aadd_documents(documents, ids=keys, **options)

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        found = self.client.get(self.collection_name, list(ids)) if self.col is not None else []
        return [self._parse_document(row) for row in found]

    def _parse_document(self, data: dict[str, Any]) -> Document:
        key = data.pop(self._primary_field)
        document = super()._parse_document(data)
        document.id = key
        return document


def _keys(documents: list[Document], options: dict[str, Any]) -> list[str]:
    given = options.pop("ids", None) or [document.id for document in documents]
    return [key or uuid4().hex for key in given]


class TestAdapterWithIds(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, address: str) -> Iterator[Milvus]:  # type: ignore[override]
        yield from store(MilvusWithIds, address, self.get_embeddings())


def store(kind: type[Milvus], address: str, embeddings: Any, **options: Any) -> Iterator[Milvus]:
    """A vector store without documents."""
    made = kind(
        embeddings,
        collection_name=f"c{uuid4().hex}",
        connection_args={"uri": str(address)},
        consistency_level="Strong",
        enable_dynamic_field=True,
        **options,
    )
    yield made
    made.client.close()
