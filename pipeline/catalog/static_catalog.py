"""Items of catalogues without a search: a static STAC catalogue, a table, or saved items."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from models.files.regular_file import read_regular
from models.option import user_path
from pipeline.catalog.api_pages import matched_count
from pipeline.catalog.description import TABLE_REMEDY
from pipeline.catalog.item_snapshot import read_snapshot_stac
from pipeline.catalog.json_client import Documents, links_with, resolved
from pipeline.errors import CatalogError, OutputError
from pipeline.grid.region import Region
from pipeline.io.store import public_url

VIA = "via"
"""The relation of an item's link to the document from which it was read."""
Document = tuple[str, dict[str, Any]]  # its location, and its content


@dataclass(frozen=True)
class ItemTable:
    """The items of a stac-geoparquet file, as `timesen search` or another tool has written it."""

    path: str
    documents: Documents = field(default_factory=Documents)

    def items(
        self, region: Region, period: tuple[datetime, datetime] | None
    ) -> Iterator[dict[str, Any]]:
        """All items, whatever their place and time, with absolute hrefs. Raises CatalogError."""
        path = user_path(self.path).absolute()
        try:
            content = read_regular(path)
        except OSError as error:
            reason = f"it cannot be read ({(error.strerror or '').lower()})"
            raise CatalogError(self.path, reason, TABLE_REMEDY) from None
        try:
            for number, item in enumerate(read_snapshot_stac(content, self.path), 1):
                self.documents.require_count(self.path, number)
                yield absolute_by_self(item, str(path))
        except OutputError:
            raise CatalogError(self.path, "this is no table of items", TABLE_REMEDY) from None


@dataclass(frozen=True)
class ItemCollection:
    """The items of a FeatureCollection, as pystac-client and other tools save them.

    Attributes:
        location: Address or path of the document.
        document: The FeatureCollection.
        tolerate: Is told where it is one page of an answer that has more; None: that is an error.
    """

    location: str
    document: dict[str, Any]
    tolerate: Callable[[str], None] | None = None

    def items(
        self, region: Region, period: tuple[datetime, datetime] | None
    ) -> Iterator[dict[str, Any]]:
        """All items, whatever their place and time, with absolute hrefs. Raises CatalogError."""
        features = self.document.get("features")
        if not isinstance(features, list):
            raise CatalogError(
                public_url(self.location),
                "a FeatureCollection without a list of features",
                "Save the items of the search anew",
            )
        matched = matched_count(self.document)
        if links_with(self.document, "next") or (matched or 0) > len(features):
            self._incomplete(len(features), matched)
        for item in features:
            yield absolute_by_self(item if isinstance(item, dict) else {}, self.location)

    def _incomplete(self, count: int, matched: int | None) -> None:
        whole = f"of the {matched:,} items" if matched is not None else "items of those"
        problem = f"holds only {count:,} {whole} that its search has found"
        if self.tolerate is None:
            raise CatalogError(
                public_url(self.location),
                f"it {problem}: one page of several",
                "Save all pages, or give the address of the STAC API; accept_incomplete = true "
                "under [catalog] goes on with what is there",
            )
        self.tolerate(f"{public_url(self.location)} {problem}")


@dataclass(frozen=True)
class StaticCatalog:
    """Linked JSON files, all of which are read.

    `root` is the document at `location`. Where it leads to several collections, only the one
    named `collection` is followed.
    """

    location: str
    root: dict[str, Any]
    collection: str
    documents: Documents = field(default_factory=Documents)

    def items(
        self, region: Region, period: tuple[datetime, datetime] | None
    ) -> Iterable[dict[str, Any]]:
        """All items, whatever their place and time, with absolute hrefs. Raises CatalogError."""
        return self._items

    @cached_property
    def _items(self) -> list[dict[str, Any]]:
        seen = {self.location}
        places, collections = self._descend([(self.location, self.root)], seen, 0)
        if len(collections) > 1:
            places, collections = [], [self._chosen(collections)]
        depth = 0
        while collections:
            depth += 1
            places += [link for document in collections for link in links_of(document, "item")]
            found, collections = self._descend(self._unseen(collections, seen), seen, depth)
            places += found
        places = list(dict.fromkeys(places))
        self.documents.require_count(self.location, len(places))
        # An item that is none is refused alone.
        documents = self.documents.read_all(places, otherwise={})
        return [absolute(*pair) for pair in zip(documents, places, strict=True)]

    def _chosen(self, collections: list[Document]) -> Document:
        by_name = {str(content.get("id")): (place, content) for place, content in collections}
        if self.collection not in by_name:
            raise unknown_collection(self.collection, self.location, by_name)
        return by_name[self.collection]

    def _descend(
        self, documents: list[Document], seen: set[str], depth: int
    ) -> tuple[list[str], list[Document]]:
        """Item links of the plain catalogues below, and the collections to which these lead.

        `depth` is that of the documents, in levels.
        """
        items: list[str] = []
        collections: list[Document] = []
        while documents:
            self.documents.require_depth(self.location, depth)
            for document in documents:
                _require_stac(document)
            catalogs = [each for each in documents if each[1]["type"] == "Catalog"]
            collections += [each for each in documents if each[1]["type"] == "Collection"]
            items += [link for each in catalogs for link in links_of(each, "item")]
            documents, depth = self._unseen(catalogs, seen), depth + 1
        return items, collections

    def _unseen(self, parents: list[Document], seen: set[str]) -> list[Document]:
        """The children of documents, each once, whatever circles the links make."""
        links = dict.fromkeys(link for parent in parents for link in links_of(parent, "child"))
        fresh = [link for link in links if link not in seen]
        seen.update(fresh)
        self.documents.require_count(self.location, len(fresh))
        return list(zip(fresh, self.documents.read_all(fresh), strict=True))


def absolute(item: dict[str, Any], location: str, via: str = "") -> dict[str, Any]:
    """The item with absolute hrefs of its assets, and of its links to itself and its collection.

    A link of relation `VIA` leads to the document that holds it: `via`, or `location`.

    What is malformed stays as it is, for `pipeline.catalog.search` to refuse the item alone.
    """
    published = item.get("assets")
    if not isinstance(published or {}, dict) or not isinstance(item.get("links") or [], list):
        return item
    assets: dict[str, Any] = {}
    for key, asset in (published or {}).items():
        if isinstance(asset, dict) and asset.get("href"):
            assets[key] = asset
            with contextlib.suppress(CatalogError):
                assets[key] = {**asset, "href": resolved(location, asset["href"])}
    links = [{"rel": "self", "href": location}, {"rel": VIA, "href": via or location}]
    with contextlib.suppress(CatalogError):
        hrefs = links_of((location, item), "collection")
        links += [{"rel": "collection", "href": href} for href in hrefs]
    return {**item, "assets": assets, "links": links}


def absolute_by_self(item: dict[str, Any], location: str) -> dict[str, Any]:
    """The item with absolute hrefs by its link to itself, else by the `location` it came from."""
    via = location
    with contextlib.suppress(CatalogError):
        location = next(iter(links_of((location, item), "self")), location)
    return absolute(item, location, via)


def links_of(document: Document, relation: str) -> list[str]:
    """The absolute hrefs of a document's links of one relation."""
    location, content = document
    return [
        resolved(location, link["href"])
        for link in links_with(content, relation)
        if link.get("href")
    ]


def unknown_collection(name: str, location: str, known: Iterable[str]) -> CatalogError:
    """The error for a collection that a catalogue does not have."""
    others = ", ".join(sorted(known)[:20]) or "no other"
    return CatalogError(
        f"collection {name!r}",
        f"{public_url(location)} has no such collection, but {others}",
        "Name one of these under [catalog]",
    )


def _require_stac(document: Document) -> None:
    location, content = document
    is_stac = content.get("type") in ("Catalog", "Collection")
    if not is_stac or not isinstance(content.get("links"), list):
        raise CatalogError(
            public_url(location),
            "not a STAC catalogue or collection",
            "Give the folder or address of a catalog.json or collection.json, or a STAC API",
        )
