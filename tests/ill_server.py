"""A real server of files that fails as it is told, for tests."""

import contextlib
import socket
import struct
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

How = int | str
"""A status, or "resets", "hangs up", "stalls" or "stops short"; 200 is well."""


@dataclass(frozen=True)
class Asked:
    """A request: where in the file it begins, when it came, and how it was met."""

    path: str
    first: int
    at: float
    how: How


@dataclass
class Ill:
    """Files by path and how their requests are met.

    `how` is asked of each with its path, where it begins in the file, and how many of the same
    came before. `stall` is seconds, `headers` go with a status.
    """

    files: Mapping[str, bytes]
    how: Callable[[str, int, int], How] = lambda path, first, before: 200
    stall: float = 1.5
    headers: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    asked: list[Asked] = field(default_factory=list)
    counts: Counter[tuple[str, int]] = field(default_factory=Counter)
    connections: set[socket.socket] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def failures(self) -> int:
        """Requests that were not met well."""
        return sum(each.how != 200 for each in self.asked)

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


class _Handler(RangeHandler):
    def __init__(self, ill: Ill, *args: Any) -> None:
        self.ill = ill
        super().__init__(*args)

    def setup(self) -> None:
        super().setup()
        self.ill.connections.add(self.connection)

    def finish(self) -> None:
        self.ill.connections.discard(self.connection)
        super().finish()

    def get(self) -> None:
        ill, place = self.ill, (self.path, self.first)
        with ill.lock:
            how = ill.how(*place, ill.counts[place])
            ill.counts[place] += 1
            ill.asked.append(Asked(*place, time.time(), how))
        content = ill.files.get(self.path)
        if how == 200:
            self.answer(*((404,) if content is None else self.part_of(content)))
        elif isinstance(how, int):
            self.answer(how, b"not now", dict(ill.headers))
        else:
            self._break_off(how, content or b"")

    def _break_off(self, how: str, content: bytes) -> None:
        self.close_connection = True
        if how == "stalls":
            time.sleep(self.ill.stall)
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


class _Server(ThreadingHTTPServer):
    request_queue_size = 256  # so that no connection fails but as it is told


@contextmanager
def ill_server(ill: Ill, port: int = 0) -> Iterator[Ill]:
    """The server on a free port, or on the one that is given; at its end connections end, too."""
    server = _Server(("127.0.0.1", port), partial(_Handler, ill))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    ill.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield ill
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        for connection in tuple(ill.connections):  # kept ones do not outlive a real server
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
