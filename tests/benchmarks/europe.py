"""A catalogue of Europe's size: every Sentinel-2 tile of its land, an item every five days.

There are about 800 tiles and 58,000 items; no raster is behind them. Tiles and footprints are real
ones, and the items have the form of Earth Search v1.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline.grid.mgrs import Tile, to_lonlat
from pipeline.sample.stac import BAND_ASSETS, AssetFile, Granule, make_item
from pipeline.sample.weather import ORBITS, Overpass

YEAR = 2023
_SIDE = 109_800  # metres of a granule
_BYTES = 190_000_000  # of a raster
_FINE = ("blue", "green", "red", "nir")
_CLOUD = 40.0  # percent
# Corners (longitude, latitude) of two rough outlines: the continent up to 60° north, and
# Scandinavia with Finland.
# fmt: off
_SOUTH = (
    (-9.5, 36.9), (-9.3, 43.6), (-1.8, 43.6), (-1.2, 46), (-4.8, 48.4), (1.5, 50.2), (4, 52),
    (8, 53.8), (8.1, 57.2), (12.5, 56), (14.2, 54.2), (19, 54.5), (21, 57.5), (24, 59.5), (29, 60),
    (29.5, 55), (30, 50), (29.5, 45.5), (28, 41.5), (23, 36.8), (19.5, 40), (16, 43), (13.5, 45.2),
    (12.5, 44), (18, 40.3), (16, 38), (12, 42), (9, 44.2), (3.2, 43), (3, 41.7), (-0.3, 38.8),
    (-2, 36.8), (-5.6, 36.1),
)
_NORTH = (
    (10.5, 55.5), (10.5, 59), (5, 59), (5, 62), (12, 66), (18, 69.5), (26, 70.8), (29, 69),
    (29, 62.5), (22, 60), (21.5, 63), (18, 62), (17, 59), (14, 55.6),
)
# fmt: on


def write_region(file: Path, side: float | None = None) -> None:
    """Write Europe's outline as GeoJSON; with `side` only a box of so many degrees of it."""
    outlines = [shapely.make_valid(shapely.Polygon(corners)) for corners in (_SOUTH, _NORTH)]
    geometry = shapely.make_valid(shapely.union_all(outlines))
    if side is not None:
        geometry = shapely.box(5.0, 48.0, 5.0 + side, 48.0 + 0.7 * side)
    file.write_text(json.dumps(shapely.geometry.mapping(geometry)))


def europe_items(tiles: Sequence[Tile]) -> Iterator[dict[str, Any]]:
    """The STAC items of the tiles, tile by tile."""
    scl = np.full((100, 100), 4, np.uint8)
    for number, tile in enumerate(tiles):
        rasters, outline = _rasters(tile), _outline(tile)
        for day in range(number % 5, 365, 5):
            moment = datetime(YEAR, 1, 1, 10, 46, 30, tzinfo=UTC) + timedelta(days=day)
            platform = "AB"[day // 5 % 2]
            overpass = Overpass(ORBITS[0], platform, moment, 30_000 + day, 0.0, _CLOUD / 100, (0,))
            granule = Granule(overpass, tile, 0, "05.00", moment + timedelta(hours=4))
            item = make_item(granule, outline, rasters, scl)
            item["properties"]["eo:cloud_cover"] = _CLOUD
            for asset in item["assets"].values():
                name = asset["href"].rpartition("/")[2]
                asset["href"] = f"https://archive.example/{item['id']}/{name}"
            yield item


def _rasters(tile: Tile) -> dict[str, AssetFile]:
    x, y = tile.grid_origin
    rasters = {}
    for name in (*BAND_ASSETS, "scl"):
        pixel = 10 if name in _FINE else 20
        transform = (float(pixel), 0.0, float(x), 0.0, -float(pixel), float(y))
        rasters[name] = AssetFile(f"{name}.tif", transform, (_SIDE // pixel,) * 2, _BYTES)
    return rasters


def _outline(tile: Tile) -> BaseGeometry:
    """The footprint of a whole granule, in EPSG:4326."""
    x, y = tile.grid_origin
    square = shapely.segmentize(shapely.box(x, y - _SIDE, x + _SIDE, y), 30_000)
    return shapely.Polygon(
        np.column_stack(to_lonlat(tile.epsg).transform(*square.exterior.coords.xy))
    )
