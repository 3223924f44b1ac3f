"""Rasters that are there and wrong: each is left out by its rule, counted, and told of."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import rasterio
from affine import Affine

from pipeline.catalog.item import SCL, Asset, Item
from pipeline.errors import ReadingError
from pipeline.grid.cell_blocks import Block
from pipeline.grid.cells import Cell
from pipeline.grid.mgrs import parse_tile
from pipeline.mapping.cell_graph import cell_graph
from pipeline.observations.clear_mask import Masking
from pipeline.observations.read_band import read_clear, read_series
from pipeline.product.committed_cells import finished_items
from pipeline.raster.read_stats import Fault
from pipeline.raster.stackstac_reader import ReaderSettings
from pipeline.sample.archive import SampleArchive
from tests.faulty_server import FaultyServer, faulty_server
from tests.pipeline.cell_runs import preparing, random_checkpoint
from tests.pipeline.rasters import EPSG, LEFT, TOP, make_item, write_raster

CELL = Cell(parse_tile("31UFS"), 0, 0, 40, 60, 120, 100)
WHOLE = Block(0, 0, 120, 100)
KEEP = Masking((4,))
SIDE = 400  # pixels of 10 m that the items' rasters cover, from the tile's corner on


def truncated(asset: Asset) -> None:
    content = Path(asset.href).read_bytes()
    Path(asset.href).write_bytes(content[: len(content) // 20])


def absent(asset: Asset) -> None:
    Path(asset.href).unlink()


def rewritten(
    side: int, resolution: float, left: float = LEFT, value: int | None = None, epsg: int = EPSG
) -> Callable[[Asset], None]:
    """Put a raster of another size, place or content in place of an asset's."""

    def rewrite(asset: Asset) -> None:
        with rasterio.open(asset.href) as raster:
            dtype = np.dtype(raster.dtypes[0])
        values = np.random.default_rng(1).integers(1, 200, (side, side)).astype(dtype)
        if value is not None:
            values[:] = value
        write_raster(Path(asset.href), values, resolution=resolution, left=left, epsg=epsg)

    return rewrite


WRONG: dict[str, tuple[Callable[[Asset], None], str]] = {
    "truncated": (truncated, "is truncated or damaged"),
    "absent": (absent, "there is no such file"),
    "a thumbnail": (rewritten(100, 10), "covers less than its item says"),
    "a preview": (rewritten(5, 800), "has pixels of 800 m, which no band has"),
    "moved by 1 km": (rewritten(SIDE, 10, LEFT + 1000), "covers less than its item says"),
    "elsewhere": (rewritten(SIDE, 10, LEFT + 50000), "covers less than its item says"),
    "another zone": (
        rewritten(SIDE, 10, epsg=EPSG + 1),
        "is nodata where its scene classification is not",
    ),
    "all nodata": (rewritten(SIDE, 10, value=0), "is nodata where its scene classification is not"),
}


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Two dates more than there are ways to be wrong; their items state what they cover."""
    rng = np.random.default_rng(9)
    made = []
    for n in range(len(WRONG) + 2):
        scenes = rng.choice([4, 4, 9], (SIDE // 2, SIDE // 2)).astype(np.uint8)
        band = rng.integers(1, 9000, (SIDE, SIDE)).astype(np.uint16)
        assets = {
            SCL: write_raster(tmp_path / f"{n}_scl.tif", scenes, resolution=20),
            "B02": write_raster(tmp_path / f"{n}_b02.tif", band),
        }
        day = datetime(2021, 1, 9, 10, 50, tzinfo=UTC) + timedelta(days=33 * n)
        stated = {name: replace(asset, grid_stated=True) for name, asset in assets.items()}
        made.append(make_item(f"item{n}", stated, day))
    return made


def spoilt(items: list[Item], band: str) -> tuple[list[Item], tuple[Fault, ...]]:
    """Make each item's band wrong in another way; the items left sound, and the faults."""
    faults = []
    for item, (spoil, reason) in zip(items, WRONG.values(), strict=False):
        spoil(item.assets[band])
        faults.append(Fault(item.assets[band].href, band, reason))
    return items[len(WRONG) :], tuple(sorted(faults, key=lambda fault: fault.asset))


def test_wrong_bands_are_left_out(items: list[Item]) -> None:
    clear = read_clear(items, CELL, KEEP)
    sound, faults = spoilt(items, "B02")
    found = read_series(items, "B02", CELL, WHOLE, clear)
    assert found.stats.faults == faults
    assert found.stats.retries == 0
    alone = read_series(sound, "B02", CELL, WHOLE, read_clear(sound, CELL, KEEP))
    np.testing.assert_array_equal(found.series, alone.series)
    assert found.series.any()


def test_wrong_classifications_leave_out_their_items(items: list[Item]) -> None:
    sound, faults = spoilt(items, SCL)
    found = read_clear(items, CELL, KEEP)
    # One that shows nothing has no fault of its own: a swath may end before the cell.
    shows_nothing = "is nodata where its scene classification is not"
    assert found.stats.faults == tuple(fault for fault in faults if fault.reason != shows_nothing)
    chosen, clear = found.within(WHOLE)
    assert [items[n].id for n in chosen] == [item.id for item in sound]
    alone = read_clear(sound, CELL, KEEP).within(WHOLE)[1]
    np.testing.assert_array_equal(clear, alone)


@pytest.mark.parametrize("name", [name for name in WRONG if WRONG[name][1].startswith("covers")])
def test_strictness_raises(items: list[Item], name: str) -> None:
    clear = read_clear(items, CELL, KEEP)
    spoil, reason = WRONG[name]
    spoil(items[0].assets["B02"])
    with pytest.raises(ReadingError, match=rf"0_b02\.tif: {reason}"):
        read_series(items, "B02", CELL, WHOLE, clear, ReaderSettings(strict=True))


def test_a_tiles_extent_is_not_required_of_a_raster(items: list[Item]) -> None:
    """Items that state no grid are taken to cover their tile; rasters of a part are read."""
    assumed = [
        replace(item, assets={b: replace(a, grid_stated=False) for b, a in item.assets.items()})
        for item in items
    ]
    rewritten(160, 10)(items[0].assets["B02"])
    found = read_series(assumed, "B02", CELL, WHOLE, read_clear(assumed, CELL, KEEP))
    assert not found.stats.faults
    assert found.series.any()


def test_a_pixel_more_or_less_is_no_fault(items: list[Item]) -> None:
    promised = items[0].assets["B02"]
    finer = replace(
        promised,
        transform=Affine(10, 0, LEFT - 5, 0, -10, TOP + 5),
        shape=(SIDE + 1, SIDE + 1),
    )
    items[0] = replace(items[0], assets={**items[0].assets, "B02": finer})
    found = read_series(items, "B02", CELL, WHOLE, read_clear(items, CELL, KEEP))
    assert not found.stats.faults


def test_bytes_in_place_of_reflectance_are_a_fault(items: list[Item], tmp_path: Path) -> None:
    shown = write_raster(tmp_path / "seen.tif", np.full((SIDE, SIDE), 200, np.uint8))
    items[0] = replace(items[0], assets={**items[0].assets, "B02": replace(shown, offset=-1000)})
    found = read_series(items, "B02", CELL, WHOLE, read_clear(items, CELL, KEEP))
    assert found.stats.faults == (
        Fault(shown.href, "B02", "holds uint8, not the numbers of a band with an offset"),
    )


def test_a_cells_item_states_faults_and_retries(
    sample_archive: SampleArchive, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(sample_archive.folder, archive)
    checkpoint = random_checkpoint(tmp_path / "checkpoint")
    prepared = preparing(sample_archive, checkpoint, tmp_path / "run")(
        catalog={"url": str(archive)}
    )
    cell, run = prepared.cells[0], prepared.run
    items = prepared.items_of(cell)
    sound = cell_graph(cell, items, run).compute(scheduler="threads")
    assert (sound.stats.faults, sound.stats.retries) == ((), 0)
    shutil.rmtree(tmp_path / "run" / "cells")  # a finished cell is not replaced by a worse one

    shown = read_clear(items, cell, run.reading.masking).within(
        Block(0, 0, cell.height, cell.width)
    )[0]
    read = [items[n] for n in shown[:3]]
    victims = [item.assets[band] for item, band in zip(read, ("B04", "B08", "B8A"), strict=True)]
    truncated(victims[0])
    absent(victims[1])
    rewritten(5, 20, victims[2].transform.c)(victims[2])
    files = {f"/{path.relative_to(archive)}": path.read_bytes() for path in archive.rglob("*.tif")}
    with faulty_server(FaultyServer(files)) as server:
        server.how = lambda path, first, before: 200 if before or crc32(path.encode()) % 8 else 503
        on_server = [
            replace(
                item,
                assets={
                    band: replace(asset, href=asset.href.replace(str(archive), server.address))
                    for band, asset in item.assets.items()
                },
            )
            for item in items
        ]
        report = cell_graph(cell, on_server, run).compute(scheduler="threads")
    reasons = [
        "is truncated or damaged",
        "its server answered HTTP 404",
        "covers less than its item says",
    ]
    expected = {
        victim.href.replace(str(archive), server.address): reason
        for victim, reason in zip(victims, reasons, strict=True)
    }
    assert {fault.asset: fault.reason for fault in report.stats.faults} == expected
    assert len(report.stats.faults) == 3
    assert report.stats.retries == server.failures > 0
    assert report.nodata == sound.nodata
    (item,) = (
        each
        for each in finished_items(run.store, run.manifest.fingerprint)
        if each["id"] == cell.id
    )
    written = {fault["asset"]: fault["reason"] for fault in item["properties"]["timesen:faults"]}
    assert written == expected
    assert item["properties"]["timesen:retries"] == server.failures
