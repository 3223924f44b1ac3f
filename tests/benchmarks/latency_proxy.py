"""A server seen from afar: a TCP proxy, in a process of its own, that delays every request.

`python -m tests.benchmarks.latency_proxy PORT SECONDS` stands before PORT of this machine and
prints its own port. What a client sends is passed on `SECONDS` later, so the first byte of each
answer comes that much later; a new connection's first request waits twice as long, since a
handshake crosses the distance, too. Answers then flow as fast as they come: they are moved within
the kernel. (`tc netem` would do the same where the kernel has it; many have not.)
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_PIPE = 2**20  # bytes that may be on their way
_MOST_OF_A_REQUEST = 2**16


@contextmanager
def at_a_distance(address: str, seconds: float) -> Iterator[str]:
    """The address (http://host:port) at which a server is that far away."""
    command = [sys.executable, "-m", "tests.benchmarks.latency_proxy", address.rsplit(":", 1)[1]]
    process = subprocess.Popen([*command, str(seconds)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()


def serve(port: int, seconds: float) -> None:
    """Pass on connections for ever; print the port of it first."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(("127.0.0.1", port))
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_ask, args=(client, server, seconds), daemon=True).start()
            threading.Thread(target=_answer, args=(server, client), daemon=True).start()


def _ask(client: socket.socket, server: socket.socket, seconds: float) -> None:
    wait = 2 * seconds
    try:
        while request := client.recv(_MOST_OF_A_REQUEST):
            time.sleep(wait)
            server.sendall(request)
            wait = seconds
    except OSError:
        pass  # the other side has gone
    _end(server)


def _answer(server: socket.socket, client: socket.socket) -> None:
    out, into = os.pipe()
    try:
        while moved := os.splice(server.fileno(), into, _PIPE):
            while moved:
                moved -= os.splice(out, client.fileno(), moved)
    except OSError:
        pass
    os.close(out)
    os.close(into)
    _end(client)


def _end(side: socket.socket) -> None:
    try:
        side.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]))
