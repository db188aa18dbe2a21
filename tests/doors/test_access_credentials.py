"""Who may come in: passwords, tokens, users, through the real clients."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest
from entering import REFRESH_S, SETTINGS, entered, name, refused
from pymilvus import AsyncMilvusClient, MilvusClient, MilvusException, Role, connections, utility
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc
from serving import Address, served

from headwater.settings import AccessSettings, Settings

pytestmark = pytest.mark.served_with(SETTINGS)


def _list(address: Address, header: str | None) -> None:
    """A bare call, to see what the server itself says: the client hides it when it connects."""
    metadata = () if header is None else (("authorization", header),)
    with grpc.insecure_channel(address.removeprefix("http://")) as channel:
        milvus_pb2_grpc.MilvusServiceStub(channel).ShowCollections(
            milvus_pb2.ShowCollectionsRequest(), metadata=metadata
        )


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (None, "missing authorization in header"),
        ("%%%", "invalid token format"),
        ("cm9vdDp3cm9uZw==", "auth check failure, please check username and password are correct"),
        ("bm9ib2R5Ok1pbHZ1cw==", "auth check failure, please check username and password are correct"),
        ("c29tZS10b2tlbg==", "auth check failure, please check api key is correct"),
        ("aHd0XzEyXzM0", "auth check failure, please check api key is correct"),
    ],
)
def test_who_does_not_show_who_he_is_stays_outside(address: Address, header: str | None, words: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        _list(address, header)
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert raised.value.details() == words


@pytest.mark.parametrize(
    "how",
    [
        {"token": "root:Milvus"},
        {"user": "root", "password": "Milvus"},
    ],
)
def test_both_ways_of_saying_who_one_is(address: Address, how: dict[str, str]) -> None:
    client = MilvusClient(address, **how)
    assert client.list_users()[0] == "root" or "root" in client.list_users()
    client.close()


@pytest.mark.parametrize("token", ["root:Milvuskk", "rootnn:Milvus", "root:", ":Milvus", ""])
def test_a_client_with_a_wrong_credential_cannot_connect(address: Address, token: str) -> None:
    with pytest.raises(MilvusException, match="illegal connection params or server unavailable"):
        MilvusClient(address, token=token, timeout=2)


async def test_the_async_client_comes_in_the_same_way(address: Address, root: MilvusClient) -> None:
    user = name("user")
    async with AsyncMilvusClient(address, token="root:Milvus") as client:
        await client.create_user(user, "secret-1")
        assert user in await client.list_users()
    async with AsyncMilvusClient(address, token=f"{user}:secret-1") as client:
        with pytest.raises(grpc.RpcError, match="PrivilegeCreateOwnership: permission deny"):
            await client.create_user("another", "secret-1")


def test_users_come_and_go(address: Address, root: MilvusClient) -> None:
    user = name("user")
    root.create_user(user, "secret-1", description="of the test")
    assert user in root.list_users()
    assert root.describe_user(user) == {"user_name": user, "roles": (), "description": "of the test"}
    root.update_user(user, description="another")
    assert root.describe_user(user)["description"] == "another"
    with entered(address, f"{user}:secret-1") as client:
        assert client.list_collections() == []
    root.drop_user(user)
    root.drop_user(user)
    assert root.describe_user(user) == {}
    assert user not in root.list_users()


def test_a_user_changes_the_own_password_and_no_other(address: Address, root: MilvusClient) -> None:
    user, other = name("user"), name("user")
    root.create_user(user, "secret-1")
    root.create_user(other, "secret-1")
    with entered(address, f"{user}:secret-1") as client:
        with refused(1400, f"old password not correct for {user}: not authenticated"):
            client.update_password(user, "wrong-1", "secret-2")
        with pytest.raises(grpc.RpcError, match="PrivilegeUpdateUser: permission deny to"):
            client.update_password(other, "secret-1", "secret-2")
        with pytest.raises(grpc.RpcError, match="PrivilegeSelectUser: permission deny to"):
            client.describe_user(other)
        client.update_password(user, "secret-1", "secret-2", reset_connection=True)
        assert client.describe_user(user)["user_name"] == user
    with pytest.raises(grpc.RpcError):
        _list(address, _header(f"{user}:secret-1"))
    _list(address, _header(f"{user}:secret-2"))


def _header(credential: str) -> str:
    import base64

    return base64.b64encode(credential.encode()).decode()


def test_a_dropped_user_is_out_at_once_here(address: Address, root: MilvusClient) -> None:
    user = name("user")
    root.create_user(user, "secret-1")
    with entered(address, f"{user}:secret-1") as client:
        client.list_collections()
        root.drop_user(user)
        with pytest.raises(grpc.RpcError, match="auth check failure"):
            client.list_collections()


def test_a_user_dropped_by_another_process_is_out_within_the_refresh_time(
    tmp_path: Path,
) -> None:
    # Two servers of one lake share nothing in memory; the second stands for another process.
    with (
        served(tmp_path, SETTINGS) as first,
        served(tmp_path, SETTINGS) as second,
        entered(first, "root:Milvus") as root,
        entered(second, "root:Milvus") as other,
    ):
        time.sleep(0.25)
        root.create_user("eve", "secret-1")
        # Who is let in by a change is let in at once: nobody is refused by what may be old.
        with entered(second, "eve:secret-1") as eve:
            eve.list_collections()
            root.update_password("eve", "secret-1", "secret-2")
            time.sleep(REFRESH_S)
            with pytest.raises(grpc.RpcError, match="auth check failure"):
                eve.list_collections()
        with entered(second, "eve:secret-2") as eve:
            eve.list_collections()
            root.drop_user("eve")
            time.sleep(REFRESH_S)
            with pytest.raises(grpc.RpcError, match="auth check failure"):
                eve.list_collections()
        assert other.list_users() == ["root"]


@pytest.mark.parametrize(
    ("user", "password", "code", "words"),
    [
        ("", "secret-1", 1100, "username must be not empty: invalid parameter"),
        ("0", "secret-1", 1100, "invalid user name 0, the first character must be a letter"),
        ("n@me", "secret-1", 1100, "username must contain only numbers, letters and underscores, but got @"),
        ("h h", "secret-1", 1100, "invalid user name h h"),
        ("u" * 33, "secret-1", 1100, "the length of username must be less than 32"),
        ("fine", "", 1100, "invalid password length: invalid parameter[0 out of range 6 <= value <= 72]"),
        ("fine", "p@ss", 1100, "invalid password"),
        ("fine", "p" * 73, 1100, "invalid password"),
        ("root", "secret-1", 1100, "user already exists: root"),
    ],
)
def test_what_cannot_be_a_user(root: MilvusClient, user: str, password: str, code: int, words: str) -> None:
    with refused(code, words):
        root.create_user(user, password)


def test_root_stays(root: MilvusClient) -> None:
    with refused(1401, "root user cannot be deleted: privilege not permitted"):
        root.drop_user("root")
    with refused(1400, "old password not correct for nobody: not authenticated"):
        root.update_password("nobody", "secret-1", "secret-2")
    with refused(1100, "invalid password"):
        root.update_password("root", "Milvus", "0")


def test_no_more_users_than_there_may_be(tmp_path: Path) -> None:
    settings = Settings(access=AccessSettings(scrypt_p=1, max_users=2, max_roles=3))
    with served(tmp_path, settings) as address, entered(address) as client:
        client.create_user("one", "secret-1")
        with refused(9, "the number of users has reached the limit: quota exceeded"):
            client.create_user("two", "secret-1")
        client.create_role("one")
        with refused(9, "unable to create role because the number of roles has reached the limit"):
            client.create_role("two")


def test_tokens_act_for_their_users(address: Address, root: MilvusClient) -> None:
    access = address.backend.lake.access
    user = name("user")
    root.create_user(user, "secret-1")
    token = access.tokens.create(user, description="a job")
    short = access.tokens.create(user, expires_s=0.2)
    with entered(address, token) as client:
        assert client.describe_user(user)["user_name"] == user
        [held] = [one for one in access.tokens.list() if one.user == user and not one.expires_ms]
        assert held.description == "a job"
        assert held.hash == ""
        access.tokens.drop(held.name)
        with pytest.raises(grpc.RpcError, match="please check api key is correct"):
            client.list_collections()
    time.sleep(0.25)
    with pytest.raises(grpc.RpcError, match="please check api key is correct"):
        _list(address, _header(short))
    last = access.tokens.create(user)
    root.drop_user(user)
    with pytest.raises(grpc.RpcError, match="please check api key is correct"):
        _list(address, _header(last))


def test_nobody_needs_to_say_who_he_is_where_it_is_off(tmp_path: Path) -> None:
    off = Settings(access=AccessSettings(scrypt_p=1))
    with served(tmp_path, off) as address, entered(address) as client:
        # Users can be made before it is switched on.
        assert client.list_users() == ["root"]
        client.create_user("bob", "secret-1")
        client.create_role("readers")
        client.grant_role("bob", "readers")
        client.grant_privilege("readers", "Global", "ShowCollections", "*")
        assert client.describe_role("readers")["privileges"][0]["grantor_name"] == "root"
    with served(tmp_path, SETTINGS) as address, entered(address, "bob:secret-1") as client:
        assert client.describe_user("bob")["roles"] == ("readers",)


def test_roots_first_password_is_a_setting(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = Settings(access=AccessSettings(authorization=True, scrypt_p=1, root_password="a-better-one"))
    with served(tmp_path, first) as address, entered(address, "root:a-better-one") as client:
        assert client.list_users() == ["root"]
        assert "default password" not in caplog.text
        client.update_password("root", "a-better-one", "Milvus", reset_connection=True)
    # What was set once is in the lake, and the setting of no matter any more; but the default one is told of.
    with served(tmp_path, first) as address:
        assert "root has the default password" in caplog.text
        _list(address, _header("root:Milvus"))
        with pytest.raises(grpc.RpcError, match="auth check failure"):
            _list(address, _header("root:a-better-one"))


def test_hashes_are_never_in_answers(address: Address, root: MilvusClient) -> None:
    user = name("user")
    root.create_user(user, "secret-1")
    address.backend.lake.access.tokens.create(user)
    policy = address.backend.lake.access.known.policy
    secrets = [one.hash for one in (*policy.users.values(), *policy.tokens.values())]
    assert all(secrets)
    header = (("authorization", _header("root:Milvus")),)
    asked = [
        ("SelectUser", milvus_pb2.SelectUserRequest(include_role_info=True)),
        ("ListCredUsers", milvus_pb2.ListCredUsersRequest()),
        ("BackupRBAC", milvus_pb2.BackupRBACMetaRequest()),
        ("SelectRole", milvus_pb2.SelectRoleRequest(include_user_info=True)),
    ]
    with grpc.insecure_channel(address.removeprefix("http://")) as channel:
        stub = milvus_pb2_grpc.MilvusServiceStub(channel)
        answers = [getattr(stub, call)(request, metadata=header) for call, request in asked]
    for answer in answers:
        assert answer.status.code == 0
        assert user in str(answer) or isinstance(answer, milvus_pb2.SelectRoleResponse)
        assert not any(secret in str(answer) or secret.split("$")[-1] in str(answer) for secret in secrets)


@pytest.mark.filterwarnings("ignore::pymilvus.decorators.PyMilvusDeprecationWarning")
def test_the_orm_style_classes(address: Address, root: MilvusClient) -> None:
    alias, user, role = name("alias"), name("user"), name("role")
    connections.connect(alias, uri=str(address), user="root", password="Milvus")
    try:
        utility.create_user(user, "secret-1", using=alias)
        assert user in utility.list_usernames(using=alias)
        held = Role(role, using=alias)
        assert not held.is_exist()
        held.create()
        assert held.is_exist()
        held.add_user(user)
        assert list(held.get_users()) == [user]
        held.grant("Global", "*", "CreateCollection")
        held.grant_v2("Search", "*", db_name="default")
        granted = {(one.object, one.object_name, one.privilege) for one in held.list_grants().groups}
        assert granted == {("Global", "*", "CreateCollection"), ("Collection", "*", "Search")}
        assert [one.privilege for one in held.list_grant("Collection", "*").groups] == ["Search"]
        held.revoke("Global", "*", "CreateCollection")
        held.revoke_v2("Search", "*", db_name="default")
        assert not held.list_grants().groups
        groups = utility.list_user(user, True, using=alias).groups
        assert list(groups[0].roles) == [role]
        assert role in [one.role_name for one in utility.list_roles(True, using=alias).groups]
        held.remove_user(user)
        assert not held.get_users()
        held.drop()
        utility.reset_password(user, "secret-1", "secret-2", using=alias)  # and goes on as this user
        assert utility.list_user(user, True, using=alias).groups[0].username == user
    finally:
        connections.disconnect(alias)


def test_other_machines_are_served_with_authorization_or_when_asked_for() -> None:
    from headwater.doors.serve.checking import check_exposure
    from headwater.errors import InvalidArgument
    from headwater.settings import ServerSettings

    everyone = ServerSettings(host="0.0.0.0")
    with pytest.raises(InvalidArgument, match="everyone who reaches it may read and drop everything"):
        check_exposure(Settings(server=everyone), insecure=False)
    check_exposure(Settings(server=everyone), insecure=True)
    check_exposure(Settings(server=everyone, access=AccessSettings(authorization=True)), insecure=False)
    for host in ("127.0.0.1", "::1", "[::1]", "localhost"):
        check_exposure(Settings(server=ServerSettings(host=host)), insecure=False)
