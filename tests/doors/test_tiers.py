"""Tiers and warmup through unmodified Milvus clients on a real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient, MilvusException
from serving import Address, served

import headwater as hw
from headwater.engine import CollectionTiers
from headwater.settings import Settings
from headwater.store import open_store
from headwater.store.faulty import Fault, FaultyStore

ROWS = 1500
VECTORS = np.random.default_rng(9).random((ROWS, 8), np.float32)
QUERY = VECTORS[4]
NEAR = np.argsort(((VECTORS - QUERY) ** 2).sum(axis=1), kind="stable")[:5].tolist()


def made(client: MilvusClient, name: str, *, params: dict[str, Any] | None = None, **how: Any) -> str:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=8)
    schema.add_field("tag", DataType.VARCHAR, max_length=20)
    client.create_collection(name, schema=schema, **how)
    client.insert(name, [{"id": i, "v": VECTORS[i].tolist(), "tag": f"t{i % 3}"} for i in range(ROWS)])
    client.flush(name)
    wanted = client.prepare_index_params()
    wanted.add_index("v", index_type="IVF_FLAT", metric_type="L2", params={"nlist": 8, **(params or {})})
    wanted.add_index("tag", index_type="INVERTED")
    client.create_index(name, wanted)
    return name


def found(client: MilvusClient, name: str) -> list[int]:
    hits = client.search(
        name, [QUERY.tolist()], anns_field="v", limit=5, search_params={"nprobe": 8}, output_fields=["tag"]
    )
    return [hit["id"] for hit in hits[0]]


def told(address: Address, name: str) -> CollectionTiers:
    return address.backend.lake.collection(name).tiers()


def refused(call: Any, *args: Any, **named: Any) -> tuple[int, str]:
    with pytest.raises(MilvusException) as raised:
        call(*args, **named)
    return raised.value.code, raised.value.message


def test_mmap_says_where_bytes_are(client: MilvusClient, address: Address, brief_waits: None) -> None:
    name = made(client, "mapped", properties={"mmap.enabled": "false"}, params={"mmap.enabled": True})
    client.load_collection(name)
    assert found(client, name) == NEAR
    before = told(address, name)
    assert (before.policy, before.indexes) == ("hot", {"v": "warm"})
    assert {(one.names, one.tier) for one in before.files if one.kind == "index" and one.tier} == {
        (("v",), "warm")
    }
    assert {one.tier for one in before.files if one.names == ("v",) and one.kind == "field"} == {"hot"}
    client.release_collection(name)
    client.alter_collection_properties(name, {"mmap.enabled": True})
    client.alter_index_properties(name, "v", {"mmap.enabled": False})
    client.alter_collection_field(name, "v", {"mmap.enabled": False})
    client.load_collection(name)
    assert found(client, name) == NEAR
    after = told(address, name)
    assert (after.policy, after.fields, after.indexes) == ("warm", {"v": "hot"}, {"v": "hot"})
    assert {one.tier for one in after.files if one.names == ("v",)} == {"hot"}


def test_a_policy_changes_while_it_is_loaded_and_searched(
    client: MilvusClient, address: Address, brief_waits: None
) -> None:
    name = made(client, "served")
    client.load_collection(name)
    stop, wrong = threading.Event(), []

    def search() -> None:
        mine = MilvusClient(str(address))
        while not stop.is_set():
            try:
                if found(mine, name) != NEAR:
                    wrong.append("another answer")
            except MilvusException as error:
                wrong.append(str(error))
        mine.close()

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for policy in ("hot", "cold", "on_demand", "warm"):
        client.alter_collection_properties(name, {"tier.policy": policy})
        client.alter_collection_field(name, "v", {"tier.policy": policy})
        client.alter_index_properties(name, "v", {"tier.policy": policy})
        assert found(client, name) == NEAR
        assert told(address, name).fields == {"v": policy}
        about = client.describe_collection(name)
        assert about["properties"]["tier.policy"] == policy
        assert about["fields"][1]["params"]["tier.policy"] == policy
        assert client.describe_index(name, "v")["tier.policy"] == policy
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    client.drop_collection_properties(name, ["tier.policy"])
    client.drop_index_properties(name, "v", ["tier.policy"])
    assert (told(address, name).policy, told(address, name).indexes) == ("auto", {})
    assert "tier.policy" not in client.describe_index(name, "v")


def test_an_index_is_made_with_a_policy(client: MilvusClient, address: Address, brief_waits: None) -> None:
    name = made(client, "chosen", params={"tier.policy": "cold"}, properties={"tier.policy": "hot"})
    assert client.describe_index(name, "v")["tier.policy"] == "cold"
    client.load_collection(name)
    assert found(client, name) == NEAR
    assert (told(address, name).policy, told(address, name).indexes) == ("hot", {"v": "cold"})


def test_what_a_cache_may_give_up_is_told_again(client: MilvusClient, brief_waits: None) -> None:
    everywhere = {
        f"evictable.{place}": "False"
        for place in ("scalarField", "scalarIndex", "vectorField", "vectorIndex")
    }
    name = made(client, "kept", properties=everywhere, params={"evictable": False})

    def shown() -> tuple[dict[str, str], str | None, str | None]:
        described = client.describe_collection(name)
        (field,) = (one for one in described["fields"] if one["name"] == "v")
        properties = {
            key: value for key, value in described["properties"].items() if key.startswith("evictable")
        }
        return properties, field["params"].get("evictable"), client.describe_index(name, "v").get("evictable")

    assert shown() == (everywhere, None, "False")
    client.alter_collection_field(name, "v", {"evictable": True})
    client.alter_index_properties(name, "v", {"evictable": True})
    assert shown() == (everywhere, "True", "True")
    client.drop_collection_properties(name, list(everywhere))
    client.drop_index_properties(name, "v", ["evictable"])
    assert shown() == ({}, "True", None)
    bad = (
        (client.alter_collection_properties, name, {"evictable.scalarField": "1"}),
        (client.alter_collection_field, name, "v", {"evictable": "not-bool"}),
        (client.alter_index_properties, name, "v", {"evictable": "not-bool"}),
    )
    for call, *given in bad:
        code, message = refused(call, *given)
        assert code == 1100
        assert "invalid evictable value" in message
    code, message = refused(client.alter_collection_properties, name, {"evictable": False})
    assert code == 1100
    assert "'evictable' is only allowed at field level, use evictable.scalarField/" in message
    assert refused(client.alter_collection_properties, name, {"evictable.vector": False})[0] == 1100
    client.load_collection(name)
    assert found(client, name) == NEAR
    late = (
        (
            "can not alter evictable properties if",
            client.alter_collection_properties,
            name,
            {"evictable.vectorField": False},
        ),
        ("can not alter evictable if", client.alter_collection_field, name, "v", {"evictable": False}),
        ("can't alter index on loaded", client.alter_index_properties, name, "v", {"evictable": False}),
    )
    for words, call, *given in late:
        code, message = refused(call, *given)
        assert code == 104
        assert f"{words}" in message


def test_bad_policies_are_refused(client: MilvusClient, address: Address, brief_waits: None) -> None:
    name = made(client, "refusing")
    words = "must be one of auto, hot, warm, cold, on_demand"
    for given in ({"tier.policy": "luke"}, {"tier.policy": ""}):
        for call, place in (
            (client.alter_collection_properties, (name,)),
            (client.alter_index_properties, (name, "v")),
            (client.alter_collection_field, (name, "v")),
        ):
            code, message = refused(call, *place, given)
            assert (code, words in message) == (1100, True)
    both = {"tier.policy": "hot", "mmap.enabled": True}
    assert refused(client.alter_collection_properties, name, both)[0] == 1100
    assert refused(client.alter_index_properties, name, "v", both)[0] == 1100
    assert refused(client.alter_collection_field, name, "v", both)[0] == 1100
    assert (
        "did you mean tier.policy?"
        in refused(client.alter_collection_properties, name, {"tier.polcy": "hot"})[1]
    )
    assert (told(address, name).policy, told(address, name).fields) == ("auto", {})


class Gate:
    """A remote lake whose files can be held back."""

    def __init__(self, path: Path) -> None:
        self.open = threading.Event()
        self.open.set()
        self.held = threading.Event()
        self.failing = False
        self.store = FaultyStore(open_store(path), schedule=self._schedule)

    def _schedule(self, _: int, verb: str, key: str) -> Fault | None:
        if verb != "get_ranges" or ("/indexes/" not in key and "/segments/" not in key):
            return None
        if not self.open.is_set():
            self.held.set()
            assert self.open.wait(20)
        return Fault("before") if self.failing else None


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[tuple[Gate, Address]]:
    """A server over a remote store that wants everything hot, and warms up before a load is done."""
    gate = Gate(tmp_path / "lake")
    chosen = Settings.from_values(
        {"tiers": {"policy": "hot", "warmup": "sync", "disk_path": str(tmp_path / "cache")}}
    )
    with served(hw.Database(gate.store, "default", chosen)) as address:
        yield gate, address
        gate.open.set()


def test_a_load_tells_how_far_it_is(remote: tuple[Gate, Address], brief_waits: None) -> None:
    gate, address = remote
    client = MilvusClient(str(address))
    name = made(client, "c")
    address.backend.lake.collection(name)._opened.clear()
    gate.open.clear()
    client.load_collection(name, _async=True)
    assert gate.held.wait(20)
    state = client.get_load_state(name)
    assert state["state"].name == "Loading"
    assert state["progress"] < 100
    gate.open.set()
    client.load_collection(name)
    assert client.get_load_state(name)["state"].name == "Loaded"
    assert {one.tier for one in told(address, name).files} == {"hot"}
    gate.store.reset()
    assert found(client, name) == NEAR
    assert not [key for verb, key in gate.store.log if verb == "get_ranges"]
    client.release_collection(name)
    assert address.backend.lake.tiers.report().memory.used_bytes < 10_000
    client.close()


def test_a_load_that_cannot_be_warmed_up_says_so(remote: tuple[Gate, Address], brief_waits: None) -> None:
    gate, address = remote
    client = MilvusClient(str(address))
    name = made(client, "c")
    address.backend.lake.collection(name)._opened.clear()
    gate.failing = True
    assert "injected: get_ranges" in refused(client.load_collection, name)[1]
    gate.failing = False
    client.load_collection(name)
    assert found(client, name) == NEAR
    client.close()


def test_disabled_warmup_reads_nothing_when_loaded(remote: tuple[Gate, Address], brief_waits: None) -> None:
    gate, address = remote
    client = MilvusClient(str(address))
    kinds = ("vectorField", "scalarField", "vectorIndex", "scalarIndex")
    name = made(client, "c", properties={f"warmup.{kind}": "disable" for kind in kinds})
    address.backend.lake.collection(name)._opened.clear()
    gate.store.reset()
    client.load_collection(name)
    assert not [key for verb, key in gate.store.log if verb == "get_ranges" and "/log/" not in key]
    assert found(client, name) == NEAR
    client.release_collection(name)
    client.alter_index_properties(name, "v", {"warmup": "sync"})
    client.load_collection(name)
    tiers = {(one.kind, one.names): one.tier for one in told(address, name).files}
    assert tiers["index", ("v",)] == "hot"
    assert tiers["index", ("tag",)] is tiers["field", ("v",)] is None
    client.close()


def test_loading_some_fields_warms_up_only_those(remote: tuple[Gate, Address], brief_waits: None) -> None:
    _, address = remote
    client = MilvusClient(str(address))
    name = made(client, "c")
    address.backend.lake.collection(name)._opened.clear()
    client.load_collection(name, load_fields=["id", "v"])
    tiers = {(one.kind, one.names): one.tier for one in told(address, name).files}
    assert tiers["index", ("v",)] == tiers["field", ("v",)] == "hot"
    assert tiers["index", ("tag",)] is None
    client.close()
