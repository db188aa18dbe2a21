"""Nonsense sent to a running server: it never crashes, never hangs, and always answers with a coded status.

Messages are filled by reflection, from values that handlers look at closely: names that exist and names that do not,
numbers at the edges, parameters of every kind, filters, and bytes that are nearly a message.
"""

from __future__ import annotations

import random
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from process import get, serving
from pymilvus import DataType, MilvusClient
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from headwater.doors.milvus import service as _service  # noqa: F401 (registers what is served)
from headwater.doors.milvus.rpc import RPCS

DIM = 4
TIMEOUT_S = 30
_SERVICE = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"]
_UNARY = [one for one in _SERVICE.methods if not (one.client_streaming or one.server_streaming)]

_TEXTS = (
    "", "seed", "seed", "seed", "absent", "_default", "default", "id", "vector", "word", "tags", "meta",
    "alias1", "root", "public", "admin", "Milvus", "a" * 300, "9x", "naïve-ü", "\x00", "%", "*", "id >= 0",
    "id in [1, 2]", "id ==", "((((", 'word like "%a%"', "meta['k'] > 1", "{x}", "vector > 1",
    "not not id == 1", "array_contains(tags, 1)", "1 == 1 and", "count(*)", "/absent/file.parquet", "{}",
    "[]", "null", "[1, 2]", '{"a": [1', "-1", "0", "1", "18446744073709551616",
)  # fmt: skip
_KEYS = (
    "topk", "offset", "limit", "metric_type", "params", "anns_field", "index_type", "dim", "max_length",
    "nprobe", "round_decimal", "ignore_growing", "group_by_field", "group_size", "strict_group_size",
    "order_by_fields", "iterator", "collection_id", "search_iter_v2", "search_iter_batch_size",
    "search_iter_last_bound", "search_iter_id", "strategy", "rank_params", "k", "weights", "norm_score",
    "reduce_stop_for_best", "page_retain_order", "hints", "timezone", "time_fields", "json_path",
    "json_cast_type", "collection.ttl.seconds", "mmap.enabled", "partitionkey.isolation", "ef", "M",
    "efConstruction", "nlist", "bm25_k1", "analyzer_params", "enable_match", "replica.number",
    "group_by_fields",
)  # fmt: skip
_VALUES = (
    "", "10", "0", "-1", "16384", "16385", "99999999999999999999", "1e400", "NaN", "abc", "True", "false",
    "{}", "[]", '{"nprobe": 4}', '{"ef": -1}', '{"radius": 1, "range_filter": 2}', '{"radius": "x"}', "{",
    "null", "L2", "COSINE", "IP", "HNSW", "IVF_FLAT", "AUTOINDEX", "FLAT", "id", "vector", "seed", "id:asc",
    "word:sideways", "rrf", "weighted", '{"k": 60}', '{"weights": [0.5, 2]}', "[0.5]", "60",
    '{"tokenizer": "nothing"}', "Mars/Olympus", "\x00",
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    log = tmp_path_factory.mktemp("log") / "log"
    options = [
        "--set",
        "server.log_format=json",
        "--set",
        "write.deadline_s=5",
        "--set",
        "store.deadline_s=5",
    ]
    with (
        log.open("w") as stderr,
        serving(tmp_path_factory.mktemp("lake"), *options, stderr=stderr) as (process, port),
    ):
        yield port, log
        assert process.poll() is None


@pytest.fixture(scope="module")
def channel(server: tuple[int, Path]) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server[0]}") as made:
        yield made


def seed(port: int) -> None:
    """The collection that nonsense is about; made again when nonsense has dropped it."""
    client = MilvusClient(f"http://127.0.0.1:{port}")
    if not client.has_collection("seed"):
        schema = client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
        schema.add_field("word", DataType.VARCHAR, max_length=50, nullable=True)
        schema.add_field("tags", DataType.ARRAY, element_type=DataType.INT64, max_capacity=4)
        schema.add_field("meta", DataType.JSON, nullable=True)
        index = client.prepare_index_params()
        index.add_index("vector", index_type="FLAT", metric_type="L2")
        client.create_collection("seed", schema=schema, index_params=index)
        vectors = np.random.default_rng(0).random((20, DIM), np.float32)
        rows = [
            {"id": n, "vector": vectors[n], "word": f"a{n}", "tags": [n], "meta": {"k": n}} for n in range(20)
        ]
        client.insert("seed", rows)
    client.load_collection("seed")
    client.close()


def filled(dice: random.Random, message: Message, depth: int = 0) -> Message:
    """A message with some of its fields set to something."""
    if isinstance(message, common_pb2.KeyValuePair):
        message.key, message.value = dice.choice(_KEYS), dice.choice(_VALUES)
        return message
    for field in message.DESCRIPTOR.fields:
        wanted = 0.75 if field.name.endswith(("_name", "name")) else 0.4
        if dice.random() > wanted / (1 + depth / 2) or depth > 3:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        if field.is_repeated:
            for _ in range(dice.choice((1, 1, 2, 5))):
                if field.message_type is not None:
                    filled(dice, getattr(message, field.name).add(), depth + 1)
                else:
                    getattr(message, field.name).append(value(dice, field))
        elif field.message_type is not None:
            inner = getattr(message, field.name)
            inner.SetInParent()
            filled(dice, inner, depth + 1)
        else:
            setattr(message, field.name, value(dice, field))
    return message


def value(dice: random.Random, field: FieldDescriptor) -> Any:
    """Something of a field's type."""
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return dice.random() < 0.5
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return dice.choice([*(one.number for one in field.enum_type.values), 77])
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return dice.choice((0.0, -1.0, 1.5, float("nan"), float("inf"), 1e30))
    if kind in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64):
        edge = 1 << (31 if kind == FieldDescriptor.CPPTYPE_INT32 else 63)
        return dice.choice((0, 1, 2, 3, 10, -1, 20000, edge - 1, -edge))
    if kind in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64):
        return dice.choice(
            (0, 1, 2, 20000, (1 << (32 if kind == FieldDescriptor.CPPTYPE_UINT32 else 64)) - 1)
        )
    if field.type == FieldDescriptor.TYPE_BYTES:
        return some_bytes(dice, field.name)
    return dice.choice(_TEXTS)


def some_bytes(dice: random.Random, name: str) -> bytes:
    """Bytes that are sometimes what the field holds."""
    if name == "placeholder_group" and dice.random() < 0.7:
        group = common_pb2.PlaceholderGroup()
        one = group.placeholders.add(tag="$0", type=dice.choice([*common_pb2.PlaceholderType.values()]))
        one.values.extend(
            dice.randbytes(dice.choice((0, 1, 4 * DIM, 4 * DIM, 8 * DIM)))
            for _ in range(dice.choice((0, 1, 2)))
        )
        return group.SerializeToString()
    if name == "schema" and dice.random() < 0.8:
        return filled(dice, schema_pb2.CollectionSchema(), 1).SerializeToString()
    return dice.choice((b"", b"\x00", b"\xff" * 7, dice.randbytes(16), b'{"k": 1}', b"seed"))


def answer(channel: grpc.Channel, name: str, data: bytes) -> Message:
    """What the server says to a message; a failure of gRPC itself raises."""
    kind = _SERVICE.methods_by_name[name].output_type._concrete_class
    found = channel.unary_unary(f"/{_SERVICE.full_name}/{name}")(data, timeout=TIMEOUT_S)
    return kind.FromString(found)


def check(said: Message) -> None:
    """Both numbers of a status say the same, and a failure has a reason."""
    status = said if isinstance(said, common_pb2.Status) else getattr(said, "status", None)
    if status is not None:
        assert (status.code != 0) == (status.error_code != 0)
        assert bool(status.reason) or status.code == 0


@pytest.mark.parametrize("name", [one.name for one in _UNARY])
def test_a_message_of_nonsense_gets_a_coded_status(
    server: tuple[int, Path], channel: grpc.Channel, name: str
) -> None:
    examples = 12 if name in ("Search", "HybridSearch", "Query", "Insert", "CreateCollection") else 4
    if name not in RPCS:
        examples = 1
    if name in ("Search", "Query", "Insert"):
        seed(server[0])

    @settings(
        max_examples=examples,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False))
    def nonsense(dice: random.Random) -> None:
        request = _SERVICE.methods_by_name[name].input_type._concrete_class()
        check(answer(channel, name, filled(dice, request).SerializeToString()))

    nonsense()


def test_bytes_that_are_no_message_get_a_coded_status(
    server: tuple[int, Path], channel: grpc.Channel
) -> None:
    dice = random.Random(1)
    for name in RPCS:
        for data in (b"\xff\xff\xff\xff", dice.randbytes(40), b"\x0a\x7f"):
            check(answer(channel, name, data))


@pytest.mark.parametrize(
    "start", [b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"POST /v2/vectordb/", b"\x16\x03\x01"]
)
def test_random_bytes_leave_the_port_in_order(server: tuple[int, Path], start: bytes) -> None:
    dice = random.Random(len(start))
    for size in (0, 1, 3, 9, 24, 100, 5000, 70000):
        with socket.create_connection(("127.0.0.1", server[0]), timeout=15) as sock:
            try:
                sock.sendall(start + dice.randbytes(size))
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass
            except (ConnectionError, ssl.SSLError):
                pass
    assert get(server[0], "/healthz")[0] == 200


def test_the_server_went_on_and_met_nothing_that_it_had_not_foreseen(
    server: tuple[int, Path], channel: grpc.Channel
) -> None:
    port, log = server
    seed(port)
    client = MilvusClient(f"http://127.0.0.1:{port}")
    [hits] = client.search("seed", data=[[0.0] * DIM], limit=3)
    assert len(hits) == 3
    client.close()
    failures = re.findall(r'"message": "(\w+) failed".*?"exception": "(.*?)"}', log.read_text())
    told = {(name, trace.replace("\\n", "\n")[-600:]) for name, trace in failures}
    assert not told, "\n".join(f"{name}:\n{trace}" for name, trace in sorted(told))
