"""Milvus's error codes, and which of our errors is which of them.

Every status carries two numbers: `code`, Milvus's error table since 2.3 (`pkg/util/merr`), and `error_code`, the enum
of older clients.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pymilvus.grpc_gen import common_pb2

from headwater import errors
from headwater.errors import HeadwaterError

__all__ = [
    "ERROR_CODES",
    "ERROR_NAME",
    "Code",
    "MilvusError",
    "code_of",
    "cannot_find",
    "collection_not_found",
    "invalid",
    "status_of",
    "unexpected",
]

Legacy = common_pb2.ErrorCode

ERROR_NAME = "headwater_error"
"""Where a status names our own error, for our own clients."""


class Code(NamedTuple):
    """One row of the table.

    Attributes:
        code: Milvus's number.
        legacy: the number that older clients read.
        base: the words that Milvus's message of this code begins with.
        http: status of the lakebase's own HTTP routes; Milvus's REST routes always answer 200.
        retriable: whether the client may ask again.
    """

    code: int
    legacy: int
    base: str
    http: int = 400
    retriable: bool = False


NOT_READY = Code(1, Legacy.UnexpectedError, "service not ready", 503, True)
UNAVAILABLE = Code(2, Legacy.UnexpectedError, "service unavailable", 503, True)
MEMORY_LIMIT = Code(3, Legacy.UnexpectedError, "memory limit exceeded", 503)
TOO_MANY_REQUESTS = Code(4, Legacy.UnexpectedError, "too many concurrent requests, queue is full", 503, True)
CANCELLED = Code(5, Legacy.UnexpectedError, "context canceled", 504)
SERVICE_INTERNAL = Code(5, Legacy.UnexpectedError, "service internal error", 500)
IO_FAILED = Code(1001, Legacy.UnexpectedError, "IO failed", 400)
DEADLINE = Code(10001, Legacy.UnexpectedError, "context deadline exceeded", 504)
RATE_LIMIT = Code(8, Legacy.RateLimit, "rate limit exceeded", 429, True)
QUOTA_REACHED = Code(9, Legacy.UnexpectedError, "quota exceeded", 429)
DENIED = Code(9, Legacy.ForceDeny, "access denied", 403)
COLLECTION_NOT_FOUND = Code(100, Legacy.CollectionNotExists, "collection not found", 404)
COLLECTION_NOT_LOADED = Code(101, Legacy.UnexpectedError, "collection not loaded", 409)
COLLECTION_PARTLY_LOADED = Code(103, Legacy.UnexpectedError, "collection not fully loaded", 409)
COLLECTION_LOADED = Code(104, Legacy.UnexpectedError, "collection already loaded", 409)
COLLECTION_LIMIT = Code(102, Legacy.UnexpectedError, "exceeded the limit number of collections", 429)
ILLEGAL_SCHEMA = Code(105, Legacy.UnexpectedError, "illegal collection schema")
SCHEMA_MISMATCH = Code(109, Legacy.SchemaMismatch, "collection schema mismatch", 409, True)
PARTITION_NOT_FOUND = Code(200, Legacy.UnexpectedError, "partition not found", 404)
PARTITION_NOT_LOADED = Code(201, Legacy.UnexpectedError, "partition not loaded", 409)
RESOURCE_GROUP_NOT_FOUND = Code(300, Legacy.UnexpectedError, "resource group not found", 404)
RESOURCE_GROUP_EXISTS = Code(
    301, Legacy.UnexpectedError, "resource group already exist, but create with different config", 409
)
RESOURCE_GROUP_LIMIT = Code(302, Legacy.UnexpectedError, "resource group num reach limit", 429)
RESOURCE_GROUP_CONFIG = Code(303, Legacy.UnexpectedError, "resource group illegal config")
RESOURCE_GROUP_NODES = Code(304, Legacy.UnexpectedError, "resource group node not enough", 409)
SEGMENT_NOT_FOUND = Code(600, Legacy.UnexpectedError, "segment not found", 404)
NODE_NOT_FOUND = Code(901, Legacy.UnexpectedError, "node not found", 404)
INDEX_NOT_FOUND = Code(700, Legacy.IndexNotExist, "index not found", 404)
INDEX_DUPLICATE = Code(702, Legacy.UnexpectedError, "index duplicates", 409)
DATABASE_NOT_FOUND = Code(800, Legacy.UnexpectedError, "database not found", 404)
DATABASE_LIMIT = Code(801, Legacy.UnexpectedError, "exceeded the limit number of database", 429)
DATABASE_INVALID = Code(802, Legacy.UnexpectedError, "invalid database name")
INVALID_PARAMETER = Code(1100, Legacy.IllegalArgument, "invalid parameter")
MISSING_PARAMETER = Code(1101, Legacy.IllegalArgument, "missing required parameters")
PARAMETER_TOO_LARGE = Code(1102, Legacy.IllegalArgument, "parameter too large", 413)
PRIVILEGE_DENIED = Code(1401, Legacy.PermissionDenied, "privilege not permitted", 403)
UNAUTHENTICATED = Code(1400, Legacy.PermissionDenied, "not authenticated", 401)
ALIAS_NOT_FOUND = Code(1600, Legacy.UnexpectedError, "alias not found", 404)
ALIAS_IS_COLLECTION = Code(1601, Legacy.UnexpectedError, "alias and collection name conflict", 409)
ALIAS_EXISTS = Code(1602, Legacy.UnexpectedError, "alias already exist", 409)
FIELD_NOT_FOUND = Code(1700, Legacy.UnexpectedError, "field not found", 404)
FIELD_INVALID_NAME = Code(1701, Legacy.UnexpectedError, "field name invalid")
NO_CREDENTIAL = Code(1800, Legacy.UnexpectedError, "user hasn't authenticated", 401)
IMPORT_FAILED = Code(2100, Legacy.UnexpectedError, "importing data failed")
SNAPSHOT_NOT_FOUND = Code(2600, Legacy.UnexpectedError, "snapshot not found", 404)
SNAPSHOT_PINNED = Code(2601, Legacy.UnexpectedError, "snapshot has active pins", 409)
UNSUPPORTED = Code(3000, Legacy.UnexpectedError, "operation not supported", 501)
UNEXPECTED = Code(65535, Legacy.UnexpectedError, "unexpected error", 500)

ERROR_CODES: dict[type[HeadwaterError], Code] = {
    errors.HeadwaterError: UNEXPECTED,
    errors.InvalidArgument: INVALID_PARAMETER,
    errors.SchemaMismatch: INVALID_PARAMETER,
    errors.DimensionMismatch: INVALID_PARAMETER,
    errors.FilterSyntax: INVALID_PARAMETER,
    errors.UnsupportedOption: INVALID_PARAMETER,
    errors.RowOutOfRange: INVALID_PARAMETER,
    errors.NotFound: INVALID_PARAMETER,
    errors.CollectionNotFound: COLLECTION_NOT_FOUND,
    errors.SnapshotNotFound: SNAPSHOT_NOT_FOUND,
    errors.SnapshotPinned: SNAPSHOT_PINNED,
    errors.FieldNotFound: FIELD_NOT_FOUND,
    errors.VersionNotFound: SNAPSHOT_NOT_FOUND,
    errors.TagNotFound: SNAPSHOT_NOT_FOUND,
    errors.IndexNotFound: INDEX_NOT_FOUND,
    errors.ObjectNotFound: INVALID_PARAMETER,
    errors.PartitionNotFound: PARTITION_NOT_FOUND,
    errors.AliasNotFound: ALIAS_NOT_FOUND,
    errors.DatabaseNotFound: DATABASE_NOT_FOUND,
    errors.AlreadyExists: UNEXPECTED,
    errors.Conflict: UNAVAILABLE,
    errors.CommitConflict: UNAVAILABLE,
    errors.SchemaConflict: SCHEMA_MISMATCH,
    errors.Fenced: UNAVAILABLE,
    errors.NotReady: NOT_READY,
    errors.Unavailable: UNAVAILABLE,
    errors.StoreUnavailable: UNAVAILABLE,
    errors.Timeout: UNAVAILABLE,
    errors.WorkerLost: UNAVAILABLE,
    errors.SourceChanged: UNEXPECTED,
    errors.Corrupt: UNEXPECTED,
    errors.PermissionDenied: PRIVILEGE_DENIED,
    errors.Unauthenticated: UNAUTHENTICATED,
    errors.UserNotFound: UNEXPECTED,
    errors.RoleNotFound: UNEXPECTED,
    errors.UnknownPrivilege: UNEXPECTED,
    errors.ResourceGroupNotFound: RESOURCE_GROUP_NOT_FOUND,
    errors.QuotaExceeded: RATE_LIMIT,
    errors.MissingExtra: UNSUPPORTED,
    errors.Internal: UNEXPECTED,
}
"""Our errors in Milvus's numbers; a class that is missing here answers as its nearest parent."""


class MilvusError(HeadwaterError):
    """An error in Milvus's own words: the door's checks raise it, where clients compare the text.

    Args:
        code: the row of the table.
        detail: what comes before the base words, as Milvus wraps its errors.
        **named: the values in brackets: ``collection not found[database=default][collection=x]``.
    """

    code = "HW900"

    def __init__(self, code: Code, detail: str = "", **named: Any) -> None:
        brackets = "".join(f"[{name}={value}]" for name, value in named.items())
        message = f"{code.base}{brackets}"
        super().__init__(f"{detail}: {message}" if detail else message)
        self.row = code


def invalid(detail: str, **named: Any) -> MilvusError:
    """A parameter that Milvus refuses, in Milvus's form: ``detail: invalid parameter[expected=...][actual=...]``."""
    return MilvusError(INVALID_PARAMETER, detail, **named)


def unexpected(text: str) -> MilvusError:
    """An error that Milvus tells in plain words, under its catch-all code 65535."""
    error = MilvusError(UNEXPECTED)
    error.message = text
    return error


def collection_not_found(database: str, name: str) -> MilvusError:
    """The words by which clients know that a collection is missing."""
    return MilvusError(COLLECTION_NOT_FOUND, database=database, collection=name)


def cannot_find(database: str, name: str) -> MilvusError:
    """The same, as Milvus tells it to who asks for a description."""
    error = MilvusError(COLLECTION_NOT_FOUND)
    error.message = f"can't find collection[database={database}][collection={name}]"
    return error


def code_of(error: BaseException) -> Code:
    """The row of the table for an error."""
    if isinstance(error, MilvusError):
        return error.row
    return next((ERROR_CODES[kind] for kind in type(error).__mro__ if kind in ERROR_CODES), UNEXPECTED)


def status_of(error: BaseException) -> common_pb2.Status:
    """An error as the message that Milvus clients raise from."""
    row = code_of(error)
    text = getattr(error, "message", None) or str(error) or type(error).__name__
    hint = getattr(error, "hint", None)
    told = {"is_input_error": "true"} if row.http in (400, 404, 413) else {}
    named: BaseException | None = error
    while isinstance(named, MilvusError):
        named = named.__cause__
    if isinstance(named, HeadwaterError):
        told[ERROR_NAME] = named.code
    if told:
        # The asynchronous client reads it of any map that is not empty.
        told["report_value"] = "0"
    return common_pb2.Status(
        code=row.code,
        error_code=row.legacy,
        reason=f"{text} ({hint})" if hint else text,
        retriable=row.retriable,
        extra_info=told,
    )
