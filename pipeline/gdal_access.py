"""How GDAL is told to reach a raster, and what its failures mean in words of our own."""

import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import rasterio


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


@contextmanager
def gdal_session(
    timeout: float, retries: int, *, fresh: bool = False, doubting: bool = False
) -> Iterator[None]:
    """GDAL as it reads one raster in this thread; `gdal_options` has the arguments.

    With `fresh` it uses nothing that it remembers of remote files, failures included. With
    `doubting` every request that is refused, whatever the status, is sent again at least once: in
    the middle of a file GDAL tells of a refusal only then, and `failure` knows of it.
    """
    options = gdal_options(timeout, retries)
    if fresh:
        options["CPL_VSIL_CURL_NON_CACHED"] = "/vsicurl:/vsis3"
    if doubting:
        options |= {"GDAL_HTTP_RETRY_CODES": "ALL", "GDAL_HTTP_MAX_RETRY": max(retries, 1)}
    _session.asked_again = None
    with rasterio.Env(**options):
        yield


def gdal_options(timeout: float, retries: int) -> dict[str, Any]:
    """GDAL's configuration for reading a few blocks each of many COGs.

    `timeout` is the seconds a request may take; one that takes longer, or is answered with 429 or
    5xx, is sent again up to `retries` times.
    """
    options: dict[str, Any] = {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no listing, no search for side files
        "GDAL_CACHEMAX": 128,  # MB: a block is decoded once, so hardly any cache is of use
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
        "GDAL_HTTP_MULTIRANGE": "YES",
        "GDAL_HTTP_CONNECTTIMEOUT": min(timeout, 15.0),
        "GDAL_HTTP_TIMEOUT": timeout,
        "GDAL_HTTP_MAX_RETRY": retries,
        "GDAL_HTTP_RETRY_DELAY": 0.5,  # seconds, doubled with every try, with some jitter
    }
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and "AWS_S3_ENDPOINT" not in os.environ:  # what fsspec obeys, in GDAL's words
        options["AWS_S3_ENDPOINT"] = urlsplit(endpoint).netloc
        options["AWS_HTTPS"] = "NO" if urlsplit(endpoint).scheme == "http" else "YES"
        options["AWS_VIRTUAL_HOSTING"] = "FALSE"
    return options


@dataclass(frozen=True)
class Failure:
    """Why a raster could not be read: never in GDAL's own words, which may hold a signed URL.

    `unreachable` says that nothing is known of the raster itself: server, network, credentials or
    memory failed, and a later try may do better. Else it is missing or damaged, and stays so;
    `certain` where that cannot be a refusal in the middle of a file.
    """

    reason: str
    unreachable: bool
    certain: bool = True


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

_NO_CONNECTION = "no connection to its server"
_OF_NETWORK = (
    (r"timed out|too slow", "its server did not answer in time"),
    (r"not resolve host", "its server's name is unknown"),
    (r"SSL|TLS|certificate", "no secure connection to its server"),
)
_OF_RASTER = (
    (r"No such file|does not exist", "there is no such file"),
    (r"not recognized|IReadBlock|TIFF|Read failed|Read error", "is truncated or damaged"),
)


def failure(error: BaseException) -> Failure:
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
            return Failure(words, unreachable=True)
    if _session.asked_again is not None:
        return Failure(_http_reason(_session.asked_again), unreachable=True)
    if "Permission denied" in text:
        return Failure("access to it is denied", unreachable=True)
    if _NO_SUCH_OBJECT in numbers:
        return Failure("there is no such file", unreachable=False)
    for pattern, words in _OF_RASTER:
        if re.search(pattern, text):
            return Failure(words, unreachable=False, certain=False)
    words = f"cannot be read ({type(error).__name__})"
    return Failure(words, unreachable=False, certain=False)


def _http_failure(text: str) -> Failure:
    if code := re.search(r"HTTP response code\D*(\d{3})", text):
        return Failure(_http_reason(int(code[1])), unreachable=code[1] not in ("404", "410"))
    for pattern, words in _OF_NETWORK:
        if re.search(pattern, text):
            return Failure(words, unreachable=True)
    return Failure(_NO_CONNECTION, unreachable=True)


def _http_reason(code: int) -> str:
    if code < 200:
        return _NO_CONNECTION
    return f"its server answered HTTP {code}" if code >= 300 else "its server's answer broke off"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class _Session(threading.local):
    """What GDAL logged in this thread: the status of the last request that it sent again."""

    asked_again: int | None = None


_session = _Session()


class _LogFilter(logging.Filter):
    """Takes secrets out of what rasterio logs, and notes the requests that GDAL sends again.

    Query strings may be signatures; they stand in file names, too, not in URLs only.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if code := re.search(r"HTTP error code(?: for .*)?: (\d+)", message):
            _session.asked_again = int(code[1])
        shown = re.sub(r"\?[^\s'\"`,]+", "?…", message)
        shown = re.sub(r"://[^\s/?#]*@", "://", shown)
        if shown != message:
            record.msg, record.args = shown, ()
        return True


for _module in ("_base", "_env", "_err", "_io", "_vsiopener", "_warp", "env", "session"):
    logging.getLogger(f"rasterio.{_module}").addFilter(_LogFilter())
