"""Serving a lake on a port: one front that accepts, workers that answer, and what an operator needs to look after them.

The front (`front.py`) is the process that was started. It accepts connections, looks at their first bytes and gives
each away, as it is, to a worker. It decides nothing about a call. The workers (`worker.py`) are processes of their own:
they speak gRPC (`http2/`) and HTTP/1.1 (`http.py`), and answer calls. All read one lake; one of them writes, and the
others hand it their writes (`forward.py`).
"""
