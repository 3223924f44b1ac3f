"""Items whose offset was applied before, though they say that it was not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from pipeline.catalog.item import SCL, Item
from pipeline.errors import ReadingError
from pipeline.grid.cell_blocks import Block
from pipeline.grid.cells import Cell
from pipeline.grid.mgrs import parse_tile
from pipeline.observations.clear_mask import Masking
from pipeline.observations.offset_check import OFFSET_REASON
from pipeline.observations.read_band import read_clear, read_series
from pipeline.raster.stackstac_reader import ReaderSettings
from tests.pipeline.rasters import make_item, write_raster

CELL = Cell(parse_tile("31UFS"), 0, 0, 0, 0, 60, 40)
WHOLE = Block(0, 0, 60, 40)
KEEP = Masking((4, 5, 6, 7))


def granule(folder: Path, number: int, lowest: int, scene: int = 4) -> Item:
    """An item of stored numbers from `lowest` on, with an offset of −1000 by its metadata."""
    rng = np.random.default_rng(number)
    assets = {
        SCL: write_raster(
            folder / f"{number}_scl.tif", np.full((40, 30), scene, np.uint8), resolution=20
        )
    }
    for band, brightness in (("B02", 0), ("B08", 2500)):
        stored = rng.integers(lowest, lowest + 500, (80, 60)) + brightness
        asset = write_raster(folder / f"{number}_{band}.tif", stored.astype(np.uint16))
        assets[band] = replace(asset, offset=-1000)
    day = datetime(2023, 6, 1, tzinfo=UTC) + timedelta(days=5 * number)
    return make_item(f"item{number}", assets, day)


def test_an_item_whose_offset_was_applied_before_is_a_fault(tmp_path: Path) -> None:
    items = [granule(tmp_path, 0, 1200), granule(tmp_path, 1, 200), granule(tmp_path, 2, 1300)]
    clear = read_clear(items, CELL, KEEP)
    (fault,) = clear.stats.faults
    assert (fault.asset, fault.band) == (items[1].assets["B02"].href, "B02")
    assert fault.reason == OFFSET_REASON
    assert clear.within(WHOLE)[0].tolist() == [0, 2]
    sound = [items[0], items[2]]
    for band in ("B02", "B08"):
        found = read_series(items, band, CELL, WHOLE, clear)
        alone = read_series(sound, band, CELL, WHOLE, read_clear(sound, CELL, KEEP))
        np.testing.assert_array_equal(found.series, alone.series)


def test_another_acquisition_takes_its_place(tmp_path: Path) -> None:
    items = [granule(tmp_path, 0, 200), granule(tmp_path, 1, 1200), granule(tmp_path, 2, 1300)]
    clear = read_clear(items, CELL, replace(KEEP, most=1))
    assert clear.within(WHOLE)[0].tolist() == [1]


def test_offsets_may_be_trusted(tmp_path: Path) -> None:
    items = [granule(tmp_path, 0, 1200), granule(tmp_path, 1, 200)]
    clear = read_clear(items, CELL, KEEP, ReaderSettings(trust_offsets=True))
    assert not clear.stats.faults
    assert clear.within(WHOLE)[0].tolist() == [0, 1]


def test_if_all_items_or_a_strict_run_are_wrong_the_cell_fails(tmp_path: Path) -> None:
    items = [granule(tmp_path, 0, 1200), granule(tmp_path, 1, 200)]
    with pytest.raises(ReadingError, match=r"1 items .*1_B02\.tif.* set trust_offsets"):
        read_clear(items, CELL, KEEP, ReaderSettings(strict=True))
    with pytest.raises(ReadingError, match="trust_offsets"):
        read_clear(items[1:], CELL, KEEP)


def test_water_may_be_dark(tmp_path: Path) -> None:
    items = [granule(tmp_path, 0, 1200), granule(tmp_path, 1, 600, scene=6)]
    assert not read_clear(items, CELL, KEEP).stats.faults
