"""Items of a STAC API, month by month."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline.catalog.api_pages import (
    ApiRequest,
    ApiServer,
    EndlessPages,
    method_of,
    unseen,
)
from pipeline.catalog.json_client import ATTEMPTS, Documents, links_with, resolved
from pipeline.catalog.static_catalog import absolute_by_self, links_of, unknown_collection
from pipeline.errors import CatalogError, CatalogUnavailable
from pipeline.grid.region import Region, outline
from pipeline.io.store import public_url
from pipeline.io.times import format_time
from pipeline.raster.read_errors import ReadFailure, Unreadable

_PAGE = 200  # items of one response, until the server refuses that many
_SLICES_AT_ONCE = 4
_VERTICES = 500  # vertices of a region that servers accept in the body of a request
_SHORT_VERTICES = 40  # … in an address
_LONGEST_QUERY = 1500  # characters of a region in an address; a longer one is sent as a box
_DIGITS = 5  # decimals of a degree in an address: 1 m
_SAMPLE = 500  # items that show the years of a catalogue
_NO_METHOD = (403, 404, 405, 501)  # statuses of a server that has no search by this method
_TOO_MANY = (400, 413, 414, 422)  # statuses of a server that may give fewer items at once

Slice = tuple[datetime, datetime]


class _Way(NamedTuple):
    """A way to search: GET or POST, and where."""

    method: str
    href: str


class _Found(NamedTuple):
    """The items of a slice, and how many there are by the server."""

    slice: Slice | None
    items: list[Any]
    matched: int | None


@dataclass(frozen=True)
class StacApi:
    """One collection of the STAC API at `location`, with items of up to `max_cloud_cover` percent.

    A server with the Filter extension leaves cloudier items out. The Query extension is not used:
    it has no way to keep the items that do not state their cloud cover.

    Attributes:
        location: The address of its landing page.
        collection: The collection.
        max_cloud_cover: Percent.
        tolerate: Is told where the server gives fewer items than it says that it has; None: that
            is an error.
        documents: Reads its documents.
    """

    location: str
    collection: str
    max_cloud_cover: float
    tolerate: Callable[[str], None] | None = None
    documents: Documents = field(default_factory=Documents)

    def items(self, region: Region, period: Slice | None) -> Iterator[dict[str, Any]]:
        """Items that may reach into the region, with absolute hrefs; malformed ones as they are.

        Args:
            region: The region.
            period: First moment, and first moment after. Without it come some hundred items of
                any time and cloud cover.

        Raises:
            CatalogError: The collection is unknown, or this is not a STAC API.
            CatalogUnavailable: The server fails, or gives a part of the items only.
        """
        root = self.documents.read_json(self.location)
        server = ApiServer(self.location, self.documents)
        if not (ways := _ways(self.location, root)):
            raise server.no_api("its landing page has no link to a search")
        search = _Search(server, self.collection, _areas(region.geometry), ways)
        if period is None:
            yield from self._absolute(search.found(None, most=_SAMPLE).items)
            return
        self._require_collection(server, root)
        search.filter = self._cloud_filter(root)
        given: list[_Found] = []
        seen: set[str] = set()
        with ThreadPoolExecutor(_SLICES_AT_ONCE) as threads:
            for found in threads.map(search.found, _months(*period)):
                given.append(found)
                yield from self._absolute([item for item in found.items if unseen(item, seen)])
        self._require_all(given)

    def _absolute(self, items: list[Any]) -> Iterator[dict[str, Any]]:
        for item in items:
            yield absolute_by_self(item if isinstance(item, dict) else {}, self.location)

    def _require_all(self, given: list[_Found]) -> None:
        """Require as many items as the server has said that there are."""
        short = [found for found in given if len(found.items) < (found.matched or 0)]
        if not short:
            return
        worst = max(short, key=lambda found: (found.matched or 0) - len(found.items))
        others = f" (and too few of {len(short) - 1} other months)" if len(short) > 1 else ""
        month = f"{worst.slice[0]:%Y-%m}" if worst.slice else "all times"
        problem = (
            f"{public_url(self.location)} gave {len(worst.items)} of the {worst.matched} items "
            f"that it says it has of {month}{others}"
        )
        if self.tolerate is not None:
            self.tolerate(problem)
            return
        raise CatalogUnavailable(
            f"The catalogue {problem}, and no further page. A map from a part of the year is a "
            "wrong map: start again later or use another catalogue, or set accept_incomplete = "
            "true under [catalog] to go on with what it gives."
        )

    def _cloud_filter(self, root: Mapping[str, Any]) -> dict[str, Any]:
        if self.max_cloud_cover >= 100 or not _conforms(root, "/item-search#filter"):
            return {}
        cover = {"property": "eo:cloud_cover"}
        return {
            "filter-lang": "cql2-json",
            "filter": {
                "op": "or",
                "args": [
                    {"op": "isNull", "args": [cover]},
                    {"op": "<=", "args": [cover, self.max_cloud_cover]},
                ],
            },
        }

    def _require_collection(self, server: ApiServer, root: Mapping[str, Any]) -> None:
        """Raise CatalogError where the API shows that it does not have the collection.

        Nothing but ids is read, and where it does not show them the search will tell.
        """
        if not _conforms(root, "/collections"):
            return
        usual = resolved(self.location.partition("?")[0].rstrip("/") + "/", "collections")
        listing = next(iter(links_of((self.location, dict(root)), "data")), usual)
        plain = urlsplit(listing)._replace(query="", fragment="").geturl().rstrip("/")
        names: set[str] = set()
        try:
            if self._answers_for_collection(server, f"{plain}/{quote(self.collection, safe='')}"):
                return
            for page in server.pages(ApiRequest(listing), "collections", attempts=2):
                ids = (each.get("id") for each in page.fresh if isinstance(each, dict))
                names.update(name for name in ids if isinstance(name, str))
                if self.collection in names:
                    return
        except (Unreadable, CatalogError):
            return
        except EndlessPages:
            pass  # all that it has was seen
        raise unknown_collection(self.collection, self.location, names)

    def _answers_for_collection(self, server: ApiServer, href: str) -> bool:
        try:
            return server.ask(ApiRequest(href), attempts=2).get("id") == self.collection
        except (Unreadable, CatalogError):
            return False


@dataclass
class _Search:
    """A search in slices of time, and what the server's answers say on how it wants to be asked.

    Attributes:
        server: The server.
        collection: The collection.
        areas: The parameters of the area, by method.
        ways: The ways to search that it has not refused, the preferred one first.
        filter: The parameters of a filter; only a POST has one.
        page: The most items of a page that it has not refused.
        attempts: How often a request is sent while its failure may pass.
    """

    server: ApiServer
    collection: str
    areas: Mapping[str, Mapping[str, Any]]
    ways: list[_Way]
    filter: Mapping[str, Any] = field(default_factory=dict)
    page: int = _PAGE
    attempts: int = ATTEMPTS
    lock: threading.Lock = field(default_factory=threading.Lock)

    def found(self, slice_: Slice | None, most: int | None = None) -> _Found:
        """The items of a slice of time, each once; `most` of them are enough.

        A search that fails is begun anew with what its failure has shown: half a page, or another
        way. To go on in the middle with pages of another size would leave items out.
        """
        while True:
            way, page = self.ways[0], self.page
            request = self._request(way, page, slice_)
            try:
                found = self._all_pages(request, slice_, most)
                self.attempts = ATTEMPTS
                return found
            except Unreadable as error:
                failure = error.failure
            if not self._learns(way, page, failure):
                raise self.server.failed(request, failure)

    def _all_pages(self, request: ApiRequest, slice_: Slice | None, most: int | None) -> _Found:
        items: list[Any] = []
        matched: int | None = None
        try:
            for page in self.server.pages(request, "features", self.attempts):
                items += page.fresh
                matched = max(filter(None, (matched, page.matched)), default=None)
                if most is not None and len(items) >= most:
                    break
        except EndlessPages:
            if matched is None or len(items) < matched:
                raise CatalogError(
                    public_url(self.server.location),
                    "its search gives the same page again and again",
                    "Report it to the catalogue's operator, or use another one",
                ) from None
        return _Found(slice_, items, matched)

    def _learns(self, way: _Way, page: int, failure: ReadFailure) -> bool:
        """Whether a failed search may succeed in another way, which is then the first."""
        status = failure.status or 0
        with self.lock:
            if status in _NO_METHOD and (len(self.ways) > 1 or way not in self.ways):
                self.ways = [other for other in self.ways if other != way]
                return True
            # A server that names a pause is busy; its pages are not too large.
            overtaxed = status >= 500 and status not in _NO_METHOD and not failure.pause
            if (overtaxed or status in _TOO_MANY) and page > 1:
                self.page = min(self.page, page // 2)
                if overtaxed:  # it was asked often enough, if it fails whatever the page
                    self.attempts = 2
                return True
        return False

    def _request(self, way: _Way, page: int, slice_: Slice | None) -> ApiRequest:
        when = {"datetime": "/".join(map(format_time, slice_))} if slice_ else {}
        area = self.areas[way.method]
        if way.method == "POST":
            body = {"collections": [self.collection], "limit": page, **area, **when, **self.filter}
            return ApiRequest(way.href, body)
        query = {"collections": self.collection, "limit": page, **area, **when}
        return ApiRequest(f"{way.href}{'&' if '?' in way.href else '?'}{urlencode(query)}")


def _areas(ground: BaseGeometry) -> dict[str, dict[str, Any]]:
    """The parameters of an area, by method; larger than it is, rather than longer than fits."""
    body = {"intersects": shapely.geometry.mapping(outline(ground, _VERTICES))}
    short = shapely.transform(outline(ground, _SHORT_VERTICES), lambda xy: np.round(xy, _DIGITS))
    text = json.dumps(shapely.geometry.mapping(short), separators=(",", ":"))
    if len(text) <= _LONGEST_QUERY:
        return {"POST": body, "GET": {"intersects": text}}
    return {"POST": body, "GET": {"bbox": ",".join(map(str, ground.bounds))}}


def _ways(location: str, root: Mapping[str, Any]) -> list[_Way]:
    """The ways to search, POST first where it is advertised: an address holds a small area only."""
    links = [link for link in links_with(root, "search") if link.get("href")]
    hrefs = {method_of(link): resolved(location, link["href"]) for link in links}
    order = ("POST", "GET") if "POST" in hrefs else ("GET", "POST")
    return [_Way(each, hrefs.get(each) or next(iter(hrefs.values()))) for each in order if hrefs]


def _conforms(root: Mapping[str, Any], name: str) -> bool:
    """Whether the landing page states a conformance class, whatever its version."""
    stated = root.get("conformsTo")
    return isinstance(stated, list) and any(name in str(uri) for uri in stated)


def _months(start: datetime, end: datetime) -> list[Slice]:
    """The period in slices of a month.

    An API's intervals include their end, these do not: an item that comes twice is taken once, and
    `catalog.search` leaves out an item at the period's end.
    """
    starts = [start]
    while (later := (starts[-1].replace(day=1) + timedelta(days=32)).replace(day=1)) < end:
        starts.append(later)
    return list(zip(starts, [*starts[1:], end], strict=True))
