"""Resource groups of a deployment of one node."""

from __future__ import annotations

import pytest

from headwater.errors import AlreadyExists, InvalidArgument, QuotaExceeded, ResourceGroupNotFound
from headwater.govern import DEFAULT_GROUP, GroupConfig, ResourceGroups
from headwater.store import ObjectStore, open_store


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    return open_store(tmp_path_factory.mktemp("lake"))


@pytest.fixture
def groups(store: ObjectStore) -> ResourceGroups:
    return ResourceGroups(store, 4)


def test_there_is_one_at_first_and_it_has_the_node(groups: ResourceGroups) -> None:
    assert list(groups.all()) == [DEFAULT_GROUP]
    assert groups.num_nodes(DEFAULT_GROUP) == 1
    assert groups.get(DEFAULT_GROUP).limits == 1_000_000


def test_the_node_goes_to_the_first_group_that_asks_for_it(
    store: ObjectStore, groups: ResourceGroups
) -> None:
    groups.create("one", GroupConfig(1, 1))
    groups.create("two", GroupConfig(1, 1))
    assert [groups.num_nodes(name) for name in groups.all()] == [0, 1, 0]
    groups.update({"one": GroupConfig(0, 0)})
    assert [groups.num_nodes(name) for name in groups.all()] == [0, 0, 1]
    # Another process sees the same.
    assert ResourceGroups(store, 4).all() == groups.all()


def test_making_a_group_twice_is_making_it_once(groups: ResourceGroups) -> None:
    groups.create("one", GroupConfig(0, 1))
    groups.create("one", GroupConfig(0, 1))
    with pytest.raises(AlreadyExists, match="another configuration"):
        groups.create("one")


def test_no_more_than_there_may_be(groups: ResourceGroups) -> None:
    for name in ("one", "two", "three"):
        groups.create(name)
    with pytest.raises(QuotaExceeded) as raised:
        groups.create("four")
    assert raised.value.details["limit"] == 4


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (GroupConfig(None, 1), "requests or limits is required"),
        (GroupConfig(-1, 1), "should not less than 0"),
        (GroupConfig(2, 1), "limits node num should not less than requests node num"),
        (GroupConfig(0, 1, transfer_from=("one",)), "`TransferFrom` one should not be itself"),
        (GroupConfig(0, 1, transfer_to=("none",)), "`TransferTo` none not exist"),
    ],
)
def test_configurations_that_cannot_be(groups: ResourceGroups, config: GroupConfig, words: str) -> None:
    groups.create("one")
    with pytest.raises(InvalidArgument, match=words):
        groups.update({"one": config})
    assert groups.get("one") == GroupConfig()


def test_what_may_be_dropped(groups: ResourceGroups) -> None:
    groups.create("used")
    groups.create("user", GroupConfig(0, 0, transfer_from=("used",)))
    with pytest.raises(InvalidArgument, match="is used by user's `TransferFrom`"):
        groups.drop("used")
    with pytest.raises(InvalidArgument, match="default resource group is not deletable"):
        groups.drop(DEFAULT_GROUP)
    groups.update({"user": GroupConfig(0, 1)})
    with pytest.raises(InvalidArgument, match="limits node num is not 0"):
        groups.drop("user")
    with pytest.raises(InvalidArgument, match="some replicas still loaded in used"):
        groups.drop("used", in_use=lambda name: name == "used")
    groups.drop("used")
    groups.drop("used")
    assert "used" not in groups.all()


def test_nodes_move(groups: ResourceGroups) -> None:
    groups.create("one")
    with pytest.raises(InvalidArgument, match="should not be the same"):
        groups.transfer_nodes("one", "one", 1)
    with pytest.raises(InvalidArgument, match="invalid NumNode 0"):
        groups.transfer_nodes(DEFAULT_GROUP, "one", 0)
    with pytest.raises(ResourceGroupNotFound):
        groups.transfer_nodes(DEFAULT_GROUP, "none", 1)
    with pytest.raises(QuotaExceeded):
        groups.transfer_nodes(DEFAULT_GROUP, "one", 2)
    groups.transfer_nodes(DEFAULT_GROUP, "one", 1)
    assert groups.num_nodes("one") == 1
    assert groups.get("one") == GroupConfig(1, 1)
    groups.transfer_nodes("one", DEFAULT_GROUP, 1)
    assert groups.num_nodes(DEFAULT_GROUP) == 1
    assert groups.get("one") == GroupConfig(0, 0)
