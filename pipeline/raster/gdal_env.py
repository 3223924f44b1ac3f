"""How GDAL is told to reach a raster, and what its failures mean in words of our own."""

import logging
import math
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import rasterio
from rasterio.session import Session

from pipeline.io.redaction import SecretFilter
from pipeline.raster.http_client import PASSING, RENEWABLE
from pipeline.raster.read_errors import ReadFailure


def gdal_path(href: str) -> str:
    """The name under which GDAL opens a path, file://, http(s):// or s3:// href."""
    scheme = urlsplit(href).scheme
    if scheme in ("http", "https"):
        return f"/vsicurl/{href}"
    if scheme == "s3":
        return f"/vsis3/{href.removeprefix('s3://')}"
    return unquote(urlsplit(href).path) if scheme == "file" else href


def is_remote(href: str) -> bool:
    """Whether GDAL reads an href through one of its network file systems."""
    return gdal_path(href).startswith("/vsi")


class _Keys(Session):
    """Credentials for GDAL, which rasterio takes from a session only."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = dict(options)

    def get_credential_options(self) -> dict[str, str]:
        return self._options


@contextmanager
def gdal_session(
    timeout: float,
    s3_options: Mapping[str, str],
    *,
    fresh: bool = False,
    doubting: bool = False,
) -> Iterator[None]:
    """GDAL as it reads one raster in this thread; `gdal_options` has the time.

    `s3_options` is where s3:// hrefs lie and the keys to it (`pipeline.raster.access`); by
    default AWS's
    environment variables say it. With `fresh` it uses nothing that it remembers of remote files,
    failures included. With `doubting` every request that is refused, whatever the status, is sent
    again at least once: in the middle of a file GDAL tells of a refusal only then, and `failure`
    knows of it.
    """
    options = gdal_options(timeout)
    if fresh:
        options["CPL_VSIL_CURL_NON_CACHED"] = "/vsicurl:/vsis3"
    if doubting:
        options |= {
            "GDAL_HTTP_RETRY_CODES": "ALL",
            "GDAL_HTTP_MAX_RETRY": 1,
            "GDAL_HTTP_RETRY_DELAY": 0.2,  # seconds, not half a minute
        }
    _session.asked_again = None
    with rasterio.Env(session=_Keys(s3_options) if s3_options else None, **options):
        yield


def gdal_options(timeout: float) -> dict[str, Any]:
    """GDAL's configuration for reading a few blocks each of many rasters.

    A request that gets no byte for `timeout` seconds is given up. What fails is asked again by
    `pipeline.raster.retry`.
    """
    options: dict[str, Any] = {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no listing, no search for side files
        "GDAL_CACHEMAX": 128,  # MB: a block is decoded once, so hardly any cache is of use
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
        "GDAL_HTTP_MULTIRANGE": "YES",
        "GDAL_HTTP_CONNECTTIMEOUT": min(timeout, 15.0),
        "GDAL_HTTP_LOW_SPEED_TIME": math.ceil(timeout),
        "GDAL_HTTP_LOW_SPEED_LIMIT": 1,  # bytes a second
        "GDAL_HTTP_MAX_RETRY": 0,
    }
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and "AWS_S3_ENDPOINT" not in os.environ:  # what fsspec obeys, in GDAL's words
        options["AWS_S3_ENDPOINT"] = urlsplit(endpoint).netloc
        options["AWS_HTTPS"] = "NO" if urlsplit(endpoint).scheme == "http" else "YES"
        options["AWS_VIRTUAL_HOSTING"] = "FALSE"
    return options


_HTTP = 11  # of GDAL's error numbers (cpl_error.h), with those that follow
_UNREACHABLE = {
    2: "memory does not suffice",
    12: "there is no such bucket",
    14: "access to it is denied",
    15: "there are no credentials for its storage",
    16: "access to it is denied",
    17: "its storage refused the request",
}
_NO_SUCH_OBJECT = 13
_REFUSED = 17
_BUSY = r"SlowDown|ServiceUnavailable|InternalError|RequestTimeout|try again|reduce your request"

_NO_CONNECTION = "no connection to its server"
_NOT_SECURE = "no secure connection to its server"
_OF_NETWORK = (
    (r"timed out|too slow", "its server did not answer in time"),
    (r"not resolve host", "its server's name is unknown"),
    (r"SSL|TLS|certificate", _NOT_SECURE),
)
_OF_RASTER = (
    (r"No such file|does not exist", "there is no such file"),
    (r"not recognized|IReadBlock|TIFF|Read failed|Read error", "is truncated or damaged"),
)


def failure(error: BaseException) -> ReadFailure:
    """What GDAL's failure to read a raster in a `gdal_session` of this thread means.

    A server that says that there is no such file (404, 410) is believed, all else that it says
    instead of the file makes it unreachable. Object stores that may not list a bucket answer 403
    for an absent object: that is taken for denied access.
    """
    errors = list(_chain(error))
    numbers = {getattr(each, "errno", None) for each in errors}
    text = " ".join(str(each) for each in errors)
    if _HTTP in numbers:
        return _http_failure(text)
    for number, words in _UNREACHABLE.items():
        if number in numbers:
            passing = number == _REFUSED and re.search(_BUSY, text) is not None
            return ReadFailure(words, unreachable=True, passing=passing)
    if _session.asked_again is not None:
        return _http_answer(_session.asked_again)
    if "Permission denied" in text:
        return ReadFailure("access to it is denied", unreachable=True)
    if _NO_SUCH_OBJECT in numbers:
        return ReadFailure("there is no such file", unreachable=False)
    for pattern, words in _OF_RASTER:
        if re.search(pattern, text):
            return ReadFailure(words, unreachable=False, certain=False)
    words = f"cannot be read ({type(error).__name__})"
    return ReadFailure(words, unreachable=False, certain=False)


def _http_failure(text: str) -> ReadFailure:
    if code := re.search(r"HTTP response code\D*(\d{3})", text):
        return _http_answer(int(code[1]))
    for pattern, words in _OF_NETWORK:
        if re.search(pattern, text):
            return ReadFailure(words, unreachable=True, passing=words != _NOT_SECURE)
    return ReadFailure(_NO_CONNECTION, unreachable=True, passing=True)


def _http_answer(code: int) -> ReadFailure:
    if code < 200:
        return ReadFailure(_NO_CONNECTION, unreachable=True, passing=True)
    if code < 300:
        return ReadFailure("its server's answer broke off", unreachable=True, passing=True)
    return ReadFailure(
        f"its server answered HTTP {code}",
        unreachable=code not in (404, 410),
        passing=code in PASSING,
        refused=code in RENEWABLE,
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class _Session(threading.local):
    """What GDAL logged in this thread: the status of the last request that it sent again."""

    asked_again: int | None = None


_session = _Session()


class _LogFilter(SecretFilter):
    """Notes the requests that GDAL sends again, in what rasterio logs."""

    def filter(self, record: logging.LogRecord) -> bool:
        if code := re.search(r"HTTP error code(?: for .*)?: (\d+)", record.getMessage()):
            _session.asked_again = int(code[1])
        return super().filter(record)


for _module in ("_base", "_env", "_err", "_io", "_vsiopener", "_warp", "env", "session"):
    logging.getLogger(f"rasterio.{_module}").addFilter(_LogFilter())
