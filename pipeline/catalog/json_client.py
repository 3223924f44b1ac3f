"""JSON documents of a catalogue, from files or over HTTP, with time limits and retries."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from pipeline.errors import CatalogError, CatalogUnavailable
from pipeline.io.store import public_url
from pipeline.raster.http_client import fetch
from pipeline.raster.read_errors import Unreadable
from pipeline.raster.retry import with_retries

RESPONSE_TIMEOUT = 30.0  # seconds to connect, and between bytes
_CONCURRENT = 16  # requests at once
_ATTEMPTS = 4  # of a request
_LONGEST_PAUSE = 60.0  # seconds that a server may name (Retry-After)
_LOOK = "Check the address, and whether the catalogue's links lead where they should"


def is_web(location: str) -> bool:
    """Whether a location is an http(s) address rather than a path."""
    return bool(re.match(r"https?://", location, re.IGNORECASE))


def resolved(base: str, href: str) -> str:
    """An href in the document at `base` (address or path) as an absolute address or path."""
    if href.startswith("file://"):
        return unquote(urlsplit(href).path)
    if "://" in href or href.startswith("/vsi"):
        return href
    if is_web(base):
        return urljoin(base, href)
    return os.path.normpath(Path(base).parent / unquote(href))


def read_json(location: str) -> dict[str, Any]:
    """The JSON object at an address or path.

    Raises:
        CatalogUnavailable: The server or the file cannot be reached.
        CatalogError: Nothing is there, or something else than a JSON object.
    """
    content = fetch_document(location) if is_web(location) else _file(location)
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise CatalogError(
            public_url(location),
            "not a STAC document: it holds no JSON object",
            "Give the folder or address of a catalog.json or collection.json, or a STAC API",
        )
    return document


def read_all(locations: Sequence[str]) -> list[dict[str, Any]]:
    """The documents of several locations, in their order, several at once over HTTP."""
    if not any(is_web(location) for location in locations):
        return [read_json(location) for location in locations]
    with ThreadPoolExecutor(_CONCURRENT) as threads:
        return list(threads.map(read_json, locations))


def fetch_document(
    url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> bytes:
    """The document at an address, or with a `body` the answer to a POST. Errors as `read_json`."""

    def attempt() -> bytes:
        try:
            return fetch(url, RESPONSE_TIMEOUT, headers, body)
        except Unreadable as error:
            pause = min(error.failure.pause, _LONGEST_PAUSE)
            raise Unreadable(replace(error.failure, pause=pause)) from None

    try:
        return with_retries(attempt, _ATTEMPTS * _LONGEST_PAUSE, attempts=_ATTEMPTS)
    except Unreadable as error:
        failure = error.failure
    # Raised out here, so that the error has no cause whose text may show a secret.
    if failure.unreachable:
        raise _unavailable(url, failure.reason)
    raise CatalogError(public_url(url), f"there is no such document ({failure.reason})", _LOOK)


def _file(location: str) -> bytes:
    try:
        return Path(location).read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise CatalogError(location, "there is no such document", _LOOK) from None
    except OSError as error:
        raise _unavailable(location, os.strerror(error.errno or 0)) from None


def _unavailable(location: str, reason: str) -> CatalogUnavailable:
    return CatalogUnavailable(
        f"The catalogue {public_url(location)} cannot be read: {reason}. "
        "Check the address and the network, then start again."
    )
