"""Items of a STAC API, month by month."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import requests
import shapely
from pystac.errors import STACError, STACTypeError
from pystac_client import Client, ConformanceClasses, ItemSearch
from pystac_client.errors import ClientTypeError
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO

from pipeline.catalog.json_client import RESPONSE_TIMEOUT, equipped, failure_reason, unavailable
from pipeline.catalog.static_catalog import absolute, links_of
from pipeline.errors import CatalogError, CatalogUnavailable
from pipeline.grid.region import Region, outline
from pipeline.io.store import public_url

_Answer = TypeVar("_Answer")
_PAGE = 200  # items an answer
_SLICES_AT_ONCE = 4
_VERTICES = 500  # vertices of a region that servers take in a request
_FOREIGN = (STACError, STACTypeError, ClientTypeError)  # of documents that are no STAC
_LOOK_AT = 500  # items from which the years of a catalogue are told


@dataclass(frozen=True)
class StacApi:
    """A STAC API at `location`, asked for one collection; clouds up to `max_cloud_cover` percent.

    The server narrows by cloud cover where it says that it can (Filter extension). The Query
    extension cannot: it has no way to keep the items that do not say how cloudy they are.
    """

    location: str
    collection: str
    max_cloud_cover: float

    def candidates(
        self, region: Region, period: tuple[datetime, datetime]
    ) -> Iterator[dict[str, Any]]:
        """Items of the period that may reach into the region, with absolute hrefs.

        Raises CatalogError for an unknown collection, CatalogUnavailable where it fails.
        """
        client = self._client()
        self._require_collection(client)
        search = {**self._asked(client), "intersects": _asked_ground(region)}

        def month(slice_: tuple[datetime, datetime]) -> list[dict[str, Any]]:
            return self._answered(lambda: self._all_pages(client.search(**search, datetime=slice_)))

        seen: set[str] = set()
        with ThreadPoolExecutor(_SLICES_AT_ONCE) as threads:
            for items in threads.map(month, _months(*period)):
                for item in items:
                    if (name := str(item.get("id"))) not in seen:
                        seen.add(name)
                        yield absolute(item, _self_link(item, self.location))

    def of_any_time(self, region: Region) -> Iterator[dict[str, Any]]:
        """Some hundred items of the region, whatever their time and clouds."""
        client = self._client()
        search = client.search(
            collections=[self.collection],
            intersects=_asked_ground(region),
            limit=_PAGE,
            max_items=_LOOK_AT,
        )
        yield from self._answered(lambda: list(search.items_as_dicts()))

    def _client(self) -> Client:
        io = StacApiIO()
        equipped(io.session)
        client = self._answered(
            lambda: Client.open(
                self.location,
                stac_io=io,
                timeout=RESPONSE_TIMEOUT,
                request_modifier=partial(_with_secrets, self.location),
            )
        )
        client.add_conforms_to("ITEM_SEARCH")  # its link to a search says so, if nothing else does
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
                    "Tell who runs the catalogue, or use another one",
                )
        return items

    def _asked(self, client: Client) -> dict[str, Any]:
        asked: dict[str, Any] = {"collections": [self.collection], "limit": _PAGE}
        if self.max_cloud_cover >= 100:
            return asked
        if client.conforms_to(ConformanceClasses.FILTER):
            cover = {"property": "eo:cloud_cover"}
            asked["filter"] = {
                "op": "or",
                "args": [
                    {"op": "isNull", "args": [cover]},
                    {"op": "<=", "args": [cover, self.max_cloud_cover]},
                ],
            }
        return asked

    def _require_collection(self, client: Client) -> None:
        if not client.conforms_to(ConformanceClasses.COLLECTIONS):
            return
        names = self._answered(lambda: self._names_until_found(client))
        if self.collection not in names:
            raise CatalogError(
                f"collection {self.collection!r}",
                f"{public_url(self.location)} has no such collection, but "
                + ", ".join(sorted(names)[:20]),
                "Name one of these under [catalog]",
            )

    def _names_until_found(self, client: Client) -> set[str]:
        names: set[str] = set()
        for collection in client.get_collections():
            if collection.id in names:
                break  # a server that gives the same page again and again
            names.add(collection.id)
            if collection.id == self.collection:
                break
        return names

    def _answered(self, ask: Callable[[], _Answer]) -> _Answer:
        error: CatalogError | CatalogUnavailable
        try:
            return ask()
        except CatalogError:
            raise
        except APIError as failure:
            error = unavailable(self.location, _reason(failure))
        except (KeyError, TypeError, ValueError, AttributeError, *_FOREIGN) as cause:
            error = CatalogError(
                public_url(self.location),
                f"its answers are not those of a STAC API ({type(cause).__name__})",
                "Check the address; it is that of the API's landing page",
            )
        raise error  # out here, so that it holds no cause whose text may show a secret


def _with_secrets(location: str, request: requests.Request) -> requests.Request:
    """The request, with the user, password and query of `location` where it is to that server."""
    own, asked = urlsplit(location), urlsplit(request.url)
    if (own.scheme, own.hostname, own.port) == (asked.scheme, asked.hostname, asked.port):
        if own.username or own.password:
            request.auth = (unquote(own.username or ""), unquote(own.password or ""))
        there = dict(parse_qsl(asked.query))
        query = {key: value for key, value in parse_qsl(own.query) if key not in there}
        request.params = {**query, **request.params}
    return request


def _reason(error: APIError) -> str:
    status = getattr(error, "status_code", None)  # not there at all where nothing was answered
    return f"status {status}" if status else failure_reason(error)


def _months(start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """The period in slices of a month.

    An API's intervals include their end, ours do not: what it gives twice is taken once, and what
    lies at the period's end is left out by `catalog.search`.
    """
    starts = [start]
    while (later := (starts[-1].replace(day=1) + timedelta(days=32)).replace(day=1)) < end:
        starts.append(later)
    ends = [*starts[1:], end]
    return list(zip(starts, ends, strict=True))


def _asked_ground(region: Region) -> dict[str, Any]:
    geometry: dict[str, Any] = shapely.geometry.mapping(outline(region.geometry, _VERTICES))
    return geometry


def _self_link(item: dict[str, Any], otherwise: str) -> str:
    return next(iter(links_of((otherwise, item), "self")), otherwise)
