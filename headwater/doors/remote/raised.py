"""Errors as a server tells them, made into ours again.

A Headwater server names its error in the status beside Milvus's number; of any other server the number decides.
"""

from __future__ import annotations

from typing import Any

from headwater import errors
from headwater.doors.milvus import codes
from headwater.errors import HeadwaterError

__all__ = ["error_of", "unsupported"]

_BY_NAME: dict[str, type[HeadwaterError]] = {
    kind.code: kind for kind in (getattr(errors, name) for name in errors.__all__)
}
_BY_NUMBER: dict[int, type[HeadwaterError]] = {
    codes.NOT_READY.code: errors.NotReady,
    codes.UNAVAILABLE.code: errors.Unavailable,
    codes.MEMORY_LIMIT.code: errors.QuotaExceeded,
    codes.TOO_MANY_REQUESTS.code: errors.Unavailable,
    codes.CANCELLED.code: errors.Timeout,
    codes.RATE_LIMIT.code: errors.QuotaExceeded,
    codes.DENIED.code: errors.PermissionDenied,
    codes.COLLECTION_NOT_FOUND.code: errors.CollectionNotFound,
    codes.COLLECTION_NOT_LOADED.code: errors.NotReady,
    codes.SCHEMA_MISMATCH.code: errors.SchemaConflict,
    codes.PARTITION_NOT_FOUND.code: errors.PartitionNotFound,
    codes.INDEX_NOT_FOUND.code: errors.IndexNotFound,
    codes.DATABASE_NOT_FOUND.code: errors.DatabaseNotFound,
    codes.INVALID_PARAMETER.code: errors.InvalidArgument,
    codes.ALIAS_NOT_FOUND.code: errors.AliasNotFound,
    codes.SNAPSHOT_NOT_FOUND.code: errors.SnapshotNotFound,
    codes.PRIVILEGE_DENIED.code: errors.PermissionDenied,
    codes.UNSUPPORTED.code: errors.UnsupportedOption,
}
_BY_WORDS: tuple[tuple[str, type[HeadwaterError]], ...] = (
    ("already exist", errors.AlreadyExists),
    ("duplicate collection", errors.AlreadyExists),
    ("cannot parse expression", errors.FilterSyntax),
    ("dimension", errors.DimensionMismatch),
)
_VAGUE = (codes.UNEXPECTED.code, codes.INVALID_PARAMETER.code)
"""Numbers under which Milvus tells many things."""


def error_of(status: Any) -> HeadwaterError | None:
    """The error that a status tells; None of a success."""
    if not status.code and not status.error_code:
        return None
    named = _BY_NAME.get(dict(status.extra_info).get(codes.ERROR_NAME, ""))
    if named is None and status.code in _VAGUE:
        named = next((kind for words, kind in _BY_WORDS if words in status.reason), None)
    return (named or _BY_NUMBER.get(status.code, HeadwaterError))(status.reason, milvus_code=status.code)


def unsupported(what: str) -> errors.UnsupportedOption:
    """The protocol has no words for something."""
    return errors.UnsupportedOption(
        f"{what} cannot be asked of a server: Milvus's protocol has no words for it",
        hint="open the lake itself with headwater.connect(folder or URL of the lake)",
    )
