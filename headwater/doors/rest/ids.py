"""Numbers of jobs and primary keys, which JSON may hold as numbers or as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headwater.doors.rest.errors import BAD_FORMAT, Refused, invalid_value
from headwater.doors.rest.fields import INT64, Schema

__all__ = ["JOB_ID", "JOB_NUMBER", "whole"]


def whole(value: Any, bits: int = 64) -> int | None:
    """An integer given as a number or in decimal text, if it is one and fits."""
    if isinstance(value, str):
        digits = value[1:] if value[:1] in "+-" else value
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= 40):
            return None
        value = int(value)
    elif isinstance(value, float):
        if not (value.is_integer() and abs(value) < 1 << 53):
            return None
        value = int(value)
    elif not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if -(1 << bits - 1) <= value < 1 << bits - 1 else None


@dataclass(frozen=True)
class _JobId:
    number: bool = False

    def read(self, value: Any, at: str) -> int:
        if isinstance(value, str):
            found = whole(value)
            if found is None:
                said = f"{at}: expected the number of a job, got {value[:100]!r}"
                raise Refused.of(BAD_FORMAT, said) if self.number else invalid_value(said)
            return found
        return INT64.read(value, at)

    def schema(self) -> Schema:
        return {"type": ["integer", "string"]}


JOB_ID = _JobId()
"""The number of a job, which Milvus takes as text."""
JOB_NUMBER = _JobId(number=True)
"""One that Milvus takes as a number, so that other text is of another type."""
