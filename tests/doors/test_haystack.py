"""Haystack's own tests of document stores, through `milvus-haystack` as it is.

What the adapter does not do on any server is named here with the reason, and must go on failing in just that way.
"""

from __future__ import annotations

from uuid import uuid4

import numpy as np
import pytest
from haystack import Document
from haystack.errors import FilterError
from haystack.testing.document_store import DocumentStoreBaseExtendedTests
from milvus_haystack import MilvusDocumentStore

pytestmark = pytest.mark.usefixtures("brief_waits")

MISSING_METHOD = (
    "the adapter has no method for it",
    AttributeError,
    "test_delete_all_documents test_delete_all_documents_empty_store"
    " test_delete_all_documents_without_recreate_index test_delete_all_documents_with_recreate_index"
    " test_delete_by_filter test_delete_by_filter_no_matches test_delete_by_filter_advanced_filters"
    " test_update_by_filter test_update_by_filter_no_matches test_update_by_filter_multiple_fields"
    " test_update_by_filter_advanced_filters",
)
NONE_IN_FILTERS = (
    "the adapter refuses None in filters",
    FilterError,
    "test_comparison_equal_with_none test_comparison_not_equal_with_none test_comparison_greater_than_with_none"
    " test_comparison_greater_than_equal_with_none test_comparison_less_than_with_none"
    " test_comparison_less_than_equal_with_none",
)
UNCHECKED_FILTERS = (
    "the adapter lets texts be ordered",
    pytest.fail.Exception,
    "test_comparison_greater_than_with_string test_comparison_greater_than_equal_with_string"
    " test_comparison_less_than_with_string test_comparison_less_than_equal_with_string",
)
NULL_LOGIC = (
    "a document without the key is not selected by a negation: a missing key is NULL in Milvus's filters",
    AssertionError,
    "test_comparison_not_equal test_comparison_not_in test_not_operator",
)
DUPLICATES = (
    "the adapter knows no policy for documents that are there",
    (AssertionError, NotImplementedError, pytest.fail.Exception),
    "test_write_documents test_write_documents_duplicate_fail test_write_documents_duplicate_skip",
)
GAPS = {
    test: pytest.mark.xfail(reason=reason, raises=error, strict=True)
    for reason, error, tests in (MISSING_METHOD, NONE_IN_FILTERS, UNCHECKED_FILTERS, NULL_LOGIC, DUPLICATES)
    for test in tests.split()
}


class TestAdapterAsItIs(DocumentStoreBaseExtendedTests):
    @pytest.fixture
    def document_store(self, address: str, request: pytest.FixtureRequest) -> MilvusDocumentStore:  # type: ignore[override]
        if request.node.name in GAPS:
            request.applymarker(GAPS[request.node.name])
        return MilvusDocumentStore(
            collection_name=f"c{uuid4().hex}",
            connection_args={"uri": str(address)},
            consistency_level="Strong",
            drop_old=True,
        )

    @staticmethod
    def assert_documents_are_equal(received: list[Document], expected: list[Document]) -> None:
        """Equal as sets; embeddings come back as 32-bit numbers, and a document without one has a dummy."""
        assert len(received) == len(expected)
        received, expected = (sorted(documents, key=lambda one: one.id) for documents in (received, expected))
        for one, other in zip(received, expected, strict=True):
            assert (one.id, one.content, one.meta) == (other.id, other.content, other.meta)
            if other.embedding is not None:
                np.testing.assert_allclose(one.embedding, other.embedding, atol=1e-6)
