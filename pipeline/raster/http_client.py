"""The project's HTTP client: bytes over kept connections, failures in words without addresses.

Rasters, their signatures and the documents of catalogues are all fetched here, so that proxies,
certificates, redirects and retries are the same for them.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from http.client import HTTPException
from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from requests.utils import (
    get_environ_proxies,
    get_netrc_auth,
    prepend_scheme_if_needed,
    select_proxy,
)
from urllib3.exceptions import HTTPError
from urllib3.util import make_headers, parse_url

from pipeline.io.certificates import certificate_authorities
from pipeline.io.network_rules import UNRESTRICTED, ForbiddenAddress, NetworkRules
from pipeline.io.redaction import SecretFilter, without_words
from pipeline.raster.http_connections import with_rules
from pipeline.raster.http_failures import BROKE_OFF, refusal, request_failure
from pipeline.raster.read_errors import ReadFailure, Unreadable, reason_in

_CONNECT = 15.0  # seconds
_MOST_REDIRECTS = 5
_LONGEST_REASON = 65_536  # bytes of a refusal that are searched for its reason
_KEPT = 256  # connections to a host, as many as may be under way at once
KEY_HEADER = "Ocp-Apim-Subscription-Key"
"""The header for the key to a signing service; no other server gets it by a redirect."""
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "timesen"}
# Redirects are followed, and requests are sent again by `pipeline.raster.retry`, not by urllib3.
_ONCE = urllib3.Retry(
    total=None,
    connect=0,
    read=0,
    other=0,
    status=0,
    redirect=0,
    respect_retry_after_header=False,
    raise_on_status=False,
)
_PLAIN_HEADERS = {"accept", "accept-encoding", "content-type", "range", "user-agent"}
"""Headers that another server may get by a redirect; any other may hold a secret."""
_REDIRECTS = (301, 302, 303, 307, 308)
_PIECE = 2**20  # bytes that are read of a document at once
_LONGEST_SKIP = 2**31  # bytes before a part that are read from a server without ranges


class RangeAnswer(NamedTuple):
    """Bytes of a file, and the size of the whole file, where its server states it."""

    content: bytes
    total: int | None


def fetch(
    url: str,
    timeout: float,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    rules: NetworkRules = UNRESTRICTED,
    method: str | None = None,
) -> bytes:
    """A document's bytes, or with a `body` the answer to a POST. Raises Unreadable.

    `method` is another one than these: PUT, DELETE. `timeout` is in seconds, for the connection (at
    most 15) and between bytes. The `rules` hold for each address to which the server redirects,
    too.
    """
    sent = {"Accept-Encoding": "gzip", **(headers or {})}
    response = _request(url, timeout, sent, rules, body, method)
    if not 200 <= response.status < 300:
        said = reason_in(_start_of(response))
        failure = refusal(response)
        raise Unreadable(replace(failure, said=without_words(said, _sent_secrets(url, headers))))
    return _document(response, rules)


def fetch_range(
    url: str, start: int, length: int, timeout: float, rules: NetworkRules = UNRESTRICTED
) -> RangeAnswer:
    """Bytes of a file from `start` on, fewer where it ends before. Raises Unreadable.

    Never more than `length` bytes are kept, whatever the server sends. `timeout` and `rules` as
    those of `fetch`.
    """
    ranged = {"Range": f"bytes={start}-{start + length - 1}"}
    response = _request(url, timeout, ranged, rules)
    if response.status == 206:
        return _part(response, start, length, rules)
    if response.status == 416:
        response.close()
        return RangeAnswer(b"", _total_in(response))
    if response.status == 200:  # the whole file, without ranges: read no further than needed
        return _part_of_whole(response, start, length, rules)
    raise Unreadable(refusal(response))


def _part(
    response: urllib3.BaseHTTPResponse, start: int, length: int, rules: NetworkRules
) -> RangeAnswer:
    """The requested bytes; raises Unreadable where the server sent others, or fewer."""
    content = _at_most(response, length, rules)
    _finish(response, most=1)
    sent = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if sent and int(sent[1]) != start:
        reason = "its server sent another part than requested"
        raise Unreadable(ReadFailure(reason, unreachable=True, passing=True))
    total = _total_in(response)
    if total is not None and len(content) < min(length, total - start):
        raise Unreadable(BROKE_OFF)
    return RangeAnswer(content, total)


def _part_of_whole(
    response: urllib3.BaseHTTPResponse, start: int, length: int, rules: NetworkRules
) -> RangeAnswer:
    if start > _LONGEST_SKIP:
        response.close()
        reason = "its server sends whole files only, and this one is too long for that"
        raise Unreadable(ReadFailure(reason, unreachable=True))
    try:
        skipped = 0
        while skipped < start:
            piece = _at_most(response, min(_PIECE, start - skipped), rules)
            if not piece:
                break
            skipped += len(piece)
        size = response.headers.get("Content-Length", "")
        content = _at_most(response, length, rules)
        return RangeAnswer(content, int(size) if size.isdecimal() else None)
    finally:
        response.close()


def _total_in(response: urllib3.BaseHTTPResponse) -> int | None:
    """The size of the file by an answer's Content-Range."""
    found = re.fullmatch(r"bytes [\d*-]+/(\d+)", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _request(
    url: str,
    timeout: float,
    headers: Mapping[str, str],
    rules: NetworkRules,
    body: bytes | None = None,
    method: str | None = None,
) -> urllib3.BaseHTTPResponse:
    """The answer to a request; redirects are followed, each under the rules."""
    method = method or ("GET" if body is None else "POST")
    sent = {**_HEADERS, **headers}
    for hop in range(_MOST_REDIRECTS + 1):
        if problem := rules.problem(url):
            raise Unreadable(ReadFailure(_forbidden(problem, hop), unreachable=True))
        if hop == 0 and (auth := _checked_auth(url)):
            sent |= make_headers(basic_auth=auth)
        response = _sent(method, url, timeout, sent, rules, body)
        target = response.headers.get("Location")
        if response.status not in _REDIRECTS or not target:
            return response
        _finish(response)
        following = _target(url, target)
        if response.status == 303:
            method, body = "GET", None
        if _server_of(following) != _server_of(url):
            sent = {k: v for k, v in sent.items() if k.lower() in _PLAIN_HEADERS}
        url = following
    raise Unreadable(ReadFailure("its server redirects without end", unreachable=True))


def _forbidden(problem: str, hop: int) -> str:
    return f"its server redirects to an address that is not allowed: {problem}" if hop else problem


def _target(url: str, location: str) -> str:
    """The address to which a server redirects. Raises Unreadable."""
    try:
        target = urljoin(url, location)
        scheme, _ = urlsplit(target).scheme, urlsplit(target).port
    except ValueError:
        scheme = ""
    if scheme not in ("http", "https"):
        reason = "its server redirects to something that is no http(s) address"
        raise Unreadable(ReadFailure(reason, unreachable=True))
    if scheme == "http" and urlsplit(url).scheme == "https":
        reason = "its server redirects from https to http, where others can read the request"
        raise Unreadable(ReadFailure(reason, unreachable=True))
    return target


def _server_of(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _checked_auth(url: str) -> str | None:
    try:
        return _auth_of(url)
    except HTTPError as error:
        raise Unreadable(request_failure(error, UNRESTRICTED)) from None


def _sent(
    method: str,
    url: str,
    timeout: float,
    headers: Mapping[str, str],
    rules: NetworkRules,
    body: bytes | None,
) -> urllib3.BaseHTTPResponse:
    try:
        return _pool(_proxy_of(_host_of(url)), rules).request(
            method,
            url,
            body=body,
            headers=headers,
            timeout=urllib3.Timeout(connect=min(timeout, _CONNECT), read=timeout),
            retries=_ONCE,
            redirect=False,
            preload_content=False,
        )
    except ForbiddenAddress as error:
        raise Unreadable(ReadFailure(str(error), unreachable=True)) from None
    except (HTTPError, OSError) as error:
        raise Unreadable(request_failure(error, rules)) from None


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
    own = [v for name, v in (headers or {}).items() if name.lower() not in _PLAIN_HEADERS]
    keys = [key for value in own for key in (value, value.rpartition(" ")[2])]  # "Bearer KEY"
    if auth := _auth_of(url):
        keys += [auth, auth.partition(":")[2], *make_headers(basic_auth=auth).values()]
        keys.append(keys[-1].removeprefix("Basic "))
    return keys


def _finish(response: urllib3.BaseHTTPResponse, most: int = _LONGEST_REASON) -> None:
    """Keep the connection where an answer ends within some bytes; else close it."""
    try:
        if response.read(most) and response.read(1):
            response.close()
        else:
            response.release_conn()
    except (HTTPError, HTTPException, OSError):
        response.close()


def _start_of(response: urllib3.BaseHTTPResponse) -> bytes:
    """The first bytes of an answer, or none where it breaks off: the status says enough."""
    try:
        return response.read(_LONGEST_REASON)
    except (HTTPError, OSError):
        return b""


def _document(response: urllib3.BaseHTTPResponse, rules: NetworkRules) -> bytes:
    """The whole body, uncompressed, up to the bound of the rules."""
    pieces, size = [], 0
    while piece := _at_most(response, _PIECE, rules):
        pieces.append(piece)
        size += len(piece)
        if size > rules.largest_document:
            response.close()
            reason = (
                f"its server's answer is larger than {rules.largest_document / 1e6:g} MB, the "
                "largest_document under [network]"
            )
            raise Unreadable(ReadFailure(reason, unreachable=True))
    response.release_conn()
    return b"".join(pieces)


def _at_most(response: urllib3.BaseHTTPResponse, most: int, rules: NetworkRules) -> bytes:
    """The next bytes of a body, fewer than `most` only at its end."""
    try:
        content = response.read(most)
        while 0 < len(content) < most and (more := response.read(most - len(content))):
            content += more
        return content
    except (HTTPError, HTTPException, OSError) as error:
        response.close()
        raise Unreadable(request_failure(error, rules)) from None


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


@lru_cache(maxsize=16)
def _pool(proxy: str | None, rules: NetworkRules) -> urllib3.PoolManager:
    authorities = certificate_authorities()
    if proxy:
        proxy = prepend_scheme_if_needed(proxy, "http")
        user = parse_url(proxy).auth
        headers = make_headers(proxy_basic_auth=unquote(user)) if user else None
        return with_rules(
            urllib3.ProxyManager(proxy, proxy_headers=headers, maxsize=_KEPT, ca_certs=authorities),
            rules,
        )
    return with_rules(urllib3.PoolManager(maxsize=_KEPT, ca_certs=authorities), rules)


for _module in ("connectionpool", "connection", "poolmanager", "response", "util.retry"):
    logging.getLogger(f"urllib3.{_module}").addFilter(SecretFilter())
