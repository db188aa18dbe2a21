"""User tags and row policies: refused, clearly."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from headwater.doors.milvus.codes import UNSUPPORTED, MilvusError
from headwater.doors.milvus.rpc import Call, rpc

__all__: list[str] = []

_REFUSED = {
    "AddUserTags": "user tags",
    "DeleteUserTags": "user tags",
    "GetUserTags": "user tags",
    "ListUsersWithTag": "user tags",
    "CreateRowPolicy": "row policies",
    "DropRowPolicy": "row policies",
    "ListRowPolicies": "row policies",
}


def _refuse(name: str, what: str) -> None:
    def refuse(call: Call, request: Any) -> Message:
        raise MilvusError(
            UNSUPPORTED, f"{name}: {what} are not supported, grant privileges on collections instead"
        )

    rpc(name)(refuse)


for _name, _what in _REFUSED.items():
    _refuse(_name, _what)
