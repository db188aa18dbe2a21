"""The Milvus door: unmodified Milvus clients over gRPC and REST, on the engine.

`rpc.py` is how a call is declared, `service.py` how it is run. A handler reads a protocol message, calls the engine,
and writes a protocol message; it decides nothing. Errors travel in the message's `Status`, with Milvus's codes and
words, and never as a gRPC failure.
"""

from headwater.doors.milvus import messages as _messages  # noqa: F401 (before anything that imports them)
