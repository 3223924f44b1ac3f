"""A real server that answers as it pleases, byte by byte, and notes who asked."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Say = Callable[[bytes], None]
"""Sends bytes to the client; raises OSError once it has gone."""


@dataclass
class HostileServer:
    """The server's address, and the heads of the requests that came, each with its path."""

    address: str = ""
    heads: list[str] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [head.split(" ", 2)[1] for head in self.heads]


@contextmanager
def hostile_server(
    answer: Callable[[str, Say], None], host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[HostileServer]:
    """Run a server; `answer` gets the head of a request and sends what it likes.

    The connection is closed after each answer.
    """
    server = HostileServer()
    listening = socket.create_server((host, 0))
    open_: set[socket.socket] = set()

    def serve(client: socket.socket) -> None:
        open_.add(client)
        with contextlib.suppress(OSError), client:
            link = tls.wrap_socket(client, server_side=True) if tls else client
            with link:
                head = b""
                while b"\r\n\r\n" not in head:
                    if not (more := link.recv(65536)):
                        return
                    head += more
                server.heads.append(head.decode("latin-1"))
                answer(server.heads[-1], link.sendall)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    scheme = "https" if tls else "http"
    server.address = f"{scheme}://{host}:{listening.getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        for client in tuple(open_):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)


def plain_answer(say: Say, body: bytes = b"", status: str = "200 OK", *headers: str) -> None:
    """Answer a request as a server should."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    say("\r\n".join([*lines, "", ""]).encode() + body)
