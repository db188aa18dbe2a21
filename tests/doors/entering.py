"""What tests of access share: settings of a server that asks who comes, clients, refusals."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pymilvus import MilvusClient, MilvusException

from headwater.settings import AccessSettings, Settings

REFRESH_S = 0.4
SETTINGS = Settings(
    access=AccessSettings(
        authorization=True, scrypt_p=1, refresh_s=REFRESH_S * 0.9, max_roles=100, max_users=200
    )
)
"""A cheap hash, and a refresh that tests need not wait long for."""

_NUMBERS = itertools.count()


def name(kind: str) -> str:
    """A name that no other test has."""
    return f"{kind}_{next(_NUMBERS)}"


@contextmanager
def entered(address: str, token: str = "", **how: str) -> Iterator[MilvusClient]:
    """A client of a server."""
    client = MilvusClient(address, token=token, **how)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def refused(code: int, words: str) -> Iterator[None]:
    """A call that the server answers with this number and these words."""
    with pytest.raises(MilvusException, match=re.escape(words)) as raised:
        yield
    assert raised.value.code == code
