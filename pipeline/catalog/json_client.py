"""JSON documents of a catalogue, from files or over HTTP, with time limits and retries."""

import contextlib
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
from urllib3.exceptions import InvalidHeader
from urllib3.util.retry import Retry

from pipeline.errors import CatalogError, CatalogUnavailable
from pipeline.io.redaction import SecretFilter
from pipeline.io.store import public_url

TIMEOUT = 30.0  # seconds to connect, and between bytes
_CONCURRENT = 16  # requests at once
_BROKEN_OFF = 2  # further tries after answers that broke off
_PATIENCE = 60.0  # seconds that a server's Retry-After may make us wait


for _name in ("urllib3.connectionpool", "urllib3.util.retry"):
    logging.getLogger(_name).addFilter(SecretFilter())
# It logs addresses and headers as they are, and nothing else.
logging.getLogger("pystac_client.stac_api_io").setLevel(logging.INFO)


class _Retry(Retry):
    """Waits as long as the server asks for (Retry-After), within reason."""

    def parse_retry_after(self, retry_after: str) -> float:
        try:
            return min(super().parse_retry_after(retry_after), _PATIENCE)
        except InvalidHeader:
            return 0.0


def retries() -> Retry:
    """Four tries with pauses of 0.5, 1 and 2 seconds, where a later one may do better.

    A server that says how long to wait is heard, up to a minute a try.
    """
    return _Retry(
        total=3,
        backoff_factor=0.5,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=frozenset({"GET", "POST"}),
        raise_on_status=False,
    )


class _Adapter(HTTPAdapter):
    """Asks again for an answer that broke off in its middle, which `retries` does not see."""

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        answer = super().send(*args, **kwargs)
        for _ in range(_BROKEN_OFF):
            with contextlib.suppress(requests.exceptions.ChunkedEncodingError):
                answer.content  # noqa: B018 - it is read here, and kept
                break
            answer = super().send(*args, **kwargs)
        return answer


def equipped(session: requests.Session) -> requests.Session:
    """The session, with connections for many requests at once and further tries."""
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(max_retries=retries(), pool_maxsize=_CONCURRENT))
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
        return f"no answer within {TIMEOUT:g} s"
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
class Documents:
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
            answer = self.session.get(location, timeout=TIMEOUT)
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
