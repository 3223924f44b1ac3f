"""The project's HTTP client: bytes over kept connections, failures in words without addresses.

Rasters, their signatures and the documents of catalogues are all fetched here, so that proxies,
certificates, redirects and retries are the same for them.
"""

import logging
import math
import re
import ssl
from collections.abc import Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http.client import IncompleteRead
from time import time
from urllib.parse import unquote

import urllib3
from requests.utils import (
    get_environ_proxies,
    get_netrc_auth,
    prepend_scheme_if_needed,
    select_proxy,
)
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    ResponseError,
    SSLError,
)
from urllib3.util import make_headers, parse_url

from pipeline.io.certificates import certificate_authorities
from pipeline.io.redaction import SecretFilter, without_words
from pipeline.raster.read_errors import ReadFailure, Unreadable, reason_in

_CONNECT = 15.0  # seconds
_MOST_REDIRECTS = 5
_LONGEST_REASON = 65_536  # bytes of a refusal that are searched for its reason
_KEPT = 256  # connections to a host, as many as may be under way at once
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # statuses of failures that may pass
_RENEWABLE = (400, 401, 403)  # statuses of a signature that has expired
KEY_HEADER = "Ocp-Apim-Subscription-Key"
"""The header for the key to a signing service; it is not sent along with a redirect."""
NO_CONNECTION = ReadFailure("no connection to its server", unreachable=True, passing=True)
NOT_TRUSTED = ReadFailure(
    "the certificate of its server is not trusted; REQUESTS_CA_BUNDLE names a file of the "
    "authorities to trust",
    unreachable=True,
)
BROKE_OFF = ReadFailure("its server's answer broke off", unreachable=True, passing=True)
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "timesen"}
# Redirects are followed; other requests are sent again by `pipeline.raster.retry`, not here.
_ONCE = urllib3.Retry(
    total=None,
    connect=0,
    read=0,
    other=0,
    status=0,
    redirect=_MOST_REDIRECTS,
    respect_retry_after_header=False,
    raise_on_status=False,
    remove_headers_on_redirect=(*urllib3.Retry.DEFAULT_REMOVE_HEADERS_ON_REDIRECT, KEY_HEADER),
)


def fetch(
    url: str,
    timeout: float,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> bytes:
    """A document's bytes, or with a `body` the answer to a POST. Raises Unreadable.

    `timeout` is in seconds, for the connection (at most 15) and between bytes.
    """
    response = _request(url, timeout, {"Accept-Encoding": "gzip", **(headers or {})}, body)
    if not 200 <= response.status < 300:
        said = reason_in(_start_of(response))
        failure = _refusal(response)
        raise Unreadable(replace(failure, said=without_words(said, _sent_secrets(url, headers))))
    return _body(response)


def fetch_range(url: str, start: int, length: int, timeout: float) -> bytes:
    """Bytes of a file from `start` on, fewer where it ends before. Raises Unreadable.

    `timeout` is in seconds, for the connection (at most 15) and between bytes.
    """
    response = _request(url, timeout, {"Range": f"bytes={start}-{start + length - 1}"})
    if response.status == 206:
        return _part(response, start, length)
    if response.status == 416:
        response.drain_conn()
        return b""
    if response.status == 200:  # the whole file, without ranges: read no further than needed
        try:
            return _body(response, start + length)[start:]
        finally:
            response.close()
    raise Unreadable(_refusal(response))


def _part(response: urllib3.BaseHTTPResponse, start: int, length: int) -> bytes:
    """The requested bytes; raises Unreadable where the server sent others, or fewer."""
    content = _body(response)
    sent = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if sent and int(sent[1]) != start:
        reason = "its server sent another part than requested"
        raise Unreadable(ReadFailure(reason, unreachable=True, passing=True))
    if sent and sent[2] != "*" and len(content) < min(length, int(sent[2]) - start):
        raise Unreadable(BROKE_OFF)
    return content[:length]


def _request(
    url: str, timeout: float, headers: dict[str, str], body: bytes | None = None
) -> urllib3.BaseHTTPResponse:
    limits = urllib3.Timeout(connect=min(timeout, _CONNECT), read=timeout)
    try:
        host = _host_of(url)
        if auth := _auth_of(url):
            headers = {**headers, **make_headers(basic_auth=auth)}
        return _pool(_proxy_of(host)).request(
            "GET" if body is None else "POST",
            url,
            body=body,
            headers={**_HEADERS, **headers},
            timeout=limits,
            retries=_ONCE,
            preload_content=False,
        )
    except (HTTPError, OSError) as error:
        raise Unreadable(_broken(error)) from None


def _host_of(url: str) -> str:
    """The scheme://host of an address, with its user and password."""
    return "/".join(url.split("/", 3)[:3])


def _auth_of(url: str) -> str | None:
    """The "user:password" of an address, or for its host in the user's netrc file.

    `make_headers` encodes it as latin-1, so its bytes are read as that.
    """
    return unquote(parse_url(url).auth or "", "latin-1") or _netrc_auth(_host_of(url))


def _sent_secrets(url: str, headers: Mapping[str, str] | None) -> list[str]:
    """What a request sends that its answer may repeat, and nobody else should see."""
    keys = [value for name, value in (headers or {}).items() if name == KEY_HEADER]
    if auth := _auth_of(url):
        keys += [auth, auth.partition(":")[2], *make_headers(basic_auth=auth).values()]
        keys.append(keys[-1].removeprefix("Basic "))
    return keys


def _start_of(response: urllib3.BaseHTTPResponse) -> bytes:
    """The first bytes of an answer, or none where it breaks off: the status says enough."""
    try:
        return response.read(_LONGEST_REASON)
    except (HTTPError, OSError):
        return b""


def _body(response: urllib3.BaseHTTPResponse, most: int | None = None) -> bytes:
    try:
        content = response.read(most)
        if most is None:
            response.release_conn()
        return content
    except (HTTPError, OSError) as error:
        response.close()
        raise Unreadable(_broken(error)) from None


def _refusal(response: urllib3.BaseHTTPResponse) -> ReadFailure:
    pause = _retry_after(response.headers.get("Retry-After"))
    response.close()
    return replace(status_failure(response.status), pause=pause)


def status_failure(status: int) -> ReadFailure:
    """The failure of a request by the HTTP status of its answer."""
    return ReadFailure(
        f"its server answered HTTP {status}",
        unreachable=status not in (404, 410),
        passing=status in _PASSING,
        refused=status in _RENEWABLE,
        status=status,
    )


def _broken(error: BaseException) -> ReadFailure:
    """The failure of a request, not in the words of the error: they hold the address."""
    cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    if isinstance(cause, NameResolutionError):
        return ReadFailure("its server's name is unknown", unreachable=True, passing=True)
    if isinstance(cause, NewConnectionError):
        return NO_CONNECTION
    if isinstance(cause, ConnectTimeoutError | ReadTimeoutError | TimeoutError):
        return ReadFailure("its server did not answer in time", unreachable=True, passing=True)
    if isinstance(cause, SSLError):
        if any(isinstance(e, ssl.SSLCertVerificationError) for e in cause.args):
            return NOT_TRUSTED
        cut = any(isinstance(e, ssl.SSLEOFError | ssl.SSLZeroReturnError) for e in cause.args)
        return ReadFailure("no secure connection to its server", unreachable=True, passing=cut)
    if isinstance(cause, ResponseError):
        return ReadFailure("its server redirects without end", unreachable=True)
    if isinstance(cause, LocationValueError):
        return ReadFailure("its address is not valid", unreachable=False)
    if isinstance(cause, ProtocolError) and any(
        isinstance(part, IncompleteRead) for part in (cause, *cause.args)
    ):
        return BROKE_OFF
    return NO_CONNECTION


def _retry_after(header: str | None) -> float:
    """The pause in seconds that a Retry-After names by number or date (RFC 9110, 10.2.3)."""
    if not header:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time()
        except ValueError:
            return 0.0
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0


@lru_cache(maxsize=64)
def _proxy_of(host: str) -> str | None:
    """The proxy that the environment names for scheme://host (http_proxy, no_proxy, …)."""
    proxy: str | None = select_proxy(host, get_environ_proxies(host))
    return proxy


@lru_cache(maxsize=64)
def _netrc_auth(host: str) -> str | None:
    """The "user:password" for scheme://host in the user's netrc file, which GDAL reads as well."""
    found = get_netrc_auth(host)
    return None if found is None else ":".join(found)


@lru_cache(maxsize=8)
def _pool(proxy: str | None) -> urllib3.PoolManager:
    authorities = certificate_authorities()
    if proxy:
        proxy = prepend_scheme_if_needed(proxy, "http")
        user = parse_url(proxy).auth
        headers = make_headers(proxy_basic_auth=unquote(user)) if user else None
        return urllib3.ProxyManager(
            proxy, proxy_headers=headers, maxsize=_KEPT, ca_certs=authorities
        )
    return urllib3.PoolManager(maxsize=_KEPT, ca_certs=authorities)


for _module in ("connectionpool", "connection", "poolmanager", "response", "util.retry"):
    logging.getLogger(f"urllib3.{_module}").addFilter(SecretFilter())
