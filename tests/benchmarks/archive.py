"""A year of Sentinel-2 for the benchmarks: real grid, real blocks, real entropy, no real land."""

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import shapely
from scipy.ndimage import gaussian_filter, zoom

from pipeline.grid.cells import PIXEL
from pipeline.grid.mgrs import Tile, parse_tile, to_lonlat
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

TILE = "31UFS"
YEAR = 2023
SIZE = 2048
BLOCK = 2
"""Row and column of the block of SIZE pixels of the tile's grid that the rasters cover."""

A_MONTH = 5
_DISTINCT = 6  # dates whose rasters differ; the others are links to them
_TEN = ("blue", "green", "red", "nir")
_OFFSET = 1000  # DN, as baseline 05.00 has it
_NOISE, _TEXTURE = 35.0, 0.2  # DN, and relative to a field's level: a deflated block has about
# 65 % of its raw size, as Sentinel-2's 10 m bands have


@dataclass(frozen=True)
class BenchArchive:
    """An archive on disk: one item per date, all assets covering one block of 2048 pixels.

    `region` is a GeoJSON file of a region that holds the block; `stored` is the bytes of a
    band's deflated block relative to its pixels', `clear` the share of pixels whose scene class
    the authors keep.
    """

    folder: Path
    region: Path
    dates: int
    stored: float
    clear: float


def write_archive(folder: Path, seed: int = 1) -> BenchArchive:
    """Write the archive; the same seed gives the same one.

    Every date has its own clouds. Rasters of bands are those of 6 dates, hard-linked to the
    others: the same work to open and decode, a tenth of the time and disk to make.
    """
    tile = parse_tile(TILE)
    (folder / SAMPLE_COLLECTION).mkdir(parents=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        fields = _fields(np.random.default_rng(seed))
        seasons = list(
            pool.map(lambda k: _write_bands(folder / f"season-{k}", tile, fields, k), range(6))
        )
        passes = list(_overpasses())
        granules = [Granule(p, tile, 0, "05.00", p.moment + timedelta(hours=4)) for p in passes]
        clear = list(
            pool.map(
                lambda pair: _write_granule(folder, pair[1], seasons[pair[0] % _DISTINCT], pair[0]),
                enumerate(granules),
            )
        )
    names = [(g.id, f"{g.folder}/{g.id}.json") for g in granules]
    _write_json(
        folder / SAMPLE_COLLECTION / "collection.json", make_collection(YEAR, _bbox(tile), names)
    )
    _write_json(folder / "catalog.json", make_catalog())
    region = folder / "region.geojson"
    _write_json(region, shapely.geometry.mapping(outline(tile, margin=300.0)))
    (block,) = (raster for name, (_, raster) in seasons[0].items() if name == "swir16")
    stored = block.size / (2 * block.shape[0] * block.shape[1])  # a single block, no overviews
    return BenchArchive(folder, region, len(granules), stored, float(np.mean(clear)))


Written = dict[str, tuple[Path, AssetFile]]


def _write_bands(folder: Path, tile: Tile, fields: np.ndarray, season: int) -> Written:
    """The ten bands of a date; gives file and description by asset name."""
    folder.mkdir()
    written = {}
    for k, name in enumerate(BAND_ASSETS):
        rng = np.random.default_rng([season, k])
        n = 1 if name in _TEN else 2
        level = rng.uniform(300, 4500, fields.max() + 1).astype(np.float32)[fields[::n, ::n]]
        noise = rng.standard_normal((2, *level.shape), np.float32)
        texture = gaussian_filter(noise[0], 2, truncate=2)  # its deviation is 0.14
        values = level * (1 + _TEXTURE * texture) + _NOISE * noise[1]
        array = (values.clip(1, 10000) + _OFFSET).astype(np.uint16)
        file = folder / f"{BAND_ASSETS[name][0]}.tif"
        transform = _transform(tile, n * PIXEL)
        size = write_raster(file, array, transform, tile.epsg)
        written[name] = (file, AssetFile(file.name, transform, array.shape, size))
    return written


def _write_granule(folder: Path, granule: Granule, bands: Written, number: int) -> float:
    """Write an item, its scene classification, and links to its bands; gives its clear share."""
    place = folder / SAMPLE_COLLECTION / granule.folder
    place.mkdir(parents=True)
    for file, _raster in bands.values():
        _link(file, place / file.name)
    scl = scene_classes(np.random.default_rng([YEAR, number]), granule.overpass.cloud_cover)
    transform = _transform(granule.tile, 2 * PIXEL)
    size = write_raster(place / "SCL.tif", scl, transform, granule.tile.epsg)
    rasters = {name: raster for name, (_, raster) in bands.items()}
    rasters["scl"] = AssetFile("SCL.tif", transform, scl.shape, size)
    item = make_item(granule, outline(granule.tile), rasters, scl)
    _write_json(place / f"{granule.id}.json", item)
    return float((scl < 9).mean())


def _overpasses() -> Iterator[Overpass]:
    for month in range(1, 13):
        for k in range(A_MONTH):
            moment = datetime(YEAR, month, 3 + 5 * k, 10, 46, 30, tzinfo=UTC)
            cover = float(np.random.default_rng([month, k]).uniform(0.05, 0.9))
            yield Overpass(ORBITS[0], "AB"[k % 2], moment, 30000 + 70 * month + k, 0.0, cover, (0,))


def _fields(rng: np.random.Generator) -> np.ndarray:
    """Labels of fields some 300 m wide: int (SIZE, SIZE)."""
    cells = rng.permutation(64 * 64).reshape(64, 64)
    wave = zoom(rng.normal(0, 12, (2, 32, 32)), (1, SIZE // 32, SIZE // 32), order=1)
    rows, columns = np.indices((SIZE, SIZE))
    rows = (rows + wave[0]).astype(int).clip(0, SIZE - 1) // 32
    columns = (columns + wave[1]).astype(int).clip(0, SIZE - 1) // 32
    return cells[rows, columns]


def scene_classes(rng: np.random.Generator, cover: float) -> np.ndarray:
    """Scene classes of 20 m with clouds (9) over a share of it, shadows (3) beside: uint8."""
    n = SIZE // 2
    coarse = sum(zoom(rng.normal(0, s, (n // s, n // s)), s, order=1) for s in (256, 64, 16))
    cloud = coarse > np.quantile(coarse, 1 - cover)
    scl = np.where(gaussian_filter(rng.normal(0, 1, (n, n)), 8) > 0, 4, 5).astype(np.uint8)
    scl[np.roll(cloud, (12, -6), axis=(0, 1))] = 3
    scl[cloud] = 9
    return scl


def _transform(tile: Tile, step: int) -> tuple[float, float, float, float, float, float]:
    left, top = tile.grid_origin
    shift = BLOCK * SIZE * PIXEL
    return (step, 0.0, left + shift, 0.0, -step, top - shift)


def outline(tile: Tile, margin: float = 0.0) -> shapely.Polygon:
    """The rasters' extent and a margin (metres) around, EPSG:4326."""
    _, _, left, _, _, top = _transform(tile, PIXEL)
    side = SIZE * PIXEL
    box = shapely.box(left - margin, top - side - margin, left + side + margin, top + margin)
    x, y = shapely.get_coordinates(shapely.segmentize(box, 1000)).T
    return shapely.Polygon(np.column_stack(to_lonlat(tile.epsg).transform(x, y)))


def _bbox(tile: Tile) -> tuple[float, float, float, float]:
    west, south, east, north = outline(tile).bounds
    return (west, south, east, north)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document), encoding="utf-8")
