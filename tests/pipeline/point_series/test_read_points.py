"""Series of points against those that mapping makes of the same pixels."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from models.encoder.preprocessing import AUTHORS, BANDS
from pipeline.catalog.item import SCL, Item
from pipeline.errors import ReadingError
from pipeline.grid.cell_blocks import block_windows
from pipeline.grid.cells import Cell, cells_of
from pipeline.grid.mgrs import parse_tile
from pipeline.grid.region import read_region
from pipeline.observations.clear_mask import Masking, strict_keep
from pipeline.observations.cube import reaching
from pipeline.observations.read_band import read_clear, read_series
from pipeline.observations.read_month import read_month
from pipeline.observations.reading import Reading
from pipeline.point_series.read_points import PointSeries, read_point_series
from pipeline.raster.stackstac_reader import ReaderSettings
from pipeline.sample.archive import SampleArchive
from pipeline.settings.map import make_search_settings
from tests.catalog_servers import search_named
from tests.pipeline.mapping.test_cell_graph import _on_cell

KEEP = strict_keep(AUTHORS.scl_keep)
READING = Reading(
    bands=BANDS,
    masking=Masking(KEEP, most=6, least=0.01),
    reader=ReaderSettings(),
)
FEW = dataclasses.replace(READING, masking=Masking(KEEP, dilate=40.0, most=1, least=0.3))


@pytest.fixture(scope="module")
def all_items(sample_archive: SampleArchive) -> list[Item]:
    settings = make_search_settings(
        {
            "region": sample_archive.region,
            "year": sample_archive.year,
            "catalog": {"url": str(sample_archive.folder), "max_cloud_cover": 100},
        }
    )
    found = search_named(read_region(settings.region), settings)
    return list(found.items)


@pytest.fixture(scope="module")
def cell(sample_archive: SampleArchive) -> Cell:
    """The cell of the archive with most pixels."""
    region = read_region(sample_archive.region)
    cells = [c for name in sample_archive.tiles for c in cells_of(parse_tile(name), region)]
    return max(cells, key=lambda cell: cell.height * cell.width)


@pytest.fixture(scope="module")
def items(all_items: list[Item], cell: Cell) -> list[Item]:
    return [item for item in all_items if item.tile == cell.tile.name]


def mapped(cell: Cell, items: Sequence[Item], reading: Reading) -> np.ndarray:
    """What mapping reads of a cell: uint16 (y, x, 12, band) at 10 m, gaps filled."""
    near = reaching(items, cell)
    clear = read_clear(near, cell, reading.masking, reading.reader)
    (block,) = block_windows(cell, 4096)
    bands = []
    for band in reading.bands:
        series = read_series(near, band, cell, block, clear, reading.reader).series
        n = cell.height // series.shape[1]
        bands.append(series.repeat(n, axis=1).repeat(n, axis=2))
    return np.stack(bands, axis=1).transpose(2, 3, 0, 1)


def seen(cell: Cell, items: Sequence[Item], reading: Reading) -> np.ndarray:
    """Where a month has an observation that mapping counts: bool (y, x, 12, band), the plain way.

    Every raster is read whole; the mask is the one that mapping reads by.
    """
    near = reaching(items, cell)
    clear = read_clear(near, cell, reading.masking, reading.reader)
    found = np.zeros((*cell.shape, 12, len(reading.bands)), bool)
    for number, item in enumerate(near):
        bits = clear.bits[number // 8] >> np.uint8(number % 8) & 1
        mask = bits.astype(bool).repeat(2, axis=0).repeat(2, axis=1)
        for index, band in enumerate(reading.bands):
            stored = _on_cell(item.assets[band].href, cell)
            found[:, :, clear.month[number], index] |= mask & (stored != 0) & (stored != 65535)
    return found


def everywhere(cell: Cell, items: Sequence[Item], reading: Reading) -> PointSeries:
    rows, columns = (axis.ravel() for axis in np.indices(cell.shape))
    return read_point_series(cell, rows, columns, items, reading)


@pytest.mark.parametrize("reading", [READING, FEW], ids=["as it comes", "dilated, one a month"])
def test_a_pixel_is_what_mapping_makes_of_it_but_for_gaps(
    cell: Cell, items: list[Item], reading: Reading
) -> None:
    expected = np.where(seen(cell, items, reading), mapped(cell, items, reading), 0)
    found = everywhere(cell, items, reading)
    shape = (*cell.shape, 12, len(BANDS))
    assert 0.01 < (expected == 0).mean() < 0.9
    assert np.array_equal(found.series.reshape(shape), expected)
    near = reaching(items, cell)
    clear = read_clear(near, cell, reading.masking, reading.reader)
    counts = clear.monthly_counts.repeat(2, axis=1).repeat(2, axis=2).transpose(1, 2, 0)
    assert np.array_equal(found.clear.reshape(*cell.shape, 12), counts)
    assert found.acquisitions == clear.acquisitions


def test_points_read_alone_are_those_read_together(cell: Cell, items: list[Item]) -> None:
    rng = np.random.default_rng(1)
    rows, columns = rng.integers(0, cell.height, 12), rng.integers(0, cell.width, 12)
    together = read_point_series(cell, rows, columns, items, READING)
    assert len(np.unique(together.series, axis=0)) > 8
    for i in range(12):
        alone = read_point_series(cell, rows[i : i + 1], columns[i : i + 1], items, READING)
        assert np.array_equal(alone.series[0], together.series[i])
        assert np.array_equal(alone.clear[0], together.clear[i])


def test_blocks_are_read_one_by_one(
    cell: Cell, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = everywhere(cell, items, READING)
    monkeypatch.setattr("pipeline.point_series.read_points.SOURCE_BLOCK", 16)
    assert np.array_equal(everywhere(cell, items, READING).series, whole.series)


def test_geometric_medians_are_those_of_mapping(cell: Cell, items: list[Item]) -> None:
    reading = dataclasses.replace(READING, geometric=True)
    near = reaching(items, cell)
    clear = read_clear(near, cell, reading.masking, reading.reader)
    (block,) = block_windows(cell, 4096)
    months = [read_month(near, BANDS, cell, block, clear, m, reading.reader) for m in range(12)]
    expected = np.stack([month.spectra for month in months]).transpose(2, 3, 0, 1)
    rows, columns = (axis[::3, ::3].ravel() for axis in np.indices(cell.shape))
    found = read_point_series(cell, rows, columns, items, reading)
    assert np.array_equal(found.series, expected[rows, columns])
    assert not np.array_equal(found.series, everywhere(cell, items, READING).series[: len(rows)])


def test_a_band_that_stands_for_another(cell: Cell, items: list[Item]) -> None:
    lacking = [
        dataclasses.replace(i, assets={b: a for b, a in i.assets.items() if b != "B8A"})
        for i in items
    ]
    reading = dataclasses.replace(READING, substitute=(("B8A", "B08"),))
    at = (np.array([5]), np.array([7]))
    found = read_point_series(cell, *at, lacking, reading).series
    assert np.array_equal(found[:, :, 7], found[:, :, 6])
    plain = read_point_series(cell, *at, items, READING).series
    assert not np.array_equal(plain[:, :, 7], plain[:, :, 6])


@pytest.mark.parametrize("geometric", [False, True], ids=["medians", "geometric medians"])
def test_a_band_that_no_item_has_is_0_and_the_others_are_as_without_it(
    cell: Cell, items: list[Item], geometric: bool
) -> None:
    lost = ("B8A", "B06")
    lacking = [
        dataclasses.replace(i, assets={b: a for b, a in i.assets.items() if b not in lost})
        for i in items
    ]
    rows, columns = (axis[::9, ::9].ravel() for axis in np.indices(cell.shape))
    reading = dataclasses.replace(READING, geometric=geometric, optional_bands=lost)
    found = read_point_series(cell, rows, columns, lacking, reading).series
    absent = [BANDS.index(band) for band in lost]
    others = [number for number in range(10) if number not in absent]
    fewer = dataclasses.replace(
        READING, geometric=geometric, bands=tuple(BANDS[number] for number in others)
    )
    assert not found[:, :, absent].any()
    expected = read_point_series(cell, rows, columns, lacking, fewer).series
    assert expected.any(axis=(1, 2)).mean() > 0.5
    assert np.array_equal(found[:, :, others], expected)


def test_a_place_without_items_has_no_acquisitions(cell: Cell) -> None:
    found = read_point_series(cell, np.array([1, 2]), np.array([1, 2]), [], READING)
    assert found.series.shape == (2, 12, 10)
    assert not found.series.any()
    assert not found.clear.any()
    assert found.acquisitions == 0


def moved(item: Item, bands: Sequence[str], place: Path) -> Item:
    """The item, some of its rasters said to lie where there is nothing."""
    assets = {
        band: dataclasses.replace(asset, href=str(place / f"{item.id}-{band}.tif"))
        if band in bands
        else asset
        for band, asset in item.assets.items()
    }
    return dataclasses.replace(item, assets=assets)


def test_rasters_that_are_gone_are_left_out_as_in_mapping(
    cell: Cell, items: list[Item], tmp_path: Path
) -> None:
    clear = read_clear(reaching(items, cell), cell, READING.masking)
    chosen, mask = clear.within(block_windows(cell, 4096)[0])
    # A pixel that few dates show clear: of them, not one has its B04, and all others have theirs.
    times = mask.sum(axis=0)
    row, column = np.argwhere(times == times[times > 0].min())[0].tolist()
    at = (np.array([2 * row]), np.array([2 * column]))
    near = reaching(items, cell)
    gone = {near[i].id for i in chosen[mask[:, row, column]].tolist()}
    assert len(gone) < len(chosen)
    damaged = [moved(i, ["B04"], tmp_path) if i.id in gone else i for i in items]

    found = read_point_series(cell, *at, damaged, READING)
    whole = read_point_series(cell, *at, items, READING)
    assert whole.series[0, :, 2].any()
    assert not found.series[0, :, 2].any()
    others = [k for k in range(10) if k != 2]
    assert np.array_equal(found.series[0][:, others], whole.series[0][:, others])
    assert {fault.band for fault in found.stats.faults} == {"B04"}
    strict = dataclasses.replace(READING, reader=ReaderSettings(strict=True))
    with pytest.raises(ReadingError):
        read_point_series(cell, *at, damaged, strict)


def test_where_no_raster_can_be_read_the_fault_lies_elsewhere(
    cell: Cell, items: list[Item], tmp_path: Path
) -> None:
    for bands in ([SCL], ["B11"]):
        damaged = [moved(item, bands, tmp_path) for item in items]
        with pytest.raises(ReadingError, match="not one can be read"):
            read_point_series(cell, np.array([3]), np.array([3]), damaged, READING)
