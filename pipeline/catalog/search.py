"""The Sentinel-2 L2A items of a region and a year, of whatever kind the catalogue is."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn, Protocol

import shapely

from pipeline.catalog.description import (
    CatalogDescription,
    is_table,
    shipped_catalogs,
)
from pipeline.catalog.item import Item
from pipeline.catalog.item_assets import Conventions, band_keys, understood
from pipeline.catalog.item_geometry import footprint_of
from pipeline.catalog.item_snapshot import unsigned
from pipeline.catalog.json_client import JsonClient, is_web, resolved
from pipeline.catalog.normalise import (
    cloud_cover_of,
    moment_of,
    normalise,
    resolve_duplicates,
)
from pipeline.catalog.parquet_catalog import ItemTable
from pipeline.catalog.stac_api import StacApi
from pipeline.catalog.static_catalog import StaticCatalog
from pipeline.errors import CatalogError, CatalogUnavailable, RegionError
from pipeline.grid.mgrs import wrapped
from pipeline.grid.region import Region, outline
from pipeline.io.redaction import expanded
from pipeline.io.store import public_url
from pipeline.raster.access import Access
from pipeline.settings.map import SearchSettings

_FILES = ("catalog.json", "collection.json")
# Degrees around a region in which items are looked for. Footprints have few corners, and an edge of
# 110 km that is straight in degrees lies 0.004° of latitude off the granule's own at 60° north or
# south, 0.019° at 84°: what lies between is in the granule, but not in its footprint.
_AROUND = 0.02
_VERTICES = 500  # of a region that is grown as it is


class Catalog(Protocol):
    """Where items are asked for."""

    def candidates(
        self, region: Region, period: tuple[datetime, datetime]
    ) -> Iterable[dict[str, Any]]:
        """Items as published, hrefs absolute: all that are asked for, perhaps more."""

    def of_any_time(self, region: Region) -> Iterable[dict[str, Any]]:
        """Some items that reach into the region, of whatever time, or more."""


@dataclass(frozen=True)
class Found:
    """What a search gave, sorted by time and id.

    `published` are the STAC items, with the assets that are read; `items` are the same in normal
    form, duplicates resolved. `refused` holds the error of each item that cannot be used.
    """

    published: list[dict[str, Any]]
    items: list[Item]
    refused: tuple[CatalogError, ...]


def search(region: Region, settings: SearchSettings, description: CatalogDescription) -> Found:
    """Search a catalogue for the items that reach near a region in twelve months.

    Granules cloudier than `catalog.max_cloud_cover` are left out, and items that cannot be brought
    into normal form. Hrefs are absolute and unsigned.

    Args:
        region: The region; items within some hundred metres of it are found, too.
        settings: The twelve months and the cloud cover that is allowed.
        description: What `describe_catalog` gives for `settings.catalog`.

    Raises:
        RegionError: No item reaches into the region.
        CatalogError: There are none of the year, none can be used, or this is no catalogue.
        CatalogUnavailable: The catalogue does not answer.
    """
    catalog = open_catalog(description, settings.catalog.max_cloud_cover)
    conventions, access = description.conventions, description.access.access()
    period = period_of(settings)
    most = settings.catalog.max_cloud_cover
    shapely.prepare(region.geometry)
    published: list[dict[str, Any]] = []
    normal: list[Item] = []
    cloudier: list[float] = []
    refused: list[CatalogError] = []
    for item in catalog.candidates(_around(region), period):
        try:
            if not (_reaches(item, region) and period[0] <= moment_of(item) < period[1]):
                continue
            if (cover := cloud_cover_of(item) or 0.0) > most:
                cloudier.append(cover)
                continue
            item = _trimmed(item, conventions, access)
            normal.append(normalise(item, conventions))
            published.append(item)
        except CatalogError as error:
            refused.append(error)
    if cloudier and not published:
        raise CatalogError(
            f"max_cloud_cover = {most:g}",
            f"all {len(cloudier)} items are cloudier; the clearest has {min(cloudier):g} %",
            "Raise it under [catalog]",
        )
    if refused and not published:
        raise CatalogError(
            public_url(settings.catalog.url),
            f"none of its items of the region and year can be used ({len(refused)}), for one: "
            f"{refused[0].given}: {refused[0].problem}",
            refused[0].remedy,
        )
    if not published:
        _raise_nothing_found(catalog, region, period, settings)
    published.sort(key=lambda item: (moment_of(item), str(item["id"])))
    return Found(published, resolve_duplicates(normal), tuple(refused))


def period_of(settings: SearchSettings) -> tuple[datetime, datetime]:
    """The twelve months of a run, UTC: first moment, and first moment after."""
    year, month = settings.year, settings.first_month
    return datetime(year, month, 1, tzinfo=UTC), datetime(year + 1, month, 1, tzinfo=UTC)


def open_catalog(description: CatalogDescription, max_cloud_cover: float = 100.0) -> Catalog:
    """The catalogue at an address, in a folder or in a table of items.

    A web address that offers a search is a STAC API, else a static catalogue. Raises CatalogError
    for what is neither, CatalogUnavailable where it does not answer.
    """
    if is_table(description.url):
        return ItemTable(description.url)
    location, collection = expanded(description.url), description.collection
    client = JsonClient()
    if not is_web(location):
        location = str(_file_of(resolved("/", location) if "://" in location else location))
        return StaticCatalog(client, location, client.read(location), collection)
    root = _read_root(client, location)
    if any(link.get("rel") == "search" for link in root[1].get("links") or []):
        return StacApi(location, collection, max_cloud_cover)
    return StaticCatalog(client, *root, collection)


def _read_root(client: JsonClient, location: str) -> tuple[str, dict[str, Any]]:
    """The landing page or catalogue at an address, or that of the folder which it is."""
    try:
        return location, client.read(location)
    except (CatalogError, CatalogUnavailable) as error:  # a folder that is not listed: 403
        if location.endswith(".json"):
            raise
        for name in _FILES:
            try:
                inside = f"{location.rstrip('/')}/{name}"
                return inside, client.read(inside)
            except (CatalogError, CatalogUnavailable):
                continue
        raise error


def _file_of(path: str) -> Path:
    place = Path(path).expanduser().absolute()
    if place.is_file():
        return place
    if not place.is_dir():
        raise CatalogError(
            path,
            "no such catalogue",
            f"Give {', '.join(shipped_catalogs())}, a STAC API's address, a folder or address of "
            "a static catalogue, a TOML file that describes one, or a table of items",
        )
    for name in _FILES:
        if (place / name).is_file():
            return place / name
    raise CatalogError(
        path, f"the folder holds neither {' nor '.join(_FILES)}", "Give a catalogue's folder"
    )


def _around(region: Region) -> Region:
    """The region with all that lies within `_AROUND` of it, or a simpler one that holds that."""
    grown = outline(region.geometry, _VERTICES).buffer(1.2 * _AROUND).simplify(0.1 * _AROUND)
    return Region(wrapped(grown), region.source)


def _trimmed(item: dict[str, Any], conventions: Conventions, access: Access) -> dict[str, Any]:
    """The item with the assets only that are read, unsigned: the others are most of its weight."""
    with understood(item):
        keys = band_keys(item["assets"], conventions.names).values()
        return {**item, "assets": {key: unsigned(item["assets"][key], access) for key in keys}}


def _reaches(item: dict[str, Any], region: Region) -> bool:
    """Whether an item may share ground with the region; one that does not say where it is, may."""
    ground = footprint_of(item)
    return ground is None or bool(shapely.dwithin(region.geometry, ground, _AROUND))


def _moments(items: Iterable[dict[str, Any]], region: Region) -> Iterator[datetime]:
    for item in items:
        with contextlib.suppress(CatalogError):
            if _reaches(item, region):
                yield moment_of(item)


def _raise_nothing_found(
    catalog: Catalog, region: Region, period: tuple[datetime, datetime], settings: SearchSettings
) -> NoReturn:
    where = public_url(settings.catalog.url)
    moments = list(_moments(catalog.of_any_time(_around(region)), region))
    if not moments:
        raise RegionError(
            region.source,
            f"no item of {where} reaches into the region",
            "Check the region's coordinates, or use a catalogue that covers it",
        )
    years = ", ".join(map(str, sorted({moment.year for moment in moments})))
    asked = f"{period[0]:%Y-%m} to {period[1] - timedelta(days=1):%Y-%m}"
    limit = settings.catalog.max_cloud_cover
    clear = f" with at most {limit:g} % cloud" if limit < 100 else ""
    raise CatalogError(
        f"year {settings.year}",
        f"{where} has no item of the region from {asked}{clear}; it has some of {years}",
        "Ask for one of these years, or use another catalogue",
    )
