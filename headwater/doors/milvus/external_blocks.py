"""What clients may not do to a collection whose rows belong to others, refused in Milvus's words."""

from __future__ import annotations

from headwater.doors.milvus.codes import invalid
from headwater.engine import Collection

__all__ = ["refuse_external"]


def refuse_external(collection: Collection, operation: str, name: str) -> None:
    """Refuse an operation on an external collection.

    Args:
        collection: which.
        operation: what it was to be: `flush`, `import`, ...
        name: as the caller has it.

    Raises:
        MilvusError: 1100, the collection is external.
    """
    if collection.external:
        raise invalid(f"{operation} operation is not supported for external collection {name}")
