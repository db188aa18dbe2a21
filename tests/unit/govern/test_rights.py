"""What users may do, against a plain model: a list of grants, looked through one by one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import CollectionNotFound, HeadwaterError
from headwater.govern import BUILTIN_GROUPS, PRIVILEGES, Access, Asked, Grant, Policy, Role, User
from headwater.govern.policy import first_policy
from headwater.govern.privileges import level_of
from headwater.govern.rights import Rights
from headwater.settings import AccessSettings
from headwater.store import ObjectStore, open_store

DATABASES = ("default", "other")
COLLECTIONS = {("default", "a"): "1", ("default", "b"): "2", ("other", "a"): "3"}
GROUPS = {"mine": ("Search", "Insert"), "deep": ("mine", "Load"), "lookers": ("ListDatabases",), "none": ()}
_USERS = ("ann", "bob")
_SOME = (
    *("Search", "Insert", "Load", "Flush", "CreateIndex", "DescribeCollection", "CreateCollection", "All"),
    *("DropDatabase", "SelectUser", "UpdateUser", "ListAliases", "CreateAlias", "CreateOwnership"),
)


class Named:
    """Collections that never change."""

    def identity(self, database: str, name: str) -> str | None:
        return COLLECTIONS.get((database, name))

    def names(self, database: str) -> dict[str, str]:
        return {one: name for (where, name), one in COLLECTIONS.items() if where == database}

    def forget(self) -> None:
        """They never change."""


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    return open_store(tmp_path_factory.mktemp("lake"))


def _members(name: str) -> set[str]:
    if name in BUILTIN_GROUPS:
        return set(BUILTIN_GROUPS[name])
    if name in GROUPS:
        return set().union(*(_members(one) for one in GROUPS[name]))
    more = {"Load": {"GetLoadState", "GetLoadingProgress"}, "Flush": {"GetFlushState"}}
    return {name} | more.get(name, set())


def allows(grant: Grant, privilege: str, database: str, collection: str | None) -> bool:
    """Whether one grant lets a privilege be used on a collection (None: on all of them), said as plainly as can be."""
    kind = PRIVILEGES[privilege]
    if grant.privilege == "*":
        covers = grant.object_type == kind
    else:
        covers = privilege in _members(grant.privilege) or "All" in _members(grant.privilege)
    if not covers:
        return False
    if level_of(privilege) == "Cluster":
        here = grant.database == "*" or privilege in _members(grant.privilege)
    else:
        here = grant.database in ("*", database)
    about_all = kind == "Global" or "All" in _members(grant.privilege)
    return here and (about_all or grant.object_name == "*" or grant.object_name == collection)


def _bound(grant: Grant) -> Grant:
    specific = grant.object_name != "*" and grant.database != "*"
    about = grant.object_type == "Collection" or grant.privilege in (*BUILTIN_GROUPS, *GROUPS)
    identity = COLLECTIONS.get((grant.database, grant.object_name), "") if specific and about else ""
    return replace(grant, identity=identity)


def _grants() -> st.SearchStrategy[Grant]:
    single = st.builds(
        lambda privilege, name, database: Grant(
            PRIVILEGES[privilege],
            name if PRIVILEGES[privilege] == "Collection" else "*",
            privilege,
            database,
        ),
        st.sampled_from(_SOME),
        st.sampled_from(("a", "b", "*")),
        st.sampled_from((*DATABASES, "*")),
    )
    group = st.builds(
        lambda privilege, name, database: Grant("Global", name, privilege, database),
        st.sampled_from(
            ("CollectionReadOnly", "CollectionReadWrite", "CollectionAdmin", "mine", "deep", "none")
        ),
        st.sampled_from(("a", "b", "*")),
        st.sampled_from(DATABASES),
    )
    wide = st.builds(
        lambda privilege, database: Grant("Global", "*", privilege, database),
        st.sampled_from(("DatabaseReadOnly", "DatabaseReadWrite", "DatabaseAdmin")),
        st.sampled_from((*DATABASES, "*")),
    )
    whole = st.builds(
        lambda privilege: Grant("Global", "*", privilege, "*"),
        st.sampled_from(("ClusterReadOnly", "ClusterReadWrite", "ClusterAdmin", "lookers")),
    )
    every = st.builds(
        lambda kind, name, database: Grant(kind, name if kind == "Collection" else "*", "*", database),
        st.sampled_from(("Collection", "Global", "User")),
        st.sampled_from(("a", "*")),
        st.sampled_from((*DATABASES, "*")),
    )
    return single | group | wide | whole | every


@settings(max_examples=300)
@given(
    roles=st.lists(st.lists(_grants(), max_size=4), min_size=1, max_size=3),
    membership=st.tuples(st.sets(st.integers(0, 2)), st.sets(st.integers(0, 2))),
)
def test_a_user_may_do_exactly_what_a_plain_model_says(
    roles: list[list[Grant]], membership: tuple[set[int], set[int]]
) -> None:
    policy = first_policy("")
    made = {f"r{n}": Role(f"r{n}", grants=tuple(map(_bound, held))) for n, held in enumerate(roles)}
    users = {
        user: User(user, roles=tuple(f"r{n}" for n in sorted(mine) if n < len(roles)))
        for user, mine in zip(_USERS, membership, strict=True)
    }
    policy = Policy({**policy.users, **users}, {**policy.roles, **made}, GROUPS)
    rights = Rights(policy)
    for user, mine in zip(_USERS, membership, strict=True):
        held = [grant for n in mine if n < len(roles) for grant in roles[n]]
        held += policy.roles["public"].grants
        for privilege in PRIVILEGES:
            for (database, name), identity in COLLECTIONS.items():
                expected = any(allows(one, privilege, database, name) for one in held)
                about = (identity, name) if PRIVILEGES[privilege] == "Collection" else ()
                found = rights.permits(user, privilege, database, about)
                assert found == expected, (user, privilege, database, name, held)
                wide = any(allows(one, privilege, database, None) for one in held)
                assert rights.permits(user, privilege, database) == wide
                assert not wide or rights.holds_any(user, privilege, database)


def test_who_is_not_there_may_do_nothing() -> None:
    rights = Rights(first_policy(""))
    assert rights.roles_of("nobody") == ()
    assert not any(rights.permits("nobody", privilege, "default") for privilege in PRIVILEGES)
    assert not rights.is_admin("nobody")
    assert not Rights(Policy()).is_admin("root")


def test_root_and_admins_may_do_everything() -> None:
    first = first_policy("")
    rights = Rights(replace(first, users={**first.users, "ann": User("ann", roles=("admin",))}))
    for user in ("root", "ann"):
        assert all(rights.permits(user, privilege, "any") for privilege in PRIVILEGES)
        assert rights.sees_all(user, "any")
        assert rights.databases(user) is None


class Counted(frozenset[tuple[str, str, str]]):
    """A set that counts the lookups in it, and is not walked."""

    lookups = 0

    def __contains__(self, one: object) -> bool:
        Counted.lookups += 1
        return super().__contains__(one)

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        raise AssertionError("a check walks what is allowed")


def test_a_check_is_a_few_lookups_however_much_is_granted() -> None:
    first = first_policy("")
    grants = tuple(Grant("Collection", f"c{n}", "Search", "default", identity=str(n)) for n in range(1000))
    roles = {f"r{n}": Role(f"r{n}", grants=grants) for n in range(5)}
    users = {"ann": User("ann", roles=tuple(roles))}
    rights = Rights(Policy({**first.users, **users}, {**first.roles, **roles}))
    assert rights.permits("ann", "Search", "default", ("5", "c5"))
    rights._held["ann"] = Counted(rights._held["ann"])
    rights._allowed.clear()
    assert not rights.permits(
        "ann", "Insert", "default", ("5", "c5")
    )  # The dearest kind, one that is refused.
    assert Counted.lookups == 14


def test_grants_follow_what_they_were_given_for(store: ObjectStore) -> None:
    access = Access(store, AccessSettings(scrypt_p=1), Named())
    access.users.create("ann", "secret-1")
    access.roles.create("readers")
    access.roles.add_user("readers", "ann")
    access.roles.grant("readers", Asked("Search", "a"))
    access.roles.grant("readers", Asked("Search", "a"))
    assert access.permits("ann", "Search", "default", ["a"])
    assert not access.permits("ann", "Search", "default", ["b"])
    assert not access.permits("ann", "Search", "default", ["a", "b"])
    assert not access.permits("ann", "Search", "other", ["a"])
    assert not access.permits("ann", "Search", "default", ["none"])
    assert access.visible("ann", "default", ["a", "b"]) == ["a"]
    assert len(access.roles.grants("readers")) == 1
    with pytest.raises(CollectionNotFound):
        access.roles.grant("readers", Asked("Search", "none"))
    access.roles.revoke("readers", Asked("Search", "none"))
    access.roles.revoke("readers", Asked("Search", "a"))
    assert not access.permits("ann", "Search", "default", ["a"])


def test_grants_for_what_is_gone_do_not_pile_up(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    access = Access(store, AccessSettings(scrypt_p=1), Named())
    access.roles.create("readers")
    for privilege in ("Search", "Query", "Insert"):
        access.roles.grant("readers", Asked(privilege, "a"))
        access.roles.grant("readers", Asked(privilege, "b"))
    # Collection a is dropped and made again, b is renamed.
    monkeypatch.setitem(COLLECTIONS, ("default", "a"), "9")
    monkeypatch.setitem(COLLECTIONS, ("default", "c"), "2")
    monkeypatch.delitem(COLLECTIONS, ("default", "b"))
    assert {one.object_name for one in access.roles.grants("readers")} == {"c"}
    access.roles.grant("readers", Asked("Search", "a"))
    held = access.known.policy.roles["readers"].grants
    assert sorted((one.privilege, one.identity) for one in held) == [
        ("Insert", "2"),
        ("Query", "2"),
        ("Search", "2"),
        ("Search", "9"),
    ]


def test_tokens_that_have_ended_do_not_pile_up(store: ObjectStore) -> None:
    access = Access(store, AccessSettings(scrypt_p=1), Named())
    for _ in range(3):
        access.tokens.create("root", expires_s=0.001)
        time.sleep(0.005)
    assert len(access.tokens.list()) == 1
    with pytest.raises(HeadwaterError, match="no user 'nobody'"):
        access.tokens.create("nobody")
    with pytest.raises(HeadwaterError, match="expires_s is -1"):
        access.tokens.create("root", expires_s=-1)


def test_another_process_sees_what_was_changed(store: ObjectStore) -> None:
    quick = AccessSettings(scrypt_p=1, refresh_s=0.1)
    first, second = Access(store, quick, Named()), Access(store, quick, Named())
    first.users.create("ann", "secret-1")
    second.known.refresh()
    assert second.credentials.authenticate("ann:secret-1") == "ann"
    assert second.credentials.remembered("ann:secret-1") == "ann"
    first.users.set_password("ann", "secret-1", "secret-2")
    time.sleep(0.12)
    assert not second.known.fresh
    second.known.refresh()
    assert second.credentials.remembered("ann:secret-1") is None
    assert second.credentials.authenticate("ann:secret-1") is None
    assert second.credentials.authenticate("ann:secret-2") == "ann"


def test_both_of_two_that_change_at_once_get_their_way(store: ObjectStore) -> None:
    first = Access(store, AccessSettings(scrypt_p=1, max_users=100), Named())
    second = Access(store, AccessSettings(scrypt_p=1, max_users=100), Named())
    for number in range(5):
        first.users.create(f"a{number}", "secret-1")
        second.users.create(f"b{number}", "secret-1")
    assert (
        first.users.names()
        == second.users.names()
        == sorted(["root", *(f"a{n}" for n in range(5)), *(f"b{n}" for n in range(5))])
    )


def test_a_backup_with_hashes_brings_everyone_back(store: ObjectStore, tmp_path: object) -> None:
    access = Access(store, AccessSettings(scrypt_p=1), Named())
    access.users.create("ann", "secret-1", description="of the tests")
    access.roles.create("readers", description="they read")
    access.groups.create("mine")
    access.groups.add("mine", ["Search", "Query"])
    access.roles.add_user("readers", "ann")
    access.roles.grant("readers", Asked("mine", "a"))
    saved = access.backup(with_hashes=True)
    assert set(saved.users) == {"ann"}
    assert set(saved.roles) == {"readers"}
    assert not access.backup().users["ann"].hash
    other = Access(open_store(f"{tmp_path}/other"), AccessSettings(scrypt_p=1), Named())
    other.restore(saved)
    assert other.credentials.authenticate("ann:secret-1") == "ann"
    assert other.permits("ann", "Query", "default", ["a"])
    with pytest.raises(HeadwaterError, match="already exists"):
        other.restore(saved)
    with pytest.raises(HeadwaterError, match="rbac meta is empty"):
        other.restore(Policy())


def test_a_store_that_is_away_is_borne_for_a_while(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headwater.errors import StoreUnavailable
    from headwater.govern import known as module

    access = Access(store, AccessSettings(scrypt_p=1, refresh_s=0.01), Named())
    access.known.start()

    def away(*_: object, **__: object) -> bytes:
        raise StoreUnavailable("away")

    monkeypatch.setattr(type(store), "get", away)
    time.sleep(0.02)
    access.known.refresh()
    assert access.credentials.authenticate("root:Milvus") == "root"
    monkeypatch.setattr(module, "_GRACE_S", 0.0)
    time.sleep(0.02)
    with pytest.raises(StoreUnavailable):
        access.known.refresh()
