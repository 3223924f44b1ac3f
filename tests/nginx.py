"""A real nginx for tests and benchmarks: it serves a folder and logs each request."""

import os
import pwd
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.services import ended, program

_CONFIG = """
daemon off;
worker_processes 1;
{user}
pid "{work}/pid";
events {{ worker_connections 512; }}
http {{
  types {{ application/json json; image/tiff tif; text/html html; }}
  default_type application/octet-stream;
  log_format counted "$request_method\\t$uri\\t$http_range\\t$status\\t"
                     "$bytes_sent\\t$body_bytes_sent\\t$connection";
  access_log "{work}/access.log" counted;
  client_body_temp_path "{work}/body";
  proxy_temp_path "{work}/proxy";
  fastcgi_temp_path "{work}/fastcgi";
  uwsgi_temp_path "{work}/uwsgi";
  scgi_temp_path "{work}/scgi";
  sendfile on;
  server {{
    listen 127.0.0.1:{port};
    root "{folder}";
    location = /.mark {{ access_log off; return 204; }}
  }}
}}
"""


@dataclass(frozen=True)
class Request:
    """A request that was answered.

    Attributes:
        range: The requested range, "bytes=0-16383"; "" for the whole file.
        sent: Bytes of the response with its headers.
        body: Bytes of the response without its headers.
        connection: The number of the connection, the same for all its requests.
    """

    method: str
    path: str
    range: str
    status: int
    sent: int
    body: int
    connection: int


@dataclass(frozen=True)
class Nginx:
    """A server of one folder at `address` (no slash at its end)."""

    address: str
    log: Path

    def requests(self) -> list[Request]:
        """All requests since the start, or since `forget`, in the order in which they ended."""
        # Its one worker has written its log of what was sent before it answers what comes after.
        urllib.request.urlopen(f"{self.address}/.mark", timeout=10).close()
        return [_parsed(line) for line in self.log.read_text().splitlines()]

    def forget(self) -> None:
        """Begin the log anew."""
        urllib.request.urlopen(f"{self.address}/.mark", timeout=10).close()
        os.truncate(self.log, 0)


@contextmanager
def nginx(folder: Path) -> Iterator[Nginx]:
    """nginx on a free port, with keep-alive and byte ranges; skips where it is not installed.

    It runs as this user, also where that is root, so it may read what the tests may.
    """
    binary = program("nginx")
    with (
        tempfile.TemporaryDirectory(prefix="nginx-") as work,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        port = listener.getsockname()[1]
        root = os.geteuid() == 0
        user = f"user {pwd.getpwuid(0).pw_name};" if root else ""
        config = Path(work) / "nginx.conf"
        config.write_text(_CONFIG.format(work=work, port=port, folder=folder.resolve(), user=user))
        process = subprocess.Popen(
            [binary, "-p", work, "-e", f"{work}/error.log", "-c", str(config)],
            pass_fds=[listener.fileno()],
            # It takes over the bound socket, as when it replaces itself: no one else gets the port.
            env={**os.environ, "NGINX": f"{listener.fileno()};"},
            stderr=subprocess.DEVNULL,
        )
        try:
            server = Nginx(f"http://127.0.0.1:{port}", Path(work) / "access.log")
            _await(server, process, Path(work) / "error.log")
            yield server
        finally:
            ended(process, signal.SIGTERM)


def _await(server: Nginx, process: subprocess.Popen[bytes], errors: Path) -> None:
    pid = errors.with_name("pid")
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"nginx did not start: {errors.read_text()}")
        if pid.is_file():  # it is there once the configuration is taken
            server.requests()
            return
        time.sleep(0.01)
    raise RuntimeError("nginx did not start in 20 s")


def _parsed(line: str) -> Request:
    method, path, span, status, sent, body, connection = line.split("\t")
    return Request(
        method, path, "" if span == "-" else span,
        int(status), int(sent), int(body), int(connection),
    )  # fmt: skip
