"""JSON documents of a catalogue, from files or over HTTP, with time limits and retries."""

import json
import logging
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter

from pipeline.errors import CatalogError, CatalogUnavailable
from pipeline.io.store import public_url
from pipeline.raster.http_client import PASSING, retry_after
from pipeline.raster.read_errors import ReadFailure, Unreadable
from pipeline.raster.retry import with_retries

RESPONSE_TIMEOUT = 30.0  # seconds to connect, and between bytes
_CONCURRENT = 16  # requests at once
_ATTEMPTS = 4  # of a request
_LONGEST_PAUSE = 60.0  # seconds that a server may name (Retry-After)

# It logs addresses and headers as they are, and nothing else.
logging.getLogger("pystac_client.stac_api_io").setLevel(logging.INFO)


class _Failed(Unreadable):
    """A request that failed, with what came of it."""

    def __init__(
        self, failure: ReadFailure, outcome: requests.Response | requests.RequestException
    ) -> None:
        super().__init__(failure)
        self.outcome = outcome


class _Adapter(HTTPAdapter):
    """Sends requests again by `pipeline.raster.retry`, also after a response that broke off."""

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        def attempt() -> requests.Response:
            try:
                response = super(_Adapter, self).send(*args, **kwargs)
                response.content  # noqa: B018 - it is read here, and kept
            except requests.RequestException as error:
                passing = not isinstance(error, requests.exceptions.SSLError)
                failure = ReadFailure("no response", unreachable=True, passing=passing)
                raise _Failed(failure, error) from None
            if response.status_code not in PASSING:
                return response
            pause = min(retry_after(response.headers.get("Retry-After")), _LONGEST_PAUSE)
            failure = ReadFailure("refused", unreachable=True, passing=True, pause=pause)
            raise _Failed(failure, response)

        try:
            return with_retries(attempt, _ATTEMPTS * _LONGEST_PAUSE, attempts=_ATTEMPTS)
        except _Failed as failed:
            outcome = failed.outcome
        if isinstance(outcome, requests.Response):
            return outcome
        raise outcome


def equipped(session: requests.Session) -> requests.Session:
    """The session, with connections for many requests at once, and with retries."""
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(pool_maxsize=_CONCURRENT))
    return session


def is_web(location: str) -> bool:
    """Whether a location is an http(s) address rather than a path."""
    return bool(re.match(r"https?://", location, re.IGNORECASE))


def resolved(base: str, href: str) -> str:
    """An href as the document at `base` (address or path) means it: absolute, files as paths."""
    if href.startswith("file://"):
        return unquote(urlsplit(href).path)
    if "://" in href or href.startswith("/vsi"):
        return href
    if is_web(base):
        return urljoin(base, href)
    return os.path.normpath(Path(base).parent / unquote(href))


def unavailable(location: str, reason: str) -> CatalogUnavailable:
    """The error for a catalogue that does not answer; shows no secrets of the address."""
    return CatalogUnavailable(
        f"The catalogue {public_url(location)} does not answer: {reason}. "
        "Check the address and the network, then start again."
    )


def failure_reason(error: Exception) -> str:
    """Why a request failed, in words that hold no address."""
    text = str(error)
    if isinstance(error, requests.Timeout) or "timed out" in text:
        return f"no answer within {RESPONSE_TIMEOUT:g} s"
    for sign, words in (
        ("refused", "connection refused"),
        ("getaddrinfo", "its host name is not known"),
        ("NameResolution", "its host name is not known"),
        ("SSL", "no secure connection"),
        ("too many", "it fails again and again"),
    ):
        if sign in text:
            return words
    return "the connection broke"


@dataclass(frozen=True)
class JsonClient:
    """A reader of JSON documents; its connections are kept open between requests."""

    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        equipped(self.session)

    def read(self, location: str) -> dict[str, Any]:
        """The JSON object at an address or path.

        Raises CatalogUnavailable where the server does not answer, CatalogError where there is
        nothing or something else than a JSON object.
        """
        content = self._fetched(location) if is_web(location) else _file(location)
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise CatalogError(
                public_url(location), "not a STAC document: it holds no JSON object",
                "Give the folder or address of a catalog.json or collection.json, or a STAC API",
            )  # fmt: skip
        return document

    def read_all(self, locations: Sequence[str]) -> list[dict[str, Any]]:
        """The documents of several locations, in their order, several at once over HTTP."""
        if not any(is_web(location) for location in locations):
            return [self.read(location) for location in locations]
        with ThreadPoolExecutor(_CONCURRENT) as threads:
            return list(threads.map(self.read, locations))

    def _fetched(self, location: str) -> bytes:
        try:
            answer = self.session.get(location, timeout=RESPONSE_TIMEOUT)
        except requests.RequestException as error:
            raise unavailable(location, failure_reason(error)) from None
        if answer.status_code in (404, 410):
            raise CatalogError(public_url(location), "there is no such document", _LOOK)
        if answer.status_code in (401, 403):
            raise unavailable(location, f"access is refused ({answer.status_code})")
        if not answer.ok:
            raise unavailable(location, f"status {answer.status_code}")
        return bytes(answer.content)


_LOOK = "Check the address, and whether the catalogue's links lead where they should"


def _file(location: str) -> bytes:
    try:
        return Path(location).read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise CatalogError(location, "there is no such document", _LOOK) from None
    except OSError as error:
        raise unavailable(location, os.strerror(error.errno or 0)) from None
