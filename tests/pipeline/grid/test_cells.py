import subprocess
import sys

import numpy as np
import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.grid.cells import (
    PIXEL,
    Cell,
    cells_of,
    cells_with_pixels,
    owned_pixels,
    tiles_of,
)
from pipeline.grid.mgrs import SQUARE, parse_tile, tile_at, to_lonlat, to_utm, zone_at
from pipeline.grid.region import Region, read_region


def _square(longitude: float, latitude: float, half: float) -> Region:
    return Region(
        shapely.box(longitude - half, latitude - half, longitude + half, latitude + half), "square"
    )


def _owners(longitude: float, latitude: float, cells: list[tuple[Cell, np.ndarray]]) -> list[str]:
    """The cells that own the pixel of a place: slow and plain."""
    owners = []
    for cell, owned in cells:
        easting, northing = to_utm(cell.epsg).transform(longitude, latitude)
        column, row = ~cell.transform @ (easting, northing)
        if 0 <= row < cell.height and 0 <= column < cell.width and owned[int(row), int(column)]:
            owners.append(cell.id)
    return owners


def _slow_owned(cell: Cell, region: Region) -> np.ndarray:
    """Every pixel's centre taken to degrees and asked for its zone and for the region."""
    columns, rows = np.meshgrid(np.arange(cell.width) + 0.5, np.arange(cell.height) + 0.5)
    x, y = cell.transform @ (columns, rows)
    longitude, latitude = to_lonlat(cell.epsg).transform(x, y)
    in_zone = np.vectorize(zone_at)(longitude, latitude) == cell.tile.zone
    east, north = cell.tile.easting, cell.tile.northing
    in_square = (x > east) & (x < east + SQUARE) & (y > north) & (y < north + SQUARE)
    return in_zone & in_square & shapely.contains_xy(region.geometry, longitude, latitude)


@given(st.floats(-179.9, 179.9), st.floats(-79.9, 83.9))
def test_a_place_belongs_to_one_tile_and_one_pixel_of_one_cell(
    longitude: float, latitude: float
) -> None:
    assume(abs(latitude) > 1e-7)  # on the equator itself the place is an edge of two pixels
    region = _square(longitude, latitude, 0.002)
    cells = [
        (cell, owned_pixels(cell, region))
        for tile in tiles_of(region)
        for cell in cells_of(tile, region)
    ]
    owners = _owners(longitude, latitude, cells)
    # Within a pixel of a zone's border a place may lie in the pixel of neither or of both zones,
    # since each counts by its centre in its own grid.
    metre = 15 / 111_000 / np.cos(np.radians(latitude))
    zones = {
        zone_at(lon, lat)
        for lon in (longitude - metre, longitude + metre)
        for lat in (latitude - 1.5e-4, min(latitude + 1.5e-4, 84.0))
    }
    if len(zones) == 1:
        assert len(owners) == 1
        assert owners[0].startswith(tile_at(longitude, latitude).name)


@pytest.mark.parametrize(
    ("west", "south", "name"),
    [
        (5.995, 50.5, "zone border"),
        (2.99, 63.997, "Norway"),
        (20.98, 71.998, "Svalbard"),
        (-66.003, -0.004, "equator"),
        (17.995, -33.4, "south"),
    ],
)
def test_owned_pixels_are_those_of_the_plain_rule(west: float, south: float, name: str) -> None:
    region = Region(shapely.box(west, south, west + 0.02, south + 0.008), name)
    total = 0.0
    for tile in tiles_of(region):
        for cell in cells_of(tile, region):
            owned = owned_pixels(cell, region)
            slow = _slow_owned(cell, region)
            assert (owned != slow).sum() == 0
            assert owned.any(axis=1)[:2].any()
            assert owned.any(axis=1)[-2:].any()
            total += float(owned.sum()) * PIXEL**2
    width = 0.02 * 111_320 * np.cos(np.radians(south + 0.004))
    assert total == pytest.approx(width * 0.008 * 111_000, rel=0.02)


@pytest.mark.parametrize(
    ("west", "south"),
    [(5.92, 50.4), (5.9, 55.98), (11.9, 63.98), (-66.08, -0.03), (179.93, -16.53)],
)
def test_pixels_are_counted_as_they_are_owned(west: float, south: float) -> None:
    """Also where a cell lies within the region and only a meridian, or nothing, cuts it."""
    region = read_region(f"{west},{south},{(west + 0.15 + 180) % 360 - 180},{south + 0.06}")
    inside = 0
    for tile in tiles_of(region):
        counted = cells_with_pixels(tile, region, 128)
        assert tuple(cell for cell, _ in counted) == cells_of(tile, region, 128)
        for cell, count in counted:
            slow = _slow_owned(cell, region)
            assert (owned_pixels(cell, region) != slow).sum() == 0
            assert count == slow.sum()
            edges = (slow[:2], slow[-2:], slow[:, :2], slow[:, -2:])
            assert all(edge.any() for edge in edges)
            inside += bool(region.geometry.covers(shapely.box(*cell.lonlat_bounds)))
    assert inside > 5


@pytest.mark.parametrize(("longitude", "latitude"), [(6.0, 50.5), (3.0, 60.0), (9.0, 75.0)])
def test_neighbours_neither_overlap_nor_leave_holes(longitude: float, latitude: float) -> None:
    region = _square(longitude, latitude, 0.01)
    cells = [
        (cell, owned_pixels(cell, region))
        for tile in tiles_of(region)
        for cell in cells_of(tile, region)
    ]
    assert len({cell.epsg for cell, _ in cells}) == 2
    rng = np.random.default_rng(3)
    metre = 1 / 111_000 / np.cos(np.radians(latitude))
    for place_lon, place_lat in zip(
        rng.uniform(longitude - 0.009, longitude + 0.009, 2000),
        rng.uniform(latitude - 0.009, latitude + 0.009, 2000),
        strict=True,
    ):
        if abs(place_lon - longitude) > 10 * metre:
            assert len(_owners(place_lon, place_lat, cells)) == 1


def test_both_sides_of_the_antimeridian() -> None:
    region = read_region("179.98,-16.51,-179.98,-16.49")
    tiles = tiles_of(region)
    assert [tile.zone for tile in tiles] == [1, 60]
    cells = [(c, owned_pixels(c, region)) for tile in tiles for c in cells_of(tile, region)]
    for longitude in (179.985, 179.9995, -179.9995, -179.985):
        assert len(_owners(longitude, -16.5, cells)) == 1
    owned = sum(float(mask.sum()) * PIXEL**2 for _, mask in cells)
    assert owned == pytest.approx(0.04 * 111_320 * np.cos(np.radians(16.5)) * 2213, rel=0.005)


def test_a_tiles_cells_hold_its_square_once_on_even_blocks() -> None:
    tile = parse_tile("31UFS")
    region = read_region("31UFS")
    cells = cells_of(tile, region)
    assert len({cell.id for cell in cells}) == len(cells) == 25
    assert sum(cell.height * cell.width for cell in cells) == 10_000**2
    for cell in cells:
        assert {cell.row_offset % 2, cell.column_offset % 2, cell.height % 2, cell.width % 2} == {0}
        assert cell.row_offset // 2048 == (cell.row_offset + cell.height - 1) // 2048 == cell.row
        assert owned_pixels(cell, region).all()
    assert cells[0].id == "31UFS-00-00"
    assert cells[0].bounds == (600000, 5700000 - 20480, 620480, 5700000)


def test_cells_are_trimmed_to_the_region() -> None:
    region = _square(4.6, 50.8, 0.01)
    (tile,) = tiles_of(region)
    (cell,) = cells_of(tile, region)
    assert cell.height < 240
    assert cell.width < 160
    smaller = cells_of(tile, region, cell_size=64)
    assert sum(owned_pixels(c, region).sum() for c in smaller) == owned_pixels(cell, region).sum()


def test_a_tile_that_shares_less_than_a_pixel_is_left_out() -> None:
    edge = to_lonlat(32631).transform(600_000, 5_650_000)
    west = to_lonlat(32631).transform(599_000, 5_650_000)
    region = Region(shapely.box(west[0], west[1] - 0.001, edge[0] + 1e-5, west[1] + 0.001), "edge")
    assert [tile.easting for tile in tiles_of(region)] == [500_000]


def test_a_region_with_a_hole_and_bent_edges() -> None:
    ring = shapely.box(4.0, 50.0, 5.5, 50.6).difference(shapely.box(4.5, 50.2, 4.6, 50.3))
    region = Region(ring, "ring")
    owned = sum(
        int(owned_pixels(cell, region).sum())
        for tile in tiles_of(region)
        for cell in cells_of(tile, region)
    )
    # Reference: the area on the ellipsoid, with parallels as edges, and UTM's scale (± 0.04 %).
    from pyproj import Geod

    area = abs(Geod(ellps="WGS84").geometry_area_perimeter(shapely.segmentize(ring, 0.01))[0])
    assert owned * PIXEL**2 == pytest.approx(area, rel=0.001)


def test_cells_counted_by_several_threads_say_nothing() -> None:
    """A user's terminal keeps clear of rasterio's warning of arrays without georeference."""
    program = """
from concurrent.futures import ThreadPoolExecutor
import shapely
from pipeline.grid.cells import cells_of, owned_pixels, tiles_of
from pipeline.grid.region import Region

region = Region(shapely.Point(3.6, 50.9).buffer(0.02), "a circle")
tile, *_ = tiles_of(region)
cell, *_ = cells_of(tile, region, 1024)
with ThreadPoolExecutor(4) as threads:
    list(threads.map(lambda _: owned_pixels(cell, region), range(1000)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
