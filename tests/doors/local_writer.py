"""Opens a lake by its path and writes rows to it, one at a time, saying so after each."""

from __future__ import annotations

import sys

from pymilvus import MilvusClient

import headwater.pymilvus


def main() -> None:
    path, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    client = MilvusClient(path)
    [server] = headwater.pymilvus._servers._servers.values()
    assert server._process is not None
    print("server", server._process.pid, flush=True)
    sys.stdin.readline()
    for key in range(first, first + count):
        client.insert("shared", [{"id": key, "vector": [float(key), 1.0]}])
        print(key, flush=True)
    client.close()


if __name__ == "__main__":
    main()
