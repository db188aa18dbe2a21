"""What aliases forbid."""

from __future__ import annotations

from headwater.doors.milvus.codes import unexpected
from headwater.doors.milvus.rpc import Call

__all__ = ["check_no_alias"]


def check_no_alias(call: Call, name: str) -> None:
    """Refuse to drop a collection by an alias, or one that aliases stand for.

    Raises:
        MilvusError: 65535, in Milvus's words.
    """
    aliases = call.db.list_aliases()
    if name in aliases:
        raise unexpected(f"cannot drop the collection via alias = {name}")
    bound = [alias for alias, target in aliases.items() if target == name]
    if bound:
        raise unexpected(
            f"unable to drop the collection [{name}] because it has associated aliases [{' '.join(bound)}], "
            "please remove all aliases before dropping the collection"
        )
