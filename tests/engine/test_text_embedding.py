"""TEXT_EMBEDDING: whatever embeds, rows are filled at insert and questions are embedded the same way."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from headwater import errors
from headwater.jobs import embed_http
from headwater.jobs.embedders import LexicalEmbedder

DIM = 16
TEXTS = [
    "rivers flow to the sea",
    "a lake is still water",
    "engines burn petrol",
    "cars have engines",
    "the sea is salt",
]


def letters(texts: Sequence[str]) -> np.ndarray:
    """A vector anybody can compute: how often each of 16 letters occurs."""
    return np.array([[text.count(chr(97 + i)) for i in range(DIM)] for text in texts], np.float32)


def collection(
    db: hw.Database, params: dict[str, Any], *, nullable: bool = False, dim: int = DIM
) -> hw.Collection:
    fields = [
        hw.Field("id", hw.Int64),
        hw.Field("text", hw.String, nullable=True),
        hw.Field("year", hw.Int32, nullable=True),
        hw.Field("embedding", hw.FloatVector(dim), nullable=nullable),
    ]
    function = hw.Function("embed", "TEXT_EMBEDDING", "text", "embedding", params)
    return db.create_collection("docs", fields, "id", functions=[function])


def stored(col: hw.Collection, **which: Any) -> np.ndarray:
    return np.array([row["embedding"] for row in col.query(order_by="id", **which)], np.float32)


@pytest.fixture
def db(tmp_path: Path) -> hw.Database:
    db = hw.connect(tmp_path)
    db.register_embedder("letters", letters)
    return db


def test_rows_are_filled_at_insert_and_upsert_and_questions_alike(db: hw.Database) -> None:
    col = collection(db, {"provider": "letters"})
    col.insert([{"id": i, "text": text, "year": i} for i, text in enumerate(TEXTS)])
    np.testing.assert_array_equal(stored(col), letters(TEXTS))
    col.upsert([{"id": 0, "text": "abc", "year": 7}])
    np.testing.assert_array_equal(stored(col, filter="id == 0"), letters(["abc"]))
    col.upsert([{"id": 1, "text": "deed"}, {"id": 2, "year": 9}, {"id": 7, "text": "new"}], partial=True)
    np.testing.assert_array_equal(stored(col, filter="id in [1, 2, 7]"), letters(["deed", TEXTS[2], "new"]))
    assert col.get([1, 2])[0]["year"] == 1
    col.flush()
    hits = col.search(["cars have engines", "abc"], anns_field="embedding", top_k=1)
    assert [one[0]["id"] for one in hits] == [3, 0]
    assert col.search("abc", top_k=1)[0][0]["id"] == 0
    assert [one[0]["id"] for one in col.search(letters(["abc"]), top_k=1)] == [0]


def test_each_text_is_embedded_once_and_an_untouched_row_not_again(db: hw.Database) -> None:
    seen: list[str] = []
    db.register_embedder("counting", lambda texts: (seen.extend(texts), letters(texts))[1])
    col = collection(db, {"provider": "counting"})
    seen.clear()
    col.insert({"id": list(range(1000)), "text": ["same", "other"] * 500, "year": [1] * 1000})
    assert sorted(seen) == ["other", "same"]
    col.upsert([{"id": 5, "year": 2}], partial=True)
    assert len(seen) == 2
    assert len(stored(col)) == 1000


def test_a_null_text_gives_a_null_vector_or_a_clear_error(db: hw.Database) -> None:
    rows = [{"id": 0, "text": "a"}, {"id": 1, "text": None}, {"id": 2}]
    col = collection(db, {"provider": "letters"}, nullable=True)
    col.insert(rows)
    assert [row["embedding"] is None for row in col.query(order_by="id")] == [False, True, True]
    assert [hit["id"] for hit in col.search("a", top_k=10)[0]] == [0]
    col.flush()
    assert [hit["id"] for hit in col.search("a", top_k=10)[0]] == [0]
    db.drop_collection("docs")
    with pytest.raises(errors.SchemaMismatch, match="row 1, field 'text': null, and function 'embed'"):
        collection(db, {"provider": "letters"}).insert(rows)


def test_an_embedder_that_fails_fails_the_insert_before_anything_is_written(db: hw.Database) -> None:
    broken = threading.Event()

    def embed(texts: Sequence[str]) -> Any:
        if broken.is_set():
            raise ConnectionError("the model is away")
        return letters(texts)

    db.register_embedder("sometimes", embed)
    col = collection(db, {"provider": "sometimes"})
    col.insert([{"id": 1, "text": "a"}])
    broken.set()
    for write in (
        lambda: col.insert([{"id": 2, "text": "b"}]),
        lambda: col.upsert([{"id": 1, "text": "b"}]),
        lambda: col.upsert([{"id": 1, "text": "b"}], partial=True),
    ):
        with pytest.raises(ConnectionError, match="away"):
            write()
    assert [row["text"] for row in col.query()] == ["a"]


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (lambda texts: letters(texts)[:, :5], errors.DimensionMismatch, "5 numbers"),
        (lambda texts: letters(texts)[:0], errors.SchemaMismatch, "for 1 texts"),
        (lambda texts: letters(texts) * np.nan, errors.SchemaMismatch, "NaN"),
        (lambda texts: ["x"] * len(texts), errors.SchemaMismatch, "no matrix"),
    ],
)
def test_what_an_embedder_gives_is_checked_when_it_is_declared(
    db: hw.Database, given: Any, error: type[Exception], said: str
) -> None:
    db.register_embedder("odd", given)
    with pytest.raises(error, match=said):
        collection(db, {"provider": "odd"})
    assert not db.has_collection("docs")


@pytest.mark.parametrize(
    ("params", "error", "said"),
    [
        ({}, errors.InvalidArgument, "provider"),
        ({"provider": "cohere"}, errors.UnsupportedOption, "'cohere'"),
        ({"provider": "nobody"}, errors.NotReady, "register_embedder"),
        ({"provider": "lexical", "url": "x"}, errors.UnsupportedOption, "'url'"),
        ({"provider": "onnx"}, errors.InvalidArgument, "path"),
        ({"provider": "onnx", "path": "/nowhere"}, errors.ObjectNotFound, "model.onnx"),
        ({"provider": "openai"}, errors.InvalidArgument, "model_name"),
        (
            {"provider": "openai", "model_name": "m", "credential": "sk-123"},
            errors.InvalidArgument,
            "not the secret",
        ),
        ({"provider": "openai", "model_name": "m", "url": "ftp://x"}, errors.InvalidArgument, "http"),
        ({"provider": "wordllama"}, errors.DimensionMismatch, "256"),
    ],
)
def test_a_provider_that_cannot_work_is_refused_when_it_is_declared(
    db: hw.Database, params: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        collection(db, params)


def test_the_lexical_embedder_needs_nothing(db: hw.Database) -> None:
    col = collection(db, {"provider": "lexical"}, dim=64)
    col.insert([{"id": i, "text": text} for i, text in enumerate(TEXTS)])
    np.testing.assert_allclose(stored(col), LexicalEmbedder(64).embed(TEXTS), atol=1e-6)
    assert col.search(["petrol engines"], top_k=1)[0][0]["id"] == 2


class LangChainLike:
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return letters(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        return letters([f"{text}a"])[0].tolist()


def test_questions_go_through_embed_query_where_there_is_one(db: hw.Database) -> None:
    db.register_embedder("chain", LangChainLike())
    col = collection(db, {"provider": "chain"})
    col.insert([{"id": 0, "text": "aa"}, {"id": 1, "text": "a"}])
    hits = col.search("a", top_k=2, params={"metric_type": "L2"})[0]
    assert [(hit["id"], hit["distance"]) for hit in hits] == [(0, 0.0), (1, 1.0)]
    with pytest.raises(errors.InvalidArgument, match="embed_documents"):
        db.register_embedder("nothing", 3)
    with pytest.raises(errors.InvalidArgument, match="'openai'"):
        db.register_embedder("openai", letters)


def test_texts_for_a_field_without_a_function_are_refused(db: hw.Database) -> None:
    col = db.create_collection("plain", {"id": hw.Int64, "v": hw.FloatVector(4)}, "id")
    with pytest.raises(errors.SchemaMismatch, match="no function fills it"):
        col.search(["text"])


# -- a server of OpenAI's protocol ----------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[dict[str, Any], str | None]] = []
        self.failures: list[int] = []
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((body, self.headers.get("Authorization")))
        status = self.server.failures.pop(0) if self.server.failures else 200
        made = [{"index": i, "embedding": v} for i, v in enumerate(letters(body["input"]).tolist())]
        answer = json.dumps({"data": made[::-1]} if status == 200 else {"error": "no"}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(embed_http, "_FIRST_WAIT_S", 0.001)
    running = Server()
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", running.url)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


def test_a_server_is_asked_in_batches_and_again_when_it_is_busy(db: hw.Database, server: Server) -> None:
    params = {
        "provider": "openai",
        "model_name": "m",
        "url": server.url,
        "max_client_batch_size": 2,
        "dim": DIM,
    }
    col = collection(db, params)
    server.requests.clear()
    server.failures = [503, 429]
    col.insert([{"id": i, "text": text} for i, text in enumerate(TEXTS)])
    np.testing.assert_array_equal(stored(col), letters(TEXTS))
    sizes = [len(body["input"]) for body, _ in server.requests]
    assert sizes == [2, 2, 2, 2, 1]
    assert server.requests[0][0]["model"] == "m"
    assert server.requests[0][0]["dimensions"] == DIM
    assert {key for _, key in server.requests} == {"Bearer from-environment"}


def test_a_server_that_stays_away_or_refuses_fails_the_insert(db: hw.Database, server: Server) -> None:
    col = collection(db, {"provider": "openai", "model_name": "m", "url": server.url})
    server.failures = [500] * 5
    with pytest.raises(errors.Unavailable, match="5 times"):
        col.insert([{"id": 0, "text": "a"}])
    server.failures = [401]
    with pytest.raises(errors.PermissionDenied):
        col.insert([{"id": 0, "text": "a"}])
    server.failures = [400]
    with pytest.raises(errors.InvalidArgument, match="answered 400"):
        col.insert([{"id": 0, "text": "a"}])
    assert col.num_rows == 0


def test_an_answer_that_is_too_long_is_not_read_to_its_end(
    db: hw.Database, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    col = collection(db, {"provider": "openai", "model_name": "m", "url": server.url})
    monkeypatch.setattr(embed_http, "_HEAD_BYTES", 10)
    monkeypatch.setattr(embed_http, "_TEXT_BYTES", 10)
    with pytest.raises(errors.Unavailable, match="answered more than 20 bytes"):
        col.insert([{"id": 0, "text": "a"}])
    assert col.num_rows == 0


def test_a_secret_never_reaches_the_lake(db: hw.Database, server: Server, tmp_path: Path) -> None:
    params = {"provider": "openai", "model_name": "m", "url": server.url, "credential": "work"}
    with pytest.raises(errors.NotReady, match="HEADWATER_CREDENTIAL_WORK"):
        collection(db, params)
    db.set_credential("work", "s3cr3t-value")
    col = collection(db, params)
    col.insert([{"id": 0, "text": "a"}])
    col.flush()
    assert server.requests[-1][1] == "Bearer s3cr3t-value"
    manifest = json.dumps(col._lake.latest().schema.to_json())
    assert "work" in manifest
    assert "s3cr3t" not in manifest


@pytest.mark.parametrize(
    "base", ["https://api.openai.com/v1", "http://127.0.0.1:1", "{url}x", "{url}/deeper"]
)
def test_the_key_of_the_environment_goes_to_its_own_service_only(
    db: hw.Database, server: Server, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", base.format(url=server.url))
    col = collection(db, {"provider": "openai", "model_name": "m", "url": server.url})
    col.insert([{"id": 0, "text": "a"}])
    assert {key for _, key in server.requests} == {None}


def test_a_key_of_the_environment_that_changes_is_sent_as_it_is_then(
    db: hw.Database, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    col = collection(db, {"provider": "openai", "model_name": "m", "url": server.url})
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    col.insert([{"id": 0, "text": "a"}])
    assert server.requests[-1][1] == "Bearer another"


@pytest.mark.parametrize("kept", ["in memory", "in the environment"])
def test_a_credential_goes_to_the_service_that_it_is_for_only(
    db: hw.Database, server: Server, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    def keep(url: str) -> None:
        if kept == "in memory":
            db.set_credential("work", "s3cr3t-value", url)
        else:
            monkeypatch.setenv("HEADWATER_CREDENTIAL_WORK", "s3cr3t-value")
            monkeypatch.setenv("HEADWATER_CREDENTIAL_WORK_URL", url)

    params = {
        "provider": "openai",
        "model_name": "m",
        "url": f"{server.url}/embeddings",
        "credential": "work",
    }
    keep("https://api.example.com")
    with pytest.raises(errors.PermissionDenied, match="credential 'work' is not for http"):
        collection(db, params)
    assert server.requests == []
    keep(server.url)
    col = collection(db, params)
    col.insert([{"id": 0, "text": "a"}])
    assert server.requests[-1][1] == "Bearer s3cr3t-value"


# -- a model in ONNX ------------------------------------------------------------------------------------------------


def make_model(folder: Path) -> tuple[dict[str, int], np.ndarray]:
    """A model of one embedding table, and a tokenizer of whole words; gives both back."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir()
    words = sorted({word for text in TEXTS for word in text.split()})
    vocabulary = {"[PAD]": 0, "[UNK]": 1, **{word: i for i, word in enumerate(words, start=2)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    table = np.random.default_rng(0).normal(size=(len(vocabulary), DIM)).astype(np.float32)
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["b", "t"])
    mask = helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["b", "t"])
    out = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["b", "t", DIM])
    node = helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])
    graph = helper.make_graph([node], "g", [ids, mask], [out], [numpy_helper.from_array(table, "table")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, str(folder / "model.onnx"))
    return vocabulary, table


def test_an_onnx_model_gives_the_normalised_mean_of_its_token_vectors(
    db: hw.Database, tmp_path: Path
) -> None:
    vocabulary, table = make_model(tmp_path / "model")
    col = collection(db, {"provider": "onnx", "path": str(tmp_path / "model"), "max_client_batch_size": 2})
    col.insert([{"id": i, "text": text} for i, text in enumerate(TEXTS)])
    means = np.array([table[[vocabulary[word] for word in text.split()]].mean(axis=0) for text in TEXTS])
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(stored(col), expected, atol=1e-5)
    assert col.search(["cars have engines"], top_k=1)[0][0]["id"] == 3
    assert len(col.search([""], top_k=1)[0]) == 1


def test_a_broken_model_names_its_file(db: hw.Database, tmp_path: Path) -> None:
    make_model(tmp_path / "model")
    (tmp_path / "model" / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(errors.Corrupt, match="not an ONNX model"):
        collection(db, {"provider": "onnx", "path": str(tmp_path / "model")})


def test_vectors_come_back_in_arrow_and_through_compaction(db: hw.Database) -> None:
    col = collection(db, {"provider": "letters"})
    for start in range(0, 40, 10):
        col.insert(
            pa.table(
                {"id": range(start, start + 10), "text": [f"text {i}" for i in range(start, start + 10)]}
            )
        )
        col.flush()
    col.delete([3, 13])
    col.optimize()
    kept = [i for i in range(40) if i not in (3, 13)]
    np.testing.assert_array_equal(stored(col), letters([f"text {i}" for i in kept]))
