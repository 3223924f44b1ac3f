"""The failures of HTTP requests, in words that hold no address."""

import math
import ssl
from collections.abc import Iterator
from dataclasses import replace
from email.utils import parsedate_to_datetime
from http.client import HTTPException, IncompleteRead, LineTooLong
from time import time

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    LocationValueError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from pipeline.io.network_rules import NetworkRules
from pipeline.raster.http_connections import EndlessAnswer, TooSlow
from pipeline.raster.read_errors import ReadFailure

_PASSING = (408, 425, 429, 500, 502, 503, 504)  # statuses of failures that may pass
_RENEWABLE = (400, 401, 403)  # statuses of a signature that has expired
NO_CONNECTION = ReadFailure("no connection to its server", unreachable=True, passing=True)
NOT_TRUSTED = ReadFailure(
    "the certificate of its server is not trusted; REQUESTS_CA_BUNDLE names a file of the "
    "authorities to trust",
    unreachable=True,
)
BROKE_OFF = ReadFailure("its server's answer broke off", unreachable=True, passing=True)


def refusal(response: urllib3.BaseHTTPResponse) -> ReadFailure:
    """The failure by an answer that is no success, which is closed."""
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


def request_failure(error: BaseException, rules: NetworkRules) -> ReadFailure:
    """The failure of a request under these rules; the words of the error hold the address."""
    parts = list(_parts(error))
    if any(isinstance(part, TooSlow) for part in parts):
        reason = (
            f"its server sent less than {rules.least_rate:g} bytes a second for "
            f"{rules.rate_seconds:g} seconds, the least_rate under [network]"
        )
        return ReadFailure(reason, unreachable=True, passing=True)
    if any(isinstance(part, EndlessAnswer | LineTooLong) or _too_many(part) for part in parts):
        return ReadFailure("its server's answer has headers without end", unreachable=True)
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
    if isinstance(cause, LocationValueError):
        return ReadFailure("its address is not valid", unreachable=False)
    if isinstance(cause, ProtocolError) and any(
        isinstance(part, IncompleteRead) for part in (cause, *cause.args)
    ):
        return BROKE_OFF
    return NO_CONNECTION


def _too_many(part: object) -> bool:
    """Whether an error is http.client's for an answer with more than a hundred headers."""
    return type(part) is HTTPException and "headers" in str(part)


def _parts(error: object) -> Iterator[object]:
    """An error and all errors that it holds."""
    waiting, seen = [error], set[int]()
    while waiting:
        part = waiting.pop()
        if isinstance(part, BaseException) and id(part) not in seen:
            seen.add(id(part))
            yield part
            waiting += [part.__cause__, part.__context__, getattr(part, "reason", None), *part.args]


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
