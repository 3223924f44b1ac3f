"""Items of a STAC API, month by month."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests
import shapely
from pystac.errors import STACError, STACTypeError
from pystac_client import Client, ConformanceClasses, ItemSearch
from pystac_client.errors import ClientTypeError
from pystac_client.stac_api_io import StacApiIO

from pipeline.catalog.json_client import fetch_document
from pipeline.catalog.static_catalog import absolute, links_of, unknown_collection
from pipeline.errors import CatalogError, CatalogUnavailable
from pipeline.grid.region import Region, outline
from pipeline.io.store import public_url

_Result = TypeVar("_Result")
_PAGE = 200  # items of one response
_SLICES_AT_ONCE = 4
_VERTICES = 500  # vertices of a region that servers accept in a request
_SAMPLE = 500  # items that show the years of a catalogue
# The errors of pystac and pystac-client for a document that is not the expected STAC.
_NOT_STAC = (
    KeyError, TypeError, ValueError, AttributeError, STACError, STACTypeError, ClientTypeError
)  # fmt: skip


@dataclass(frozen=True)
class StacApi:
    """One collection of the STAC API at `location`, with items of up to `max_cloud_cover` percent.

    A server with the Filter extension leaves cloudier items out. The Query extension is not used:
    it has no way to keep the items that do not state their cloud cover.
    """

    location: str
    collection: str
    max_cloud_cover: float

    def items(
        self, region: Region, period: tuple[datetime, datetime] | None
    ) -> Iterator[dict[str, Any]]:
        """Items that may reach into the region, with absolute hrefs.

        Args:
            region: The region.
            period: First moment, and first moment after. Without it come some hundred items of
                any time and cloud cover.

        Raises:
            CatalogError: The collection is unknown, or this is not a STAC API.
            CatalogUnavailable: The server fails.
        """
        client = self._guarded(self._client)
        search: dict[str, Any] = {
            "collections": [self.collection],
            "limit": _PAGE,
            "intersects": shapely.geometry.mapping(outline(region.geometry, _VERTICES)),
        }
        if period is None:
            sample = client.search(**search, max_items=_SAMPLE)
            yield from self._guarded(lambda: list(sample.items_as_dicts()))
            return
        self._require_collection(client)
        search |= self._cloud_filter(client)

        def month(slice_: tuple[datetime, datetime]) -> list[dict[str, Any]]:
            return self._guarded(lambda: self._all_pages(client.search(**search, datetime=slice_)))

        seen: set[str] = set()
        with ThreadPoolExecutor(_SLICES_AT_ONCE) as threads:
            for items in threads.map(month, _months(*period)):
                for item in items:
                    if (name := str(item.get("id"))) not in seen:
                        seen.add(name)
                        links = links_of((self.location, item), "self")
                        yield absolute(item, links[0] if links else self.location)

    def _client(self) -> Client:
        client = Client.open(self.location, stac_io=_StacIO(self.location))
        client.add_conforms_to("ITEM_SEARCH")  # its link to a search may be the only sign of it
        return client

    def _all_pages(self, search: ItemSearch) -> list[dict[str, Any]]:
        """The items of a search; raises CatalogError where its pages never end."""
        items: list[dict[str, Any]] = []
        seen: set[str] = set()
        for page in search.pages_as_dicts():
            known = len(seen)
            items += page["features"]
            seen.update(str(item.get("id")) for item in page["features"])
            if len(seen) == known:
                raise CatalogError(
                    public_url(self.location),
                    "its search gives the same page again and again",
                    "Report it to the catalogue's operator, or use another one",
                )
        return items

    def _cloud_filter(self, client: Client) -> dict[str, Any]:
        if self.max_cloud_cover >= 100 or not client.conforms_to(ConformanceClasses.FILTER):
            return {}
        cover = {"property": "eo:cloud_cover"}
        return {
            "filter": {
                "op": "or",
                "args": [
                    {"op": "isNull", "args": [cover]},
                    {"op": "<=", "args": [cover, self.max_cloud_cover]},
                ],
            }
        }

    def _require_collection(self, client: Client) -> None:
        if not client.conforms_to(ConformanceClasses.COLLECTIONS):
            return
        names = self._guarded(lambda: self._names_until_found(client))
        if self.collection not in names:
            raise unknown_collection(self.collection, self.location, names)

    def _names_until_found(self, client: Client) -> set[str]:
        names: set[str] = set()
        for collection in client.get_collections():
            if collection.id in names:
                break  # a server that gives the same page again and again
            names.add(collection.id)
            if collection.id == self.collection:
                break
        return names

    def _guarded(self, call: Callable[[], _Result]) -> _Result:
        """Call pystac-client; its errors become a CatalogError."""
        try:
            return call()
        except (CatalogError, CatalogUnavailable):
            raise
        except _NOT_STAC as error:
            kind = type(error).__name__
        raise CatalogError(  # out here, so that it has no cause whose text may show a secret
            public_url(self.location),
            f"its answers are not those of a STAC API ({kind})",
            "Check the address; it is that of the API's landing page",
        )


class _StacIO(StacApiIO):
    """Sends the requests of pystac-client by the project's own HTTP client.

    The user, password and query of `location` are added to requests to that server only.
    """

    def __init__(self, location: str) -> None:
        super().__init__(max_retries=None)
        self._own = urlsplit(location)

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """The text of a response; raises as `fetch_document`."""
        if (method or "GET").upper() == "POST":
            sent = {"Content-Type": "application/json", **(headers or {})}
            body = json.dumps(parameters).encode()
            return fetch_document(self._with_secrets(href), sent, body).decode()
        if parameters:
            href = requests.Request("GET", href, params=parameters).prepare().url or href
        return fetch_document(self._with_secrets(href), headers).decode()

    def _with_secrets(self, href: str) -> str:
        own, url = self._own, urlsplit(href)
        if (own.scheme, own.hostname, own.port) != (url.scheme, url.hostname, url.port):
            return href
        present = dict(parse_qsl(url.query))
        secret = [(key, value) for key, value in parse_qsl(own.query) if key not in present]
        query = "&".join(filter(None, (urlencode(secret), url.query)))
        return url._replace(netloc=own.netloc, query=query).geturl()


def _months(start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """The period in slices of a month.

    An API's intervals include their end, these do not: an item that comes twice is taken once, and
    `catalog.search` leaves out an item at the period's end.
    """
    starts = [start]
    while (later := (starts[-1].replace(day=1) + timedelta(days=32)).replace(day=1)) < end:
        starts.append(later)
    return list(zip(starts, [*starts[1:], end], strict=True))
