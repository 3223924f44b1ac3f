"""Requests to a STAC API, and the pages of its answers."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from models.files.json_text import parse_json
from pipeline.catalog.json_client import (
    ATTEMPTS,
    Documents,
    document_error,
    links_with,
    resolved,
    secrets_of,
)
from pipeline.errors import CatalogError, CatalogUnavailable
from pipeline.io.store import public_url
from pipeline.raster.read_errors import ReadFailure

_IDLE_PAGES = 100  # pages in a row without anything new, after which a search has no end


class EndlessPages(Exception):
    """Pages lead back to one that was there, or to ever more without anything new."""


@dataclass(frozen=True)
class ApiRequest:
    """A GET, or with a `body` a POST."""

    href: str
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def whole(self) -> str:
        """What another request has in common only if it asks for the same page."""
        return json.dumps([self.href, self.body], sort_keys=True)

    @property
    def token(self) -> str | None:
        """The token of the page, if there is one; or an API's key of that name."""
        query = dict(parse_qsl(urlsplit(self.href).query))
        token = (self.body or query).get("token")
        return None if token is None else f"token {token}"


@dataclass(frozen=True)
class ApiPage:
    """What a page adds: its entries that no page before had, and the number of all that match."""

    fresh: list[Any]
    matched: int | None


@dataclass(frozen=True)
class ApiServer:
    """The server of the STAC API at `location`, which may hold a user, a password and a query.

    They are added to requests to that server only, and so are `headers`.
    """

    location: str
    documents: Documents = field(default_factory=Documents)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def ask(self, request: ApiRequest, attempts: int = ATTEMPTS) -> dict[str, Any]:
        """The JSON object that answers a request.

        Raises:
            Unreadable: The request failed.
            CatalogError: The answer is something else, or all are more than the rules allow.
        """
        content = self.send(request, attempts)
        try:
            document = parse_json(content)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise self.no_api("an answer is no JSON object")
        return document

    def send(
        self, request: ApiRequest, attempts: int = ATTEMPTS, method: str | None = None
    ) -> bytes:
        """The answer to a request, by another method than GET or POST if one is given.

        Raises:
            Unreadable: The request failed.
            CatalogError: All answers are more than the rules allow.
        """
        headers, body = dict(request.headers), None
        if request.body is not None:
            headers = {"Content-Type": "application/json", **headers}
            body = json.dumps(request.body).encode()
        href = request.href
        if self._is_own(href):
            href, headers = self._with_secrets(href), {**headers, **self.headers}
        return self.documents.answer(href, headers, body, attempts, method)

    def pages(
        self, request: ApiRequest, entries: str, attempts: int = ATTEMPTS
    ) -> Iterator[ApiPage]:
        """The pages of a list, from the first on; `entries` is its name in the answers.

        Raises:
            Unreadable: A request failed.
            EndlessPages: The pages have no end.
            CatalogError: An answer is no page, or there are more than the rules allow.
        """
        following: ApiRequest | None = request
        asked: set[str] = set()
        seen: set[str] = set()
        idle, count = 0, 0
        while following is not None:
            count += 1
            self.documents.require_pages(self.location, count)
            token = following.token
            if following.whole in asked or (idle and token in asked) or idle > _IDLE_PAGES:
                raise EndlessPages
            asked |= {following.whole, *filter(None, [token])}
            document = self.ask(following, attempts)
            listed = document.get(entries)
            if not isinstance(listed, list):
                raise self.no_api(f"an answer has no list of {entries}")
            fresh = [entry for entry in listed if unseen(entry, seen)]
            idle = 0 if fresh else idle + 1
            yield ApiPage(fresh, matched_count(document))
            following = self._next(document, following)

    def no_api(self, problem: str) -> CatalogError:
        """The error for an answer that is not one of a STAC API."""
        return CatalogError(
            public_url(self.location),
            f"its answers are not those of a STAC API ({problem})",
            "Check the address; it is that of the API's landing page",
        )

    def failed(
        self, request: ApiRequest, failure: ReadFailure
    ) -> CatalogError | CatalogUnavailable:
        """The error for a request that failed."""
        return document_error(request.href, failure, secrets_of(self.location))

    def _next(self, document: Mapping[str, Any], request: ApiRequest) -> ApiRequest | None:
        """The request for the page after the one that answered `request`, if there is one."""
        link = next(iter(links_with(document, "next")), None)
        if link is None:
            return None
        href = resolved(request.href, link["href"]) if link.get("href") else request.href
        headers = link.get("headers")
        sent = {str(k): str(v) for k, v in headers.items()} if isinstance(headers, dict) else {}
        if method_of(link) != "POST":
            return ApiRequest(href, headers=sent)
        body, earlier = link.get("body"), request.body or {}
        if body is not None and not isinstance(body, dict):
            raise self.no_api("the body of a next link is no JSON object")
        if body is None or link.get("merge"):
            body = {**earlier, **(body or {})}
        return ApiRequest(href, body, {**request.headers, **sent} if link.get("merge") else sent)

    def _is_own(self, href: str) -> bool:
        own, url = urlsplit(self.location), urlsplit(href)
        return (own.scheme, own.hostname, own.port) == (url.scheme, url.hostname, url.port)

    def _with_secrets(self, href: str) -> str:
        own, url = urlsplit(self.location), urlsplit(href)
        present = dict(parse_qsl(url.query))
        secret = [(key, value) for key, value in parse_qsl(own.query) if key not in present]
        query = "&".join(filter(None, (urlencode(secret), url.query)))
        return url._replace(netloc=own.netloc, query=query).geturl()


def method_of(link: Mapping[str, Any]) -> str:
    """The HTTP method of a link, in capitals."""
    return str(link.get("method") or "GET").upper()


def unseen(entry: Any, seen: set[str]) -> bool:
    """Whether no entry of this id was seen, or without id none of this content; note it as seen."""
    name = entry.get("id") if isinstance(entry, dict) else None
    known = len(seen)
    seen.add(name if name and isinstance(name, str) else _content(entry))
    return len(seen) > known


def _content(entry: Any) -> str:
    try:
        return json.dumps(entry, sort_keys=True)
    except RecursionError:  # it was just not too deep to be read
        return f"{id(entry)}"


def matched_count(document: Mapping[str, Any]) -> int | None:
    """The number of entries that match a search, as OGC and earlier STAC APIs state it."""
    for place in (document, document.get("context"), document.get("search:metadata")):
        for key in ("numberMatched", "matched"):
            count = place.get(key) if isinstance(place, dict) else None
            if isinstance(count, int) and not isinstance(count, bool):
                return count
    return None
