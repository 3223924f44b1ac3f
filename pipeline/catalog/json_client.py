"""JSON documents of a catalogue, from files or over HTTP, with time limits and retries."""

import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urljoin, urlsplit

from models.json_text import parse_json
from models.visible_text import is_visible
from pipeline.errors import CatalogError, CatalogUnavailable
from pipeline.io.redaction import without_words
from pipeline.io.store import public_url
from pipeline.io.user_paths import existing
from pipeline.raster.http_client import fetch
from pipeline.raster.read_errors import ReadFailure, Unreadable
from pipeline.raster.retry import with_retries

RESPONSE_TIMEOUT = 30.0  # seconds to connect, and between bytes
ATTEMPTS = 4
"""How often a request is sent while its failure may pass."""
_CONCURRENT = 16  # requests at once
_LONGEST_PAUSE = 60.0  # seconds that a server may name (Retry-After)
_LONGEST_REASON = 200  # characters of a server's own words that are shown
_LOOK = "Check the address, and whether the catalogue's links lead where they should"


def is_web(location: str) -> bool:
    """Whether a location is an http(s) address rather than a path."""
    return bool(re.match(r"https?://", location, re.IGNORECASE))


def resolved(base: str, href: Any) -> str:
    """An href in the document at `base` (address or path) as an absolute address or path.

    Raises CatalogError where it is none: no text of one line, or such as http://[.
    """
    try:
        if not isinstance(href, str) or not is_visible(href) or "%00" in href:
            raise ValueError("no text of one line")
        if "://" in href:
            path = urlsplit(href).path
            return unquote(path) if href.startswith("file://") else href
        if href.startswith("/vsi"):
            return href
        if is_web(base):
            return urljoin(base, href)
    except ValueError:
        raise CatalogError(
            public_url(base), "a link in it is no address", "Correct the catalogue's links"
        ) from None
    folder = Path(base).parent
    literal = "%" in href and existing(href, folder)  # a folder may have "%20" in its own name
    return os.path.normpath(folder / (href if literal else unquote(href)))


def read_json(location: str, otherwise: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON object at an address or path; `otherwise` stands for anything else there.

    Raises:
        CatalogUnavailable: The server or the file cannot be reached.
        CatalogError: Nothing is there, or something else, and there is no `otherwise`.
    """
    content = fetch_document(location) if is_web(location) else _file(location)
    try:
        document = parse_json(content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        if otherwise is not None:
            return otherwise
        raise CatalogError(
            public_url(location),
            "not a STAC document: it holds no JSON object",
            "Give the folder or address of a catalog.json or collection.json, or a STAC API",
        )
    return document


def links_with(document: Mapping[str, Any], relation: str) -> list[Mapping[str, Any]]:
    """The links of one relation in a document, whatever else stands among its links."""
    links = document.get("links")
    listed = links if isinstance(links, list) else []
    return [link for link in listed if isinstance(link, dict) and link.get("rel") == relation]


def read_all(
    locations: Sequence[str], otherwise: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The documents of several locations, in their order, several at once over HTTP."""
    read = partial(read_json, otherwise=otherwise)
    if not any(is_web(location) for location in locations):
        return [read(location) for location in locations]
    with ThreadPoolExecutor(_CONCURRENT) as threads:
        return list(threads.map(read, locations))


def fetch_document(url: str) -> bytes:
    """The document at an address. Errors as `read_json`."""
    try:
        return fetch_answer(url)
    except Unreadable as error:
        failure = error.failure
    # Raised out here, so that the error has no cause whose text may show a secret.
    raise document_error(url, failure, secrets_of(url))


def fetch_answer(
    url: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    attempts: int = ATTEMPTS,
) -> bytes:
    """The answer to a GET, or with a `body` to a POST, after some attempts. Raises Unreadable."""

    def attempt() -> bytes:
        try:
            return fetch(url, RESPONSE_TIMEOUT, headers, body)
        except Unreadable as error:
            pause = min(error.failure.pause, _LONGEST_PAUSE)
            raise Unreadable(replace(error.failure, pause=pause)) from None

    return with_retries(attempt, attempts * _LONGEST_PAUSE, attempts=attempts)


def secrets_of(url: str) -> list[str]:
    """What may be a secret in a user's address: user, password, and the values of its query."""
    parts = urlsplit(url)
    login = [unquote(text) for text in (parts.username, parts.password) if text]
    query = parse_qsl(parts.query, keep_blank_values=True)
    return [*login, *(value or key for key, value in query)]


def document_error(
    url: str, failure: ReadFailure, secrets: Sequence[str] = ()
) -> CatalogError | CatalogUnavailable:
    """The error for a failed request; it repeats the server's reason, but no secrets."""
    reason = failure.reason
    if said := without_words(failure.said, secrets):
        said = said if len(said) <= _LONGEST_REASON else f"{said[:_LONGEST_REASON]}…"
        reason = f'{reason} ("{said}")'
    if failure.unreachable:
        return _unavailable(url, reason, _remedy(failure.status))
    return CatalogError(public_url(url), f"there is no such document ({reason})", _LOOK)


def _remedy(status: int | None) -> str:
    if status is None:
        return "Check the address and the network, then start again"
    if status in (401, 403, 407):
        return "Check whether you may read it, and its keys, then start again"
    if status == 429 or status >= 500:
        return "Start again later, or use another catalogue"
    return "Check what the server says and the catalogue's settings, or use another catalogue"


def _file(location: str) -> bytes:
    try:
        return Path(location).read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise CatalogError(location, "there is no such document", _LOOK) from None
    except ValueError:  # a zero in the path
        raise CatalogError(location, "this is no path", _LOOK) from None
    except OSError as error:
        raise _unavailable(
            location, os.strerror(error.errno or 0), "Check its disk, then start again"
        ) from None


def _unavailable(location: str, reason: str, remedy: str) -> CatalogUnavailable:
    return CatalogUnavailable(
        f"The catalogue {public_url(location)} cannot be read: {reason}. {remedy}."
    )
