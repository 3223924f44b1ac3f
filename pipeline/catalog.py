"""The Sentinel-2 L2A items of a region and a year, from a STAC API or a static catalogue."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn, Protocol

import shapely

from pipeline.address import expanded
from pipeline.documents import Documents, is_web, resolved
from pipeline.errors import CatalogError, RegionError
from pipeline.normalise import footprint, moment_of
from pipeline.region import Region
from pipeline.settings import CatalogSettings, MapSettings
from pipeline.stac_api import StacApi
from pipeline.static_catalog import StaticCatalog
from pipeline.storage import public_url

KNOWN = {"earth-search": "https://earth-search.aws.element84.com/v1"}
_FILES = ("catalog.json", "collection.json")


class Catalog(Protocol):
    """Where items are asked for."""

    def candidates(
        self, region: Region, period: tuple[datetime, datetime]
    ) -> Iterable[dict[str, Any]]:
        """Items as published, hrefs absolute: all that are asked for, perhaps more."""

    def of_any_time(self, region: Region) -> Iterable[dict[str, Any]]:
        """Some items that reach into the region, of whatever time, or more."""


def search(region: Region, settings: MapSettings) -> list[dict[str, Any]]:
    """The STAC items, as published, that reach into the region in the settings' twelve months.

    They are sorted by time and id; granules cloudier than `catalog.max_cloud_cover` are left out;
    hrefs are absolute. Raises RegionError where there are none of the region, CatalogError where
    there are none of the year or the catalogue is not one, CatalogUnavailable where it does not
    answer.
    """
    catalog = open_catalog(settings.catalog)
    period = period_of(settings)
    found = [
        item
        for item in _reaching(catalog.candidates(region, period), region)
        if period[0] <= moment_of(item) < period[1]
    ]
    clearest = [_cloud_cover(item) for item in found]
    kept = [
        item
        for item, cover in zip(found, clearest, strict=True)
        if cover <= settings.catalog.max_cloud_cover
    ]
    if found and not kept:
        raise CatalogError(
            f"max_cloud_cover = {settings.catalog.max_cloud_cover:g}",
            f"all {len(found)} items are cloudier; the clearest has {min(clearest):g} %",
            "Raise it under [catalog]",
        )
    if not kept:
        _raise_nothing_found(catalog, region, period, settings)
    return sorted(kept, key=lambda item: (moment_of(item), str(item["id"])))


def period_of(settings: MapSettings) -> tuple[datetime, datetime]:
    """The twelve months of a run, UTC: first moment, and first moment after."""
    year, month = settings.year, settings.first_month
    return datetime(year, month, 1, tzinfo=UTC), datetime(year + 1, month, 1, tzinfo=UTC)


def open_catalog(settings: CatalogSettings) -> Catalog:
    """The catalogue at an address or in a folder.

    A web address that offers a search is a STAC API, else a static catalogue. Raises CatalogError
    for what is neither, CatalogUnavailable where it does not answer.
    """
    location = KNOWN.get(settings.url, expanded(settings.url))
    documents = Documents()
    if not is_web(location):
        location = str(_file_of(resolved("/", location) if "://" in location else location))
        return StaticCatalog(documents, location, documents.read(location), settings.collection)
    root = _read_root(documents, location)
    if any(link.get("rel") == "search" for link in root[1].get("links") or []):
        return StacApi(location, settings.collection, settings.max_cloud_cover)
    return StaticCatalog(documents, *root, settings.collection)


def _read_root(documents: Documents, location: str) -> tuple[str, dict[str, Any]]:
    """The landing page or catalogue at an address, or that of the folder which it is."""
    try:
        return location, documents.read(location)
    except CatalogError as error:
        if location.endswith(".json"):
            raise
        for name in _FILES:
            try:
                inside = f"{location.rstrip('/')}/{name}"
                return inside, documents.read(inside)
            except CatalogError:
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
            f"Give {', '.join(KNOWN)}, a STAC API's address, or a folder or address of a "
            "static catalogue",
        )
    for name in _FILES:
        if (place / name).is_file():
            return place / name
    raise CatalogError(
        path, f"the folder holds neither {' nor '.join(_FILES)}", "Give a catalogue's folder"
    )


def _reaching(items: Iterable[dict[str, Any]], region: Region) -> Iterable[dict[str, Any]]:
    """The items that share ground with the region, or do not say where they are."""
    geometry = region.geometry
    shapely.prepare(geometry)
    for item in items:
        ground = footprint(item)
        if ground is None or geometry.intersects(ground):
            yield item


def _cloud_cover(item: dict[str, Any]) -> float:
    return float(item["properties"].get("eo:cloud_cover") or 0.0)


def _raise_nothing_found(
    catalog: Catalog, region: Region, period: tuple[datetime, datetime], settings: MapSettings
) -> NoReturn:
    where = public_url(settings.catalog.url)
    moments = [moment_of(item) for item in _reaching(catalog.of_any_time(region), region)]
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
