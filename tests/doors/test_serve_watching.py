"""What an operator sees of a running server: figures, logs, readiness; and how it ends."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from process import get, serving
from prometheus_client.parser import text_string_to_metric_families
from pymilvus import MilvusClient

from headwater.doors.milvus.record import Record
from headwater.doors.serve.metrics import FAMILIES
from headwater.doors.serve.scrape import merged
from headwater.doors.serve.slow import asked
from headwater.doors.serve.sniff import protocol_of
from headwater.doors.serve.spans import Spans, wanted
from headwater.trace import Step


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    log = tmp_path_factory.mktemp("log") / "log"
    options = ["--workers", "2", "--set", "server.slow_query_s=0.000001", "--set", "server.log_format=json"]
    with (
        log.open("w") as stderr,
        serving(tmp_path_factory.mktemp("lake"), *options, stderr=stderr) as (_, port),
    ):
        client = MilvusClient(f"http://127.0.0.1:{port}")
        client.create_collection("seen", dimension=8)
        vectors = np.random.default_rng(0).random((50, 8), np.float32)
        client.insert("seen", [{"id": n, "vector": vectors[n], "year": n} for n in range(50)])
        client.search("seen", data=[vectors[0]], limit=7, filter="year >= 3", output_fields=["year"])
        with pytest.raises(Exception, match="absent"):
            client.query("absent", filter="id > 0")
        client.close()
        yield port, log


def samples(port: int) -> list[Any]:
    """The figures of both workers; one that is kept from its core for long is left out of a page."""
    until = time.monotonic() + 60
    while True:
        page = get(port, "/metrics")[1].decode()
        found = [one for family in text_string_to_metric_families(page) for one in family.samples]
        if {one.labels["worker"] for one in found if one.name == "headwater_lane_threads"} == {"0", "1"}:
            return found
        assert time.monotonic() < until, page


def total(found: list[Any], name: str, **labels: str) -> float:
    return sum(one.value for one in found if one.name == name and labels.items() <= one.labels.items())


def test_figures_count_the_calls_of_every_worker(server: tuple[int, Path]) -> None:
    port, _ = server
    found = samples(port)
    assert total(found, "headwater_requests_total", rpc="Search", code="0", outcome="ok") == 1
    assert total(found, "headwater_requests_total", rpc="Query", code="100", outcome="error") == 1
    assert total(found, "headwater_request_seconds_count", rpc="Insert") == 1
    assert 0 < total(found, "headwater_request_seconds_sum", rpc="Search") < 60
    assert total(found, "headwater_received_bytes_total", rpc="Insert") > 50 * 8 * 4
    assert total(found, "headwater_step_seconds_count", step="engine_search") == 1
    assert total(found, "headwater_collection_log_entries", collection="seen") >= 1
    assert total(found, "headwater_requests_in_flight") == 0
    assert {one.labels["worker"] for one in found if one.name == "headwater_lane_threads"} == {"0", "1"}
    assert total(found, "headwater_writer") == 1
    buckets = [one for one in found if one.name == "headwater_request_seconds_bucket"]
    searches = [one.value for one in buckets if one.labels["rpc"] == "Search"]
    assert searches == sorted(searches)
    assert searches[-1] == 1


def test_every_family_is_documented_and_no_other(server: tuple[int, Path]) -> None:
    port, _ = server
    page = get(port, "/metrics")[1].decode()
    shown = set(re.findall(r"^# TYPE (headwater_\w+?)(?:_total)? \w+$", page, re.MULTILINE))
    assert shown <= FAMILIES.keys()
    assert FAMILIES.keys() - shown == set()


def test_a_slow_call_is_logged_with_its_steps_and_no_vector(server: tuple[int, Path]) -> None:
    _, log = server
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    [search] = [line for line in lines if line.get("rpc") == "Search"]
    assert (search["collection"], search["filter"], search["nq"], search["top_k"]) == (
        "seen",
        "year >= 3",
        1,
        "7",
    )
    assert search["output_fields"] == ["year"]
    assert search["level"] == "warning"
    assert len(search["request_id"]) >= 16
    assert search["steps"]["run_s"] > 0
    assert "search" in [step["name"] for step in search["steps"]["engine"]]
    assert "placeholder" not in json.dumps(search)
    assert len(json.dumps(search)) < 5000
    [insert] = [line for line in lines if line.get("rpc") == "Insert"]
    assert insert["rows"] == 50


def test_what_is_asked_of_a_hybrid_search_is_told_without_its_vectors() -> None:
    from pymilvus.grpc_gen import common_pb2, milvus_pb2

    one = milvus_pb2.SearchRequest(
        dsl="a == 1",
        nq=2,
        placeholder_group=b"secret vectors",
        search_params=[common_pb2.KeyValuePair(key="topk", value="5")],
    )
    found = asked(milvus_pb2.HybridSearchRequest(collection_name="c", requests=[one]))
    assert found == {"collection": "c", "searches": [{"filter": "a == 1", "nq": 2, "top_k": "5"}]}


def test_running_calls_are_finished_and_new_ones_are_not_taken(tmp_path: Path) -> None:
    with serving(tmp_path / "lake") as (process, port):
        client = MilvusClient(f"http://127.0.0.1:{port}")
        client.create_collection("kept", dimension=8)
        acknowledged: list[int] = []
        failures: list[BaseException] = []

        def write() -> None:
            try:
                for n in range(100_000):
                    client.insert("kept", [{"id": n, "vector": np.zeros(8, np.float32)}], timeout=60)
                    acknowledged.append(n)
            except Exception as error:  # noqa: BLE001
                failures.append(error)

        writer = threading.Thread(target=write)
        writer.start()
        while len(acknowledged) < 20 and writer.is_alive():
            time.sleep(0.01)
        assert not failures
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        writer.join(90)
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            get(port, "/healthz")
    with serving(tmp_path / "lake") as (process, port):
        again = MilvusClient(f"http://127.0.0.1:{port}")
        again.load_collection("kept")
        found = again.query("kept", filter="id >= 0", output_fields=["id"], consistency_level="Strong")
        kept = {row["id"] for row in found}
        assert kept >= set(acknowledged)
        assert len(kept) <= len(acknowledged) + 1
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    log, options = tmp_path / "log", ["--set", "server.shutdown_grace_s=600"]
    with log.open("w") as stderr, serving(tmp_path / "lake", *options, stderr=stderr) as (process, port):
        # A connection that never finishes its request keeps the server waiting.
        import socket

        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(
                b"POST /v2/vectordb/entities/search HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
            )
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            # A signal that comes before it has looked at the first is one with it.
            until = time.monotonic() + 60
            while "a second signal stops at once" not in log.read_text():
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.02)
            time.sleep(0.5)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 128 + signal.SIGTERM


def test_pages_of_workers_are_joined_by_family() -> None:
    one = b'# HELP a_total x\n# TYPE a_total counter\na_total{worker="0"} 1\n'
    one += b'# HELP b y\n# TYPE b gauge\nb{worker="0"} 2\n'
    page = merged([one, one.replace(b'"0"', b'"1"')]).decode()
    assert page.count("# TYPE a_total") == 1
    assert page.index('a_total{worker="1"}') < page.index("# HELP b")
    assert len(list(text_string_to_metric_families(page))) == 2


@pytest.mark.parametrize(
    ("first", "protocol"),
    [
        (b"", None),
        (b"P", None),
        (b"PR", None),
        (b"PRI ", "grpc"),
        (b"POST / HTTP/1.1", "http"),
        (b"\x16", None),
        (b"\x16\x03\x01\xff\xff" + b"\x00" * 100, "http"),
        (b"\x00\xff", "http"),
        (b"\x16\x03\x01\x00\x10\x01", None),
        (b"\x16\x03\x01\x40\x00\x01" + b"\xff" * (16 << 10), "http"),
    ],
)
def test_first_bytes_tell_the_protocol(first: bytes, protocol: str | None) -> None:
    assert protocol_of(first) == protocol


class Kept:
    """A place for spans, in memory."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    def export(self, spans: Any) -> Any:
        from opentelemetry.sdk.trace.export import SpanExportResult

        self.spans += spans
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        return None

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


def test_a_call_becomes_a_span_with_the_steps_inside() -> None:
    kept = Kept()
    spans = Spans(kept)
    inner = Step("search", {"field": "v"}, [Step("segment", seconds=0.002, began=10.002)], 0.004, 10.001)
    spans.observe(
        Record(
            "Search",
            request_id="r1",
            code=100,
            reason="missing",
            began=10.0,
            began_ns=1_000_000_000_000,
            queue_s=0.001,
            run_s=0.005,
            total_s=0.007,
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            step=Step("Search", steps=[inner]),
        )
    )
    spans.close()
    found = {span.name: span for span in kept.spans}
    assert set(found) == {"Search", "queue", "run", "search", "segment"}
    root = found["Search"]
    assert f"{root.context.trace_id:x}" == "af7651916cd43dd8448eb211c80319c"
    assert f"{root.parent.span_id:x}" == "b7ad6b7169203331"
    assert root.end_time - root.start_time == 7_000_000
    assert root.status.description == "missing"
    assert found["run"].parent.span_id == root.context.span_id
    assert found["search"].parent.span_id == found["run"].context.span_id
    assert found["segment"].parent.span_id == found["search"].context.span_id
    assert abs(found["search"].start_time - (root.start_time + 1_000_000)) < 1000
    assert found["search"].attributes["headwater.field"] == "v"


def test_traces_are_sent_only_where_somebody_asks_for_them() -> None:
    assert not wanted(False, {})
    assert wanted(True, {})
    assert wanted(False, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"})
    assert not wanted(True, {"OTEL_SDK_DISABLED": "true"})
    assert not wanted(True, {"OTEL_TRACES_EXPORTER": "none"})
