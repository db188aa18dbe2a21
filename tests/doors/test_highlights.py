"""Highlighted texts as Milvus marks and cuts them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymilvus import DataType, Function, FunctionType, LexicalHighlighter, MilvusClient, MilvusException
from serving import served

TEXTS = [
    "A gap of what?",
    "The seat is full of water! Like, full of water!",
    "Must be water.",
    "key key key key",
    "word 1 word 12 word 123",
    "一二三四",
]
BM25 = {"metric_type": "BM25"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusClient]:
    with served(tmp_path_factory.mktemp("lake")) as address:
        client = MilvusClient(address)
        schema = client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
        single = {"type": "jieba", "dict": ["water"], "mode": "exact", "hmm": False}
        for name, tokenizer in (("text", "standard"), ("other", single)):
            analyzer = {"enable_analyzer": True, "analyzer_params": {"tokenizer": tokenizer}}
            schema.add_field(name, DataType.VARCHAR, max_length=999, **analyzer)
        schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
        schema.add_function(
            Function("bm25", FunctionType.BM25, input_field_names=["text"], output_field_names=["sparse"])
        )
        index = client.prepare_index_params()
        index.add_index("vector", metric_type="COSINE")
        index.add_index("sparse", metric_type="BM25")
        client.create_collection("texts", schema=schema, index_params=index, consistency_level="Strong")
        rows = [{"id": n, "vector": [1, n], "text": one, "other": one} for n, one in enumerate(TEXTS)]
        client.insert("texts", rows)
        yield client
        client.close()


def marked(client: MilvusClient, text: str, **how: Any) -> dict[int, list[str]]:
    given = {
        "pre_tags": ["{"],
        "post_tags": ["}"],
        "highlight_search_text": True,
        "num_of_fragments": 1,
        **how,
    }
    [hits] = client.search(
        "texts",
        [text],
        anns_field="sparse",
        search_params=BM25,
        output_fields=["text"],
        highlighter=LexicalHighlighter(**given),
    )
    return {hit["id"]: hit["highlight"]["text"]["fragments"] for hit in hits}


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"fragment_size": 10}, {1: ["{water}! Lik"], 2: ["{water}."]}),
        ({"fragment_size": 1, "num_of_fragments": 0}, {1: [], 2: []}),
        ({"fragment_size": 1, "num_of_fragments": 2}, {1: ["{water}", "{water}"], 2: ["{water}"]}),
        ({"fragment_size": 9, "num_of_fragments": 2}, {1: ["{water}! Li", "{water}!"], 2: ["{water}."]}),
        ({"fragment_size": 100}, {1: ["{water}! Like, full of {water}!"], 2: ["{water}."]}),
        (
            {"fragment_size": 5, "fragment_offset": 100, "num_of_fragments": 2},
            {
                1: [
                    "The seat is full of {water}",
                    "The seat is full of water! Like, full of {water}",
                ],
                2: ["Must be {water}"],
            },
        ),
    ],
)
def test_fragments_begin_and_end_where_milvus_cuts_them(
    client: MilvusClient, how: dict[str, Any], expected: dict[int, list[str]]
) -> None:
    assert marked(client, "water", **how) == expected


def test_marks_take_the_tags_in_turns_and_words_that_touch_are_one(client: MilvusClient) -> None:
    tags = {"pre_tags": ["{", "<", "("], "post_tags": ["}", ">"]}
    assert marked(client, "key", **tags) == {3: ["{key} <key> (key} {key>"]}
    cut = marked(client, "A gap of what?", fragment_size=7, num_of_fragments=9)
    assert cut[0] == ["{A} {gap} {of}", "{what}?"]
    how = LexicalHighlighter(highlight_query=[{"type": "TextMatch", "field": "other", "text": "一二四"}])
    [[hit]] = client.search("texts", [[1.0, 5.0]], anns_field="vector", limit=1, highlighter=how)
    assert hit["highlight"]["other"]["fragments"] == ["<em>一二</em>三<em>四</em>"]


def test_other_fields_are_marked_whether_they_are_shown_or_not(client: MilvusClient) -> None:
    how = LexicalHighlighter(highlight_query=[{"type": "TextMatch", "field": "other", "text": "water"}])
    for shown in (["other"], ["text"], []):
        [[hit]] = client.search(
            "texts", [[1.0, 2.0]], anns_field="vector", limit=1, output_fields=shown, highlighter=how
        )
        assert hit["highlight"]["other"]["fragments"] == ["<em>water</em>."]
        assert set(hit["entity"]) == set(shown)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"fragment_size": 0}, "invalid fragment_size: 0: invalid parameter"),
        ({"fragment_size": 0.1}, "invalid fragment_size: 0.1: invalid parameter"),
        ({"fragment_offset": -1}, "invalid fragment_offset: -1: invalid parameter"),
        ({"num_of_fragments": -1}, "invalid num_of_fragments: -1: invalid parameter"),
        ({"pre_tags": []}, "pre_tags cannot be empty list: invalid parameter"),
    ],
)
def test_wrong_parameters_are_told_in_milvus_words(
    client: MilvusClient, how: dict[str, Any], said: str
) -> None:
    with pytest.raises(MilvusException, match=said) as raised:
        marked(client, "water", **how)
    assert raised.value.code == 1100


def test_only_searches_by_text_mark_what_is_searched_for(client: MilvusClient) -> None:
    how = LexicalHighlighter(highlight_search_text=True)
    for data, field, metric, said, code in (
        ([[1.0, 2.0]], "vector", "COSINE", 'only support with metric type "BM25" but was: : invalid', 1100),
        (["water"], "vector", "BM25", "service internal error: Search with highlight failed, input field", 5),
        (
            [[1.0, 2.0]],
            "sparse",
            "BM25",
            "please provide varchar/text for BM25 .*, got FloatVector: invalid",
            1100,
        ),
    ):
        params = {"metric_type": metric}
        with pytest.raises(MilvusException, match=said) as raised:
            client.search("texts", data, anns_field=field, search_params=params, highlighter=how)
        assert raised.value.code == code
