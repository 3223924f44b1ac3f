"""The base of the tests' HTTP servers that answer byte ranges of files, or fail on purpose."""

from http.server import BaseHTTPRequestHandler
from typing import Any


class RangeHandler(BaseHTTPRequestHandler):
    """Sends a file or the requested range of its bytes; `get` answers the request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def get(self) -> None:
        """Answer a GET or HEAD request."""
        raise NotImplementedError

    def do_GET(self) -> None:
        self.get()

    def do_HEAD(self) -> None:
        self.get()

    @property
    def first(self) -> int:
        """The first byte of the requested range."""
        return int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").partition("-")[0])

    def part_of(self, content: bytes) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of the response for a file with this content."""
        span = self.headers["Range"]
        if span is None:
            return 200, content, {}
        first, _, stated = span.removeprefix("bytes=").partition("-")
        last = min(int(stated or len(content)), len(content) - 1)
        if int(first) > last:
            return 416, b"", {"Content-Range": f"bytes */{len(content)}"}
        part = content[int(first) : last + 1]
        return 206, part, {"Content-Range": f"bytes {first}-{last}/{len(content)}"}

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
