"""Which names Milvus allows, and the words in which it refuses the others."""

from __future__ import annotations

import re

from headwater.doors.milvus.codes import DATABASE_INVALID, FIELD_INVALID_NAME, MilvusError, invalid

__all__ = [
    "MAX_NAME",
    "check_collection_name",
    "check_database_name",
    "check_field_name",
    "check_partition_name",
    "is_collection_name",
]

MAX_NAME = 255
_HEAD = re.compile(r"[A-Za-z_]")
_PLAIN = re.compile(r"[A-Za-z0-9_]*")
_PARTITION = re.compile(r"[A-Za-z0-9_-]*")
_BOTH_CASES = (
    "json_contains",
    "json_contains_all",
    "json_contains_any",
    "array_contains",
    "array_contains_all",
    "array_contains_any",
    "array_length",
    "text_match",
    "phrase_match",
    "random_sample",
    "exists",
)
KEYWORDS = frozenset(
    (
        *("$meta", "like", "and", "or", "not", "in", "true", "True", "TRUE", "false", "False", "FALSE"),
        *_BOTH_CASES,
        *(word.upper() for word in _BOTH_CASES),
    )
)
"""Words of the filter language, which no field may be called."""

RESERVED = frozenset(("RowID", "Timestamp", "__virtual_pk__"))
"""Names of the fields that Milvus keeps for itself."""


def check_collection_name(name: str, kind: str = "name") -> None:
    """Refuse what cannot be a collection's name.

    Args:
        name: the name.
        kind: what it is called in errors; also ``alias``.

    Raises:
        MilvusError: 1100, with the rule that it breaks.
    """
    if not name:
        raise invalid(f"collection {kind} should not be empty")
    prefix = f"Invalid collection {kind}: {name}."
    if len(name.encode()) > MAX_NAME:
        raise invalid(f"{prefix} the length of a collection {kind} must be less than {MAX_NAME} characters")
    if not _HEAD.match(name):
        raise invalid(f"{prefix} the first character of a collection {kind} must be an underscore or letter")
    if not _PLAIN.fullmatch(name):
        raise invalid(f"{prefix} collection {kind} can only contain numbers, letters and underscores")


def is_collection_name(name: str) -> bool:
    """Whether a collection can be called so."""
    try:
        check_collection_name(name)
    except MilvusError:
        return False
    return True


def check_field_name(name: str) -> None:
    """Refuse what cannot be a field's name.

    Raises:
        MilvusError: 1701, with the rule that it breaks.
    """
    name = name.strip()
    if not name:
        raise MilvusError(FIELD_INVALID_NAME, "field name should not be empty", field=name)
    said = ""
    if len(name.encode()) > MAX_NAME:
        said = f"The length of a field name must be less than {MAX_NAME} characters."
    elif not _HEAD.match(name):
        said = "The first character of a field name must be an underscore or letter."
    elif not _PLAIN.fullmatch(name):
        said = "Field name can only contain numbers, letters, and underscores."
    elif name in KEYWORDS or name.lower() == "null":
        said = f"{name} is keyword in milvus."
    if said:
        raise MilvusError(FIELD_INVALID_NAME, f"Invalid field name: {name}. {said}", field=name)


def check_reserved(name: str) -> None:
    """Refuse the names of hidden fields.

    Raises:
        MilvusError: 1701; 1100 of the key of external rows, which Milvus refuses with their other rules.
    """
    if name not in RESERVED:
        return
    words = f'field name "{name}" is reserved for internal use and cannot be used in user schemas'
    if name == "__virtual_pk__":
        raise invalid(words)
    raise MilvusError(FIELD_INVALID_NAME, words, field=name)


def check_database_name(name: str) -> None:
    """Refuse what cannot be a database's name.

    Raises:
        MilvusError: 802, with the rule that it breaks.
    """
    said = ""
    if not name:
        said = "database name couldn't be empty"
    elif len(name.encode()) > MAX_NAME:
        said = f"the length of a database name must be less than {MAX_NAME} characters"
    elif not _HEAD.match(name):
        said = "the first character of a database name must be an underscore or letter"
    elif not _PLAIN.fullmatch(name):
        said = "database name can only contain numbers, letters and underscores"
    if said:
        raise MilvusError(DATABASE_INVALID, said, database=name)


def check_partition_name(name: str) -> None:
    """Refuse what cannot be a partition's name.

    Raises:
        MilvusError: 1100, with the rule that it breaks.
    """
    name = name.strip()
    prefix = f"Invalid partition name: {name}. "
    if not name:
        raise invalid(f"{prefix}Partition name should not be empty.")
    if len(name.encode()) > MAX_NAME:
        raise invalid(f"{prefix}The length of a partition name must be less than {MAX_NAME} characters.")
    if not re.match(r"[A-Za-z0-9_]", name):
        raise invalid(f"{prefix}The first character of a partition name must be an underscore or letter.")
    if not _PARTITION.fullmatch(name):
        raise invalid(f"{prefix}Partition name can only contain numbers, letters and underscores.")
