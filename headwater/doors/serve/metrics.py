"""Figures for Prometheus: what calls did, and what the process holds.

A call costs a few additions: it is counted on the event loop alone, so nothing is locked, and the families are made
only when somebody asks for them.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from headwater import __version__
from headwater.doors.milvus.backend import Backend
from headwater.doors.milvus.record import Record
from headwater.doors.milvus.service import MilvusService
from headwater.doors.serve.tier_metrics import TIER_FAMILIES, tier_rows
from headwater.engine.gauges import CacheGauges, CollectionGauges

__all__ = ["FAMILIES", "Metrics"]

_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
_MOST_COLLECTIONS = 200
_MOST_STEPS = 64

FAMILIES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "headwater_requests": (
        "counter",
        "Calls answered, by Milvus's code; 0 is success.",
        ("rpc", "outcome", "code"),
    ),
    "headwater_request_seconds": ("histogram", "From the arrival of a call to its answer.", ("rpc",)),
    "headwater_step_seconds": (
        "histogram",
        "Steps of calls: queue, parse, run, serialise, and those of the engine inside run, such as engine_search.",
        ("step",),
    ),
    "headwater_received_bytes": ("counter", "Messages of calls.", ("rpc",)),
    "headwater_sent_bytes": ("counter", "Answers of calls.", ("rpc",)),
    "headwater_requests_in_flight": ("gauge", "Calls that run or wait.", ()),
    "headwater_lane_waiting": ("gauge", "Calls that wait for a thread.", ("lane",)),
    "headwater_lane_busy": ("gauge", "Calls that run on a thread.", ("lane",)),
    "headwater_lane_threads": ("gauge", "Threads of a lane, spare ones included.", ("lane",)),
    "headwater_collection_segments": ("gauge", "Sealed segments.", ("database", "collection")),
    "headwater_collection_rows": (
        "gauge",
        "Rows in segments, deleted ones included.",
        ("database", "collection"),
    ),
    "headwater_collection_log_entries": ("gauge", "Log entries not in segments.", ("database", "collection")),
    "headwater_collection_log_bytes": ("gauge", "Memory that they take.", ("database", "collection")),
    "headwater_collections_open": ("gauge", "Collections that the process has opened.", ()),
    "headwater_cache_entries": ("gauge", "Entries of a cache, over all collections.", ("cache",)),
    "headwater_cache_bytes": ("gauge", "Bytes of them, where they are bounded in bytes.", ("cache",)),
    "headwater_cache_hits": ("counter", "Answers from a cache.", ("cache",)),
    "headwater_cache_misses": ("counter", "What had to be opened or decoded.", ("cache",)),
    "headwater_cache_evictions": ("counter", "Entries that left for want of room.", ("cache",)),
    **TIER_FAMILIES,
    "headwater_jobs": (
        "gauge",
        "Jobs of the lake that this process runs, and index builds that wait.",
        ("state",),
    ),
    "headwater_upkeep_failures": ("counter", "Rounds of background work that failed.", ()),
    "headwater_writer": ("gauge", "1 in the worker that writes.", ()),
    "headwater_memory_bytes": ("gauge", "Memory that is neither shared nor mapped from files.", ()),
    "headwater_build": ("gauge", "1, with the version.", ("version",)),
}
"""Every family: its kind, what it says, and its labels. All carry `worker` besides."""


@dataclass(slots=True)
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(_BUCKETS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(_BUCKETS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        found, running = [], 0
        for bound, count in zip((*map(str, _BUCKETS), "+Inf"), self.counts, strict=True):
            running += count
            found.append((bound, float(running)))
        return found


@dataclass(slots=True)
class _Rpc:
    seconds: _Histogram = field(default_factory=_Histogram)
    bytes_in: int = 0
    bytes_out: int = 0
    codes: dict[int, int] = field(default_factory=dict)


class Metrics(Collector):
    """The figures of one worker.

    Args:
        service: whose calls are counted.
        backend: the lake.
        worker: which one we are.
    """

    def __init__(self, service: MilvusService, backend: Backend, worker: int) -> None:
        self._service = service
        self._backend = backend
        self._worker = str(worker)
        self._rpcs: dict[str, _Rpc] = {}
        self._steps = {name: _Histogram() for name in ("queue", "parse", "run", "serialise")}
        self.writing = True
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._registry.register(_Process(self._worker))
        service.observers.append(self.observe)

    def observe(self, record: Record) -> None:
        """Count a call."""
        rpc = self._rpcs.get(record.name)
        if rpc is None:
            rpc = self._rpcs[record.name] = _Rpc()
        rpc.seconds.add(record.total_s)
        rpc.bytes_in += record.bytes_in
        rpc.bytes_out += record.bytes_out
        rpc.codes[record.code] = rpc.codes.get(record.code, 0) + 1
        steps = self._steps
        steps["queue"].add(record.queue_s)
        steps["parse"].add(record.parse_s)
        steps["run"].add(record.run_s)
        steps["serialise"].add(record.serialise_s)
        if record.step is not None:
            for one in record.step.steps:
                self._engine(one.name, one.seconds)

    def _engine(self, name: str, seconds: float) -> None:
        label = f"engine_{name.replace(' ', '_')}"
        held = self._steps.get(label)
        if held is None:
            if len(self._steps) >= _MOST_STEPS:
                return
            held = self._steps[label] = _Histogram()
        held.add(seconds)

    def text(self) -> bytes:
        """The page, for a scraper."""
        found: bytes = generate_latest(self._registry)
        return found

    def collect(self) -> Iterator[Metric]:
        """Every family; called by the registry."""
        yield from self._calls()
        yield from self._process()
        yield from self._engines()

    def _calls(self) -> Iterator[Metric]:
        requests, seconds = self._family("headwater_requests"), self._family("headwater_request_seconds")
        received, sent = self._family("headwater_received_bytes"), self._family("headwater_sent_bytes")
        for name, rpc in dict(self._rpcs).items():
            for code, count in dict(rpc.codes).items():
                requests.add_metric((self._worker, name, "error" if code else "ok", str(code)), count)
            seconds.add_metric((self._worker, name), rpc.seconds.buckets(), rpc.seconds.total)
            received.add_metric((self._worker, name), rpc.bytes_in)
            sent.add_metric((self._worker, name), rpc.bytes_out)
        steps = self._family("headwater_step_seconds")
        for name, histogram in dict(self._steps).items():
            steps.add_metric((self._worker, name), histogram.buckets(), histogram.total)
        yield from (requests, seconds, steps, received, sent)

    def _process(self) -> Iterator[Metric]:
        service = self._service
        yield self._one("headwater_requests_in_flight", service.in_flight)
        for figure in ("waiting", "busy", "threads"):
            rows = [((name,), getattr(lane, figure)) for name, lane in service.lanes.items()]
            yield self._many(f"headwater_lane_{figure}", rows)
        yield self._one("headwater_writer", int(self.writing))
        yield self._one("headwater_memory_bytes", service.limits.memory_bytes())
        yield self._many("headwater_build", [((__version__,), 1)])

    def _engines(self) -> Iterator[Metric]:
        collections: list[tuple[str, CollectionGauges]] = []
        caches: dict[str, list[CacheGauges]] = {}
        failures = 0
        databases = self._backend.databases
        for database in databases:
            gauges = database.gauges()
            failures += gauges.upkeep_failures
            collections += [(database.name, one) for one in gauges.collections]
            for name, cache in gauges.caches.items():
                caches.setdefault(name, []).append(cache)
        yield self._one("headwater_collections_open", len(collections))
        # The labels stay few: the largest are told apart, and the others are one.
        collections.sort(key=lambda one: (-one[1].rows, one[1].name))
        rest = collections[_MOST_COLLECTIONS:]
        for figure in ("segments", "rows", "log_entries", "log_bytes"):
            rows = [((name, one.name), getattr(one, figure)) for name, one in collections[:_MOST_COLLECTIONS]]
            if rest:
                rows.append((("", "(others)"), sum(getattr(one, figure) for _, one in rest)))
            yield self._many(f"headwater_collection_{figure}", rows)
        for figure, attribute in (
            ("entries", "entries"), ("bytes", "used_bytes"), ("hits", "hits"), ("misses", "misses"),
            ("evictions", "evictions"),
        ):  # fmt: skip
            yield self._many(
                f"headwater_cache_{figure}",
                [((name,), sum(getattr(one, attribute) for one in ones)) for name, ones in caches.items()],
            )
        tiers = {id(database.tiers): database.tiers for database in databases}
        for family, found in tier_rows([one.report() for one in tiers.values()]).items():
            yield self._many(family, found)
        running = sum(database.jobs.running for database in databases)
        yield self._many(
            "headwater_jobs", [(("running",), running), (("builds",), self._backend.building.pending)]
        )
        yield self._one("headwater_upkeep_failures", failures)

    def _family(self, name: str) -> Any:
        kind, meaning, labels = FAMILIES[name]
        made = {
            "counter": CounterMetricFamily,
            "gauge": GaugeMetricFamily,
            "histogram": HistogramMetricFamily,
        }
        return made[kind](name, meaning, labels=("worker", *labels))

    def _one(self, name: str, value: float) -> Metric:
        return self._many(name, [((), value)])

    def _many(self, name: str, rows: Iterable[tuple[Sequence[str], float]]) -> Metric:
        family: Metric = self._family(name)
        for labels, value in rows:
            family.add_metric((self._worker, *labels), value)  # type: ignore[attr-defined]
        return family


class _Process(Collector):
    """CPU, memory and open files of this process, told apart by worker."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._inner = ProcessCollector(registry=None)

    def collect(self) -> Iterator[Metric]:
        for family in self._inner.collect():
            for index, sample in enumerate(family.samples):
                family.samples[index] = sample._replace(labels={**sample.labels, "worker": self._worker})
            yield family
        threads = GaugeMetricFamily("process_threads", "Threads of Python.", labels=("worker",))
        threads.add_metric((self._worker,), threading.active_count())
        yield threads
