"""The search for the Sentinel-2 L2A items of a region and a year, in any kind of catalogue."""

import contextlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NoReturn, Protocol

import shapely

from pipeline.catalog.description import (
    CATALOG_FILES,
    CatalogDescription,
    catalog_file,
    is_table,
)
from pipeline.catalog.item_assets import Conventions, band_keys, item_name, naming_item
from pipeline.catalog.item_check import require_address, require_item
from pipeline.catalog.item_geometry import footprint_of
from pipeline.catalog.item_snapshot import ItemSnapshot, SnapshotBuilder
from pipeline.catalog.json_client import Documents, is_web, links_with, resolved
from pipeline.catalog.normalise import cloud_cover_of, normalise, time_of
from pipeline.catalog.origin import rules_of
from pipeline.catalog.reduced_item import without_signature
from pipeline.catalog.stac_api import StacApi
from pipeline.catalog.static_catalog import VIA, ItemCollection, ItemTable, StaticCatalog
from pipeline.errors import CatalogError, CatalogUnavailable, RegionError
from pipeline.grid.mgrs import wrapped
from pipeline.grid.region import Region, outline
from pipeline.io.few_collections import few_collections
from pipeline.io.network_rules import ANY_HOST, UNRESTRICTED, NetworkRules
from pipeline.io.redaction import expanded
from pipeline.io.store import public_url
from pipeline.layout import ITEMS_FILE
from pipeline.raster.access import Access
from pipeline.raster.gdal_env import require_proj_data
from pipeline.settings.map import SearchSettings

# Degrees around a region in which items are searched. Footprints have few corners. An edge of
# 110 km that is straight in degrees lies 0.004° of latitude off the granule's own edge at 60° north
# or south, 0.019° at 84°: the strip between is in the granule, but not in its footprint.
_MARGIN = 0.02
_HOST = re.compile(r"(?:https?|s3)://[A-Za-z0-9.-]+/")
_VERTICES = 500  # a region with more is simplified before it is grown


class NothingFound(CatalogError):
    """A catalogue without items of the region and months that can be used."""


class Catalog(Protocol):
    """A catalogue of items."""

    def items(
        self, region: Region, period: tuple[datetime, datetime] | None
    ) -> Iterable[dict[str, Any]]:
        """Published items, hrefs absolute: all of a region and a period, perhaps more.

        Without a period: some items that reach into the region, of any time, or more.
        """


@dataclass(frozen=True)
class SearchResult:
    """The items that a search has found.

    Attributes:
        items: The items, with the assets that are read.
        refused: The error of each item that cannot be used.
        shortfalls: Where the catalogue gave fewer items than it says that it has; none, unless the
            settings accept it.
    """

    items: ItemSnapshot
    refused: tuple[CatalogError, ...]
    shortfalls: tuple[str, ...] = ()


@few_collections()
def search(
    region: Region, settings: SearchSettings, description: CatalogDescription
) -> SearchResult:
    """Search a catalogue for the items that reach near a region in twelve months.

    Left out are granules cloudier than `catalog.max_cloud_cover`, and items that cannot be brought
    into normal form. Hrefs are absolute and have no signature.

    Args:
        region: The region; items within some hundred metres of it are found, too.
        settings: The twelve months and the highest cloud cover.
        description: The description of `settings.catalog` by `describe_catalog`.

    Raises:
        RegionError: No item reaches into the region.
        NothingFound: No item is of the twelve months, or none can be used.
        CatalogError: This is no catalogue, or it has no such collection.
        CatalogUnavailable: The catalogue cannot be reached, refuses, or gives fewer items than it
            says that it has.
    """
    most = settings.catalog.max_cloud_cover
    shortfalls: list[str] = []
    tolerate = shortfalls.append if settings.catalog.accept_incomplete else None
    rules = rules_of(description, settings.network)
    catalog = open_catalog(description, most, tolerate, rules)
    conventions, access = description.conventions, description.access.access()
    period = period_of(settings)
    published = SnapshotBuilder(description)
    cloudier: list[float] = []
    refused: list[CatalogError] = []
    for item in catalog.items(_grown(region), period):
        try:
            with naming_item(item):
                require_item(item)
                if not (
                    _is_near(item, region) and period[0] <= (time := time_of(item)) < period[1]
                ):
                    continue
                if (cover := cloud_cover_of(item) or 0.0) > most:
                    cloudier.append(cover)
                    continue
                item = _trimmed(item, conventions, access)
                _require_allowed(item, rules)
                normalise(item, conventions)
        except CatalogError as error:
            refused.append(error)
        else:
            published.add(item, time)
    if refused and not published:
        others = f"; {len(cloudier)} others are cloudier than {most:g} %" if cloudier else ""
        raise NothingFound(
            public_url(settings.catalog.url),
            f"none of its items of the region and year can be used ({len(refused)}), for one: "
            f"{refused[0].given}: {refused[0].problem}{others}",
            refused[0].remedy,
        )
    if cloudier and not published:
        raise NothingFound(
            f"max_cloud_cover = {most:g}",
            f"all {len(cloudier)} items are cloudier; the clearest has {min(cloudier):g} %",
            "Raise it under [catalog]",
        )
    if not published:
        _raise_nothing_found(catalog, region, period, settings)
    items = ItemSnapshot(published.content(), ITEMS_FILE, conventions)
    return SearchResult(items, tuple(refused), tuple(shortfalls))


def period_of(settings: SearchSettings) -> tuple[datetime, datetime]:
    """The twelve months of a run, UTC: first moment, and first moment after."""
    year, month = settings.year, settings.first_month
    return datetime(year, month, 1, tzinfo=UTC), datetime(year + 1, month, 1, tzinfo=UTC)


def open_catalog(
    description: CatalogDescription,
    max_cloud_cover: float = 100.0,
    tolerate: Callable[[str], None] | None = None,
    rules: NetworkRules = UNRESTRICTED,
) -> Catalog:
    """Open the catalogue at an address, in a folder or in a file of items.

    A web address that offers a search is a STAC API, else a static catalogue.

    Args:
        description: The catalogue.
        max_cloud_cover: Percent; a server that can leaves out cloudier items.
        tolerate: As that of `StacApi`.
        rules: What it may lead to, by `rules_of`.

    Raises:
        CatalogError: It is none of these.
        CatalogUnavailable: It cannot be reached.
        SettingsError: Its rasters could not be read: the environment's PROJ data are foreign.
    """
    require_proj_data()
    if is_table(description.url):
        return ItemTable(description.url, Documents(rules))
    location, collection = expanded(description.url), description.collection
    documents = Documents(rules)
    if not is_web(location):
        location = str(catalog_file(resolved("/", location) if "://" in location else location))
        root = documents.read_json(location)
    else:
        location, root = _read_root(location, documents)
    if root.get("type") == "FeatureCollection":
        return ItemCollection(location, root, tolerate)
    if is_web(location) and links_with(root, "search"):
        return StacApi(location, collection, max_cloud_cover, tolerate, documents)
    return StaticCatalog(location, root, collection, documents)


def _read_root(location: str, documents: Documents) -> tuple[str, dict[str, Any]]:
    """The landing page or catalogue at an address, or the one in the folder at that address."""
    try:
        return location, documents.read_json(location)
    except (CatalogError, CatalogUnavailable):  # a folder that is not listed: 403
        if location.endswith(".json"):
            raise
        for name in CATALOG_FILES:
            with contextlib.suppress(CatalogError, CatalogUnavailable):
                inside = f"{location.rstrip('/')}/{name}"
                return inside, documents.read_json(inside)
        raise


def _grown(region: Region) -> Region:
    """The region and all within `_MARGIN` of it, or a simpler region that holds both."""
    grown = outline(region.geometry, _VERTICES).buffer(1.2 * _MARGIN).simplify(0.1 * _MARGIN)
    return Region(wrapped(grown), region.source)


def _trimmed(item: dict[str, Any], conventions: Conventions, access: Access) -> dict[str, Any]:
    """The item with only the assets that are read, without signatures: most have many more."""
    keys = band_keys(item["assets"], conventions.names).values()
    for key in keys:
        require_address(item, item["assets"][key])
    assets = {key: without_signature(item["assets"][key], access) for key in keys}
    return {**item, "assets": assets}


def _require_allowed(item: dict[str, Any], rules: NetworkRules) -> None:
    """Require that the rasters of an item may be opened, by where the item was read."""
    if not rules.of_web and is_web(
        next(link["href"] for link in item["links"] if link["rel"] == VIA)
    ):
        rules = ANY_HOST  # a catalogue of this machine that leads to one of the web
    for key, asset in item["assets"].items():
        if problem := _problem_of(asset["href"], rules):
            raise CatalogError(
                item_name(item),
                f"its asset {key} is at {public_url(asset['href'])}: {problem}",
                "Use another catalogue, or correct its links",
            )


def _problem_of(href: str, rules: NetworkRules) -> str | None:
    """As `rules.problem`, which an address of a plain host depends on by this host alone."""
    host = _HOST.match(href)
    return rules.problem(href) if host is None else _host_problem(host[0], rules)


_host_problem = lru_cache(1024)(lambda address, rules: rules.problem(address))


def _is_near(item: dict[str, Any], region: Region) -> bool:
    """Whether an item lies in or near the region; one without a footprint may."""
    footprint = footprint_of(item)
    if footprint is None:
        return True
    return bool(region.indexed.ask(shapely.dwithin, footprint, _MARGIN))


def _raise_nothing_found(
    catalog: Catalog, region: Region, period: tuple[datetime, datetime], settings: SearchSettings
) -> NoReturn:
    where = public_url(settings.catalog.url)
    years: set[int] = set()
    for item in catalog.items(_grown(region), None):
        with contextlib.suppress(CatalogError), naming_item(item):
            require_item(item)
            if _is_near(item, region):
                years.add(time_of(item).year)
    if not years:
        raise RegionError(
            region.source,
            f"no item of {where} reaches into the region",
            "Check the region's coordinates, or use a catalogue that covers it",
        )
    listed = ", ".join(map(str, sorted(years)))
    span = f"{period[0]:%Y-%m} to {period[1] - timedelta(days=1):%Y-%m}"
    limit = settings.catalog.max_cloud_cover
    clear = f" with at most {limit:g} % cloud" if limit < 100 else ""
    raise NothingFound(
        f"year {settings.year}",
        f"{where} has no item of the region from {span}{clear}; it has some of {listed}",
        "Ask for one of these years, or use another catalogue",
    )
