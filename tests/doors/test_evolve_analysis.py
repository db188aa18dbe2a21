"""Analyzers and their files through an unmodified client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pymilvus import MilvusClient, MilvusException
from pymilvus.grpc_gen import milvus_pb2
from serving import served


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("lake")
    (made / "words").mkdir()
    (made / "words/stop.txt").write_text("the\nis\n")
    (made / "words/other.txt").write_text("a\n")
    return made


@pytest.fixture(scope="module")
def address(lake: Path) -> Iterator[str]:
    with served(lake) as found:
        yield found


def test_run_analyzer_with_parameters(client: MilvusClient) -> None:
    assert client.run_analyzer("The Dogs run", {"type": "english"}).tokens == ["dog", "run"]
    assert client.run_analyzer(["A b", "c"], '{"tokenizer": "whitespace"}')[0].tokens == ["A", "b"]
    # Nothing is the standard analyzer.
    assert client.run_analyzer("Hello, World").tokens == ["hello", "world"]


def test_run_analyzer_with_detail_and_hash(client: MilvusClient) -> None:
    found = client.run_analyzer("\u00dcber dogs", {"type": "standard"}, with_detail=True, with_hash=True)
    first, second = found.tokens
    assert (first.token, first.start_offset, first.end_offset, first.position) == ("\u00fcber", 0, 5, 0)
    assert (second.token, second.start_offset, second.position_length) == ("dogs", 6, 1)
    assert first.hash != second.hash
    only = client.run_analyzer("dogs", {"type": "standard"}, with_hash=True).tokens[0]
    assert only.dict == {"token": "dogs", "hash": second.hash}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"tokenizer": "dothraki"}, "unknown tokenizer 'dothraki'"),
        ({"tokenizer": {"type": "lindera", "dict_kind": "ipadic"}}, "tokenizer lindera is not supported"),
        ({"tokenizer": "standard", "filter": ["nothing"]}, "unknown filter 'nothing'"),
        ("{", "not JSON"),
        ("[1]", "must be a JSON object"),
    ],
)
def test_run_analyzer_refuses_what_it_does_not_know(client: MilvusClient, params: object, words: str) -> None:
    with pytest.raises(MilvusException, match=words) as raised:
        client.run_analyzer("a", params)
    assert raised.value.code == 1100


def test_run_analyzer_of_a_collection_that_is_not_there(client: MilvusClient) -> None:
    with pytest.raises(MilvusException, match="collection not found") as raised:
        client.run_analyzer("a", collection_name="nothing", field_name="text")
    assert raised.value.code == 100


def test_files_are_added_listed_and_removed(client: MilvusClient) -> None:
    client.add_file_resource("stops", "words/stop.txt")
    client.add_file_resource("stops", "words/stop.txt")
    assert [(one.name, one.path) for one in client.list_file_resources()] == [("stops", "words/stop.txt")]
    for name, path, code, words in (
        ("stops", "words/other.txt", 1100, "already exists"),
        ("new", "words/nothing.txt", 1100, "file resource path not exist"),
        ("new", "", 65535, "Object name cannot be empty"),
    ):
        with pytest.raises(MilvusException, match=words) as raised:
            client.add_file_resource(name, path)
        assert raised.value.code == code
    for path in ("../../etc/passwd", "words/../words/stop.txt"):
        with pytest.raises(MilvusException, match="IO failed") as raised:
            client.add_file_resource("new", path)
        assert raised.value.code == 1001
    file = {"type": "remote", "resource_name": "stops", "file_name": "stop.txt"}
    params = {"tokenizer": "standard", "filter": [{"type": "stop", "stop_words_file": file}]}
    assert client.run_analyzer("the sky is blue", params).tokens == ["sky", "blue"]
    client.remove_file_resource("stops")
    client.remove_file_resource("stops")
    assert client.list_file_resources() == []
    with pytest.raises(MilvusException, match="not found in local resource list"):
        client.run_analyzer("the sky is blue", params)


def test_the_least_slop_of_a_phrase(client: MilvusClient) -> None:
    stub = client._get_connection()._stub
    response = stub.ComputePhraseMatchSlop(
        milvus_pb2.ComputePhraseMatchSlopRequest(
            analyzer_params='{"type": "standard"}',
            query_text="quick fox",
            data_texts=["a quick fox", "quick brown fox", "fox quick", "dog"],
        )
    )
    assert response.status.code == 0
    assert list(response.is_match) == [True, True, True, False]
    assert list(response.slops) == [0, 1, 2, 0]
