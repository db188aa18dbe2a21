"""Declared rerankers: scores of boosts, and what Milvus refuses, in its words."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pymilvus import DataType, Function, FunctionScore, FunctionType, MilvusClient, MilvusException
from serving import served

DECAY = {"reranker": "decay", "function": "gauss", "origin": 0, "offset": 0, "decay": 0.5, "scale": 100}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusClient]:
    with served(tmp_path_factory.mktemp("lake")) as address:
        client = MilvusClient(address)
        for metric in ("COSINE", "L2"):
            schema = client.create_schema(enable_dynamic_field=True)
            schema.add_field("id", DataType.INT64, is_primary=True)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
            schema.add_field("n", DataType.INT64)
            schema.add_field("word", DataType.VARCHAR, max_length=9)
            schema.add_field("document", DataType.JSON)
            schema.add_field("moment", DataType.TIMESTAMPTZ, nullable=True)
            schema.add_field("maybe", DataType.FLOAT, nullable=True)
            schema.add_field("text", DataType.VARCHAR, max_length=20, nullable=True)
            index = client.prepare_index_params()
            index.add_index("vector", index_type="FLAT", metric_type=metric)
            client.create_collection(metric, schema=schema, index_params=index, consistency_level="Strong")
            vectors = [[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]]
            rows = [
                {"id": n, "vector": one, "n": n, "word": "w", "document": {}, "extra": n}
                for n, one in enumerate(vectors, 1)
            ]
            for row, maybe, text in zip(
                rows, (None, 5.0, 90.0, None), ("bb", None, "dddd", "a"), strict=True
            ):
                row.update(maybe=maybe, text=text)
            client.insert(metric, rows)
        yield client
        client.close()


def boost(weight: Any, filter: str | None = None) -> Function:
    params = {"reranker": "boost", "weight": weight, "filter": filter}
    params = {name: value for name, value in params.items() if value is not None}
    return Function("boost", FunctionType.RERANK, input_field_names=[], params=params)


@pytest.mark.parametrize(
    ("metric", "boosts", "modes", "expected"),
    [
        ("COSINE", [(2.0, "n > 100")], {"boost_mode": "sum"}, {1: 1.0, 2: 0.8, 3: 0.6, 4: 0.0}),
        (
            "COSINE",
            [(2.0, "n in [2, 4]"), (3.0, "n >= 3")],
            {"function_mode": "multiply", "boost_mode": "sum"},
            {4: 6.0, 3: 3.6, 2: 2.8, 1: 1.0},
        ),
        ("L2", [(0.25, "n == 3")], {"boost_mode": "multiply"}, {1: 0.0, 3: 0.2, 2: 0.4, 4: 2.0}),
        # Where a smaller distance is better, a sum takes from it.
        ("L2", [(0.3, "n == 3")], {"boost_mode": "sum"}, {1: 0.0, 2: 0.4, 3: 0.5, 4: 2.0}),
        ("L2", [(1.7, "n == 4")], {"boost_mode": "sum"}, {1: 0.0, 4: 0.3, 2: 0.4, 3: 0.8}),
    ],
)
def test_boosts_score_hits_as_milvus_does(
    client: MilvusClient, metric: str, boosts: list[Any], modes: dict[str, str], expected: dict[int, float]
) -> None:
    ranker = FunctionScore(functions=[boost(*one) for one in boosts], params=modes)
    [hits] = client.search(metric, [[1.0, 0.0]], limit=4, ranker=ranker)
    assert [hit["id"] for hit in hits] == list(expected)
    assert [hit["distance"] for hit in hits] == pytest.approx(list(expected.values()), abs=1e-5)


@pytest.mark.parametrize(
    ("fields", "changed", "said"),
    [
        (["n", "id"], {}, "decay reranker requires exactly 1 input field, got 2"),
        (["n"], {"reranker": "invalid"}, "unsupported reranker invalid"),
        (
            ["n"],
            {"function": "cubic"},
            r'decay: invalid function "cubic", must be one of \[gauss, exp, linear\]',
        ),
        (["n"], {"origin": "x"}, "decay param origin: x is not a number"),
        (["n"], {"scale": [1]}, r"decay param scale: \[1\] is not a number"),
        (["n"], {"decay": "x"}, "decay param decay: x is not a number"),
        (["n"], {"origin": None}, "decay origin not specified"),
        (["n"], {"scale": None}, "decay scale not specified"),
        (["n"], {"scale": -1.0}, r"decay: scale must be > 0, got -1\.0"),
        (["n"], {"offset": -1.0}, r"decay: offset must be >= 0, got -1\.0"),
        (["word"], {}, "decay input field word must be numeric, got VarChar"),
        (["document"], {}, "unsupported field type: JSON"),
        (["vector"], {}, "unsupported field type: FloatVector"),
        (["moment"], {}, "unsupported field type: Timestamptz"),
        (["extra"], {}, "input field extra not found in collection schema"),
        (["n"], {"reranker": ""}, "reranker name not specified"),
    ],
)
def test_wrong_rerankers_are_told_in_milvus_words(
    client: MilvusClient, fields: list[str], changed: dict[str, Any], said: str
) -> None:
    params = {name: value for name, value in {**DECAY, **changed}.items() if value is not None}
    ranker = Function("f", FunctionType.RERANK, input_field_names=fields, params=params)
    with pytest.raises(MilvusException, match=said) as raised:
        client.search("COSINE", [[1.0, 0.0]], ranker=ranker)
    assert raised.value.code == 65535


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        (boost(None), {}, "must set weight params"),
        (boost("heavy"), {}, "invalid parameter"),
        (boost(2, "absent @@@ 1"), {}, "parse expr failed"),
        (boost(2), {"group_by_field": "n"}, "segment scorer with group_by"),
    ],
)
def test_wrong_boosts_are_told_in_milvus_words(
    client: MilvusClient, function: Function, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(MilvusException, match=said) as raised:
        client.search("COSINE", [[1.0, 0.0]], ranker=FunctionScore(functions=[function]), **options)
    assert raised.value.code == 1100


@pytest.mark.parametrize("function", ["gauss", "exp", "linear"])
def test_rows_without_a_number_decay_to_nothing(client: MilvusClient, function: str) -> None:
    ranker = Function("f", FunctionType.RERANK, ["maybe"], params={**DECAY, "function": function})
    [hits] = client.search("COSINE", [[1.0, 1.0]], limit=4, ranker=ranker, output_fields=["maybe"])
    assert [hit["maybe"] for hit in hits[2:]] == [None, None]
    assert [hit["distance"] for hit in hits[2:]] == [0, 0]
    assert hits[0]["distance"] >= hits[1]["distance"] > 0


class Scorer:
    """A reranking service as TEI is: longer texts score more. `requests` is what it was asked."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.requests.append(body)
                scores = [{"index": i, "score": len(text)} for i, text in enumerate(body["texts"])]
                data = json.dumps(scores).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def scorer() -> Iterator[Scorer]:
    one = Scorer()
    yield one
    one.server.shutdown()
    one.server.server_close()


MODEL = {"reranker": "model", "provider": "tei", "queries": ["q"], "endpoint": "http://127.0.0.1:1"}


def model(fields: list[str], **changed: Any) -> Function:
    params = {name: value for name, value in {**MODEL, **changed}.items() if value != "absent"}
    return Function("m", FunctionType.RERANK, input_field_names=fields, params=params)


def test_a_model_reads_null_as_empty_text_and_is_told_what_its_provider_takes(
    client: MilvusClient, scorer: Scorer
) -> None:
    told = {"truncate": True, "truncation_direction": "Right", "truncate_prompt_tokens": 5, "other": 1}
    ranker = model(["text"], endpoint=scorer.url, **told)
    [hits] = client.search("COSINE", [[1.0, 0.0]], limit=4, ranker=ranker, output_fields=["text"])
    assert [(hit["text"], hit["distance"]) for hit in hits] == [("dddd", 4), ("bb", 2), ("a", 1), (None, 0)]
    [request] = scorer.requests
    assert sorted(request.pop("texts")) == ["", "a", "bb", "dddd"]
    assert request == {"query": "q", "truncate": True, "truncation_direction": "Right"}


@pytest.mark.parametrize(
    ("fields", "changed", "said"),
    [
        (["text", "word"], {}, "model reranker requires exactly 1 input field, got 2"),
        (["id"], {}, "model input field id must be VarChar, got Int64"),
        (["absent"], {}, "input field absent not found in collection schema"),
        *(
            (["text"], {"provider": one}, "unknown rerank model provider")
            for one in ("openai", "", None, 123)
        ),
        *(
            (["text"], {"endpoint": one}, "is not a valid http/https link")
            for one in ("", "no_url", "ftp://a.com", "http://[x/rerank", "localhost", None, "absent")
        ),
        *(
            (["text"], {"queries": one}, r"parse rerank params \[queries\] failed")
            for one in (None, "", 123, {"a": "b"}, [], [1])
        ),
        (["text"], {"queries": "absent"}, "rerank function missing required param: queries"),
        (["text"], {"queries": ["a", "b"]}, r"queries count \(2\) != nq count \(1\)"),
        (["text"], {}, "call service failed: .* does not answer"),
        (["text"], {"endpoint": "http://192.168.999.999:80"}, "call service failed"),
    ],
    ids=str,
)
def test_wrong_models_are_told_in_milvus_words(
    client: MilvusClient, fields: list[str], changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(MilvusException, match=said) as raised:
        client.search("COSINE", [[1.0, 0.0]], ranker=model(fields, **changed))
    assert raised.value.code == 65535


def test_a_client_cannot_have_the_servers_environment_sent(
    client: MilvusClient, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "secret")
    with pytest.raises(MilvusException, match="api_key_env is not for clients") as raised:
        client.search(
            "COSINE", [[1.0, 0.0]], ranker=model(["text"], endpoint=scorer.url, api_key_env="A_SECRET")
        )
    assert raised.value.code == 1100
    assert scorer.requests == []


def test_iterators_are_not_reranked(client: MilvusClient) -> None:
    ranker = Function("f", FunctionType.RERANK, ["n"], params=DECAY)
    with pytest.raises(MilvusException, match="function rerank is not supported with search iterator"):
        client.search_iterator("COSINE", [[1.0, 0.0]], batch_size=2, ranker=ranker).next()
