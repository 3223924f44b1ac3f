"""The environment of GDAL and PROJ for reading a raster, and failures in words of our own."""

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
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.session import Session
from rasterio.warp import transform

from pipeline.errors import SettingsError
from pipeline.io.certificates import certificate_authorities
from pipeline.io.gdal_s3 import gdal_s3_options, s3_endpoint
from pipeline.io.redaction import SecretFilter
from pipeline.raster.http_failures import (
    BROKE_OFF,
    NO_CONNECTION,
    NOT_TRUSTED,
    status_failure,
)
from pipeline.raster.read_errors import ReadFailure

_PROJ_VARIABLES = ("PROJ_DATA", "PROJ_LIB")  # in the order in which PROJ looks at them
_UTM = 32631
_PLACE = (3.0, 50.0)  # on its central meridian
_EASTING = 500_000.0


def gdal_path(href: str) -> str:
    """The name under which GDAL opens a path, file:// or s3:// href.

    Those of web servers are opened by `pipeline.raster.gdal_file.WebFile`.
    """
    scheme = urlsplit(href).scheme
    if scheme == "s3":
        return f"/vsis3/{href.removeprefix('s3://')}"
    return unquote(urlsplit(href).path) if scheme == "file" else href


def is_remote(href: str) -> bool:
    """Whether GDAL reads an href through one of its network file systems."""
    return gdal_path(href).startswith("/vsi")


class _Keys(Session):
    """Credentials for GDAL: rasterio takes them from a session only."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = dict(options)

    def get_credential_options(self) -> dict[str, str]:
        return self._options


@contextmanager
def gdal_session(
    timeout: float,
    s3_options: Mapping[str, str],
    *,
    uncached: bool = False,
    report_refusals: bool = False,
    least_rate: float = 1.0,
) -> Iterator[None]:
    """Configure GDAL to read a few blocks of one raster in this thread.

    GDAL itself sends nothing again: retries are those of `pipeline.raster.retry`.

    Args:
        timeout: A request that gets no byte for as many seconds is given up.
        s3_options: Server and keys of s3:// hrefs (`Access.s3_options`); where empty, AWS's
            environment variables apply.
        uncached: Use nothing that GDAL keeps of remote files, failures included.
        report_refusals: Send every refused request once more, whatever its status. Only then does
            GDAL log a refusal in the middle of a file, where `gdal_failure` finds it.
        least_rate: A request that gets fewer bytes a second for `timeout` is given up, too.
    """
    options = _options(timeout)
    options["GDAL_HTTP_LOW_SPEED_LIMIT"] = max(1, math.ceil(least_rate))
    if uncached:
        options["CPL_VSIL_CURL_NON_CACHED"] = "/vsicurl:/vsis3"
    if report_refusals:
        options |= {
            "GDAL_HTTP_RETRY_CODES": "ALL",
            "GDAL_HTTP_MAX_RETRY": 1,
            "GDAL_HTTP_RETRY_DELAY": 0.2,  # seconds, not half a minute
        }
    _session.retried_status = None
    with rasterio.Env(session=_Keys(s3_options) if s3_options else None, **options):
        yield


def _options(timeout: float) -> dict[str, Any]:
    options: dict[str, Any] = {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no listing, no search for side files
        "GDAL_CACHEMAX": 128,  # MB: a block is decoded once, so a cache is of little use
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
        "GDAL_HTTP_MULTIRANGE": "YES",
        "GDAL_HTTP_CONNECTTIMEOUT": min(timeout, 15.0),
        "GDAL_HTTP_LOW_SPEED_TIME": math.ceil(timeout),
        "GDAL_HTTP_MAX_RETRY": 0,
        "GDAL_CURL_CA_BUNDLE": certificate_authorities(),
    }
    if "AWS_S3_ENDPOINT" not in os.environ:
        options |= gdal_s3_options(s3_endpoint())  # the variables of fsspec, by GDAL's names
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

_NOT_SECURE = "no secure connection to its server"
_OF_CERTIFICATE = r"SSL certificate|certificate verif|CAfile"  # curl's words
_OF_NETWORK = (
    (r"timed out|too slow", "its server did not answer in time"),
    (r"not resolve host", "its server's name is unknown"),
    (r"SSL|TLS|certificate", _NOT_SECURE),
)
_OF_RASTER = (
    (r"No such file|does not exist", "there is no such file"),
    (r"not recognized|IReadBlock|TIFF|Read failed|Read error", "is truncated or damaged"),
)


def gdal_failure(error: BaseException) -> ReadFailure:
    """Translate GDAL's failure to read a raster in this thread's `gdal_session`.

    Only the statuses 404 and 410 say that a file is missing. Any other status makes it
    unreachable. Object stores that may not list a bucket answer 403 for an absent object: that is
    taken for denied access.
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
    if _session.retried_status is not None:
        return _status_failure(_session.retried_status)
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
        return _status_failure(int(code[1]))
    if re.search(_OF_CERTIFICATE, text):
        return NOT_TRUSTED
    for pattern, words in _OF_NETWORK:
        if re.search(pattern, text):
            return ReadFailure(words, unreachable=True, passing=words != _NOT_SECURE)
    return NO_CONNECTION


def _status_failure(code: int) -> ReadFailure:
    if code < 200:
        return NO_CONNECTION
    if code < 300:
        return BROKE_OFF
    return status_failure(code)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class _Session(threading.local):
    """The status of the last request that GDAL sent again in this thread, from its log."""

    retried_status: int | None = None


_session = _Session()


class _LogFilter(SecretFilter):
    """Notes the status of requests that GDAL sends again, from rasterio's log."""

    def filter(self, record: logging.LogRecord) -> bool:
        if code := re.search(r"HTTP error code(?: for .*)?: (\d+)", record.getMessage()):
            _session.retried_status = int(code[1])
        return super().filter(record)


for _module in ("_base", "_env", "_err", "_io", "_vsiopener", "_warp", "env", "session"):
    logging.getLogger(f"rasterio.{_module}").addFilter(_LogFilter())


def require_proj_data() -> None:
    """Require that PROJ's data are those of rasterio's PROJ.

    The environment may name those of another installation (of PostGIS, conda or OSGeo4W). Then
    every raster would fail.

    Raises:
        SettingsError: They are not; it names the variable.
    """
    if _projects():
        return
    given = [f"{name}={os.environ[name]}" for name in _PROJ_VARIABLES if os.environ.get(name)]
    if given:
        raise SettingsError(
            " and ".join(given),
            f"rasterio cannot look up EPSG:{_UTM} with the PROJ data that the environment names",
            f"Unset {' and '.join(text.partition('=')[0] for text in given)}: rasterio has its own",
        )
    raise SettingsError(
        "the environment's rasterio",
        f"it cannot look up EPSG:{_UTM}, so its PROJ data are missing or of another version",
        "Install rasterio anew, with pip from its wheel",
    )


def _projects() -> bool:
    try:
        with rasterio.Env():  # else GDAL prints its own message, too
            utm = CRS.from_epsg(_UTM)
            (easting,), _ = transform(CRS.from_epsg(4326), utm, [_PLACE[0]], [_PLACE[1]])
            return utm.to_epsg() == _UTM and abs(easting - _EASTING) < 1
    except (RasterioError, CRSError):
        return False
