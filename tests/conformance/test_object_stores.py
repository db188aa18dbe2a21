"""Every store that ships keeps the promises of `ObjectStoreTests`."""

from __future__ import annotations

import shutil
import uuid

import pytest

from headwater.store import FaultyStore, LocalObjectStore, RetryingStore, open_store
from headwater.store.hedged import HedgedStore
from headwater.testing.azurite import azurite
from headwater.testing.object_store import ObjectStoreTests
from headwater.testing.s3_server import LockedCreates, s3_server


class TestLocal(ObjectStoreTests):
    @pytest.fixture
    def store(self, tmp_path):
        return open_store(tmp_path / "store")


class TestLocalUrl(ObjectStoreTests):
    @pytest.fixture
    def store(self, tmp_path):
        return open_store((tmp_path / "a folder %20").as_uri())


class TestMemory(ObjectStoreTests):
    @pytest.fixture
    def store(self):
        return open_store(f"memory://{uuid.uuid4().hex}")


class TestMemoryFolder(ObjectStoreTests):
    @pytest.fixture
    def store(self):
        return open_store(f"memory://conformance/{uuid.uuid4().hex}/nested")


class TestHedgedMemory(ObjectStoreTests):
    @pytest.fixture
    def store(self):
        return HedgedStore(open_store(f"memory://{uuid.uuid4().hex}"))


class TestHedgedLocal(ObjectStoreTests):
    @pytest.fixture
    def store(self, tmp_path):
        return HedgedStore(open_store(tmp_path / "store"))


class TestFaultyWithoutFaults(ObjectStoreTests):
    @pytest.fixture
    def store(self, tmp_path):
        return FaultyStore(LocalObjectStore(tmp_path / "store"))


class TestRetryingOverFaults(ObjectStoreTests):
    """A third of all requests fail, half of those after they were done; `create` is left to put_if_absent."""

    @pytest.fixture
    def store(self):
        verbs = ("put", "put_file", "get", "get_ranges", "head", "list", "list_prefixes", "delete")
        chance = dict.fromkeys(verbs, 0.18)
        faulty = FaultyStore(
            open_store(f"memory://{uuid.uuid4().hex}"), seed=7, fail_before=chance, fail_after=chance
        )
        return RetryingStore(faulty, attempts=50, sleep=lambda _: None)


@pytest.fixture(scope="module")
def server():
    with s3_server() as running:
        yield running


class TestS3(ObjectStoreTests):
    @pytest.fixture
    def store(self, server):
        return LockedCreates(open_store(f"{server.url}/{uuid.uuid4().hex}/nested", server.options))


@pytest.fixture(scope="module")
def azure():
    if shutil.which("npm") is None:
        pytest.skip("needs Node.js and npm, which run Azurite")
    with azurite() as running:
        yield running


class TestAzure(ObjectStoreTests):
    @pytest.fixture
    def store(self, azure):
        return open_store(f"{azure.url}/{uuid.uuid4().hex}/nested", azure.options)
