"""What users may do: grants on collections, databases and everything, in Milvus's words, through the real client."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
from entering import SETTINGS, entered, name, refused
from pymilvus import AsyncMilvusClient, MilvusClient
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc
from serving import Address, served

from headwater.doors.milvus.guard import NEEDS
from headwater.doors.milvus.rpc import RPCS
from headwater.govern import BUILTIN_GROUPS, PRIVILEGES

pytestmark = pytest.mark.served_with(SETTINGS)
DIM = 4
ROLE_GONE = "not found the role, maybe the role isn't existed or internal system error"


@contextmanager
def somebody(address: Address, root: MilvusClient) -> Iterator[tuple[MilvusClient, str]]:
    """A client of a new user, and the one role that the user has."""
    user, role = name("user"), name("role")
    root.create_user(user, "secret-1")
    root.create_role(role)
    root.grant_role(user, role)
    with entered(address, f"{user}:secret-1") as client:
        yield client, role
    root.drop_user(user)
    root.drop_role(role, force_drop=True)


@contextmanager
def denied(privilege: str = "", database: str = "default") -> Iterator[None]:
    """A call that gRPC itself refuses."""
    with pytest.raises(grpc.RpcError) as raised:
        yield
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "permission deny to" in raised.value.details()
    if privilege:
        assert raised.value.details().startswith(f"Privilege{privilege}: permission deny to user_")
        assert raised.value.details().endswith(f"in the `{database}` database")


def collection(root: MilvusClient) -> str:
    """A new collection with a few rows."""
    made = name("collection")
    root.create_collection(made, dimension=DIM)
    rng = np.random.default_rng(7)
    root.insert(made, [{"id": n, "vector": rng.random(DIM).tolist()} for n in range(10)])
    return made


def search(client: MilvusClient, where: str) -> int:
    """Search, and say how many hits there were."""
    return len(client.search(where, [[0.1] * DIM], limit=3)[0])


# -- grants are for a collection, whatever it is called -----------------------------------------------------------


def test_a_user_without_grants_may_do_nothing(address: Address, root: MilvusClient) -> None:
    where = collection(root)
    with somebody(address, root) as (client, _):
        with denied("Search"):
            search(client, where)
        with denied("Query"):
            client.query(where, filter="id >= 0")
        with denied("DropCollection"):
            client.drop_collection(where)
        with denied("Load"):
            client.load_collection(where)
        with denied("CreateOwnership", "*"):
            client.create_role("another")
        with denied("DropOwnership", "*"):
            client.drop_user("root")
        with denied("CreateDatabase", "*"):
            client.create_database("another")
        with denied("CreateCollection"):
            client.create_collection("another", dimension=DIM)
        assert client.list_collections() == []
        with refused(1401, f"not allowed to access collection, collection name: {where}"):
            client.describe_collection(where)


def test_a_grant_lets_through_what_it_says(address: Address, root: MilvusClient) -> None:
    where, other = collection(root), collection(root)
    with somebody(address, root) as (client, role):
        root.grant_privilege(role, "Collection", "Search", where)
        assert search(client, where) == 3
        with denied("Search"):
            search(client, other)
        with denied("Query"):
            client.query(where, filter="id >= 0")
        assert client.list_collections() == [where]
        assert client.describe_collection(where)["collection_name"] == where
        root.revoke_privilege(role, "Collection", "Search", where)
        with denied("Search"):
            search(client, where)


def test_a_grant_follows_a_renamed_collection(address: Address, root: MilvusClient) -> None:
    before, after = collection(root), name("collection")
    with somebody(address, root) as (client, role):
        root.grant_privilege(role, "Collection", "Search", before)
        root.grant_privilege_v2(role, "CollectionReadOnly", before)
        assert search(client, before) == 3
        root.rename_collection(before, after)
        assert search(client, after) == 3
        with refused(100, "collection not found"):
            search(client, before)
        assert {one["object_name"] for one in root.describe_role(role)["privileges"]} == {after}
        assert client.list_collections() == [after]
        root.create_alias(after, name("alias"))
        root.revoke_privilege(role, "Collection", "Search", after)
        root.revoke_privilege_v2(role, "CollectionReadOnly", after)
        with denied("Search"):
            search(client, after)


def test_a_grant_does_not_leak_to_a_collection_made_anew(address: Address, root: MilvusClient) -> None:
    where = collection(root)
    with somebody(address, root) as (client, role):
        root.grant_privilege(role, "Collection", "Search", where)
        assert search(client, where) == 3
        root.drop_collection(where)
        root.create_collection(where, dimension=DIM)
        with denied("Search"):
            search(client, where)
        # What was for the collection that is gone is neither listed nor in the way.
        assert root.describe_role(role)["privileges"] == []
        root.drop_role(role)
        root.create_role(role)


def test_an_alias_stands_for_its_collection(address: Address, root: MilvusClient) -> None:
    first, second, alias = collection(root), collection(root), name("alias")
    root.create_alias(first, alias)
    with somebody(address, root) as (client, role):
        root.grant_privilege(role, "Collection", "Search", alias)
        assert search(client, alias) == search(client, first) == 3
        root.alter_alias(second, alias)
        with denied("Search"):
            search(client, alias)
        assert search(client, first) == 3
    root.drop_alias(alias)


def test_a_grant_on_all_is_for_those_to_come_too(address: Address, root: MilvusClient) -> None:
    with somebody(address, root) as (client, role):
        root.grant_privilege(role, "Collection", "Search", "*")
        where = collection(root)
        assert search(client, where) == 3
        assert where in client.list_collections()


def test_a_grant_needs_a_collection_that_is_there(root: MilvusClient) -> None:
    role = name("role")
    root.create_role(role)
    with refused(100, "collection not found"):
        root.grant_privilege(role, "Collection", "Search", "nowhere")
    with refused(100, "collection not found"):
        root.grant_privilege_v2(role, "CollectionReadOnly", "nowhere")
    with refused(802, "database name can only contain numbers, letters and underscores"):
        root.grant_privilege_v2(role, "Search", "*", "n%$#@!")
    root.revoke_privilege(role, "Collection", "Search", "nowhere")


def test_a_grant_may_be_for_a_database_that_comes_later(address: Address, root: MilvusClient) -> None:
    with somebody(address, root) as (client, role):
        for privilege in ("Search", "DescribeDatabase"):
            root.grant_privilege_v2(role, privilege, "*", "db_later")
        root.grant_privilege(role, "Global", "All", "*", db_name="db_never")
        with refused(800, "database not found"):
            client.use_database("db_never")
        root.create_database("db_later")
        with entered(address, "root:Milvus", db_name="db_later") as root_there:
            where = collection(root_there)
            client.use_database("db_later")
            assert search(client, where) == 3
            root.revoke_privilege_v2(role, "Search", "*", "db_later")
            root.revoke_privilege(role, "Global", "All", "*", db_name="db_never")


def test_grants_are_for_one_database(address: Address, root: MilvusClient) -> None:
    root.create_database("db_one")
    here = collection(root)
    with (
        entered(address, "root:Milvus", db_name="db_one") as root_there,
        somebody(address, root) as (client, role),
        entered(address, f"{_me(client)}:secret-1", db_name="db_one") as client_there,
    ):
        there = collection(root_there)
        assert client.list_databases() == []
        root.grant_privilege(role, "Global", "All", "*", db_name="db_one")
        assert client.list_databases() == ["db_one"]
        assert client_there.list_collections() == [there]
        assert search(client_there, there) == 3
        with denied("Search"):
            search(client, here)
        with denied("CreateCollection"):
            client.create_collection(name("collection"), dimension=DIM)
        client_there.drop_collection(collection(client_there))
        with denied("CreateOwnership", "*"):
            client_there.create_role("another")
        assert [one["db_name"] for one in root.describe_role(role, db_name="db_one")["privileges"]] == [
            "db_one"
        ]
        assert root.describe_role(role)["privileges"] == []
        with denied("RenameCollection", "*"):
            client_there.rename_collection(there, name("collection"), target_db="default")
        root.grant_privilege_v2(role, "Search", "*", "*")
        assert search(client, here) == 3
        assert set(client.list_databases()) >= {"default", "db_one"}
        assert len(root.describe_role(role, db_name="*")["privileges"]) == 2


def test_admins_may_do_everything(address: Address, root: MilvusClient) -> None:
    with somebody(address, root) as (client, role):
        root.grant_role(client.describe_user(_me(client))["user_name"], "admin")
        where = collection(client)
        assert search(client, where) == 3
        client.create_role(name("role"))
        client.drop_collection(where)
        assert role in client.describe_user(_me(client))["roles"]


def test_who_may_load_may_ask_whether_it_is_loaded(address: Address, root: MilvusClient) -> None:
    where = collection(root)
    with somebody(address, root) as (client, role):
        root.grant_privilege_v2(role, "Load", where)
        client.load_collection(where)
        root.grant_privilege_v2(role, "Flush", where)
        client.flush(where)


def test_descriptions_of_several_hide_what_descriptions_of_one_hide(
    address: Address, root: MilvusClient
) -> None:
    first, second = collection(root), collection(root)
    with somebody(address, root) as (client, role):
        root.grant_privilege_v2(role, "Search", first)
        with grpc.insecure_channel(address.removeprefix("http://")) as channel:
            stub = milvus_pb2_grpc.MilvusServiceStub(channel)

            def described(*names: str) -> milvus_pb2.BatchDescribeCollectionResponse:
                request = milvus_pb2.BatchDescribeCollectionRequest(collection_name=names)
                return stub.BatchDescribeCollection(request, metadata=_header(f"{_me(client)}:secret-1"))

            assert [one.collection_name for one in described(first).responses] == [first]
            assert described(first, second).status.code == 1401
            assert described().status.code == 1401


async def test_the_async_client_has_it_all(address: Address, root: MilvusClient) -> None:
    user, role, group = name("user"), name("role"), name("group")
    where = collection(root)
    async with AsyncMilvusClient(address, token="root:Milvus") as client:
        await client.create_user(user, "secret-1")
        await client.update_password(user, "secret-1", "secret-2")
        assert (await client.describe_user(user))["roles"] == ()
        await client.create_role(role)
        await client.grant_role(user, role)
        assert role in await client.list_roles()
        await client.grant_privilege(role, "Collection", "Search", where)
        await client.revoke_privilege(role, "Collection", "Search", where)
        await client.create_privilege_group(group)
        await client.add_privileges_to_group(group, ["Search", "Query"])
        await client.remove_privileges_from_group(group, ["Query"])
        told = {one["privilege_group"]: one["privileges"] for one in await client.list_privilege_groups()}
        assert list(told[group]) == ["Search"]
        await client.grant_privilege_v2(role, group, where)
        async with AsyncMilvusClient(address, token=f"{user}:secret-2") as other:
            assert len((await other.search(where, [[0.1] * DIM], limit=3))[0]) == 3
            with pytest.raises(grpc.RpcError, match="PrivilegeQuery: permission deny to"):
                await other.query(where, filter="id >= 0")
        assert (await client.describe_role(role))["privileges"][0]["privilege"] == group
        await client.revoke_privilege_v2(role, group, where)
        await client.drop_privilege_group(group)
        await client.revoke_role(user, role)
        await client.drop_role(role)
        await client.drop_user(user)
        await client.create_resource_group(group)
        assert group in await client.list_resource_groups()
        assert (await client.describe_resource_group(group)).name == group
        await client.drop_resource_group(group)


def _me(client: MilvusClient) -> str:
    user: str = client._config.token.split(":")[0]
    return user


def test_everyone_sees_the_own_roles_and_their_grants(address: Address, root: MilvusClient) -> None:
    other = name("role")
    root.create_role(other)
    with somebody(address, root) as (client, role):
        assert client.describe_user(_me(client))["roles"] == (role,)
        with denied("SelectOwnership", "*"):
            client.list_roles()
        header = _header(f"{_me(client)}:secret-1")
        assert _granted(address, header, role).status.code == 0
        assert len(_granted(address, header, "public").entities) == 3
        with denied("SelectOwnership", "*"):
            _granted(address, header, other)


def _header(credential: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", base64.b64encode(credential.encode()).decode()),)


def _granted(
    address: Address, header: tuple[tuple[str, str], ...], role: str
) -> milvus_pb2.SelectGrantResponse:
    entity = milvus_pb2.GrantEntity(role=milvus_pb2.RoleEntity(name=role))
    with grpc.insecure_channel(address.removeprefix("http://")) as channel:
        stub = milvus_pb2_grpc.MilvusServiceStub(channel)
        return stub.SelectGrant(milvus_pb2.SelectGrantRequest(entity=entity), metadata=header)


# -- the built-in groups, and every call ------------------------------------------------------------------------------


def _asks(where: str) -> dict[str, object]:
    """A request of every call that needs a privilege, about a collection where it is about one, else about nothing."""
    asked = {}
    for method in milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"].methods:
        need = NEEDS.get(method.name)
        if need is None or method.name not in RPCS or method.client_streaming or method.server_streaming:
            continue
        request = method.input_type._concrete_class()
        if need.field == "collection_names":
            request.collection_names.append(where)
        elif need.object_type == "Collection" and need.field is not None:
            setattr(request, need.field, where)
        asked[method.name] = request
    return asked


def _let_through(address: Address, credential: str, where: str) -> set[str]:
    """The calls that are not refused; most fail for what they ask, but those were let in."""
    found = set()
    with grpc.insecure_channel(address.removeprefix("http://")) as channel:
        stub = milvus_pb2_grpc.MilvusServiceStub(channel)
        for call, request in _asks(where).items():
            answer = getattr(stub, call).future(request, metadata=_header(credential), timeout=20)
            if answer.code() is not grpc.StatusCode.PERMISSION_DENIED:
                assert answer.code() is grpc.StatusCode.OK, (call, answer.details())
                found.add(call)
    return found


@pytest.mark.parametrize("group", BUILTIN_GROUPS)
def test_a_built_in_group_lets_through_its_calls_and_no_other(
    address: Address, root: MilvusClient, group: str
) -> None:
    where = collection(root)
    with somebody(address, root) as (client, role):
        scope = ("*", "*") if group.startswith("Cluster") else ("*", "default")
        wanted = (where, "default") if group.startswith("Collection") else scope
        root.grant_privilege_v2(role, group, *wanted)
        held = {*BUILTIN_GROUPS[group], "DescribeCollection", "ListAliases"}
        expected = {
            call
            for call, need in NEEDS.items()
            if call in _asks(where)
            # What everyone may: see indexes, the own grants (of no role: refused), look at oneself.
            and (need.privilege in held or need.privilege == "IndexDetail")
        }
        assert _let_through(address, f"{_me(client)}:secret-1", where) == expected
        [told] = root.describe_role(role, db_name="*")["privileges"]
        assert (told["privilege"], told["object_name"], told["db_name"]) == (group, *wanted)


def test_groups_are_granted_where_they_belong(root: MilvusClient) -> None:
    role = name("role")
    root.create_role(role)
    with refused(1100, "dbName and collectionName should be * for the cluster level privilege: ClusterAdmin"):
        root.grant_privilege_v2(role, "ClusterAdmin", "*", "default")
    with refused(1100, "collectionName should be * for the database level privilege: DatabaseAdmin"):
        root.grant_privilege_v2(role, "DatabaseAdmin", "some", "default")
    with refused(1100, "please specify database name for the collection level privilege: CollectionAdmin"):
        root.grant_privilege_v2(role, "CollectionAdmin", "some", "*")


# -- roles ------------------------------------------------------------------------------------------------------------


def test_roles_come_and_go(root: MilvusClient) -> None:
    role, user = name("role"), name("user")
    root.create_role(role, description="they read")
    assert root.describe_role(role) == {"role": role, "description": "they read", "privileges": []}
    root.alter_role(role, description="they write")
    assert root.describe_role(role)["description"] == "they write"
    root.create_user(user, "secret-1")
    root.revoke_role(user, role)
    root.grant_role(user, role)
    root.grant_role(user, role)
    assert root.describe_user(user)["roles"] == (role,)
    root.drop_role(role)
    assert root.describe_user(user)["roles"] == ()
    assert role not in root.list_roles()
    assert {"admin", "public"} <= set(root.list_roles())


def test_a_role_with_privileges_is_dropped_by_force_only(root: MilvusClient) -> None:
    role = name("role")
    root.create_role(role)
    root.grant_privilege(role, "Collection", "*", "*")
    with refused(1100, "fail to drop the role that it has privileges. Use REVOKE API to revoke privileges"):
        root.drop_role(role)
    root.drop_role(role, force_drop=True)


@pytest.mark.parametrize("role", ["admin", "public"])
def test_built_in_roles_stay(root: MilvusClient, role: str) -> None:
    with refused(1401, f"the role[{role}] is a default role, which can't be dropped"):
        root.drop_role(role, force_drop=True)
    with refused(1401, f"the role[{role}] is a builtin role, which can't be altered"):
        root.alter_role(role, description="other")
    with refused(65535, f'role [name:"{role}"] already exists'):
        root.create_role(role)


@pytest.mark.parametrize("role", ["r" * 256, "n%$#@!", "123n", " ", "''", "test-role", "ff ff", "中文"])
def test_names_that_no_role_may_have(root: MilvusClient, role: str) -> None:
    with refused(1100, "invalid parameter"):
        root.create_role(role)


def test_roles_and_users_that_are_not_there(root: MilvusClient) -> None:
    role, user = name("role"), name("user")
    root.create_role(role)
    for call in (
        lambda: root.drop_role("nothing"),
        lambda: root.describe_role("nothing"),
        lambda: root.grant_role("root", "nothing"),
        lambda: root.grant_privilege("nothing", "Global", "CreateCollection", "*"),
        lambda: root.alter_role("nothing", description=""),
    ):
        with refused(65535, ROLE_GONE):
            call()
    with refused(65535, "not found the user, maybe the user isn't existed or internal system error"):
        root.grant_role(user, role)


# -- privileges and groups of them ----------------------------------------------------------------------------------


def test_privileges_that_cannot_be_granted(root: MilvusClient) -> None:
    role = name("role")
    root.create_role(role)
    with refused(65535, "the object entity in the request is nil or invalid"):
        root.grant_privilege(role, "Nothing", "*", "*")
    with refused(65535, "not found the privilege name[nothing]"):
        root.grant_privilege(role, "Global", "nothing", "*")
    with refused(65535, "not found the privilege name[Search] in object[Global]"):
        root.grant_privilege(role, "Global", "Search", "*")
    with refused(65535, "not found the privilege name[nothing]"):
        root.grant_privilege_v2(role, "nothing", "*")
    with refused(65535, "can not operate the built-in privilege group [ClusterAdmin]"):
        root.grant_privilege(role, "Global", "ClusterAdmin", "*")


def test_every_privilege_is_granted_shown_and_revoked_in_both_ways(root: MilvusClient) -> None:
    role = name("role")
    root.create_role(role)
    for privilege, kind in PRIVILEGES.items():
        root.grant_privilege(role, kind, privilege, "*")
        [told] = root.describe_role(role)["privileges"]
        assert (told["object_type"], told["privilege"]) == (kind, privilege)
        root.revoke_privilege_v2(role, privilege, "*")
        root.grant_privilege_v2(role, privilege, "*")
        root.revoke_privilege(role, kind, privilege, "*")
        assert root.describe_role(role)["privileges"] == []


def test_groups_of_privileges_come_and_go(address: Address, root: MilvusClient) -> None:
    group, where = name("group"), collection(root)
    root.create_privilege_group(group)
    root.add_privileges_to_group(group, ["Search"])
    root.add_privileges_to_group(group, ["Search", "Query"])
    told = {one["privilege_group"]: set(one["privileges"]) for one in root.list_privilege_groups()}
    assert told[group] == {"Search", "Query"}
    assert set(BUILTIN_GROUPS) <= set(told)
    assert told["DatabaseReadOnly"] == {"ShowCollections", "DescribeDatabase"}
    with somebody(address, root) as (client, role):
        root.grant_privilege_v2(role, group, where)
        assert search(client, where) == 3
        # A group that is changed changes for those who hold it already.
        root.remove_privileges_from_group(group, ["Search"])
        with denied("Search"):
            search(client, where)
        assert len(client.query(where, filter="id >= 0")) == 10
        with refused(1100, f"privilege group [{group}] is used by role [{role}]"):
            root.drop_privilege_group(group)
        root.revoke_privilege_v2(role, group, where)
    root.drop_privilege_group(group)
    root.drop_privilege_group(group)
    assert group not in [one["privilege_group"] for one in root.list_privilege_groups()]


def test_groups_that_cannot_be(root: MilvusClient) -> None:
    group = name("group")
    root.create_privilege_group(group)
    for taken in BUILTIN_GROUPS:
        words = (
            f"privilege group name [{taken}] is defined by built in privileges or privilege groups in system"
        )
        with refused(1100, words):
            root.create_privilege_group(taken)
        with refused(1100, f"there is no privilege group name [{taken}] defined in system"):
            root.add_privileges_to_group(taken, ["Insert"])
        root.drop_privilege_group(taken)
    with refused(1100, f"privilege group name [{group}] is defined by users"):
        root.create_privilege_group(group)
    for wrong in ("n%$#@!", "test-role", "ff ff"):
        words = f"privilege group name {wrong} can only contain numbers, letters and underscores: invalid parameter"
        with refused(1100, words):
            root.create_privilege_group(wrong)
        with refused(1100, words):
            root.add_privileges_to_group(wrong, ["Insert"])
    with refused(1100, "there is no privilege group name [nothing] defined in system"):
        root.remove_privileges_from_group("nothing", ["Insert"])
    with refused(1100, "there is no privilege name or privilege group name [nothing] defined in system"):
        root.add_privileges_to_group(group, ["nothing"])
    root.add_privileges_to_group(group, ["Search"])
    with refused(1100, "privileges are not the same privilege level"):
        root.add_privileges_to_group(group, ["CreateDatabase"])


# -- copies -----------------------------------------------------------------------------------------------------------


def test_a_backup_is_restored(address: Address, root: MilvusClient, tmp_path: object) -> None:
    user, role, group = name("user"), name("role"), name("group")
    root.create_user(user, "secret-1")
    root.create_role(role, description="they look")
    root.grant_role(user, role)
    root.create_privilege_group(group)
    root.add_privileges_to_group(group, ["Search", "Query"])
    root.grant_privilege_v2(role, group, "*")
    with grpc.insecure_channel(address.removeprefix("http://")) as channel:
        stub = milvus_pb2_grpc.MilvusServiceStub(channel)
        saved = stub.BackupRBAC(milvus_pb2.BackupRBACMetaRequest(), metadata=_header("root:Milvus"))
        again = stub.RestoreRBAC(
            milvus_pb2.RestoreRBACMetaRequest(RBAC_meta=saved.RBAC_meta), metadata=_header("root:Milvus")
        )
        nothing = stub.RestoreRBAC(milvus_pb2.RestoreRBACMetaRequest(), metadata=_header("root:Milvus"))
    assert "already exists" in again.reason
    assert "rbac meta is empty" in nothing.reason
    assert not any(one.password for one in saved.RBAC_meta.users)
    assert "root" not in [one.user for one in saved.RBAC_meta.users]
    only = milvus_pb2.RBACMeta(
        users=[one for one in saved.RBAC_meta.users if one.user == user],
        roles=[one for one in saved.RBAC_meta.roles if one.name == role],
        grants=[one for one in saved.RBAC_meta.grants if one.role.name == role],
        privilege_groups=[one for one in saved.RBAC_meta.privilege_groups if one.group_name == group],
    )
    with served(f"{tmp_path}/other", SETTINGS) as other, entered(other, "root:Milvus") as fresh:
        with grpc.insecure_channel(other.removeprefix("http://")) as channel:
            stub = milvus_pb2_grpc.MilvusServiceStub(channel)
            request = milvus_pb2.RestoreRBACMetaRequest(RBAC_meta=only)
            assert stub.RestoreRBAC(request, metadata=_header("root:Milvus")).code == 0
        assert fresh.describe_user(user)["roles"] == (role,)
        assert fresh.describe_role(role)["privileges"][0]["privilege"] == group
        # Passwords are not in a backup: whoever may update users gives a first one.
        fresh.update_password(user, "", "secret-2")
        with refused(1400, "old password not correct"):
            fresh.update_password(user, "", "secret-3")
        where = collection(fresh)
        with entered(other, f"{user}:secret-2") as client:
            assert search(client, where) == 3


@pytest.mark.parametrize(
    "call",
    [
        *("AddUserTags", "DeleteUserTags", "GetUserTags", "ListUsersWithTag"),
        *("CreateRowPolicy", "DropRowPolicy", "ListRowPolicies"),
    ],
)
def test_tags_and_row_policies_are_refused(address: Address, root: MilvusClient, call: str) -> None:
    method = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"].methods_by_name[call]
    with grpc.insecure_channel(address.removeprefix("http://")) as channel:
        stub = milvus_pb2_grpc.MilvusServiceStub(channel)
        answer = getattr(stub, call)(method.input_type._concrete_class(), metadata=_header("root:Milvus"))
    status = getattr(answer, "status", answer)
    assert status.code == 3000
    assert "are not supported, grant privileges on collections instead" in status.reason
