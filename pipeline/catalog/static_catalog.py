"""Items of a static STAC catalogue: linked JSON files in a folder or on a server."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from pipeline.catalog.json_client import JsonClient, resolved
from pipeline.errors import CatalogError
from pipeline.grid.region import Region
from pipeline.io.store import public_url

Place = tuple[str, dict[str, Any]]  # where a document is, and what it holds


@dataclass(frozen=True)
class StaticCatalog:
    """A catalogue without a search: all items that its links lead to are read, then chosen from.

    `root` is the document at `location`. Where it leads to several collections, only the one
    named `collection` is followed.
    """

    client: JsonClient
    location: str
    root: dict[str, Any]
    collection: str

    def candidates(
        self, region: Region, period: tuple[datetime, datetime]
    ) -> Iterator[dict[str, Any]]:
        """All items, whatever their place and time, with absolute hrefs. Raises CatalogError."""
        yield from self._items

    def of_any_time(self, region: Region) -> Iterator[dict[str, Any]]:
        """All items."""
        yield from self._items

    @cached_property
    def _items(self) -> list[dict[str, Any]]:
        seen = {self.location}
        places, collections = self._descend([(self.location, self.root)], seen)
        if len(collections) > 1:
            places, collections = [], [self._chosen(collections)]
        while collections:
            places += [link for place in collections for link in links_of(place, "item")]
            below = self._unseen(collections, seen)
            found, collections = self._descend(below, seen)
            places += found
        places = list(dict.fromkeys(places))
        return [
            absolute(item, place)
            for place, item in zip(places, self.client.read_all(places), strict=True)
        ]

    def _chosen(self, collections: list[Place]) -> Place:
        for place in collections:
            if place[1].get("id") == self.collection:
                return place
        raise CatalogError(
            f"collection {self.collection!r}",
            f"{public_url(self.location)} has no such collection, but "
            + ", ".join(sorted(str(place[1].get("id")) for place in collections)),
            "Name one of these under [catalog]",
        )

    def _descend(self, places: list[Place], seen: set[str]) -> tuple[list[str], list[Place]]:
        """Item links of plain catalogues below `places`, and the collections that these lead to."""
        items: list[str] = []
        collections: list[Place] = []
        while places:
            for place in places:
                _require_stac(place)
            catalogs = [place for place in places if place[1]["type"] == "Catalog"]
            collections += [place for place in places if place[1]["type"] == "Collection"]
            items += [link for place in catalogs for link in links_of(place, "item")]
            places = self._unseen(catalogs, seen)
        return items, collections

    def _unseen(self, parents: list[Place], seen: set[str]) -> list[Place]:
        """What the children links lead to, each document once, whatever circles they make."""
        links = dict.fromkeys(link for place in parents for link in links_of(place, "child"))
        fresh = [link for link in links if link not in seen]
        seen.update(fresh)
        return list(zip(fresh, self.client.read_all(fresh), strict=True))


def absolute(item: dict[str, Any], location: str) -> dict[str, Any]:
    """The item with the hrefs of its assets made absolute, as its links: itself, collection.

    Raises CatalogError for what is no item.
    """
    if item.get("type") != "Feature" or not isinstance(item.get("properties"), dict):
        raise CatalogError(public_url(location), "not a STAC item", "Correct the catalogue's links")
    stated = item.get("assets")
    assets = {
        key: {**asset, "href": resolved(location, str(asset["href"]))}
        for key, asset in (stated.items() if isinstance(stated, dict) else ())
        if isinstance(asset, dict) and asset.get("href")
    }
    links = [{"rel": "self", "href": location}]
    links += [{"rel": "collection", "href": h} for h in links_of((location, item), "collection")]
    return {**item, "assets": assets, "links": links}


def links_of(place: Place, relation: str) -> list[str]:
    """Where the links of a relation lead, absolute."""
    location, document = place
    return [
        resolved(location, str(link["href"]))
        for link in document.get("links") or []
        if isinstance(link, dict) and link.get("rel") == relation and link.get("href")
    ]


def _require_stac(place: Place) -> None:
    location, document = place
    if document.get("type") not in ("Catalog", "Collection") or "links" not in document:
        raise CatalogError(
            public_url(location), "not a STAC catalogue or collection",
            "Give the folder or address of a catalog.json or collection.json, or a STAC API",
        )  # fmt: skip
