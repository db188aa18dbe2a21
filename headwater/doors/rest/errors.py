"""What a request is refused with before a call is made: Milvus's codes of its JSON routes, in Milvus's words."""

from __future__ import annotations

from google.protobuf.message import Message
from pymilvus.grpc_gen import common_pb2

from headwater.doors.milvus.codes import PRIVILEGE_DENIED, UNEXPECTED, Code, code_of, invalid, status_of

__all__ = [
    "BAD_FORMAT",
    "BAD_INSERT",
    "BAD_PRIMARY_KEY",
    "BAD_RESULT",
    "MISSING",
    "TIMED_OUT",
    "TOO_LARGE",
    "Refused",
    "invalid_value",
    "raise_for",
]

_UNEXPECTED = common_pb2.ErrorCode.UnexpectedError
BAD_FORMAT = Code(1801, _UNEXPECTED, "can only accept json format request")
MISSING = Code(1802, _UNEXPECTED, "missing required parameters")
BAD_INSERT = Code(1804, _UNEXPECTED, "fail to deal the insert data")
BAD_RESULT = Code(1805, _UNEXPECTED, "fail to parse search result")
BAD_PRIMARY_KEY = Code(
    1806, _UNEXPECTED, "please check the primary key and its' type can only in [int, string]"
)
TOO_LARGE = Code(1102, _UNEXPECTED, "parameter too large", 413)
TIMED_OUT = Code(10001, _UNEXPECTED, "request timeout", 504)


class Refused(Exception):
    """The answer is an error.

    Args:
        code: Milvus's number.
        message: what the body says.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @classmethod
    def of(cls, row: Code, detail: str) -> Refused:
        """In the form of the JSON routes: ``missing required parameters, error: ...``."""
        return cls(row.code, f"{row.base}, error: {detail}")

    @classmethod
    def because(cls, error: BaseException) -> Refused:
        """An error of ours in the same numbers and words that a gRPC client gets."""
        return cls(code_of(error).code, status_of(error).reason)


def invalid_value(detail: str) -> Refused:
    """A value that does not go: ``detail: invalid parameter``, code 1100."""
    return Refused.because(invalid(detail))


def raise_for(response: Message) -> None:
    """Raise what a response's status says, if it says something."""
    status = response
    if not isinstance(response, common_pb2.Status):
        status = getattr(response, "status", None) or getattr(response, "alter_status", None)
    if status is not None and (status.code or status.error_code):
        denied = status.code == PRIVILEGE_DENIED.code and "permission deny" in status.reason
        # Who lacks a privilege is told by gRPC itself, which has no number among Milvus's.
        raise Refused(UNEXPECTED.code if denied else status.code or status.error_code, status.reason)
