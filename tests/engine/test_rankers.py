"""Rerankers through a search: decay and boost against plain Python, services and models that fail, declarations."""

from __future__ import annotations

import datetime
import json
import math
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tokenizers
from onnx import TensorProto, helper

import headwater as hw
from headwater.errors import (
    FieldNotFound,
    FilterSyntax,
    InvalidArgument,
    PermissionDenied,
    Timeout,
    Unavailable,
    UnsupportedOption,
)

TEXTS = ["red apple", "green apple pie", "red car", "blue car", None, "apple red apple", "sky", "pie"]
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> hw.Collection:
    schema = hw.Schema.of(
        [
            hw.Field("id", hw.Int64),
            hw.Field("price", hw.Double, nullable=True),
            hw.Field("at", hw.TimestampTz),
            hw.Field("text", hw.String, nullable=True),
            hw.Field("v", hw.FloatVector(2)),
        ],
        "id",
    )
    docs = hw.connect(tmp_path_factory.mktemp("rankers")).create_collection("docs", schema)
    for start in (0, 20):
        docs.insert(
            [
                {
                    "id": i,
                    "price": None if i == 7 else float(i * 3 % 40),
                    "at": (START + datetime.timedelta(days=i)).isoformat(),
                    "text": TEXTS[i % 8],
                    "v": [math.cos(i / 10), math.sin(i / 10)],
                }
                for i in range(start, start + 20)
            ]
        )
        if start == 0:
            docs.flush()
    return docs


def base(docs: hw.Collection, metric: str = "COSINE") -> dict[int, float]:
    found = docs.search([[1.0, 0.2]], top_k=30, params={"metric_type": metric})
    return {hit["id"]: hit["distance"] for hit in found[0]}


def rows(docs: hw.Collection) -> dict[int, dict[str, Any]]:
    return {row["id"]: row for row in docs.query(output_fields=["id", "price", "at", "text"])}


def check(
    docs: hw.Collection, ranker: Any, expected: dict[int, float], metric: str = "COSINE", down: bool = True
) -> None:
    found = docs.search([[1.0, 0.2]], top_k=30, params={"metric_type": metric}, ranker=ranker)[0]
    assert {hit["id"] for hit in found} == expected.keys()
    for hit in found:
        assert hit["distance"] == pytest.approx(expected[hit["id"]], rel=1e-5, abs=1e-6)
    shown = [(-hit["distance"] if down else hit["distance"], hit["id"]) for hit in found]
    assert shown == sorted(shown)


def factor(function: str, d: float, scale: float, offset: float, decay: float) -> float:
    d = max(0.0, d - offset)
    if function == "gauss":
        return math.exp(d**2 * math.log(decay) / scale**2)
    return (
        math.exp(math.log(decay) / scale * d)
        if function == "exp"
        else max(decay, 1 - (1 - decay) / scale * d)
    )


@pytest.mark.parametrize("function", ["gauss", "exp", "linear"])
@pytest.mark.parametrize("metric", ["COSINE", "L2"])
def test_decay_of_a_number(docs: hw.Collection, function: str, metric: str) -> None:
    ranker = hw.DecayRanker("price", origin=10, scale=6, function=function, offset=2, decay=0.4)
    score = base(docs, metric)
    if metric == "L2":
        score = {key: 1 - 2 * math.atan(value) / math.pi for key, value in score.items()}
    known = rows(docs)
    expected = {
        key: value
        * (0.0 if known[key]["price"] is None else factor(function, abs(known[key]["price"] - 10), 6, 2, 0.4))
        for key, value in score.items()
    }
    check(docs, ranker, expected, metric)


def test_decay_of_a_moment(docs: hw.Collection) -> None:
    expected = {key: value * factor("exp", abs(key - 12), 3, 1, 0.5) for key, value in base(docs).items()}
    day = datetime.timedelta(days=1)
    moment = START + 12 * day
    for origin, scale, offset in (
        (moment, 3 * day, day),
        (moment.isoformat(), 3 * 86400, 86400),
        (moment.timestamp(), 3 * 86400, day),
    ):
        check(docs, hw.DecayRanker("at", origin, scale, function="exp", offset=offset), expected)


def test_boost_by_filter(docs: hw.Collection) -> None:
    score = base(docs)
    expected = {key: value * 1.5 if key > 20 else value for key, value in score.items()}
    check(docs, hw.BoostRanker(1.5, filter="id > 20"), expected)
    check(docs, hw.BoostRanker(1.5, filter="id > {low}", filter_params={"low": 20}), expected)
    distances = base(docs, "L2")
    promoted = {key: value * 0.5 if key > 20 else value for key, value in distances.items()}
    check(docs, hw.BoostRanker(0.5, filter="id > 20"), promoted, "L2", down=False)


@pytest.mark.parametrize("boost_mode", ["multiply", "sum"])
@pytest.mark.parametrize("function_mode", ["multiply", "sum"])
def test_several_boosts(docs: hw.Collection, boost_mode: str, function_mode: str) -> None:
    functions = [
        hw.RerankFunction("a", params={"reranker": "boost", "filter": "id > 10", "weight": 3}),
        hw.RerankFunction("b", params={"reranker": "boost", "filter": "id % 2 == 0", "weight": "0.25"}),
    ]
    ranker = hw.FunctionScore(functions, {"boost_mode": boost_mode, "function_mode": function_mode})
    expected = {}
    for key, value in base(docs).items():
        worths = [worth for worth, held in ((3, key > 10), (0.25, key % 2 == 0)) if held]
        worth = math.prod(worths) if function_mode == "multiply" else sum(worths)
        expected[key] = (value * worth if boost_mode == "multiply" else value + worth) if worths else value
    check(docs, ranker, expected)


def test_chance_is_decided_by_seed_and_field(docs: hw.Collection) -> None:
    def scored(**random_score: Any) -> dict[int, float]:
        found = docs.search([[1.0, 0.2]], top_k=30, ranker=hw.BoostRanker(random_score=random_score))[0]
        return {hit["id"]: hit["distance"] for hit in found}

    score = base(docs)
    one = scored(seed=1)
    assert scored(seed=1) == one == scored(seed=1, field="id")
    assert scored(seed=2) != one
    ratios = [one[key] / score[key] for key in one if score[key] > 0.1]
    assert all(0 <= ratio < 1 for ratio in ratios)
    assert len(set(ratios)) == len(ratios)


def test_one_after_the_other(docs: hw.Collection) -> None:
    legs = [hw.AnnSearchRequest([[1.0, 0.2]], "v", {}, 30), hw.AnnSearchRequest([[0.2, 1.0]], "v", {}, 30)]
    fused = {hit["id"]: hit["distance"] for hit in docs.hybrid_search(legs, limit=50)[0]}
    found = docs.hybrid_search(legs, [hw.RRFRanker(), hw.BoostRanker(2, filter="id < 5")], limit=50)[0]
    for hit in found:
        assert hit["distance"] == pytest.approx(fused[hit["id"]] * (2 if hit["id"] < 5 else 1))
    with pytest.raises(InvalidArgument, match="a boost scores one leg, got 2"):
        docs.hybrid_search(legs, hw.BoostRanker(2))


def lengths(query: str, texts: list[str]) -> list[float]:
    return [len(set(query) & set(text)) + len(text) / 100 for text in texts]


def test_any_callable_is_a_model(docs: hw.Collection) -> None:
    queries = ["apple", "car"]
    found = docs.search(
        [[1.0, 0.2], [0.2, 1.0]],
        top_k=30,
        ranker=hw.ModelRanker(lengths, "text", queries),
        output_fields=["text"],
    )
    for query, hits in zip(queries, found, strict=True):
        texts = [hit["entity"]["text"] for hit in hits]
        assert None in texts
        # A text that is null is read as an empty one.
        assert [hit["distance"] for hit in hits] == pytest.approx(lengths(query, [t or "" for t in texts]))
        assert [hit["distance"] for hit in hits] == sorted((h["distance"] for h in hits), reverse=True)


@pytest.mark.parametrize(
    "answer", [[1.0], "scores", None, [float("nan")] * 30, [float("inf")] * 30, [["x"]] * 30], ids=str
)
def test_a_model_that_answers_nonsense_is_caught(docs: hw.Collection, answer: Any) -> None:
    with pytest.raises(Unavailable, match="model answered"):
        docs.search([[1.0, 0.2]], top_k=30, ranker=hw.ModelRanker(lambda _q, _t: answer, "text", "apple"))


# -- services -----------------------------------------------------------------------------------------------------


Answer = Callable[[dict[str, Any], int], tuple[int, bytes]]


class Service:
    """A real server; `answer` says what it answers to a request and how many came before."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, Any], dict[str, str]]] = []
        self.answer: Answer = lambda _body, _n: (200, b"[]")
        self.headers: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.requests.append((body, dict(self.headers)))
                status, data = outer.answer(body, len(outer.requests))
                self.send_response(status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                try:
                    self.wfile.write(data)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/rerank"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()


@pytest.fixture
def service() -> Iterator[Service]:
    one = Service()
    yield one
    one.server.shutdown()
    one.server.server_close()


def cohere(body: dict[str, Any], _n: int) -> tuple[int, bytes]:
    scores = lengths(body["query"], body["documents"])
    results = [{"index": i, "relevance_score": score} for i, score in enumerate(scores)]
    return 200, json.dumps({"results": results[::-1]}).encode()


def tei(body: dict[str, Any], _n: int) -> tuple[int, bytes]:
    scores = lengths(body["query"], body["texts"])
    return 200, json.dumps([{"index": i, "score": score} for i, score in enumerate(scores)]).encode()


def test_a_service_scores_in_batches(
    docs: hw.Collection, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "secret-of-mine")
    service.answer = cohere
    scorer = hw.HttpScorer(service.url, model="m", api_key_env="SOME_KEY", batch=10, options={"top": 1})
    by_service = docs.search([[1.0, 0.2]], top_k=30, ranker=hw.ModelRanker(scorer, "text", "apple"))
    by_hand = docs.search([[1.0, 0.2]], top_k=30, ranker=hw.ModelRanker(lengths, "text", "apple"))
    assert [hit["id"] for hit in by_service[0]] == [hit["id"] for hit in by_hand[0]]
    assert [len(body["documents"]) for body, _ in service.requests] == [10, 10, 10]
    for body, headers in service.requests:
        assert (body["model"], body["query"], body["top"]) == ("m", "apple", 1)
        assert headers["Authorization"] == "Bearer secret-of-mine"
    assert "secret" not in repr(scorer)
    assert "secret" not in repr(vars(scorer))


def test_declared_models_and_tei(docs: hw.Collection, service: Service) -> None:
    service.answer = tei
    params = {
        "reranker": "model",
        "provider": "tei",
        "queries": '["apple"]',
        "endpoint": service.url.removesuffix("/rerank"),
        "max_client_batch_size": 8,
    }
    found = docs.search([[1.0, 0.2]], top_k=30, ranker=hw.RerankFunction("m", ["text"], params))
    by_hand = docs.search([[1.0, 0.2]], top_k=30, ranker=hw.ModelRanker(lengths, "text", "apple"))
    assert [hit["id"] for hit in found[0]] == [hit["id"] for hit in by_hand[0]]
    assert len(service.requests) == 4


def ask(service: Service, **options: Any) -> list[float]:
    return hw.HttpScorer(service.url, **options)("apple", ["pie", "apple pie"])


def test_what_passes_is_tried_again(service: Service) -> None:
    service.answer = lambda body, n: cohere(body, n) if n == 3 else (503 if n == 1 else 429, b"busy")
    assert ask(service) == pytest.approx(lengths("apple", ["pie", "apple pie"]))
    assert len(service.requests) == 3


def test_what_does_not_pass_is_an_error(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.answer = lambda _body, _n: (500, b"broken " * 100)
    with pytest.raises(Unavailable, match="answered 500: broken") as caught:
        ask(service, attempts=2)
    assert len(str(caught.value)) < 500
    assert len(service.requests) == 2
    service.answer = lambda _body, _n: (401, b"no")
    with pytest.raises(PermissionDenied, match="answered 401"):
        ask(service)
    service.answer = lambda _body, _n: (422, b"what model?")
    with pytest.raises(InvalidArgument, match="422: what model"):
        ask(service)
    assert len(service.requests) == 4
    service.answer, service.headers = (lambda _body, _n: (302, b"")), {"location": "http://127.0.0.1:1/"}
    with pytest.raises(InvalidArgument, match="answered 302"):
        ask(service)
    monkeypatch.delenv("NO_KEY", raising=False)
    with pytest.raises(InvalidArgument, match="variable NO_KEY holds no key"):
        ask(service, api_key_env="NO_KEY")


@pytest.mark.parametrize(
    "answer",
    [
        b"not json",
        b"{}",
        b"null",
        b'{"results": [{"index": 0, "relevance_score": 1}]}',
        b'{"results": [{"index": 0, "relevance_score": 1}, {"index": 0, "relevance_score": 1}]}',
        b'{"results": [{"index": 0, "relevance_score": 1}, {"index": 2, "relevance_score": 1}]}',
        b'{"results": [{"index": -1, "relevance_score": 1}, {"index": 0, "relevance_score": 1}]}',
        b'{"results": [{"index": true, "relevance_score": 1}, {"index": 0, "relevance_score": 1}]}',
        b'{"results": [{"index": 0, "relevance_score": NaN}, {"index": 1, "relevance_score": 1}]}',
        b'{"results": [{"index": 0, "relevance_score": "1"}, {"index": 1, "relevance_score": 1}]}',
        b'{"results": {"index": 0}}',
        b'{"results": [1, 2]}',
        b" " * (17 << 20),
    ],
    ids=lambda answer: answer[:60].decode(),
)
def test_hostile_answers_are_caught(service: Service, answer: bytes) -> None:
    service.answer = lambda _body, _n: (200, answer)
    with pytest.raises(Unavailable, match="answered"):
        ask(service)


def test_slow_and_absent_services(service: Service) -> None:
    given_up = threading.Event()

    def slow(body: dict[str, Any], n: int) -> tuple[int, bytes]:
        given_up.wait(60)
        return cohere(body, n)

    service.answer = slow
    try:
        with pytest.raises(Timeout, match=r"no answer within 0.1 s, 2 times"):
            ask(service, timeout_s=0.1, attempts=2)
    finally:
        given_up.set()
    with pytest.raises(Unavailable, match="does not answer: ConnectError"):
        hw.HttpScorer("http://127.0.0.1:9/rerank", attempts=2)("q", ["t"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": "file:///etc/passwd"},
        {"endpoint": "ftp://host/x"},
        {"endpoint": "rerank"},
        {"endpoint": "http://user:pass@host/rerank"},
        {"style": "grpc"},
        {"attempts": 0},
        {"batch": -1},
        {"timeout_s": float("inf")},
    ],
    ids=str,
)
def test_wrong_services_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="HttpScorer") as caught:
        hw.HttpScorer(**{"endpoint": "http://host/rerank", **wrong})
    assert "pass@" not in str(caught.value)


# -- a model of our own ---------------------------------------------------------------------------------------------


def cross_encoder(folder: Path, outputs: int, inputs: tuple[str, ...]) -> tuple[Path, Path]:
    """A true, tiny model: the score is a weighted sum of the tokens' own weights, padding masked out."""
    words = ["[PAD]", "[UNK]", "apple", "red", "car", "pie", "green", "blue", "sky"]
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A", pair="$A $B:1", special_tokens=[]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    weights = np.arange(len(words) * outputs, dtype=np.float32).reshape(len(words), outputs) / 7
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["each"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["each", "wide"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "one"], ["logits"], keepdims=0),
    ]
    ints = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "length"]) for name in inputs]
    graph = helper.make_graph(
        nodes,
        "tiny",
        ints,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", outputs])],
        [
            helper.make_tensor("table", TensorProto.FLOAT, weights.shape, weights.reshape(-1)),
            helper.make_tensor("last", TensorProto.INT64, [1], [2]),
            helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx", folder / "tokenizer.json"


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_local_cross_encoder(docs: hw.Collection, tmp_path: Path, outputs: int) -> None:
    files = cross_encoder(tmp_path, outputs, ("input_ids", "attention_mask"))
    scorer = hw.OnnxScorer(*files, batch=4)
    words = ["[PAD]", "[UNK]", "apple", "red", "car", "pie", "green", "blue", "sky"]

    def by_hand(query: str, text: str) -> float:
        return sum((words.index(word) * outputs + outputs - 1) / 7 for word in f"{query} {text}".split())

    texts = [text for text in TEXTS if text]
    np.testing.assert_allclose(
        scorer("red pie", texts), [by_hand("red pie", text) for text in texts], rtol=1e-5
    )
    squashed = hw.OnnxScorer(*files, sigmoid=True)("red", texts)
    np.testing.assert_allclose(
        squashed, [1 / (1 + math.exp(-by_hand("red", text))) for text in texts], rtol=1e-5
    )
    cut = hw.OnnxScorer(*files, max_length=3)("red", ["apple pie car sky"])
    np.testing.assert_allclose(cut, [by_hand("red", "apple pie")], rtol=1e-5)
    found = docs.search(
        [[1.0, 0.2]], top_k=30, ranker=hw.ModelRanker(scorer, "text", "red pie"), output_fields=["text"]
    )
    best = found[0][0]
    assert best["distance"] == pytest.approx(max(by_hand("red pie", text) for text in texts))
    assert len(scorer("red", [])) == 0


def test_a_model_of_other_inputs_is_refused(tmp_path: Path) -> None:
    files = cross_encoder(tmp_path, 1, ("input_ids", "attention_mask", "pixels"))
    with pytest.raises(InvalidArgument, match="pixels"):
        hw.OnnxScorer(*files)
    with pytest.raises(InvalidArgument, match="no file"):
        hw.OnnxScorer(tmp_path / "none.onnx", files[1])
    with pytest.raises(InvalidArgument, match="OnnxScorer"):
        hw.OnnxScorer(files[1], files[1])


# -- declarations -----------------------------------------------------------------------------------------------------


def test_declarations_are_the_rankers_they_name(docs: hw.Collection) -> None:
    legs = [hw.AnnSearchRequest([[1.0, 0.2]], "v", {}, 30), hw.AnnSearchRequest([[0.2, 1.0]], "v", {}, 30)]
    decay = {"reranker": "decay", "function": "GAUSS", "origin": "10", "scale": 6, "score_mode": "sum"}
    for declared, ranker in (
        (hw.RerankFunction("r", params={"reranker": "rrf", "k": "30"}), hw.RRFRanker(30)),
        (
            hw.RerankFunction("w", params={"reranker": "weighted", "weights": "[0.3, 0.9]"}),
            hw.WeightedRanker(0.3, 0.9, norm_score=False),
        ),
        (hw.RerankFunction("d", ["price"], decay), hw.DecayRanker("price", 10, 6, score_mode="sum")),
    ):
        assert docs.hybrid_search(legs, declared, limit=40) == docs.hybrid_search(legs, ranker, limit=40)
        assert docs.hybrid_search(legs, hw.FunctionScore(declared), limit=40) == docs.hybrid_search(
            legs, ranker, limit=40
        )


@pytest.mark.parametrize(
    ("fields", "params", "error", "message"),
    [
        ([], {}, InvalidArgument, "'reranker' is missing"),
        ([], {"reranker": "magic"}, UnsupportedOption, "'magic' is unknown"),
        ([], {"reranker": "rrf", "K": 3}, UnsupportedOption, "unknown parameter 'K'"),
        (["price"], {"reranker": "rrf"}, InvalidArgument, "reads no field"),
        ([], {"reranker": "weighted", "weights": "x"}, InvalidArgument, "no JSON"),
        (
            [],
            {"reranker": "decay", "function": "gauss", "origin": 1, "scale": 1},
            InvalidArgument,
            "one field",
        ),
        (
            ["price"],
            {"reranker": "decay", "function": "gauss", "origin": 1},
            InvalidArgument,
            "'scale' is missing",
        ),
        (
            ["price"],
            {"reranker": "decay", "function": "cos", "origin": 1, "scale": 1},
            InvalidArgument,
            "'cos'",
        ),
        (
            ["price"],
            {"reranker": "decay", "function": "exp", "origin": 1, "scale": 0},
            InvalidArgument,
            "above 0",
        ),
        (
            ["text"],
            {"reranker": "decay", "function": "exp", "origin": 1, "scale": 1},
            InvalidArgument,
            "varchar",
        ),
        (["none"], {"reranker": "decay", "function": "exp", "origin": 1, "scale": 1}, FieldNotFound, "none"),
        ([], {"reranker": "boost", "filter": "id >", "weight": 1}, FilterSyntax, "position"),
        ([], {"reranker": "boost", "weight": "heavy"}, InvalidArgument, "no number"),
        ([], {"reranker": "boost", "weight": 1, "random_score": {"seeds": 1}}, UnsupportedOption, "seeds"),
        (
            [],
            {"reranker": "boost", "weight": 1, "random_score": {"field": "text"}},
            InvalidArgument,
            "integer",
        ),
        (["text"], {"reranker": "model", "provider": "oracle"}, UnsupportedOption, "oracle"),
    ],
    ids=str,
)
def test_wrong_declarations(
    docs: hw.Collection, fields: list[str], params: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        docs.search([[1.0, 0.2]], ranker=hw.RerankFunction("f", fields, params))
