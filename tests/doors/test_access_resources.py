"""Resource groups and replicas, as a deployment of one node has them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from entering import refused
from pymilvus import MilvusClient
from pymilvus.client.types import ResourceGroupConfig
from serving import Address, served

DEFAULT = "__default_resource_group"
_NUMBERS = itertools.count()


@pytest.fixture
def group(client: MilvusClient) -> Iterator[str]:
    """A new group, that is dropped again."""
    made = f"group_{next(_NUMBERS)}"
    client.create_resource_group(made)
    yield made
    client.update_resource_groups({made: _config(0, 0)})
    client.drop_resource_group(made)


@pytest.fixture
def loaded(client: MilvusClient) -> str:
    """A loaded collection."""
    made = f"loaded_{next(_NUMBERS)}"
    client.create_collection(made, dimension=2)
    return made


def _config(requests: int, limits: int, **more: object) -> ResourceGroupConfig:
    return ResourceGroupConfig(requests={"node_num": requests}, limits={"node_num": limits}, **more)


def test_the_default_group_is_there_and_has_the_node(client: MilvusClient) -> None:
    assert DEFAULT in client.list_resource_groups()
    told = client.describe_resource_group(DEFAULT)
    assert (told.name, told.capacity, told.num_available_node) == (DEFAULT, 1_000_000, 1)
    assert [node.node_id for node in told.nodes] == [1]
    assert told.config.limits.node_num == 1_000_000


def test_groups_come_and_go(client: MilvusClient, group: str) -> None:
    assert group in client.list_resource_groups()
    told = client.describe_resource_group(group)
    assert (told.capacity, told.num_available_node, told.nodes) == (0, 0, [])
    client.create_resource_group(group)
    with refused(301, "resource group already exist, but create with different config[rg="):
        client.create_resource_group(group, config=_config(0, 2))
    client.drop_resource_group("never_there")
    with refused(300, "resource group not found[rg=never_there]"):
        client.describe_resource_group("never_there")


def test_a_configuration_is_kept(client: MilvusClient, group: str) -> None:
    wanted = _config(
        0, 3, transfer_from=[{"resource_group": DEFAULT}], transfer_to=[{"resource_group": DEFAULT}]
    )
    client.update_resource_groups({group: wanted})
    told = client.describe_resource_group(group).config
    assert (told.requests.node_num, told.limits.node_num) == (0, 3)
    assert [one.resource_group for one in told.transfer_from] == [DEFAULT]
    assert [one.resource_group for one in told.transfer_to] == [DEFAULT]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            _config(3, 1),
            "limits node num should not less than requests node num: resource group illegal config",
        ),
        (_config(-1, 1), "node num in `requests` or `limits` should not less than 0"),
        (_config(0, 1, transfer_from=[{"resource_group": "none"}]), "`TransferFrom` none not exist"),
    ],
)
def test_configurations_that_cannot_be(
    client: MilvusClient, group: str, config: ResourceGroupConfig, words: str
) -> None:
    with refused(303, words):
        client.update_resource_groups({group: config})
    with refused(303, words):
        client.create_resource_group(f"{group}_more", config=config)


@pytest.mark.parametrize("wrong", ["1st", "n-1", "a b", "中文", "r" * 256])
def test_names_that_no_group_may_have(client: MilvusClient, wrong: str) -> None:
    with refused(1100, f"Invalid resource group name {wrong}."):
        client.create_resource_group(wrong)


def test_the_default_group_and_groups_in_use_stay(client: MilvusClient, group: str) -> None:
    with refused(1100, "default resource group is not deletable: invalid parameter[expected=not default"):
        client.drop_resource_group(DEFAULT)
    client.update_resource_groups({group: _config(0, 1)})
    with refused(1100, "resource group's limits node num is not 0"):
        client.drop_resource_group(group)


def test_the_node_moves(client: MilvusClient, group: str, loaded: str) -> None:
    conn = client._get_connection()
    with refused(304, f"resource group node not enough[rg={DEFAULT}][currentNodeNum=1][expectedNodeNum=2]"):
        conn.transfer_node(DEFAULT, group, 2)
    with refused(1100, "invalid parameter[expected=NumNode > 0][actual=invalid NumNode 0]"):
        conn.transfer_node(DEFAULT, group, 0)
    with refused(300, "resource group not found[rg=none]"):
        conn.transfer_node(DEFAULT, "none", 1)
    conn.transfer_node(DEFAULT, group, 1)
    assert client.describe_resource_group(group).num_available_node == 1
    assert client.describe_resource_group(DEFAULT).num_available_node == 0
    # What is loaded goes on being searched, where the node now is.
    assert client.describe_resource_group(DEFAULT).num_outgoing_node[loaded] == 1
    assert client.search(loaded, [[0.0, 1.0]], limit=1) is not None
    conn.transfer_node(group, DEFAULT, 1)
    assert client.describe_resource_group(DEFAULT).num_available_node == 1


def test_replicas_of_a_loaded_collection(client: MilvusClient, loaded: str) -> None:
    [replica] = client.describe_replica(loaded)
    assert replica.resource_group == DEFAULT
    assert list(replica.group_nodes) == [1]
    [shard] = replica.shards
    assert shard.shard_leader == 1
    client.release_collection(loaded)
    assert client.describe_replica(loaded) == []


def test_replicas_move(client: MilvusClient, group: str, loaded: str) -> None:
    client.transfer_replica(DEFAULT, group, loaded, 1)
    assert [one.resource_group for one in client.describe_replica(loaded)] == [group]
    assert client.describe_resource_group(group).num_loaded_replica == {loaded: 1}
    with refused(1100, f"some replicas still loaded in {group}"):
        client.drop_resource_group(group)
    with refused(1100, f"only found [0] replicas in source resource group[{DEFAULT}]"):
        client.transfer_replica(DEFAULT, group, loaded, 1)
    with refused(300, "the target resource group[none] doesn't exist: resource group not found[rg=none]"):
        client.transfer_replica(group, "none", loaded, 1)
    with refused(1100, "[expected=NumReplica > 0][actual=invalid NumReplica 0]"):
        client.transfer_replica(group, DEFAULT, loaded, 0)
    with refused(1100, "source resource group and target resource group should not be the same"):
        client.transfer_replica(group, group, loaded, 1)
    with refused(100, "collection not found"):
        client.transfer_replica(group, DEFAULT, "nowhere", 1)
    client.transfer_replica(group, DEFAULT, loaded, 1)
    assert client.describe_resource_group(group).num_loaded_replica == {}


def test_groups_are_kept_in_the_lake(tmp_path_factory: pytest.TempPathFactory) -> None:
    lake = tmp_path_factory.mktemp("lake")

    def client_of(address: Address) -> MilvusClient:
        return MilvusClient(address)

    with served(lake) as address:
        client = client_of(address)
        client.create_resource_group("kept", config=_config(1, 2))
        client.close()
    with served(lake) as address:
        client = client_of(address)
        assert client.describe_resource_group("kept").num_available_node == 1
        assert set(client.list_databases()) == {"default"}
        client.close()
