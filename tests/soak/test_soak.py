"""A server under mixed load for a long time: nothing acknowledged is lost, nothing leaks, no call fails in vain.

Five minutes by default; `SOAK_S=3600 pytest -m soak` for an hour. Every client owns a range of keys and keeps
a plain dict of what the server acknowledged; it checks some of it all the time, and everything at the end.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymilvus import AnnSearchRequest, DataType, MilvusClient, MilvusException, RRFRanker

SECONDS = float(os.environ.get("SOAK_S", "300"))
CLIENTS, DIM, KEYS = 4, 32, 3_000
DOCS = "docs"

pytestmark = [pytest.mark.soak, pytest.mark.filterwarnings("default")]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A server in a process of its own: its address, and the process that answers."""
    run = "from headwater.doors.cli import main; main()"
    command = [sys.executable, "-c", run, "serve", "--lake", str(tmp_path / "lake"), "--port", "0"]
    log = tmp_path / "server.log"
    with log.open("w") as said:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert "headwater serves" in first, log.read_text()
    yield f"http://{first.split()[-1]}", process.pid
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    process.stdout.close()


def descendants(pid: int) -> list[int]:
    """A process and those it started."""
    found = [pid]
    for one in found:
        children = Path(f"/proc/{one}/task/{one}/children").read_text().split()
        found += [int(child) for child in children]
    return found


class Held(dict[str, float]):
    """What a server holds: resident MiB, open files, threads."""

    @classmethod
    def by(cls, pid: int) -> Held:
        resident, files, threads = 0.0, 0, 0
        for one in descendants(pid):
            status = dict(
                line.split(":", 1)
                for line in Path(f"/proc/{one}/status").read_text().splitlines()
                if ":" in line
            )
            resident += int(status["VmRSS"].split()[0]) / 1024
            threads += int(status["Threads"])
            files += len(os.listdir(f"/proc/{one}/fd"))
        return cls(resident_mib=resident, files=files, threads=threads)


class Client(threading.Thread):
    """One client with keys of its own, and what the server told it."""

    def __init__(self, address: str, number: int, until: float) -> None:
        super().__init__(name=f"client-{number}")
        self.client = MilvusClient(address, dedicated=True)
        self.random = random.Random(number)
        self.rng = np.random.default_rng(number)
        self.keys = range(number * KEYS, (number + 1) * KEYS)
        self.number = number
        self.until = until
        self.model: dict[int, dict[str, Any]] = {}
        self.done: Counter[str] = Counter()
        self.failure: BaseException | None = None

    def run(self) -> None:
        acts: list[Callable[[], None]] = [
            *[self.upsert] * 4,
            *[self.search] * 6,
            *[self.get] * 4,
            *[self.count] * 2,
            *[self.delete] * 2,
            *[self.hybrid] * 2,
            *[self.ask_wrongly] * 2,
            self.flush,
            self.come_and_go,
        ]
        try:
            while time.monotonic() < self.until:
                act = self.random.choice(acts)
                act()
                self.done[act.__name__] += 1
            self.check_all()
        except BaseException as error:  # noqa: BLE001 (told by the test)
            self.failure = error

    def row(self, key: int) -> dict[str, Any]:
        return {
            "id": key,
            "owner": self.number,
            "value": self.random.randrange(1000),
            "text": f"text {self.random.choice('abcdef') * 3} of {key}",
            "vector": self.rng.normal(size=DIM).astype(np.float32).tolist(),
        }

    def upsert(self) -> None:
        rows = [self.row(key) for key in self.random.sample(self.keys, self.random.randint(1, 60))]
        assert self.client.upsert(DOCS, rows)["upsert_count"] == len(rows)
        self.model |= {row["id"]: row for row in rows}

    def delete(self) -> None:
        if self.model:
            keys = self.random.sample(sorted(self.model), min(len(self.model), self.random.randint(1, 20)))
            self.client.delete(DOCS, ids=keys)
            for key in keys:
                del self.model[key]

    def search(self) -> None:
        if not self.model:
            return
        key = self.random.choice(sorted(self.model))
        words = {
            "anns_field": "vector",
            "limit": 5,
            "output_fields": ["value"],
            "consistency_level": "Strong",
        }
        found = self.client.search(
            DOCS, [self.model[key]["vector"]], filter=f"owner == {self.number}", **words
        )
        best = found[0][0]
        assert best["id"] == key, (key, found)
        assert best["entity"]["value"] == self.model[key]["value"]

    def hybrid(self) -> None:
        legs = [
            AnnSearchRequest([self.row(0)["vector"]], "vector", {}, limit=10),
            AnnSearchRequest([self.row(0)["vector"]], "vector", {}, limit=10, expr=f"owner == {self.number}"),
        ]
        self.client.hybrid_search(DOCS, legs, RRFRanker(), limit=5)

    def get(self) -> None:
        keys = self.random.sample(self.keys, 20)
        found = self.client.get(DOCS, keys, output_fields=["value"], consistency_level="Strong")
        want = {key: self.model[key]["value"] for key in keys if key in self.model}
        assert {row["id"]: row["value"] for row in found} == want

    def count(self) -> None:
        level = self.random.randrange(1000)
        [found] = self.client.query(
            DOCS,
            filter="owner == {me} and value < {level}",
            filter_params={"me": self.number, "level": level},
            output_fields=["count(*)"],
            consistency_level="Strong",
        )
        assert found["count(*)"] == sum(row["value"] < level for row in self.model.values())

    def flush(self) -> None:
        if self.random.random() < 0.2:
            self.client.flush(DOCS)

    def come_and_go(self) -> None:
        if self.random.random() < 0.2:
            name = f"own_{self.number}_{self.random.randrange(1 << 30)}"
            self.client.create_collection(name, dimension=4)
            self.client.insert(name, {"id": 1, "vector": [0.0, 1.0, 2.0, 3.0]})
            assert len(self.client.query(name, filter="id == 1", consistency_level="Strong")) == 1
            self.client.drop_collection(name)

    def ask_wrongly(self) -> None:
        wrong: list[Callable[[], Any]] = [
            lambda: self.client.search(DOCS, [[1.0]], anns_field="vector", limit=3),
            lambda: self.client.query(DOCS, filter="value >", limit=3),
            lambda: self.client.upsert(DOCS, [{"id": 1}]),
            lambda: self.client.query("nowhere", filter="id > 0", limit=3),
        ]
        with pytest.raises(MilvusException):
            self.random.choice(wrong)()

    def check_all(self) -> None:
        found: dict[int, int] = {}
        iterator = self.client.query_iterator(
            DOCS,
            filter=f"owner == {self.number}",
            batch_size=500,
            output_fields=["value"],
            consistency_level="Strong",
        )
        while batch := iterator.next():
            for row in batch:
                assert row["id"] not in found, f"{row['id']} came twice"
                found[row["id"]] = row["value"]
        assert found == {key: row["value"] for key, row in self.model.items()}


def create(address: str) -> None:
    client = MilvusClient(address)
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("owner", DataType.INT64)
    schema.add_field("value", DataType.INT64)
    schema.add_field("text", DataType.VARCHAR, max_length=100)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="AUTOINDEX", metric_type="L2")
    index.add_index("owner", index_type="INVERTED")
    client.create_collection(DOCS, schema=schema, index_params=index)
    client.close()


def test_nothing_is_lost_and_nothing_leaks(server: tuple[str, int]) -> None:
    address, pid = server
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    create(address)
    until = time.monotonic() + SECONDS
    clients = [Client(address, number, until) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    held = []
    while any(client.is_alive() for client in clients):
        time.sleep(max(1.0, SECONDS / 60))
        held.append(Held.by(pid))
        assert all(client.failure is None for client in clients), [c.failure for c in clients if c.failure]
    for client in clients:
        client.join()
        assert client.failure is None, client.failure
    for client in clients:
        client.client.close()  # Clients of one address share their connection, so none closes it before the others end.
    done = sum((client.done for client in clients), Counter())
    print(dict(done), [round(one["resident_mib"]) for one in held], held[-1])
    assert all(done[name] for name in ("upsert", "delete", "search", "get", "count", "ask_wrongly"))
    warm, last = held[len(held) // 3], held[-1]
    # No Python object of a dropped collection stays. What allocators of native code keep levels off: with one client
    # about 60 KiB for each of the first hundred collections that come and go, 7 KiB for each of the next.
    assert last["resident_mib"] < warm["resident_mib"] * 1.25 + 150 + 0.03 * done["come_and_go"]
    assert last["files"] < warm["files"] + 100
    assert last["threads"] < warm["threads"] + 30
