"""What keeps other pages of a browser, and other hosts, away from the viewer.

A page of the web may send requests to servers of this machine, also by a name of its own that it
lets point here (DNS rebinding). So the Host header must name this machine, or be an address in
numbers, which no other page has for its own. A request that changes something must be of the
viewer's page.
"""

import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from models.errors import UserError
from models.visible_text import visible_text
from pipeline.io.redaction import without_secrets
from pipeline.io.store import public_text

_log = logging.getLogger(__name__)
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]
_SAFE_METHODS = {"GET", "HEAD"}


@dataclass(frozen=True)
class Basemap:
    """A basemap that the user named: the template of its tiles' addresses, and their origin."""

    template: str
    origin: str


def basemap_of(template: str) -> Basemap:
    """The basemap of a template such as https://tile.example.org/{z}/{x}/{y}.png.

    Raises UserError where it is none.
    """
    try:
        parts = urlsplit(template)
        origin = f"{parts.scheme}://{parts.netloc}"
        port_is_one = parts.port is None or parts.port > 0
        plain = parts.hostname is not None and not set(parts.netloc) & set("@'\"; ,*\\{}")
    except ValueError:
        port_is_one = plain = False
    named = all(f"{{{axis}}}" in template for axis in "zxy")
    if not (plain and port_is_one and named and parts.scheme in ("http", "https")):
        raise UserError(
            "--basemap",
            "this is no address of tiles",
            "Write one such as https://tile.example.org/{z}/{x}/{y}.png",
        )
    return Basemap(template, origin)


def content_policy(basemap: Basemap | None = None) -> str:
    """The Content-Security-Policy of the page: nothing from elsewhere, and nothing inline.

    MapLibre starts its worker from a blob, and its style sheet has pictures in data: addresses. The
    host of a basemap is allowed for pictures alone.
    """
    other = f" {basemap.origin}" if basemap else ""
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"img-src 'self' data: blob:{other}",
            f"connect-src 'self'{other}",
            "worker-src blob:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def own_names(host: str) -> frozenset[str]:
    """The names by which a server that listens on `host` may be asked."""
    names = {"localhost", host.lower()}
    if not _is_loopback(host):
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return frozenset(names)


class Guard:
    """ASGI middleware: refuses requests of other hosts and pages, and adds the headers.

    Args:
        app: The application.
        names: The names of this machine, as `own_names` gives them.
        policy: The Content-Security-Policy.
    """

    def __init__(self, app: _App, names: Collection[str], policy: str) -> None:
        self._app, self._names = app, frozenset(names)
        self._headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"cross-origin-opener-policy", b"same-origin"),
        ]

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: _Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._headers]
            await send(message)

        if reason := self._refusal(scope):
            await _answer(with_headers, 403, reason)
            return
        await self._served(scope, receive, with_headers)

    async def _served(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Serve a request; what nobody expected to fail is one line of the log."""
        begun = False

        async def noted(message: _Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            said = visible_text(without_secrets(public_text(f"{type(error).__name__}: {error}")))
            _log.error("a request failed: %s", said)
            if not begun:
                await _answer(send, 500, "The server failed; its terminal says why.")

    def _refusal(self, scope: _Message) -> str | None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if not self._is_ours(host):
            return "This server is not of that name."
        if scope["method"] in _SAFE_METHODS:
            return None
        origin = headers.get(b"origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return "This request is of another page."
        if headers.get(b"content-type", "").partition(";")[0].strip() != "application/json":
            return "This request is not JSON."
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if name is None:
            return False
        return name in self._names or _address(name) is not None


async def _answer(send: _Send, status: int, text: str) -> None:
    body = text.encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)
