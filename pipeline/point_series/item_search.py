"""The items of the points of a tile and a year: searched once, and stored beside the table.

A continent's points are searched tile by tile and year by year, only around their cells, so that no
more than the items of a tile and a year are in memory.
"""

import logging
from collections.abc import Mapping, Sequence

import shapely

from pipeline.catalog.description import CatalogDescription
from pipeline.catalog.item import Item
from pipeline.catalog.item_snapshot import ItemSnapshot
from pipeline.catalog.normalise import require_bands
from pipeline.catalog.search import NothingFound, search
from pipeline.errors import RegionError
from pipeline.grid.mgrs import wrapped
from pipeline.grid.region import Region
from pipeline.io.store import Store, public_url
from pipeline.point_series.point_groups import PointGroup
from pipeline.point_series.table_writer import SEASON_ITEMS
from pipeline.settings.map import SearchSettings
from pipeline.settings.sections import CatalogSettings, NetworkSettings

_log = logging.getLogger(__name__)


def season_items(
    store: Store,
    catalog: CatalogSettings,
    description: CatalogDescription,
    first_month: int,
    groups: Sequence[PointGroup],
    bands: Sequence[str],
    substitute: Mapping[str, str],
    optional: Sequence[str],
    network: NetworkSettings,
) -> list[Item] | str:
    """The items of the groups' tile in the twelve months of their year.

    The first call stores the items that it found, and later calls read these: the first call needs
    all groups of the tile and year.

    Args:
        store: The table's folder.
        catalog: The catalogue.
        description: The catalogue's description.
        first_month: The month with which a year begins.
        groups: Groups of one tile and year.
        bands: The bands that items must have.
        substitute: Bands to take instead of missing ones.
        optional: Bands that items may lack.
        network: The limits of the network.

    Returns:
        The items, or the reason why there are none.

    Raises:
        CatalogError: Items lack a band, or this is no catalogue.
        CatalogUnavailable: The catalogue cannot be reached, refuses, or gives fewer items than it
            says that it has.
        OutputUnwritable: The items cannot be stored.
    """
    tile, year, season = groups[0].tile, groups[0].year, groups[0].season
    key = f"{SEASON_ITEMS}{season}.parquet"
    if store.exists(key):
        name = public_url(store.path(key))
        items = ItemSnapshot(store.read(key), name, description.conventions)
    else:
        boxes = [shapely.box(*group.cell().lonlat_bounds) for group in groups]
        region = Region(wrapped(shapely.union_all(boxes)), f"the points in {season}")
        settings = SearchSettings(
            region=region.source,
            year=year,
            first_month=first_month,
            catalog=catalog,
            network=network,
        )
        try:
            found = search(region, settings, description)
        except (RegionError, NothingFound) as error:
            return f"no acquisitions: {error.problem}"
        for shortfall in found.shortfalls:
            _log.warning("%s: the series of %s lack the others", shortfall, season)
        if found.refused:
            first = f"{found.refused[0].given}: {found.refused[0].problem}"
            text = "%d items of %s cannot be used and are left out, for one %s"
            _log.warning(text, len(found.refused), season, first)
        items = found.items
        store.write(key, items.content)
    of_tile = list(items.of_tile(tile.name))
    if not of_tile:
        return f"no acquisitions: the catalogue has none of tile {tile.name}"
    require_bands(of_tile, bands, substitute, optional)
    return of_tile
