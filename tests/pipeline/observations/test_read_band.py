"""From files to series, against a reference that looks every pixel up by its coordinates."""

import math
import pickle
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import rasterio

from pipeline.catalog.item import SCL, Item
from pipeline.errors import ReadingError
from pipeline.grid.cell_blocks import Block, block_windows
from pipeline.grid.cells import Cell
from pipeline.grid.mgrs import parse_tile
from pipeline.observations.clear_mask import ClearMask, Masking
from pipeline.observations.cube import observations, substituted
from pipeline.observations.read_band import read_clear, read_series
from pipeline.raster.stackstac_reader import ReaderSettings
from tests.pipeline.observations.test_monthly_median import plain_pixel
from tests.pipeline.rasters import LEFT, TOP, make_item, write_raster

KEEP = Masking((4, 5, 6, 7))
CELL = Cell(parse_tile("31UFS"), 0, 0, 1006, 2030, 44, 36)  # a source block ends within it


def looked_up(item: Item, band: str, x: float, y: float) -> int:
    """The value of the pixel that holds a point, without offset; 0 where there is none."""
    asset = item.assets.get(band)
    if asset is None:
        return 0
    stored, left, top, resolution = whole_raster(asset.href)
    row, column = math.floor((top - y) / resolution), math.floor((x - left) / resolution)
    if not (0 <= row < stored.shape[0] and 0 <= column < stored.shape[1]):
        return 0
    number = int(stored[row, column])
    return 0 if number == 0 else max(number + asset.offset, 1)


@cache
def whole_raster(href: str) -> tuple[np.ndarray, float, float, float]:
    with rasterio.open(href) as raster:
        return raster.read(1), raster.transform.c, raster.transform.f, raster.transform.a


def plain_series(items: list[Item], band: str, resolution: int) -> np.ndarray:
    """The series of the whole cell, pixel by pixel, file by file."""
    left, _, _, top = CELL.bounds
    rows, columns = CELL.height * 10 // resolution, CELL.width * 10 // resolution
    series = np.zeros((12, rows, columns), np.uint16)
    month = [item.datetime.month - 1 for item in items]
    acquisition = [hash(item.acquisition) for item in items]
    for row in range(rows):
        for column in range(columns):
            x, y = left + (column + 0.5) * resolution, top - (row + 0.5) * resolution
            values = [looked_up(item, band, x, y) for item in items]
            clear = [looked_up(item, SCL, x, y) in KEEP.keep for item in items]
            series[:, row, column] = plain_pixel(values, clear, month, acquisition)
    return series


def write_archive(folder: Path, resolutions: dict[str, int]) -> list[Item]:
    """Nine months of small rasters around the cell.

    Of each are: clouds, nodata, an offset in some; an overpass split into two granules, the first
    of which holds a part only; one that reaches into a corner only; two whose grid begins
    elsewhere; one without B05; no observations in February, November and December.
    """
    rng = np.random.default_rng(7)
    items = []
    left, top = LEFT + 20200, TOP - 9960  # 10 m pixels (2020, 996): around the cell
    days = [datetime(2021, 1, 3, 10, 50, tzinfo=UTC) + timedelta(days=17 * n) for n in range(17)]
    for n, day in enumerate(day for day in days if day.month not in (2, 11, 12)):
        shift = 40 * (n % 5 == 4)
        rows, columns = (40, 32) if n == 3 else (80, 72)
        assets = {}
        clouds = rng.random((rows // 4, columns // 4)).repeat(4, 0).repeat(4, 1)
        for band, resolution in resolutions.items():
            step = resolution // 10
            shape = (rows // step, columns // step)
            if band == SCL:
                stored = np.where(clouds[::step, ::step] < 0.6, 4, 9).astype(np.uint8)
                stored[rng.random(shape) < 0.1] = 0
            else:
                stored = rng.integers(1, 3000, shape).astype(np.uint16)
                stored[rng.random(shape) < 0.05] = 0
            if n in (7, 8):  # one overpass: the upper part, then all of it
                stored[shape[0] // 2 :] *= np.uint8(n != 7)
            if band == "B05" and n == 5:
                continue
            asset = write_raster(
                folder / f"{n}_{band}.tif",
                stored,
                resolution=resolution,
                left=left - shift,
                top=top + shift,
                blocksize=32 if n % 2 else 128,
                nodata=None if n == 6 else 0,
            )
            offset = -1000 if band != SCL and n % 3 == 2 else 0
            assets[band] = replace(asset, offset=offset)
        items.append(make_item(f"item{n}", assets, day, "split" if n in (7, 8) else None))
    return items


ARCHIVES = {
    "as published": {"B02": 10, "B05": 20, SCL: 20},
    "all at 10 m": {"B02": 10, "B05": 10, SCL: 10},
    "fine classification": {"B02": 10, "B05": 20, SCL: 10},
}


@pytest.fixture(scope="module", params=ARCHIVES)
def archive(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[Item]]:
    return request.param, write_archive(tmp_path_factory.mktemp("archive"), ARCHIVES[request.param])


def test_series_agree_to_the_last_digit(archive: tuple[str, list[Item]]) -> None:
    name, items = archive
    clear = read_clear(items, CELL, KEEP)
    assert clear.resolution == ARCHIVES[name][SCL]
    assert not clear.stats.faults
    for band in ("B02", "B05"):
        resolution = min(ARCHIVES[name][band], clear.resolution)
        expected = plain_series(items, band, resolution)
        assert (expected > 0).mean() > 0.9
        blocks = block_windows(CELL)
        assert len(blocks) == 4
        series = np.full_like(expected, 12345)
        for block in blocks:
            part = read_series(items, band, CELL, block, clear)
            assert part.resolution == resolution
            assert not part.stats.faults
            series[:, *block.slices(resolution)] = part.series
        np.testing.assert_array_equal(series, expected)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    return write_archive(tmp_path_factory.mktemp("published"), ARCHIVES["as published"])


WHOLE = Block(0, 0, CELL.height, CELL.width)


def test_the_mask_is_what_the_classification_says(published: list[Item]) -> None:
    clear = read_clear(published, CELL, KEEP)
    left, _, _, top = CELL.bounds
    expected = np.array(
        [
            [
                [
                    looked_up(item, SCL, left + column * 20 + 10, top - row * 20 - 10) in KEEP.keep
                    for column in range(18)
                ]
                for row in range(22)
            ]
            for item in published
        ]
    )
    items, found = clear.within(WHOLE)
    assert items.tolist() == list(range(len(published)))
    np.testing.assert_array_equal(found, expected)
    assert clear.bits.nbytes == -(-len(published) // 8) * 22 * 18
    for block in block_windows(CELL):
        part = expected[:, *block.slices(20)]
        items, found = clear.within(block)
        assert items.tolist() == [n for n, seen in enumerate(part) if seen.any()]
        np.testing.assert_array_equal(found, part[items])
    assert clear.month.tolist() == [item.datetime.month - 1 for item in published]
    assert clear.acquisition[7] == clear.acquisition[8]
    assert len(set(clear.acquisition.tolist())) == len(published) - 1


def test_acquisitions_are_counted_that_have_a_clear_pixel(
    published: list[Item], tmp_path: Path
) -> None:
    assert read_clear(published, CELL, KEEP).clear_acquisitions == len(published) - 1  # one split
    assert read_clear(published[7:9], CELL, KEEP).clear_acquisitions == 1
    assert read_clear(published, CELL, Masking((11,))).clear_acquisitions == 0
    assert read_clear([], CELL, KEEP).clear_acquisitions == 0
    cloud = write_raster(
        tmp_path / "cloud.tif",
        np.full((40, 36), 9, np.uint8),
        resolution=20,
        left=LEFT + 20200,
        top=TOP - 9960,
    )
    elsewhere = replace(cloud, transform=cloud.transform.translation(90000, 0) @ cloud.transform)
    without = [
        make_item("cloudy", {SCL: cloud}),
        make_item("elsewhere", {SCL: elsewhere}),
        make_item("unclassified", {}),
    ]
    both = read_clear([*published[:3], *without], CELL, KEEP)
    assert both.clear_acquisitions == 3


def test_items_without_a_clear_pixel_are_not_opened(published: list[Item], tmp_path: Path) -> None:
    clear = read_clear(published, CELL, KEEP)
    cloudy = clear.bits.copy()
    cloudy[0] &= ~np.uint8(1 << 4)
    masked = replace(clear, bits=cloudy)
    gone = replace(published[4].assets["B02"], href=str(tmp_path / "gone.tif"))
    items = list(published)
    items[4] = replace(items[4], assets={**items[4].assets, "B02": gone})
    part = read_series(items, "B02", CELL, WHOLE, masked)
    assert not part.stats.faults
    rest = published[:4] + published[5:]
    alone = read_series(rest, "B02", CELL, WHOLE, read_clear(rest, CELL, KEEP))
    np.testing.assert_array_equal(part.series, alone.series)


def test_an_unreadable_band_leaves_out_its_observation(
    published: list[Item], tmp_path: Path
) -> None:
    truncated = tmp_path / "truncated.tif"
    content = Path(published[4].assets["B02"].href).read_bytes()
    truncated.write_bytes(content[: len(content) // 2])
    items = list(published)
    items[4] = replace(
        items[4],
        assets={
            **items[4].assets,
            "B02": replace(items[4].assets["B02"], href=str(truncated)),
        },
    )
    clear = read_clear(items, CELL, KEEP)
    found = read_series(items, "B02", CELL, WHOLE, clear)
    assert [(fault.asset, fault.band) for fault in found.stats.faults] == [(str(truncated), "B02")]
    without = replace(published[4], assets={SCL: published[4].assets[SCL]})
    expected = plain_series([*items[:4], without, *items[5:]], "B02", 10)
    np.testing.assert_array_equal(found.series, expected)
    with pytest.raises(ReadingError, match="truncated or damaged"):
        read_series(items, "B02", CELL, WHOLE, clear, ReaderSettings(strict=True))


def test_an_unreadable_classification_leaves_out_its_item(
    published: list[Item], tmp_path: Path
) -> None:
    gone = replace(published[2].assets[SCL], href=str(tmp_path / "gone.tif"))
    items = list(published)
    items[2] = replace(items[2], assets={**items[2].assets, SCL: gone})
    clear = read_clear(items, CELL, KEEP)
    assert [(fault.asset, fault.band) for fault in clear.stats.faults] == [(gone.href, SCL)]
    assert 2 not in clear.within(WHOLE)[0]
    with pytest.raises(ReadingError, match=r"gone\.tif"):
        read_clear(items, CELL, KEEP, ReaderSettings(strict=True))


def test_a_cell_of_which_no_classification_can_be_read_is_not_cloudy(
    published: list[Item], tmp_path: Path
) -> None:
    outside = write_raster(tmp_path / "outside.tif", np.ones((8, 8), np.uint8), left=LEFT + 90000)
    broken = []
    for number, item in enumerate(published[:3]):
        gone = replace(item.assets[SCL], href=str(tmp_path / f"gone{number}.tif"))
        broken.append(replace(item, assets={**item.assets, SCL: gone}))
    others = [make_item("outside", {SCL: outside}), make_item("unclassified", {})]
    with pytest.raises(
        ReadingError, match=r"of 3 rasters of SCL not one .*gone0\.tif: there is no"
    ):
        read_clear([*broken, *others], CELL, KEEP)
    seen = read_clear([*broken, published[3]], CELL, KEEP)
    assert len(seen.stats.faults) == 3
    assert seen.clear_acquisitions == 1


def test_a_substitute_gives_its_own_series(published: list[Item]) -> None:
    items = substituted(published, {"B8A": "B02"})
    clear = read_clear(items, CELL, KEEP)
    b02 = read_series(items, "B02", CELL, WHOLE, clear)
    b8a = read_series(items, "B8A", CELL, WHOLE, clear)
    np.testing.assert_array_equal(b02.series, b8a.series)


def test_never_clear_is_nodata_everywhere(published: list[Item]) -> None:
    clear = read_clear(published, CELL, Masking((11,)))
    found = read_series(published, "B05", CELL, WHOLE, clear)
    assert found.series.shape == (12, 22, 18)
    assert not found.series.any()
    nothing: list[Item] = []
    empty = read_series(nothing, "B02", CELL, WHOLE, read_clear(nothing, CELL, KEEP))
    assert not empty.series.any()


def test_results_travel_between_processes(published: list[Item]) -> None:
    clear: ClearMask = pickle.loads(pickle.dumps(read_clear(published, CELL, KEEP)))
    found = read_series(published, "B05", CELL, WHOLE, clear)
    assert pickle.loads(pickle.dumps(found)).series.shape == found.series.shape
    with pytest.raises(ValueError, match="do not go with"):
        read_series(published[1:], "B05", CELL, WHOLE, clear)


def test_a_block_of_any_size_may_have_no_items() -> None:
    """Dask chooses no chunks for what is empty; a block may be clouded all year."""
    for size in (64, 1024, 2048):
        stack = observations([], ["B02"], (0, 0, size * 10, size * 10), 32631, 10)
        assert stack.shape == (0, 1, size, size)
        assert stack.compute().shape == stack.shape
