"""The RESTful door: Milvus's API v2 in JSON, translated into the same calls that gRPC clients make."""

from headwater.doors import milvus as _milvus  # noqa: F401 (it imports the messages)
from headwater.doors.rest.app import rest_app

__all__ = ["rest_app"]
