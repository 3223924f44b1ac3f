"""A proxy in front of a real S3 server that refuses, hangs up before or after storing, or waits."""

import http.client
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_BUSY = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message></Error>"
)
_DENIED = _BUSY.replace(b"SlowDown", b"AccessDenied").replace(b"reduce your", b"do not")
_BROKEN = _BUSY.replace(b"SlowDown", b"InternalError")
_ANSWERS = {"refuses": (503, _BUSY), "denies": (403, _DENIED), "breaks": (500, _BROKEN)}
WAYS = (*_ANSWERS, "resets before", "resets after", "late")
"""What a proxy may do to a request; "resets after" has passed it on, so that it is stored."""


@dataclass
class S3Proxy:
    """How the proxy treats requests.

    Attributes:
        upstream: Host and port of the server.
        share: The share of requests that fail, drawn one by one.
        ways: The ways in which they fail, of `WAYS`.
        methods: Methods that are meant.
        late: Seconds by which a late answer comes later.
        down: Whether every request fails, as while a server is gone.
        draw: The random numbers.
        failed: How many requests failed.
        address: The proxy's URL.
    """

    upstream: tuple[str, int]
    share: float = 0.0
    ways: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("GET", "PUT", "HEAD", "POST", "DELETE")
    late: float = 1.0
    down: bool = False
    draw: random.Random = field(default_factory=random.Random)
    failed: int = 0
    address: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def calm(self) -> None:
        """Let every request pass from now on."""
        self.share, self.down = 0.0, False

    def way(self, method: str) -> str | None:
        """What to do to a request; None: pass it on."""
        with self._lock:
            meant = method in self.methods and self.draw.random() < self.share
            if not self.down and not meant:
                return None
            self.failed += 1
            return self.draw.choice(self.ways)


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, proxy: S3Proxy, *args: Any) -> None:
        self.proxy = proxy
        super().__init__(*args)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _pass(self) -> None:
        body = self._body()
        way = self.proxy.way(self.command)
        if way in _ANSWERS:
            status, text = _ANSWERS[way]
            self._answer(status, {"Content-Type": "application/xml"}, text)
            return
        if way == "resets before":
            self._reset()
            return
        answer = self._upstream(body)
        if way == "resets after":
            self._reset()
            return
        if way == "late":
            time.sleep(self.proxy.late)
        self._answer(*answer)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _upstream(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(*self.proxy.upstream, timeout=60)
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in ("expect", "transfer-encoding", "content-length", "connection")
        }
        connection.request(self.command, self.path, body or None, headers)
        answer = connection.getresponse()
        content = answer.read()
        kept = {
            name: value
            for name, value in answer.getheaders()
            if name.lower() not in ("transfer-encoding", "connection", "server", "date")
        }
        connection.close()
        return answer.status, kept, content

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if self.command == "HEAD" or name.lower() != "content-length":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _reset(self) -> None:
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: commands that are killed leave their connections."""


@contextmanager
def s3_proxy(upstream: tuple[str, int]) -> Iterator[S3Proxy]:
    """Run a proxy on a free port."""
    proxy = S3Proxy(upstream)
    server = _Server(("127.0.0.1", 0), partial(_Passing, proxy))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    proxy.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
