"""A user with a random set of grants can do, through the client, exactly what a plain model says."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import grpc
import pytest
from entering import SETTINGS, entered, name
from pymilvus import MilvusClient, MilvusException
from serving import Address

from headwater.govern import BUILTIN_GROUPS

pytestmark = pytest.mark.served_with(SETTINGS)

_HERE, _THERE = "here", "there"
_GROUP = ("Search", "Delete")
Act = Callable[[MilvusClient, str], object]
# What is done, the one privilege that it takes, and whether that is about a collection.
_ACTS: list[tuple[str, bool, Act]] = [
    ("Search", True, lambda client, where: client.search(where, [[0.0, 1.0]], limit=1)),
    ("Query", True, lambda client, where: client.query(where, filter="id > 0")),
    ("Insert", True, lambda client, where: client.insert(where, [{"id": 1, "vector": [0.0, 1.0]}])),
    ("Delete", True, lambda client, where: client.delete(where, ids=[7])),
    ("ShowPartitions", True, lambda client, where: client.list_partitions(where)),
    ("HasPartition", True, lambda client, where: client.has_partition(where, "one")),
    ("GetLoadState", True, lambda client, where: client.get_load_state(where)),
    ("Release", True, lambda client, where: client.release_collection(where)),
    ("IndexDetail", True, lambda client, where: client.list_indexes(where)),
    ("DropCollection", False, lambda client, where: client.drop_collection("never_there")),
    ("SelectOwnership", False, lambda client, where: client.list_roles()),
    ("ListResourceGroups", False, lambda client, where: client.list_resource_groups()),
    ("ListAliases", False, lambda client, where: client.list_aliases(where)),
]
_CLUSTER = {"SelectOwnership", "ListResourceGroups"}
_PUBLIC = {"IndexDetail", "ListAliases", "DescribeCollection"}


@dataclass(frozen=True)
class Given:
    """A grant as it was asked for."""

    privilege: str
    collection: str
    database: str


@pytest.fixture(scope="module")
def root(address: Address) -> Iterator[MilvusClient]:
    with entered(address, "root:Milvus") as client:
        for where in (_HERE, _THERE):
            client.create_collection(where, dimension=2)
        client.create_privilege_group("mine")
        client.add_privileges_to_group("mine", list(_GROUP))
        yield client


def _members(privilege: str) -> tuple[str, ...]:
    return _GROUP if privilege == "mine" else BUILTIN_GROUPS.get(privilege, (privilege,))


def _lets(given: Given, privilege: str, about: bool, where: str) -> bool:
    members = _members(given.privilege)
    everything = "All" in members
    if not everything and privilege not in members:
        return False
    if privilege in _CLUSTER:
        return given.database == "*"
    return given.database in ("*", "default") and (
        not about or everything or given.collection in ("*", where)
    )


def _may(client: MilvusClient, act: Act, where: str) -> bool:
    """Whether an act is let through; whether it works is another matter."""
    try:
        act(client, where)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.PERMISSION_DENIED:
            raise
        return False
    except MilvusException as error:
        return error.code != 1401
    return True


def _some(chance: random.Random) -> list[Given]:
    def one() -> Given:
        kind = chance.randrange(4)
        where = chance.choice((_HERE, _THERE, "*"))
        if kind == 0:
            return Given(chance.choice([act[0] for act in _ACTS if act[1]]), where, "default")
        if kind == 1:
            collections = ("CollectionReadOnly", "CollectionReadWrite", "CollectionAdmin", "mine")
            return Given(chance.choice(collections), where, "default")
        if kind == 2:
            databases = ("DatabaseReadOnly", "DatabaseAdmin", "DropCollection", "All")
            return Given(chance.choice(databases), "*", chance.choice(("default", "elsewhere", "*")))
        return Given(chance.choice(("ClusterReadOnly", "ClusterAdmin", "SelectOwnership")), "*", "*")

    return [one() for _ in range(chance.randrange(4))]


def test_a_user_can_do_exactly_what_a_plain_model_says(address: Address, root: MilvusClient) -> None:
    root.create_database("elsewhere")
    user, roles = name("user"), [name("role"), name("role")]
    root.create_user(user, "secret-1")
    for role in roles:
        root.create_role(role)
        root.grant_role(user, role)
    chance = random.Random(20_261_121)
    tried = {True: 0, False: 0}
    with entered(address, f"{user}:secret-1") as client:
        for _ in range(12):
            held = [(role, given) for role in roles for given in _some(chance)]
            for role, given in held:
                root.grant_privilege_v2(role, given.privilege, given.collection, given.database)
            for privilege, about, act in _ACTS:
                for where in (_HERE, _THERE):
                    expected = privilege in _PUBLIC or any(
                        _lets(given, privilege, about, where) for _, given in held
                    )
                    assert _may(client, act, where) == expected, (privilege, where, held)
                    tried[expected] += 1
            for role, given in held:
                root.revoke_privilege_v2(role, given.privilege, given.collection, given.database)
    assert min(tried.values()) > 80
