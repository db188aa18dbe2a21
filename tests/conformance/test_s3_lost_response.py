"""A real client's silent retry of a conditional PUT whose answer was lost: the commit is ours, once."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from headwater.errors import AlreadyExists, StoreUnavailable
from headwater.store import open_store, put_if_absent
from headwater.testing.s3_server import s3_server


class LosingProxy(BaseHTTPRequestHandler):
    """Passes requests on, and answers 503 to the first PUTs after they were carried out."""

    protocol_version = "HTTP/1.1"

    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=10)
        upstream.request(self.command, self.path, body, dict(self.headers))
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        lost = self.command == "PUT" and self.server.to_lose > 0
        if lost:
            self.server.to_lose -= 1
        self.server.seen.append((self.command, answer.status, lost))
        self.send_response_only(503 if lost else answer.status)
        for name, value in answer.getheaders():
            if name.lower() in ("etag", "last-modified", "content-type", "content-range"):
                self.send_header(name, value)
        self.send_header("Content-Length", "0" if lost else str(len(data)))
        self.end_headers()
        self.wfile.write(b"" if lost else data)

    do_PUT = do_GET = forward  # noqa: N815


@pytest.fixture(scope="module")
def server():
    with s3_server() as running:
        yield running


@pytest.fixture
def proxy(server):
    front = ThreadingHTTPServer(("127.0.0.1", 0), LosingProxy)
    front.upstream, front.to_lose, front.seen = server.port, 0, []
    front.daemon_threads = True
    thread = threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield front
    front.shutdown()
    thread.join()
    front.server_close()


@pytest.fixture
def through(server, proxy):
    def open_through(retries):
        endpoint = f"http://127.0.0.1:{proxy.server_address[1]}"
        return open_store(server.url, {**server.options, "endpoint": endpoint, "max_retries": retries})

    return open_through


@pytest.mark.parametrize("retries", [0, 2])
def test_commit_with_a_lost_answer_is_ours(through, proxy, retries):
    store, key = through(retries), f"m/{retries}"
    proxy.to_lose = 1
    assert put_if_absent(store, key, b"ours", sleep=lambda _: None) is True
    assert put_if_absent(store, key, b"theirs", sleep=lambda _: None) is False
    assert store.get(key) == b"ours"


def test_raw_create_misreports_our_own_object(through, proxy):
    """Why put_if_absent exists: a lost answer looks like a lost race, or like an outage."""
    proxy.to_lose = 1
    with pytest.raises(AlreadyExists):
        through(2).create("raw/retried", b"ours")
    assert [(verb, status) for verb, status, _ in proxy.seen] == [("PUT", 200), ("PUT", 412)]
    proxy.to_lose = 1
    with pytest.raises(StoreUnavailable, match="raw/once"):
        through(0).create("raw/once", b"ours")
    assert through(0).get("raw/once") == b"ours"
