"""JSON documents of a catalogue, from files or over HTTP, with time limits and retries."""

import os
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urljoin, urlsplit

from models.files.json_text import parse_json
from models.files.regular_file import NotRegularFile, read_regular
from models.visible_text import is_visible
from pipeline.errors import CatalogError, CatalogUnavailable
from pipeline.io.network_rules import ANY_HOST, UNRESTRICTED, NetworkRules
from pipeline.io.redaction import without_words
from pipeline.io.store import is_plain_url, public_url
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

    Raises CatalogError where it is none (no text of one line, or such as http://[), or where a
    document of the web leads to a file of this machine. Which hosts are allowed is known to
    `Documents`.
    """
    try:
        if not isinstance(href, str) or not is_visible(href) or "%00" in href:
            raise ValueError("no text of one line")
        if not is_web(base):
            return _from_this_machine(base, href)
        target = href if href.startswith("/vsi") else urljoin(base, href)
    except ValueError:
        raise CatalogError(
            public_url(base), "a link in it is no address", "Correct the catalogue's links"
        ) from None
    if problem := ANY_HOST.problem(target):
        raise CatalogError(
            public_url(base),
            f"a link in it leads to {public_url(target)}: {problem}",
            "Correct the catalogue's links, or use another catalogue",
        )
    return target


def _from_this_machine(base: str, href: str) -> str:
    """An href in the document at a path as an absolute address or path."""
    if is_plain_url(href):
        return href
    if "://" in href:
        path = urlsplit(href).path
        return unquote(path) if href.startswith("file://") else href
    if href.startswith("/vsi"):
        return href
    folder = Path(base).parent
    literal = "%" in href and existing(href, folder)  # a folder may have "%20" in its own name
    return os.path.normpath(folder / (href if literal else unquote(href)))


def links_with(document: Mapping[str, Any], relation: str) -> list[Mapping[str, Any]]:
    """The links of one relation in a document, whatever else stands among its links."""
    links = document.get("links")
    listed = links if isinstance(links, list) else []
    return [link for link in listed if isinstance(link, dict) and link.get("rel") == relation]


class Documents:
    """The documents of one catalogue, read under its rules; all that are read count.

    Args:
        rules: What the catalogue may lead to, and how much its servers may send.
        timeout: Seconds to wait between bytes of an answer, in place of thirty.
    """

    def __init__(self, rules: NetworkRules = UNRESTRICTED, timeout: float | None = None) -> None:
        self.rules, self.timeout = rules, timeout
        self._count, self._size = 0, 0
        self._lock = threading.Lock()

    def read_json(self, location: str, otherwise: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object at an address or path; `otherwise` stands for anything else there.

        Raises:
            CatalogUnavailable: The server or the file cannot be reached.
            CatalogError: Nothing is there, or something else, and there is no `otherwise`; or the
                rules do not allow it, or as much.
        """
        if is_web(location):
            content = self._of_web(location)
        else:
            content = self._counted(location, _file(location))
        self.require_count(location, 0)
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

    def read_all(
        self, locations: Sequence[str], otherwise: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """The documents of several locations, in their order, several at once over HTTP."""
        read = partial(self.read_json, otherwise=otherwise)
        if not any(is_web(location) for location in locations):
            return [read(location) for location in locations]
        with ThreadPoolExecutor(_CONCURRENT) as threads:
            return list(threads.map(read, locations))

    def answer(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        attempts: int = ATTEMPTS,
        method: str | None = None,
    ) -> bytes:
        """The answer to a GET, with a `body` to a POST, or to another method; after some attempts.

        Raises:
            Unreadable: The request fails, or the rules do not allow it.
            CatalogError: All documents together are more than the rules allow.
        """

        def attempt() -> bytes:
            try:
                return fetch(
                    url, self.timeout or RESPONSE_TIMEOUT, headers, body, self.rules, method
                )
            except Unreadable as error:
                pause = min(error.failure.pause, _LONGEST_PAUSE)
                raise Unreadable(replace(error.failure, pause=pause)) from None

        content = with_retries(attempt, attempts * _LONGEST_PAUSE, attempts=attempts)
        return self._counted(url, content)

    def require_depth(self, location: str, depth: int) -> None:
        """Raise CatalogError where a document is more levels deep than the rules allow."""
        if depth > self.rules.most_depth:
            raise _endless(
                location, f"it is more than {self.rules.most_depth} levels deep", "most_depth"
            )

    def require_count(self, location: str, count: int) -> None:
        """Raise CatalogError where as many more documents are more than the rules allow."""
        if self._count + count > self.rules.most_documents:
            problem = f"a search needs more than {self.rules.most_documents:,} documents of it"
            raise _endless(location, problem, "most_documents")

    def require_pages(self, location: str, pages: int) -> None:
        """Raise CatalogError where a list has more pages than the rules allow."""
        if pages > self.rules.most_pages:
            raise _endless(
                location, f"a list has more than {self.rules.most_pages:,} pages", "most_pages"
            )

    def _of_web(self, url: str) -> bytes:
        try:
            return self.answer(url)
        except Unreadable as error:
            failure = error.failure
        # Raised out here, so that the error has no cause whose text may show a secret.
        raise document_error(url, failure, secrets_of(url))

    def _counted(self, location: str, content: bytes) -> bytes:
        """A document, counted. Raises CatalogError where they are more than the rules allow."""
        rules = self.rules
        with self._lock:
            self._count += 1
            self._size += len(content)
            size = self._size
        if size > rules.most_data and is_web(location):
            problem = f"its documents are more than {rules.most_data / 1e6:g} MB together"
            raise _endless(location, problem, "most_data")
        return content


def _endless(location: str, problem: str, setting: str) -> CatalogError:
    return CatalogError(
        public_url(location),
        f"{problem}, so it may have no end",
        f"If it is right, raise {setting} under [network]; else give another catalogue",
    )


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
        return read_regular(location)
    except NotRegularFile as error:
        raise CatalogError(location, str(error.strerror), _LOOK) from None
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
