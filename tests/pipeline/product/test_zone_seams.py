"""Mosaics of several zones, held pixel for pixel to a plain nearest look-up in the cells."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import CRS, Transformer
from rasterio.windows import Window, from_bounds

from pipeline.errors import SettingsError
from pipeline.grid.cells import PIXEL, cells_of, owned_pixels, tiles_of
from pipeline.grid.mgrs import strips_of
from pipeline.grid.region import Region, read_region
from pipeline.product import map_blocks
from pipeline.product.cell_commit import commit_cell
from pipeline.product.layers import CLASS, CONFIDENCE
from pipeline.product.map_crs import map_crs, pixel_of
from pipeline.product.map_export import export_map
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
    plain, sure = np.full(x.shape, nodata, np.uint8), np.ones(x.shape, bool)
    places = []
    for zone in zones:
        easting, northing = Transformer.from_crs(crs, zone.epsg, always_xy=True).transform(x, y)
        across, down = (easting - zone.left) / PIXEL, (zone.top - northing) / PIXEL
        for place in (across, down):
            sure &= np.abs(place - np.round(place)) > INEXACT
        row, column = np.floor(down).astype(int), np.floor(across).astype(int)
        here = _look_up(getattr(zone, which), row, column, nodata)
        plain = np.where(here != nodata, here, plain)
        places.append((row, column))
    empty = plain == nodata
    gap = np.ones(int(empty.sum()), bool)
    fills = []
    for zone, (rows, columns) in zip(zones, places, strict=True):
        row, column = rows[empty], columns[empty]
        mine, well_within = _in_strips(zone, row, column)
        gap &= ~mine
        for dx, dy in STEPS:
            # The last pixel before the border, seen from the first beyond it.
            last = _look_up(getattr(zone, which), row - dy, column - dx, nodata)
            beyond = ~well_within & _in_strips(zone, row - dy, column - dx)[0]
            fills.append(np.where(beyond, last, nodata))
            gap &= ~(beyond & (last == nodata))
    gap &= (np.array(fills) != nodata).any(axis=0)
    gaps, spread = np.zeros(x.shape, bool), np.full((len(fills), *x.shape), nodata, np.uint8)
    gaps[empty], spread[:, empty] = gap, fills
    return Expected(plain, spread, gaps, sure)


def _compare(made: Made, path: str, which: str, near: str | None = None) -> int:
    """Hold a mosaic, or its part around a box of degrees, to what it may be, at every pixel.

    Gives how many pixels would be gaps without a seam.
    """
    nodata = 0 if which == "classes" else 255
    with rasterio.open(path) as mosaic:
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
    x, y = transform.c + transform.a * columns, transform.f + transform.e * rows
    may = _expected(made.zones, crs, x, y, which)
    filled = ((may.fills == got) & (got != nodata)).any(axis=0)
    right = np.where(may.plain == nodata, filled | (got == nodata), may.plain == got)
    right &= filled | ~may.gaps
    right |= ~may.sure
    assert right.all(), f"{(~right).sum()} pixels of {right.size}"
    return int(may.gaps.sum())


CASES = {
    "tall": (["5.995,49.72,6.005,49.80"], {32631, 32632}, "3035"),
    "slanting": (["11.99,60.00,12.01,60.04", "-4,50,-3.99,50.005"], {32632, 32633, 32630}, "3035"),
    "wide": (["17.99,70.00,18.01,70.02", "150,60,150.005,60.005"], {32633, 32634, 32656}, "6931"),
    "south": (["17.98,-33.05,18.02,-33.00"], {32733, 32734}, "6933"),
    "antimeridian": (["179.98,-17.02,-179.98,-16.98"], {32701, 32760}, "8859"),
    "equator": (["17.98,-0.02,18.02,0.02"], {32633, 32634, 32733, 32734}, "6933"),
    "Norway": (["2.98,60.995,3.02,61.005"], {32631, 32632}, "3035"),
    "its north": (["4.98,63.99,5.02,64.01"], {32631, 32632}, "3035"),
    "Svalbard": (["8.95,71.995,9.05,72.005"], {32631, 32632, 32633}, "3035"),
    "Chukotka": (["179.98,66.00,-179.98,66.01"], {32601, 32660}, "6931"),
}
"""Boxes whose first is looked at, the zones they lie in, and the CRS of their mosaic."""

MakeCase = Callable[[str], Made]


@pytest.fixture(scope="module")
def make_case(tmp_path_factory: pytest.TempPathFactory) -> MakeCase:
    """Make the run of a case, once."""
    return functools.cache(lambda case: _make(tmp_path_factory.mktemp(case), *CASES[case][0]))


@pytest.mark.parametrize("case", CASES)
def test_zones_meet_without_gaps_and_inventions(make_case: MakeCase, case: str) -> None:
    boxes, epsgs, name = CASES[case]
    made = make_case(case)
    assert {zone.epsg for zone in made.zones} == epsgs
    crs = map_crs(made.run.items)
    assert name in f"{crs.name} {crs.to_epsg()}"
    near = boxes[0] if len(boxes) > 1 else None
    gaps = [
        _compare(made, made.run.store.path(layer.mosaic_file), which, near)
        for layer, which in ((CLASS, "classes"), (CONFIDENCE, "confidence"))
    ]
    assert gaps[1] > 0 or case in ("antimeridian", "equator", "Norway")


@pytest.mark.parametrize(
    ("case", "code"),
    [
        *((case, code) for case in ("Norway", "its north", "Svalbard") for code in (3035, 4326)),
        *((case, code) for case in ("its north", "Chukotka") for code in (6931, 8859)),
    ],
)
def test_exports_show_each_place_once(
    make_case: MakeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, code: int
) -> None:
    monkeypatch.setattr(map_blocks, "_AT_ONCE", 512 * 512)  # so that blocks meet, too
    made, crs = make_case(case), CRS.from_epsg(code)
    coarse = 10 * pixel_of(crs)
    nearest = {"resolution": coarse, "resampling": "nearest"}
    for layer, which in ((CLASS, "classes"), (CONFIDENCE, "confidence")):
        shown = {}
        for name, options in (("fine", {}), ("most", {"resolution": coarse}), ("near", nearest)):
            path = str(tmp_path / f"{which}-{name}.tif")
            given = (made.run.store, made.run.run, made.run.items, made.run.vocabulary, layer, path)
            export_map(*given, crs=f"EPSG:{code}", **options)  # type: ignore[arg-type]
            if name != "most":
                _compare(made, path, which)
            with rasterio.open(path) as raster:
                shown[name] = (raster.read(1), raster.transform)
        _compare_coarse(*shown["fine"], *shown["most"], 0 if layer is CLASS else 255)


def _compare_coarse(
    fine: np.ndarray, fine_grid: Affine, coarse: np.ndarray, grid: Affine, nodata: int
) -> None:
    """Hold pixels of 10 × 10 to the most frequent of these (classes), or to their average."""
    assert grid.a == pytest.approx(10 * fine_grid.a)
    column, row = (round(place) for place in ~fine_grid @ (grid.c, grid.f))
    whole = np.full((10 * coarse.shape[0], 10 * coarse.shape[1]), nodata, np.int64)
    assert row <= 0
    assert column <= 0
    whole[-row : fine.shape[0] - row, -column : fine.shape[1] - column] = fine
    squares = whole.reshape(coarse.shape[0], 10, coarse.shape[1], 10).swapaxes(1, 2)
    squares = squares.reshape(*coarse.shape, 100)
    known = (squares != nodata).sum(axis=2)
    assert ((coarse == nodata) == (known == 0)).all()
    if nodata == 0:
        counts = np.stack([(squares == value).sum(axis=2) for value in range(1, 6)])
        chosen = np.take_along_axis(counts, np.maximum(coarse, 1)[None].astype(int) - 1, axis=0)
        assert (chosen[0] == counts.max(axis=0)).all()
    else:
        total = np.where(squares == nodata, 0, squares).sum(axis=2)
        average = (2 * total + known) // np.maximum(2 * known, 1)
        assert (coarse == np.where(known, average, nodata)).all()


def test_degrees_end_at_the_antimeridian(make_case: MakeCase, tmp_path: Path) -> None:
    made = make_case("Chukotka").run
    given = (made.store, made.run, made.items, made.vocabulary, CLASS, str(tmp_path / "map.tif"))
    with pytest.raises(SettingsError, match="cuts the map in two"):
        export_map(*given, crs="EPSG:4326")


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
