"""Serving a lake on a port: one front that accepts, workers that answer, and what an operator needs to look after them.

The front (`front.py`) is the process that was started. It accepts connections, looks at their first bytes and hands
them on: gRPC is pumped to a worker's private socket, an HTTP/1.1 connection is given away as it is. It decides nothing
about a call. The workers (`worker.py`) are processes of their own, so no call's work delays the pump. All read the one
lake; one of them writes, and the others hand it their writes (`forward.py`).
"""
