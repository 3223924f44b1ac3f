"""A real HTTP server of files whose requests fail as a test says."""

import contextlib
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import ThreadingHTTPServer
from typing import Any

from tests.range_server import RangeHandler

_PIECES, _PIECE_SECONDS = 8, 0.3  # of an answer that trickles

Outcome = int | str
"""A status code (200: success), "resets", "hangs up", "stalls", "stops short" or "trickles"."""


@dataclass(frozen=True)
class Request:
    """A request: its path, the first byte of its range, when it came, and its outcome."""

    path: str
    first: int
    at: float
    how: Outcome


@dataclass
class FaultyServer:
    """The files of the server, the outcome of their requests, and the requests that came.

    Attributes:
        files: Content by path.
        how: Gives a request's outcome from its path, the first byte of its range, and the number
            of earlier requests like it.
        stall: Seconds for which a request stalls.
        headers: Headers of a response with an error's status.
        address: The server's URL.
    """

    files: Mapping[str, bytes]
    how: Callable[[str, int, int], Outcome] = lambda path, first, before: 200
    stall: float = 1.5
    headers: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    requests: list[Request] = field(default_factory=list)
    counts: Counter[tuple[str, int]] = field(default_factory=Counter)
    connections: set[socket.socket] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def failures(self) -> int:
        """The number of requests that failed."""
        return sum(each.how != 200 for each in self.requests)

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


class _Handler(RangeHandler):
    def __init__(self, faulty: FaultyServer, *args: Any) -> None:
        self.faulty = faulty
        super().__init__(*args)

    def setup(self) -> None:
        super().setup()
        self.faulty.connections.add(self.connection)

    def finish(self) -> None:
        self.faulty.connections.discard(self.connection)
        super().finish()

    def get(self) -> None:
        faulty, place = self.faulty, (self.path, self.first)
        with faulty.lock:
            how = faulty.how(*place, faulty.counts[place])
            faulty.counts[place] += 1
            faulty.requests.append(Request(*place, time.time(), how))
        content = faulty.files.get(self.path)
        if how == 200:
            self.answer(*((404,) if content is None else self.part_of(content)))
        elif isinstance(how, int):
            self.answer(how, b"not now", dict(faulty.headers))
        else:
            self._break_off(how, content or b"")

    def _break_off(self, how: str, content: bytes) -> None:
        self.close_connection = True
        if how == "stalls":
            time.sleep(self.faulty.stall)
        elif how == "trickles":
            self._trickle(content)
        elif how == "resets":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif how == "stops short":
            status, part, headers = self.part_of(content)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(part))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(part[: len(part) // 2])

    def _trickle(self, content: bytes) -> None:
        """Send all, in pieces with pauses between them."""
        status, part, headers = self.part_of(content)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(part))}.items():
            self.send_header(name, value)
        self.end_headers()
        piece = max(1, len(part) // _PIECES)
        with contextlib.suppress(OSError):  # nobody waits for the rest
            for start in range(0, len(part), piece):
                self.wfile.write(part[start : start + piece])
                time.sleep(_PIECE_SECONDS)


class _Server(ThreadingHTTPServer):
    request_queue_size = 256  # so that no connection fails by chance

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that have gone."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def faulty_server(faulty: FaultyServer, port: int = 0) -> Iterator[FaultyServer]:
    """Run the server on a port (0: a free one); at the end, close all its connections."""
    server = _Server(("127.0.0.1", port), partial(_Handler, faulty))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    faulty.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield faulty
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        for connection in tuple(faulty.connections):  # kept ones do not outlive a real server
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
