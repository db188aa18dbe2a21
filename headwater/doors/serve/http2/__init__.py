"""gRPC's unary calls over HTTP/2, on connections that somebody else accepted, in the event loop that runs the calls.

`hpack.py` reads compressed headers (RFC 7541), `framing.py` cuts a stream of bytes into frames (RFC 9113),
`connection.py` is one connection and its calls, `sending.py` their answers, `grpc_words.py` what gRPC says in headers,
and `server.py` all connections.
"""

from headwater.doors.serve.http2.server import Answers, GrpcServer

__all__ = ["Answers", "GrpcServer"]
