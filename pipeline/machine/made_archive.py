"""A small archive in the form of a real one, to measure a machine with: noise for land."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import shapely

from pipeline.grid.cells import PIXEL, SOURCE_BLOCK
from pipeline.grid.footprint import footprint
from pipeline.grid.mgrs import parse_tile
from pipeline.sample.raster import write_raster
from pipeline.sample.stac import (
    BAND_ASSETS,
    SAMPLE_COLLECTION,
    AssetFile,
    Granule,
    make_catalog,
    make_collection,
    make_item,
)
from pipeline.sample.weather import ORBITS, Overpass

MADE_YEAR = 2023
MADE_DATES = 24
_TILE = "31UFS"
_BLOCK = 4  # row and column of the tile's block that the rasters begin in
_FINE = ("blue", "green", "red", "nir")
_NOISE, _LEVEL = 500.0, 2500.0  # DN; a deflated block then has about 80 % of its raw size


@dataclass(frozen=True)
class MadeArchive:
    """A static catalogue of `MADE_DATES` clear dates, and a region within its rasters."""

    folder: Path
    region: Path


def write_made_archive(folder: Path, side: int) -> MadeArchive:
    """Write an archive whose rasters have `side` pixels of 10 m (≤ 1024), and as many of 20 m.

    The items of all dates name the same rasters, so that it takes a second to write.
    """
    tile = parse_tile(_TILE)
    place = folder / SAMPLE_COLLECTION
    place.mkdir(parents=True)
    left, top = tile.grid_origin
    left, top = left + _BLOCK * SOURCE_BLOCK * PIXEL, top - _BLOCK * SOURCE_BLOCK * PIXEL
    rng = np.random.default_rng(1)
    rasters: dict[str, AssetFile] = {}
    for name in (*BAND_ASSETS, "scl"):
        step = PIXEL if name in _FINE else 2 * PIXEL
        shape = (side * PIXEL // step,) * 2
        if name == "scl":
            values = rng.choice(np.array([4, 5], np.uint8), shape)
        else:
            values = rng.normal(_LEVEL, _NOISE, shape).clip(1100, 10000).astype(np.uint16)
        transform = (float(step), 0.0, left, 0.0, -float(step), top)
        size = write_raster(place / f"{name}.tif", values, transform, tile.epsg)
        rasters[name] = AssetFile(f"{name}.tif", transform, shape, size)
    bounds = (left, top - side * PIXEL, left + side * PIXEL, top)
    outline = shapely.geometry.shape(footprint(bounds, tile.epsg)[0])
    names: list[tuple[str, str]] = []
    for date in range(MADE_DATES):
        moment = datetime(MADE_YEAR, date % 12 + 1, 5 + 10 * (date // 12), 10, 46, tzinfo=UTC)
        overpass = Overpass(ORBITS[0], "A", moment, 30000 + date, 0.0, 0.0, (0,))
        granule = Granule(overpass, tile, 0, "05.00", moment + timedelta(hours=4))
        item = make_item(granule, outline, rasters, values)
        for asset in item["assets"].values():
            asset["href"] = f"./{Path(asset['href']).name}"
        (place / f"{granule.id}.json").write_text(json.dumps(item), encoding="utf-8")
        names.append((granule.id, f"{granule.id}.json"))
    west, south, east, north = outline.bounds
    collection = make_collection(MADE_YEAR, (west, south, east, north), names)
    (place / "collection.json").write_text(json.dumps(collection), encoding="utf-8")
    (folder / "catalog.json").write_text(json.dumps(make_catalog()), encoding="utf-8")
    region = folder / "region.geojson"
    region.write_text(json.dumps(shapely.geometry.mapping(outline.buffer(0.001))))
    return MadeArchive(folder, region)
