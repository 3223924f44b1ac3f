"""Lazy observations: shape and order whatever the items offer; blocks of a cell."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from pipeline.catalog.item import Asset, Item
from pipeline.grid.cell_blocks import block_windows
from pipeline.grid.cells import Cell
from pipeline.grid.footprint import footprint
from pipeline.grid.mgrs import parse_tile
from pipeline.observations.cube import (
    acquisition_numbers,
    band_resolution,
    observations,
    reaching,
    read_observations,
    substituted,
)
from pipeline.raster.read_stats import FaultLog
from tests.pipeline.rasters import EPSG, LEFT, TOP, make_item, write_raster

BOUNDS = (LEFT + 100, TOP - 900, LEFT + 700, TOP - 200)  # 60 × 70 pixels of 10 m, from (20, 10)


@pytest.fixture(scope="module")
def ten() -> np.ndarray:
    return np.random.default_rng(1).integers(1, 9000, (200, 200)).astype(np.uint16)


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory, ten: np.ndarray) -> list[Item]:
    """Whole; a corner only, of two bands; outside; without B05; a second one of that moment."""
    folder = tmp_path_factory.mktemp("items")
    twenty = np.arange(1, 10001, dtype=np.uint16).reshape(100, 100)
    first = {
        "B02": write_raster(folder / "0_B02.tif", ten),
        "B05": write_raster(folder / "0_B05.tif", twenty, resolution=20),
    }
    corner = {
        "B02": write_raster(folder / "1_B02.tif", ten[:50, :50]),
        "B05": write_raster(folder / "1_B05.tif", twenty[:25, :25], resolution=20),
    }
    outside = {
        band: write_raster(folder / f"2_{band}.tif", ten, left=LEFT + 90000)
        for band in ("B02", "B05")
    }
    offset = {"B02": replace(write_raster(folder / "3_B02.tif", ten), offset=-1000)}
    june = datetime(2021, 6, 30, 23, 30, tzinfo=UTC)
    return [
        make_item("late", first, june),
        make_item("corner", corner, datetime(2021, 1, 31, 23, tzinfo=UTC), "one"),
        make_item("outside", outside, datetime(2021, 3, 1, tzinfo=UTC)),
        make_item("old", offset, datetime(2020, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
        make_item("again", first, june, "one"),
    ]


def test_every_item_and_band_has_its_place(items: list[Item], ten: np.ndarray) -> None:
    faults = FaultLog()
    stack = observations(items, ["B05", "B02"], BOUNDS, EPSG, 10, faults=faults)
    assert stack.shape == (5, 2, 70, 60)
    assert stack.dtype == np.uint16
    assert stack.numblocks == (1, 2, 1, 1)

    b05, b02 = np.moveaxis(stack.compute(), 1, 0)
    window = ten[20:90, 10:70]
    np.testing.assert_array_equal(b02[0], window)
    corner = np.zeros_like(window)
    corner[:30, :40] = window[:30, :40]
    np.testing.assert_array_equal(b02[1], corner)
    assert not b02[2].any()
    assert not b05[2].any()
    without_offset = np.maximum(window.astype(int) - 1000, 1)
    np.testing.assert_array_equal(b02[3], without_offset)
    assert not b05[3].any()
    assert not faults


def test_reading_into_one_array_gives_the_lazy_observations(items: list[Item]) -> None:
    twice = [*items, items[0]]  # the same raster once more
    for resolution in (10, 20):
        given = BOUNDS, EPSG, resolution
        lazy = observations(twice, ["B05"], *given).compute()[:, 0]
        assert lazy.any()
        for reuse in (False, True, True):
            faults = FaultLog()
            read = read_observations(twice, "B05", *given, faults=faults, reuse=reuse)
            np.testing.assert_array_equal(read, lazy)
            assert not list(faults)
            read[:] = 1  # what lies in memory that is used again must not be seen
    assert read_observations([], "B05", BOUNDS, EPSG, 10).shape == (0, 70, 60)


def test_bands_of_20_m_are_read_at_20_m(items: list[Item]) -> None:
    values = observations(items[:1], ["B05"], BOUNDS, EPSG, 20).compute()
    assert values.shape == (1, 1, 35, 30)
    expected = np.arange(1, 10001).reshape(100, 100)[10:45, 5:35]
    np.testing.assert_array_equal(values[0, 0], expected)


@pytest.mark.parametrize("chosen", [[], [2], [3]])
def test_nothing_to_read_still_has_its_shape(items: list[Item], chosen: list[int]) -> None:
    stack = observations([items[i] for i in chosen], ["B05"], BOUNDS, EPSG, 20)
    assert stack.shape == (len(chosen), 1, 35, 30)
    assert stack.dtype == np.uint16
    assert not stack.compute().any()


def test_faults_name_asset_and_band_whatever_the_scheduler(
    items: list[Item], tmp_path: Path
) -> None:
    broken = replace(items[0].assets["B02"], href=str(tmp_path / "gone.tif"))
    given = [replace(items[0], assets={**items[0].assets, "B02": broken}), items[4]]
    for scheduler in ("synchronous", "threads"):
        faults = FaultLog()
        stack = observations(given, ["B02", "B05"], BOUNDS, EPSG, 10, faults=faults)
        values = stack.compute(scheduler=scheduler)
        assert [(f.asset, f.band) for f in faults] == [(broken.href, "B02")]
        assert not values[0, 0].any()
        assert values[0, 1].all()
        assert values[1].all()


def test_items_of_a_neighbouring_zone_are_warped(tmp_path: Path) -> None:
    stored = np.full((300, 300), 700, np.uint16)
    near = write_raster(tmp_path / "near.tif", stored, left=182500, top=5709500, epsg=32632)
    far = write_raster(tmp_path / "far.tif", stored, left=700000, top=5000000, epsg=32632)
    given = [make_item("near", {"B02": near}), make_item("far", {"B02": far})]
    bounds = (LEFT, TOP - 1000, LEFT + 1000, TOP)
    values = observations(given, ["B02"], bounds, EPSG, 10).compute()
    assert np.unique(values[0]).tolist() == [700]
    assert not values[1].any()


def asset_of(resolution: float) -> Asset:
    return Asset("a.tif", EPSG, Affine(resolution, 0, LEFT, 0, -resolution, TOP), (10, 10))


@pytest.mark.parametrize(
    ("resolutions", "expected"), [([20, 20], 20), ([20, 10], 10), ([10], 10), ([60], 20), ([], 20)]
)
def test_the_finest_asset_decides_the_resolution(resolutions: list[float], expected: int) -> None:
    items = [make_item(str(i), {"B05": asset_of(r)}) for i, r in enumerate(resolutions)]
    assert band_resolution([*items, make_item("none", {})], "B05") == expected


def test_a_band_stands_for_an_absent_one_only() -> None:
    b08, b8a = asset_of(10), asset_of(20)
    without, with_both = make_item("a", {"B08": b08}), make_item("b", {"B08": b08, "B8A": b8a})
    neither = make_item("c", {})
    found = substituted([without, with_both, neither], {"B8A": "B08"})
    assert found[0].assets == {"B08": b08, "B8A": b08}
    assert found[1] == with_both
    assert found[2] == neither
    assert without.assets == {"B08": b08}


def test_acquisitions_are_numbered() -> None:
    items = [make_item(str(i), {}, acquisition=name) for i, name in enumerate("abacb")]
    assert acquisition_numbers(items).tolist() == [0, 1, 0, 2, 1]


EVEN = st.integers(0, 2500).map(lambda n: 2 * n)


@given(EVEN, EVEN, EVEN.map(lambda n: n + 2), EVEN.map(lambda n: n + 2))
def test_blocks_cover_a_cell_once_and_stay_in_one_source_block(
    row: int, column: int, height: int, width: int
) -> None:
    cell = Cell(parse_tile("31UFS"), 0, 0, row, column, height, width)
    for source_block in (1024, 2048):
        blocks = block_windows(cell, source_block)
        assert sum(block.height * block.width for block in blocks) == height * width
        covered = np.zeros((height // 2, width // 2), np.uint8)
        for block in blocks:
            covered[block.slices(20)] += 1
            top, left = row + block.row, column + block.column
            assert top // source_block == (top + block.height - 1) // source_block
            assert left // source_block == (left + block.width - 1) // source_block
        assert (covered == 1).all()


def test_a_block_knows_its_extent() -> None:
    cell = Cell(parse_tile("31UFS"), 0, 0, 1000, 2000, 100, 200)
    blocks = block_windows(cell)
    assert [(b.row, b.column, b.height, b.width) for b in blocks] == [
        (0, 0, 24, 48),
        (0, 48, 24, 152),
        (24, 0, 76, 48),
        (24, 48, 76, 152),
    ]
    left, bottom, right, top = blocks[1].bounds(cell)
    assert (left, top) == (cell.bounds[0] + 480, cell.bounds[3])
    assert (right, bottom) == (cell.bounds[2], cell.bounds[3] - 240)
    assert blocks[3].slices() == (slice(24, 100), slice(48, 200))
    assert blocks[3].slices(20) == (slice(12, 50), slice(24, 100))


def item_over(name: str, bounds: tuple[float, float, float, float], epsg: int, points: int) -> Item:
    """An item whose footprint is a rectangle of metres, its sides drawn with so many segments."""
    geometry = shapely.geometry.shape(footprint(bounds, epsg, points)[0])
    return replace(make_item(name, {}), footprint=geometry)


# A granule of 109.8 km of which a corner of 40 km was seen; the same far north, where a side that
# is straight in degrees bends most; and across the antimeridian.
@pytest.mark.parametrize("tile", ["31UFS", "33XVJ", "01KAB", "60KXG"])
def test_items_that_do_not_reach_into_a_cell_are_left_out(tile: str) -> None:
    cell = Cell(parse_tile(tile), 0, 0, 4096, 4096, 2048, 2048)
    left, bottom, right, top = cell.bounds
    whole = (left - 41000, bottom - 48000, right + 48000, top + 41000)
    upper_edge = (left - 41000, top - 10, right + 48000, top + 100000)
    beyond = (left - 41000, top + 9000, right + 48000, top + 100000)
    given = [
        item_over("whole", whole, cell.epsg, 1),
        item_over("a row of pixels, drawn coarsely", upper_edge, cell.epsg, 1),
        item_over("beyond", beyond, cell.epsg, 8),
        make_item("without a footprint", {}),
        item_over("left", (left - 90000, bottom, left - 9000, top), cell.epsg, 8),
    ]
    assert reaching(given, cell) == [given[0], given[1], given[3]]
