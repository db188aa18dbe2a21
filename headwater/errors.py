"""The error tree: grouped by what the caller does next.

Every error carries a stable `code` (append-only; programs match on it), a `hint` (the next step, for people) and
`details` (values for programs). The message names the thing, what was expected and what was found.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AliasNotFound",
    "AlreadyExists",
    "CollectionNotFound",
    "CommitConflict",
    "Conflict",
    "Corrupt",
    "DatabaseNotFound",
    "DimensionMismatch",
    "Fenced",
    "FieldNotFound",
    "FilterSyntax",
    "HeadwaterError",
    "IndexNotFound",
    "Internal",
    "InvalidArgument",
    "JobNotFound",
    "MissingExtra",
    "NotFound",
    "NotReady",
    "ObjectNotFound",
    "PartitionNotFound",
    "PermissionDenied",
    "QuotaExceeded",
    "ResourceGroupNotFound",
    "RoleNotFound",
    "RowOutOfRange",
    "SchemaConflict",
    "SchemaMismatch",
    "SnapshotNotFound",
    "SnapshotPinned",
    "SourceChanged",
    "StoreUnavailable",
    "TagNotFound",
    "Timeout",
    "Unauthenticated",
    "Unavailable",
    "UnknownPrivilege",
    "UnsupportedOption",
    "UserNotFound",
    "VersionNotFound",
    "WorkerLost",
]


class HeadwaterError(Exception):
    """Root of every error that Headwater raises.

    Args:
        message: what happened: the thing, the expected, the found.
        hint: the next step, when there is one.
        details: values for programs.
    """

    code: ClassVar[str] = "HW000"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details
        if hint:
            self.add_note(f"hint: {hint}")

    def __str__(self) -> str:
        return self.message


class InvalidArgument(HeadwaterError, ValueError):
    """The call is wrong; fix it."""

    code = "HW100"


class SchemaMismatch(InvalidArgument):
    """Data does not fit the schema; names row, field, expectation and what came."""

    code = "HW101"


class DimensionMismatch(SchemaMismatch):
    """A vector has another dimension than its field."""

    code = "HW102"


class FilterSyntax(InvalidArgument):
    """A filter does not parse or bind; `details["position"]` is the offset in the text."""

    code = "HW103"


class UnsupportedOption(InvalidArgument):
    """An option is unknown, or has no effect here."""

    code = "HW104"


class RowOutOfRange(InvalidArgument):
    """A row position is outside `[0, num_rows)`; nothing was read."""

    code = "HW105"


class NotFound(HeadwaterError, KeyError):
    """What was named is not there."""

    code = "HW200"


class CollectionNotFound(NotFound):
    """No such collection in this database."""

    code = "HW201"


class FieldNotFound(NotFound, InvalidArgument):
    """No such field in the schema."""

    code = "HW202"


class VersionNotFound(NotFound):
    """No such version, or it is expired."""

    code = "HW203"


class TagNotFound(NotFound):
    """No such tag."""

    code = "HW204"


class IndexNotFound(NotFound):
    """No such index."""

    code = "HW205"


class ObjectNotFound(NotFound):
    """No such object in the store."""

    code = "HW206"


class PartitionNotFound(NotFound):
    """No such partition."""

    code = "HW207"


class AliasNotFound(NotFound):
    """No such alias."""

    code = "HW208"


class DatabaseNotFound(NotFound):
    """No such database."""

    code = "HW209"


class JobNotFound(NotFound):
    """No such job, or its record is forgotten."""

    code = "HW240"


class SnapshotNotFound(NotFound):
    """No such snapshot of the collection."""

    code = "HW241"


class AlreadyExists(HeadwaterError):
    """The name is taken."""

    code = "HW300"


class Conflict(HeadwaterError):
    """Somebody else's change won; retry from a newer version."""

    code = "HW400"


class CommitConflict(Conflict):
    """A change no longer applies to the newer version (`details`: `change`, `with_version`)."""

    code = "HW401"


class SchemaConflict(Conflict):
    """Two different alterations of one schema."""

    code = "HW402"


class Fenced(HeadwaterError):
    """A newer writer owns the shard; stop writing."""

    code = "HW500"


class SnapshotPinned(HeadwaterError):
    """A snapshot is held by pins, or by a restore that reads it; unpin it, or wait."""

    code = "HW440"


class NotReady(HeadwaterError):
    """Load it or wait for it first."""

    code = "HW600"


class Unavailable(HeadwaterError):
    """The store or a service did not answer; the same call may succeed later."""

    code = "HW700"
    retryable = True


class StoreUnavailable(Unavailable):
    """The object store failed past the retries, or the outcome of a write is unknown."""

    code = "HW701"


class Timeout(Unavailable):
    """The deadline passed."""

    code = "HW702"


class WorkerLost(Unavailable):
    """A process that computed for this call died, or was ended; `details` has its `status` and `output`."""

    code = "HW703"


class SourceChanged(HeadwaterError):
    """A file under a pinned external snapshot changed or vanished; refresh, or restore the file."""

    code = "HW800"


class Corrupt(HeadwaterError):
    """Stored bytes are not what was written; names the file, and never is retried."""

    code = "HW900"


class PermissionDenied(HeadwaterError):
    """The store or a policy refused."""

    code = "HW1000"


class Unauthenticated(HeadwaterError):
    """Who asks has not shown who he is: the password or the token is wrong, or missing."""

    code = "HW1001"


class UserNotFound(NotFound):
    """No such user."""

    code = "HW1002"


class RoleNotFound(NotFound):
    """No such role."""

    code = "HW1003"


class UnknownPrivilege(InvalidArgument):
    """There is no such privilege, or it is not about such a thing."""

    code = "HW1004"


class ResourceGroupNotFound(NotFound):
    """No such resource group."""

    code = "HW1005"


class QuotaExceeded(HeadwaterError):
    """A limit is reached (`details`: `limit`, `used`, `unit`), a full disk included."""

    code = "HW1100"


class MissingExtra(HeadwaterError, ImportError):
    """An optional dependency is absent; the message names the extra to install."""

    code = "HW1200"


class Internal(HeadwaterError):
    """A bug in Headwater; please report it."""

    code = "HW1300"
