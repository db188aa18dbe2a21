"""Names that a caller gives, checked in Milvus's words."""

from __future__ import annotations

import re

from headwater.doors.milvus.codes import invalid

__all__ = ["checked_name"]

_MAX_NAME = 255


def checked_name(kind: str, name: str) -> str:
    """A name that may be given to a new thing of a kind.

    Raises:
        MilvusError: 1100, it may not.
    """
    if not name.strip():
        raise invalid(f"{kind} name should be not empty")
    where = f"Invalid {kind} name: {name}. "
    if len(name) > _MAX_NAME:
        raise invalid(f"{where}the length of {kind} name must be not greater than limit {_MAX_NAME}")
    if not re.match(r"[A-Za-z_]", name):
        raise invalid(f"{where}the first character of {kind} name must be an underscore or letter")
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise invalid(f"{where}{kind} name can only contain numbers, letters and underscores")
    return name
