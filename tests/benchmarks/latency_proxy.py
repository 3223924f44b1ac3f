"""A TCP proxy, in a process of its own, that delays every request like a distant server.

`python -m tests.benchmarks.latency_proxy PORT SECONDS` connects to PORT of this machine and prints
its own port. It passes on each request `SECONDS` later, so the first byte of each response is
delayed by as much. The first request of a connection is delayed twice as long, as by a handshake.
The rest of a response is not delayed: the kernel moves it. (`tc netem` does the same, but many
kernels lack it.)
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
    """Print the proxy's port, then pass on connections for ever."""
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
