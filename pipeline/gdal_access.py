"""How GDAL is told to reach a raster, and what its failures mean in words of our own."""

import logging
import os
import re
from typing import Any
from urllib.parse import unquote, urlsplit


def gdal_path(href: str) -> str:
    """The name under which GDAL opens a path, file://, http(s):// or s3:// href."""
    scheme = urlsplit(href).scheme
    if scheme in ("http", "https"):
        return f"/vsicurl/{href}"
    if scheme == "s3":
        return f"/vsis3/{href.removeprefix('s3://')}"
    return unquote(urlsplit(href).path) if scheme == "file" else href


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


_REASONS = (
    (r"timed out|too slow", "its server did not answer in time"),
    (r"not resolve host", "its server's name is unknown"),
    (r"onnect(ion)? (to|refused|reset|was)|Failed to connect", "no connection to its server"),
    (r"No such file|does not exist", "there is no such file"),
    (r"Permission denied|InvalidAccessKey|SignatureDoesNotMatch", "access to it is denied"),
    (r"not recognized|IReadBlock|TIFF|Read failed|Read error", "is truncated or damaged"),
)


def reason(error: BaseException) -> str:
    """Why a raster could not be read: never GDAL's own words, which may hold a signed URL."""
    text = f"{error} {error.__cause__ or ''}"
    if code := re.search(r"HTTP response code\D*(\d{3})", text):
        return f"its server answered HTTP {code[1]}"
    for pattern, words in _REASONS:
        if re.search(pattern, text):
            return words
    return f"cannot be read ({type(error).__name__})"


class _WithoutQueries(logging.Filter):
    """Takes query strings, which may be signatures, out of what rasterio logs."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if "?" in message:
            record.msg, record.args = re.sub(r"\?[^\s'\"`,]+", "?…", message), ()
        return True


for _module in ("_base", "_env", "_err", "_io", "_vsiopener", "_warp", "env", "session"):
    logging.getLogger(f"rasterio.{_module}").addFilter(_WithoutQueries())
