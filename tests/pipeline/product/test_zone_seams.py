"""Mosaics of several zones, held pixel for pixel to a plain nearest look-up in the cells."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from pyproj import CRS, Transformer
from rasterio.windows import Window, from_bounds

from pipeline.grid.cells import PIXEL, cells_of, owned_pixels, tiles_of
from pipeline.grid.mgrs import strips_of
from pipeline.grid.region import Region, read_region
from pipeline.product.cell_commit import commit_cell
from pipeline.product.layers import CLASS, CONFIDENCE
from pipeline.product.map_crs import map_crs
from pipeline.product.mosaic import write_mosaics
from pipeline.product.zone_seams import seams_between
from tests.pipeline.made_run import VOCABULARY, MadeRun, begin, result_of

HOLES = 0.02
"""Share of pixels, alone or in blocks of five, that have no class."""
INEXACT = 0.0003
"""Pixels of a source: a place so near to the edge of one may be told to lie in either.

Positions are 2 mm off where PROJ iterates, as for Equal Earth.
"""
STEPS = ((1, 0), (-1, 0), (0, -1), (0, 1))


@dataclass(frozen=True)
class Zone:
    """A zone's cells joined: classes, confidence, and what a tile owns of the region."""

    epsg: int
    left: float
    top: float
    classes: np.ndarray
    confidence: np.ndarray
    owned: np.ndarray


@dataclass(frozen=True)
class Made:
    run: MadeRun
    zones: tuple[Zone, ...]


def _make(root: Path, *boxes: str) -> Made:
    """A run over some boxes: random classes with holes near and at borders, full confidence."""
    region = Region(shapely.union_all([read_region(box).geometry for box in boxes]), "boxes")
    store, run = begin(str(root), boxes[0])
    cells = tuple(cell for tile in tiles_of(region) for cell in cells_of(tile, region))
    random = np.random.default_rng(5)
    arrays = {}
    for cell in cells:
        owned = owned_pixels(cell, region)
        classes = random.integers(1, 6, cell.shape).astype(np.uint8)
        holes = random.random(cell.shape) < HOLES / 2
        rows, columns = np.nonzero(random.random(cell.shape) < HOLES / 50)
        for row, column in zip(rows, columns, strict=True):
            holes[row : row + 5, column : column + 5] = True
        classes[holes | ~owned] = 0
        confidence = np.where(owned, random.integers(0, 101, cell.shape), 255).astype(np.uint8)
        arrays[cell] = (classes, confidence, owned)
        commit_cell(store, run, cell, VOCABULARY, result_of(cell, classes, confidence, 1))
    made = MadeRun(store, run, cells, VOCABULARY)
    write_mosaics(made.store, made.run, made.items, made.vocabulary)
    zones = []
    for epsg in sorted({cell.epsg for cell in cells}):
        mine = [cell for cell in cells if cell.epsg == epsg]
        left, top = min(c.bounds[0] for c in mine), max(c.bounds[3] for c in mine)
        right, bottom = max(c.bounds[2] for c in mine), min(c.bounds[1] for c in mine)
        shape = (round(top - bottom) // PIXEL, round(right - left) // PIXEL)
        joined = (np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), np.zeros(shape, bool))
        for cell in mine:
            row, column = (
                round(top - cell.bounds[3]) // PIXEL,
                round(cell.bounds[0] - left) // PIXEL,
            )
            for whole, part in zip(joined, arrays[cell], strict=True):
                there = whole[row : row + cell.height, column : column + cell.width]
                np.copyto(there, part, where=arrays[cell][2])
        zones.append(Zone(epsg, left, top, *joined))
    return Made(made, tuple(zones))


def _look_up(array: np.ndarray, row: np.ndarray, column: np.ndarray, nodata: int) -> np.ndarray:
    inside = (row >= 0) & (column >= 0) & (row < array.shape[0]) & (column < array.shape[1])
    found = array[np.clip(row, 0, array.shape[0] - 1), np.clip(column, 0, array.shape[1] - 1)]
    return np.where(inside, found, nodata)


def _in_strips(zone: Zone, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether the centres of a zone's pixels are the zone's own, and by more than a ribbon's slack.

    Both bool, of the shape of `row` and `column`.
    """
    x, y = zone.left + PIXEL * (column + 0.5), zone.top - PIXEL * (row + 0.5)
    lon, lat = Transformer.from_crs(zone.epsg, 4326, always_xy=True).transform(x, y)
    found = []
    for metres in (0.0, 0.06):
        north = metres / 111_000
        east = north / np.cos(np.radians(lat))
        inside = np.zeros(row.shape, bool)
        for strip in strips_of(zone.epsg % 100):
            within = (lon - strip.west - east) % 360 < strip.east - strip.west - 2 * east
            inside |= within & (lat >= strip.south + north) & (lat < strip.north - north)
        found.append(inside & ((lat >= 0) == (zone.epsg // 100 == 326)))
    return found[0], found[1]


@dataclass(frozen=True)
class Expected:
    """What the pixels (y, x) of a mosaic may be.

    `plain` is the nearest warp; where that is nodata `fills` (n, y, x) may stand in, and must in
    `gaps`, which lie in no zone's own pixels and beside no hole. `sure` says where the nearest
    pixel is beyond doubt.
    """

    plain: np.ndarray
    fills: np.ndarray
    gaps: np.ndarray
    sure: np.ndarray


def _expected(
    zones: tuple[Zone, ...], crs: CRS, x: np.ndarray, y: np.ndarray, which: str
) -> Expected:
    nodata = 0 if which == "classes" else 255
    plain = np.full(x.shape, nodata, np.uint8)
    gaps, sure = np.ones(x.shape, bool), np.ones(x.shape, bool)
    fills = []
    for zone in zones:
        easting, northing = Transformer.from_crs(crs, zone.epsg, always_xy=True).transform(x, y)
        across, down = (easting - zone.left) / PIXEL, (zone.top - northing) / PIXEL
        for place in (across, down):
            sure &= np.abs(place - np.round(place)) > INEXACT
        column, row = np.floor(across).astype(int), np.floor(down).astype(int)
        values = getattr(zone, which)
        here = _look_up(values, row, column, nodata)
        plain = np.where(here != nodata, here, plain)
        mine, well_within = _in_strips(zone, row, column)
        gaps &= ~mine
        for dx, dy in STEPS:
            # The last pixel before the border, seen from the first beyond it.
            last = _look_up(values, row - dy, column - dx, nodata)
            beyond = ~well_within & _in_strips(zone, row - dy, column - dx)[0]
            fills.append(np.where(beyond, last, nodata))
            gaps &= ~(beyond & (last == nodata))
    gaps &= (plain == nodata) & (np.array(fills) != nodata).any(axis=0)
    return Expected(plain, np.array(fills), gaps, sure)


def _compare(made: Made, key: str, near: str | None = None) -> int:
    """Hold a mosaic, or its part around a box of degrees, to what it may be, at every pixel.

    Gives how many pixels would be gaps without a seam.
    """
    which, nodata = ("classes", 0) if key == CLASS.mosaic_file else ("confidence", 255)
    with rasterio.open(made.run.store.path(key)) as mosaic:
        crs = CRS.from_wkt(mosaic.crs.to_wkt())
        window = Window(0, 0, mosaic.width, mosaic.height)
        if near:
            box = read_region(near).geometry.bounds
            bounds = Transformer.from_crs(4326, crs, always_xy=True).transform_bounds(*box)
            around = from_bounds(*bounds, mosaic.transform).round_offsets().round_lengths()
            part = Window(
                around.col_off - 20, around.row_off - 20, around.width + 40, around.height + 40
            )
            window = part.intersection(window)
        got = mosaic.read(1, window=window)
        transform = mosaic.window_transform(window)
    columns, rows = np.meshgrid(np.arange(got.shape[1]) + 0.5, np.arange(got.shape[0]) + 0.5)
    x, y = transform.c + PIXEL * columns, transform.f - PIXEL * rows
    may = _expected(made.zones, crs, x, y, which)
    filled = ((may.fills == got) & (got != nodata)).any(axis=0)
    right = np.where(may.plain == nodata, filled | (got == nodata), may.plain == got)
    right &= filled | ~may.gaps
    right |= ~may.sure
    assert right.all(), f"{(~right).sum()} pixels of {right.size}"
    return int(may.gaps.sum())


CASES = {
    "tall": (["5.995,49.55,6.005,49.80"], {32631, 32632}, "3035"),
    "slanting": (["11.99,60.00,12.01,60.04", "-4,50,-3.99,50.005"], {32632, 32633, 32630}, "3035"),
    "wide": (["17.99,70.00,18.01,70.02", "150,60,150.005,60.005"], {32633, 32634, 32656}, "6931"),
    "south": (["17.98,-33.05,18.02,-33.00"], {32733, 32734}, "6933"),
    "antimeridian": (["179.98,-17.02,-179.98,-16.98"], {32701, 32760}, "8859"),
    "equator": (["17.98,-0.02,18.02,0.02"], {32633, 32634, 32733, 32734}, "6933"),
    "Norway": (["2.95,60.99,3.05,61.01"], {32631, 32632}, "3035"),
    "its north": (["4.96,63.98,5.04,64.02"], {32631, 32632}, "3035"),
    "Svalbard": (["8.9,71.99,9.1,72.01"], {32631, 32632, 32633}, "3035"),
}
"""Boxes whose first is looked at, the zones they lie in, and the CRS of their mosaic."""


@pytest.mark.parametrize("case", CASES)
def test_zones_meet_without_gaps_and_inventions(tmp_path: Path, case: str) -> None:
    boxes, epsgs, name = CASES[case]
    made = _make(tmp_path / "run", *boxes)
    assert {zone.epsg for zone in made.zones} == epsgs
    crs = map_crs(made.run.items)
    assert name in f"{crs.name} {crs.to_epsg()}"
    near = boxes[0] if len(boxes) > 1 else None
    gaps = [_compare(made, key, near) for key in (CLASS.mosaic_file, CONFIDENCE.mosaic_file)]
    assert gaps[1] > 0 or case in ("antimeridian", "equator", "Norway")


def test_a_zone_without_a_neighbour_has_no_seam() -> None:
    alone = {32631: [(5.9, 49.0, 6.0, 49.1)], 32632: [(6.0, 50.0, 6.1, 50.1)]}
    assert seams_between(alone, CRS.from_epsg(3035)) == []
    inland = {32631: [(5.9, 49.0, 5.99, 49.1)], 32632: [(6.0, 49.0, 6.1, 49.1)]}
    assert seams_between(inland, CRS.from_epsg(3035)) == []


def test_seams_of_a_continent_are_few_and_narrow() -> None:
    boxes = {
        32600 + zone: [
            (west + 6 * zone - 186, south, west + 6 * zone - 185, south + 1)
            for west in range(6)
            for south in range(36, 70)
        ]
        for zone in (29, 30, 33, 34, 35, 36)
    }
    seams = seams_between(boxes, CRS.from_epsg(3035))
    assert [(seam.epsg, seam.side) for seam in seams] == [
        (32629, "east"), (32630, "west"), (32633, "east"), (32634, "east"), (32634, "west"),
        (32635, "east"), (32635, "west"), (32636, "west"),
    ]  # fmt: skip
    windows = [window for seam in seams for window in seam.windows]
    assert len(windows) <= len(seams) * 35 * 2
    for left, bottom, right, top in windows:
        assert (right - left) * (top - bottom) < 60_000 * 30_000
