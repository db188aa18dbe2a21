"""Guessing passwords: bounded by user and address, in words that say when to come again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest
from entering import SETTINGS, entered
from pymilvus import MilvusClient
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc
from serving import Address, served

from headwater.doors.milvus import attempts
from headwater.doors.milvus.attempts import FailedLogins, address_of
from headwater.settings import AccessSettings

MOST = 3


def _error(address: Address, credential: str) -> grpc.RpcError | None:
    """What a bare call with a credential is told; None when it comes in."""
    with grpc.insecure_channel(address.removeprefix("http://")) as channel:
        try:
            milvus_pb2_grpc.MilvusServiceStub(channel).ShowCollections(
                milvus_pb2.ShowCollectionsRequest(), metadata=(("authorization", f"Bearer {credential}"),)
            )
        except grpc.RpcError as error:
            return error
    return None


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    access = replace(SETTINGS.access, max_failed_logins=MOST)
    with served(tmp_path_factory.mktemp("lake"), replace(SETTINGS, access=access)) as found:
        yield found


@pytest.fixture(scope="module")
def root(address: Address) -> Iterator[MilvusClient]:
    with entered(address, "root:Milvus") as client:
        client.create_user("ann", "secret-1")
        client.create_user("bob", "secret-1")
        yield client


def test_after_a_few_wrong_passwords_even_the_right_one_is_refused(
    address: Address, root: MilvusClient
) -> None:
    for guess in range(MOST):
        error = _error(address, f"ann:guess-{guess}")
        assert error is not None
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    for credential in ("ann:guess-9", "ann:secret-1"):
        error = _error(address, credential)
        assert error is not None
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "too many logins of user ann from 127.0.0.1 failed, try again in" in error.details()
    # Nobody else is held up, nor who was let in before.
    assert _error(address, "bob:secret-1") is None
    assert root.list_collections() == []


def test_tokens_are_counted_too_and_the_same_wrong_password_once(
    address: Address, root: MilvusClient
) -> None:
    for _ in range(2 * MOST):
        error = _error(address, "bob:the-old-one")
        assert error is not None
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert _error(address, "bob:secret-1") is None
    codes = [error.code() for guess in range(MOST + 1) if (error := _error(address, f"hwt_1_{guess}"))]
    assert codes == [grpc.StatusCode.UNAUTHENTICATED] * MOST + [grpc.StatusCode.RESOURCE_EXHAUSTED]


def test_what_failed_counts_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    settings = AccessSettings(max_failed_logins=2, failed_login_s=60.0)
    failed = FailedLogins(settings, lambda: now[0])
    failed.failed("ann", "a", "ann:1")
    now[0] += 50
    assert failed.wait_s("ann", "a") == 0
    failed.failed("ann", "a", "ann:2")
    failed.failed("ann", "a", "ann:3")
    assert failed.wait_s("ann", "a") == 10
    assert failed.wait_s("ann", "b") == failed.wait_s("bob", "a") == 0
    now[0] += 10
    assert failed.wait_s("ann", "a") == 0
    failed.failed("ann", "a", "ann:1")
    assert failed.wait_s("ann", "a") == 0
    failed.failed("ann", "a", "ann:2")
    assert failed.wait_s("ann", "a") == 60
    failed.passed("ann", "a")
    assert failed.wait_s("ann", "a") == 0
    monkeypatch.setattr(attempts, "_MOST", 5)
    for number in range(20):
        failed.failed(f"user-{number}", "a", "x")
    assert len(failed._failed) == 5
    unbounded = FailedLogins(AccessSettings(max_failed_logins=0), lambda: now[0])
    for number in range(50):
        unbounded.failed("ann", "a", f"ann:{number}")
    assert unbounded.wait_s("ann", "a") == 0


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("127.0.0.1:4711", "127.0.0.1"),
        ("ipv4:127.0.0.1:4711", "127.0.0.1"),
        ("http:127.0.0.1:4711", "127.0.0.1"),
        ("::1:4711", "::1"),
        ("ipv6:%5B::1%5D:4711", "::1"),
        ("http:::1:4711", "::1"),
        ("", ""),
    ],
)
def test_an_address_is_the_same_through_every_door(peer: str, address: str) -> None:
    assert address_of(peer) == address
