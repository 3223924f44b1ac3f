"""Connections of the HTTP client: to allowed addresses only, and to servers that keep a least rate.

The addresses of a name are checked when it is connected to, so a name that leads elsewhere the
second time does not get past the rules.
"""

import http.client
import io
import socket
import time
from functools import partial
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from pipeline.io.network_rules import NetworkRules

_LONGEST_HEAD = 2**18  # bytes of an answer before its body, other answers (1xx) before it included
_LONGEST_ANSWER = 2**31  # bytes of an answer in all; the body's parts have stricter bounds


class TooSlow(TimeoutError):
    """A server sends less than the rules' least rate."""


class EndlessAnswer(OSError):
    """An answer's head, or its parts between the bytes of the body, have no end."""


class _Source(io.RawIOBase):
    """The bytes of one answer from a socket, at the least rate and up to a bound."""

    def __init__(self, raw: io.RawIOBase, rules: NetworkRules) -> None:
        self._raw, self._rules = raw, rules
        self._waited, self._received = 0.0, 0
        self._left = _LONGEST_HEAD

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        began = time.monotonic()
        count: int | None = self._raw.readinto(buffer)
        self._waited += time.monotonic() - began
        self._received += count or 0
        self._left -= count or 0
        if self._left < 0:
            raise EndlessAnswer
        if self._waited >= self._rules.rate_seconds:
            if self._received < self._rules.least_rate * self._waited:
                raise TooSlow
            self._waited, self._received = 0.0, 0
        return count

    def head_is_read(self) -> None:
        self._left = _LONGEST_ANSWER

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer of a server, read from a `_Source`."""

    def __init__(self, rules: NetworkRules, sock: socket.socket, *args: Any, **more: Any) -> None:
        self._source = _Source(sock.makefile("rb", buffering=0), rules)
        super().__init__(_File(self._source), *args, **more)  # type: ignore[arg-type]

    def begin(self) -> None:
        super().begin()
        self._source.head_is_read()


class _File:
    """What `HTTPResponse` wants of a socket: a file."""

    def __init__(self, source: _Source) -> None:
        self._source = source

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._source)


class _Http(HTTPConnection):
    """A connection to one of the addresses that `rules` allow of its host."""

    rules: NetworkRules

    def _new_conn(self) -> socket.socket:
        if not self.rules.of_web:
            return super()._new_conn()
        host = self.host
        try:
            addresses = self.rules.addresses(host, self.port)
        except (socket.gaierror, UnicodeError) as error:  # a label may be too long
            unknown = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
            raise NameResolutionError(host, self, unknown) from error
        try:
            for address in addresses[:-1]:
                self.host = address
                try:
                    return super()._new_conn()
                except (NewConnectionError, ConnectTimeoutError):
                    continue
            self.host = addresses[-1]
            return super()._new_conn()
        finally:
            self.host = host  # which the certificate must name


class _Https(_Http, HTTPSConnection):
    """The same over TLS."""


def with_rules(manager: PoolManager, rules: NetworkRules) -> PoolManager:
    """The pools, with connections under these rules.

    A proxy is connected to whatever its address is: the environment names it, and it resolves the
    names of other hosts.
    """
    direct = manager.proxy is None
    plain = type("_Http", (_Http if direct else HTTPConnection,), _own(rules))
    secure = type("_Https", (_Https if direct else HTTPSConnection,), _own(rules))
    manager.pool_classes_by_scheme = {
        "http": type("_HttpPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("_HttpsPool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }
    return manager


def _own(rules: NetworkRules) -> dict[str, Any]:
    return {"rules": rules, "response_class": partial(_Answer, rules)}
