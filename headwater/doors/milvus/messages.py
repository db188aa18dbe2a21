"""Milvus's messages without Milvus's client.

The messages are in a package of the client, whose `__init__` imports the client, which imports pandas: a second of a
server's start, and nothing of it is used there. Here they are imported under a package that is found but not run; it is
put away at once, and whoever imports the client afterwards gets the client, on the same messages.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys

__all__: list[str] = []

_CLIENT = "pymilvus"


def _import_messages() -> None:
    found = None if _CLIENT in sys.modules else importlib.util.find_spec(_CLIENT)
    if found is None:
        # It is imported already, or is not installed, which the importer of the messages will say.
        return
    sys.modules[_CLIENT] = importlib.util.module_from_spec(found)
    try:
        importlib.import_module(f"{_CLIENT}.grpc_gen.milvus_pb2_grpc")
    finally:
        del sys.modules[_CLIENT]


_import_messages()
