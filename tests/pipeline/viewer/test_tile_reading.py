"""Tiles of many COGs in two zones, held to the class of each place."""

import numpy as np
import pytest
from affine import Affine

from pipeline.grid.region import read_region
from pipeline.product.layers import CLASS, CONFIDENCE, TRUE_COLOUR
from pipeline.viewer.map_tiles import CellIndex, MapTile
from pipeline.viewer.tile_reading import MapTileReader
from pipeline.viewer.viewed_run import ViewedCell, ViewedRun
from tests.pipeline.made_run import TWO_ZONES, classes_at

BORDER = (6.0, 49.77)


@pytest.fixture(scope="module")
def reader(made: ViewedRun) -> MapTileReader:
    return MapTileReader(made)


def expected(tile: MapTile) -> tuple[np.ndarray, np.ndarray]:
    """The classes of a tile by coordinates, and the pixels that lie well within the region."""
    lon, lat = np.meshgrid(*tile.lonlat())
    west, south, east, north = read_region(TWO_ZONES).bbox
    slack = 2e-4  # degrees: more than a pixel
    inside = (lon > west + slack) & (lon < east - slack)
    return classes_at(lon, lat), inside & (lat > south + slack) & (lat < north - slack)


@pytest.mark.parametrize("z", [12, 13, 14, 15, 16, 18])
def test_a_tile_over_two_zones_has_no_gap_and_the_class_of_each_place(
    reader: MapTileReader, z: int
) -> None:
    tile = MapTile.at(*BORDER, z)
    values = reader.read(CLASS, tile)
    assert values is not None
    assert values.shape == (1, 256, 256)
    classes, inside = expected(tile)
    assert inside.any()
    assert (values[0][inside] > 0).all(), "a seam has gaps"
    # Patches of 300 m: only pixels at their edges may differ, fewer the finer the tile is.
    share = (values[0] == classes)[inside].mean()
    assert share > {12: 0.85, 13: 0.92, 14: 0.95}.get(z, 0.96), share


def test_far_views_are_made_of_small_pictures(reader: MapTileReader) -> None:
    tile = MapTile.at(*BORDER, 9)
    values = reader.read(CLASS, tile)
    assert values is not None
    _, inside = expected(tile)
    assert (values[0][inside] > 0).all()
    assert set(np.unique(values)) <= set(range(6))
    outside = values[0].copy()
    outside[inside] = 0
    assert (outside > 0).sum() < inside.sum()


def test_nodata_is_kept_and_other_layers_have_their_bands(reader: MapTileReader) -> None:
    tile = MapTile.at(*BORDER, 12)
    confidence, colour = reader.read(CONFIDENCE, tile), reader.read(TRUE_COLOUR, tile)
    assert confidence is not None
    assert colour is not None
    _, inside = expected(tile)
    assert (confidence[0][inside] <= 90).all()
    assert (confidence[0] == 255).any(), "the region does not fill the tile"
    assert colour.shape[0] == 3
    assert (colour[:, inside] > 0).mean() > 0.98  # made pictures end with the zone's own pixels


def test_where_no_cell_lies_nothing_is_read(reader: MapTileReader) -> None:
    assert reader.read(CLASS, MapTile.at(100.0, 10.0, 14)) is None


def test_cells_of_a_continent_and_over_the_antimeridian_are_found() -> None:
    def cell(number: int, west: float, east: float) -> ViewedCell:
        bbox = (west, 50.0, east, 50.2)
        grid, layers = Affine.identity(), frozenset({"class"})
        return ViewedCell(str(number), "31UFS", 32631, grid, (2048, 2048), layers, bbox)

    cells = tuple(cell(k, k * 0.2, k * 0.2 + 0.2) for k in range(800))
    index = CellIndex((*cells, cell(800, 179.9, -179.9)))
    tile = MapTile.at(80.3, 50.1, 13)
    assert {one.id for one in index.touched(tile, "class")} == {"401"}
    assert index.touched(tile, "true-colour") == []
    for lon in (179.95, -179.95):
        found = index.touched(MapTile.at(lon, 50.1, 13), "class")
        assert {one.id for one in found} == {"800"}
