"""The Python door on a server that asks who calls."""

from __future__ import annotations

from pathlib import Path

import pytest
from serving import served

import headwater as hw
from headwater.errors import PermissionDenied
from headwater.settings import AccessSettings


def test_a_token_lets_the_python_door_in(tmp_path: Path) -> None:
    with served(tmp_path, hw.Settings(access=AccessSettings(authorization=True, scrypt_p=1))) as address:
        with pytest.raises(PermissionDenied):
            hw.connect(str(address))
        with pytest.raises(PermissionDenied):
            hw.connect(str(address), token="root:wrong")
        with hw.connect(str(address), token="root:Milvus") as db:
            assert db.list_collections() == []
