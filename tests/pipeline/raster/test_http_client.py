"""The HTTP client behind a proxy, and with credentials from a netrc file."""

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.raster import http_client
from pipeline.raster.http_client import fetch


@pytest.fixture
def requests_seen() -> Iterator[tuple[int, list[Any]]]:
    """A server on this machine: its port, and the address and headers of each request."""
    seen: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port, seen
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    caches = (http_client._proxy_of, http_client._netrc_auth, http_client._pool)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize(
    ("proxy", "sent"),
    [
        ("127.0.0.1:{port}", None),
        ("http://user:p%40ss@127.0.0.1:{port}", base64.b64encode(b"user:p@ss").decode()),
    ],
)
def test_a_proxy_of_the_environment(
    requests_seen: tuple[int, list[Any]],
    monkeypatch: pytest.MonkeyPatch,
    proxy: str,
    sent: str | None,
) -> None:
    port, seen = requests_seen
    monkeypatch.setenv("http_proxy", proxy.format(port=port))
    assert fetch("http://catalogue.invalid/a", 10) == b"ok"
    ((address, headers),) = seen
    assert address == "http://catalogue.invalid/a"
    assert headers["Proxy-Authorization"] == (None if sent is None else f"Basic {sent}")


def test_credentials_of_a_netrc_file(
    requests_seen: tuple[int, list[Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    port, seen = requests_seen
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password p%40ss\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert fetch(f"http://127.0.0.1:{port}/a", 10) == b"ok"
    assert fetch(f"http://other:one@127.0.0.1:{port}/a", 10) == b"ok"
    sent = [base64.b64decode(headers["Authorization"].split()[1]) for _, headers in seen]
    assert sent == [b"user:p%40ss", b"other:one"]
