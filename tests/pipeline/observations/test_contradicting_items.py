"""Items whose metadata contradict the grid of their rasters: the raster's own grid decides."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine

from pipeline.catalog.item import SCL, Asset, Item
from pipeline.catalog.normalise import normalise
from pipeline.grid.cell_blocks import Block
from pipeline.grid.cells import Cell
from pipeline.grid.footprint import footprint
from pipeline.grid.mgrs import parse_tile
from pipeline.observations.clear_mask import Masking
from pipeline.observations.read_band import read_clear, read_series
from tests.pipeline.rasters import EPSG, LEFT, TOP, make_item, write_raster
from tests.stac_items import earth_search_item

SIDE = 400  # pixels of 10 m
CELL = Cell(parse_tile("31UFS"), 0, 0, 200, 160, 120, 100)  # beyond a tenth of the rasters
WHOLE = Block(0, 0, 120, 100)
KEEP = Masking((4,))


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    bounds = (LEFT, TOP - 10 * SIDE, LEFT + 10 * SIDE, TOP)
    ground = shapely.geometry.shape(footprint(bounds, EPSG)[0])
    made = []
    for n in range(3):
        rng = np.random.default_rng(n)
        scenes = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
        values = rng.integers(1, 9000, (SIDE, SIDE)).astype(np.uint16)
        assets = {
            SCL: write_raster(tmp_path / f"{n}_scl.tif", scenes, resolution=20),
            "B02": write_raster(tmp_path / f"{n}_b02.tif", values),
        }
        stated = {
            name: replace(asset, grid_stated=True, pixel_stated=True, epsg_stated=True)
            for name, asset in assets.items()
        }
        item = make_item(f"item{n}", stated, datetime(2021, 6, 1, tzinfo=UTC) + timedelta(days=n))
        made.append(replace(item, footprint=ground))
    return made


def scaled(asset: Asset, factor: float) -> Asset:
    grid = asset.transform
    return replace(asset, transform=Affine(grid.a * factor, 0, grid.c, 0, grid.e * factor, grid.f))


WRONG = {
    "pixels ten times too small": (lambda asset: scaled(asset, 0.1), "has pixels of "),
    "pixels ten times too large": (lambda asset: scaled(asset, 10), "has pixels of "),
    "half the pixel": (lambda asset: scaled(asset, 0.5), "has pixels of "),
    "half the pixel, twice the shape": (
        lambda asset: replace(scaled(asset, 0.5), shape=(asset.shape[0] * 2, asset.shape[1] * 2)),
        "has pixels of ",
    ),
    "a shape that is too small": (
        lambda asset: replace(asset, shape=(asset.shape[0] // 10, asset.shape[1] // 10)),
        "covers more than its item says",
    ),
    "a shape that is too large": (
        lambda asset: replace(asset, shape=(asset.shape[0] * 2, asset.shape[1] * 2)),
        "covers less than its item says",
    ),
    "another place": (
        lambda asset: replace(asset, transform=Affine.translation(90000, 0) @ asset.transform),
        "covers less than its item says",
    ),
    "a CRS that does not exist": (
        lambda asset: replace(asset, epsg=999999),
        "is in EPSG:32631, and its item says EPSG:999999",
    ),
    "another zone": (
        lambda asset: replace(asset, epsg=EPSG + 1),
        "is in EPSG:32631, and its item says EPSG:32632",
    ),
}


def with_wrong(items: list[Item], band: str, wrong: str, footprints: bool) -> list[Item]:
    spoil = WRONG[wrong][0]
    assets: Mapping[str, Asset] = {**items[1].assets, band: spoil(items[1].assets[band])}
    spoilt = [items[0], replace(items[1], assets=assets), items[2]]
    return spoilt if footprints else [replace(item, footprint=None) for item in spoilt]


@pytest.mark.parametrize("footprints", [True, False])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_classification_on_another_grid_than_stated_is_a_fault(
    items: list[Item], wrong: str, footprints: bool
) -> None:
    spoilt = with_wrong(items, SCL, wrong, footprints)
    clear = read_clear(spoilt, CELL, KEEP)
    (fault,) = clear.stats.faults
    assert (fault.asset, fault.band) == (items[1].assets[SCL].href, SCL)
    assert WRONG[wrong][1] in fault.reason
    assert clear.resolution == 20
    assert clear.within(WHOLE)[0].tolist() == [0, 2]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_band_on_another_grid_than_stated_is_a_fault(items: list[Item], wrong: str) -> None:
    spoilt = with_wrong(items, "B02", wrong, True)
    found = read_series(spoilt, "B02", CELL, WHOLE, read_clear(spoilt, CELL, KEEP))
    (fault,) = found.stats.faults
    assert (fault.asset, fault.band) == (items[1].assets["B02"].href, "B02")
    assert WRONG[wrong][1] in fault.reason
    sound = [items[0], items[2]]
    alone = read_series(sound, "B02", CELL, WHOLE, read_clear(sound, CELL, KEEP))
    np.testing.assert_array_equal(found.series, alone.series)


def test_a_raster_that_ends_before_the_cell_as_its_item_says_is_no_fault(
    items: list[Item], tmp_path: Path
) -> None:
    """The footprint may be the whole granule's where an archive holds a part of it."""
    part = write_raster(tmp_path / "part.tif", np.full((50, 50), 4, np.uint8), resolution=20)
    stated = replace(part, grid_stated=True, pixel_stated=True, epsg_stated=True)
    items[1] = replace(items[1], assets={**items[1].assets, SCL: stated})
    clear = read_clear(items, CELL, KEEP)
    assert not clear.stats.faults
    assert clear.within(WHOLE)[0].tolist() == [0, 2]


def test_an_item_says_how_much_of_its_grid_it_states() -> None:
    published = earth_search_item()
    stated = normalise(published).assets["B02"]
    assert (stated.grid_stated, stated.pixel_stated, stated.epsg_stated) == (True, True, True)
    del published["properties"]["proj:epsg"]
    for asset in published["assets"].values():
        asset.pop("proj:transform", None)
    guessed = normalise(published).assets["B02"]
    assert (guessed.grid_stated, guessed.pixel_stated, guessed.epsg_stated) == (False, False, False)
