"""Cells of which something cannot be read: left out where it is damaged, else never a map."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import shapely

from models.encoder.checkpoint import Checkpoint
from pipeline.catalog.item import SCL, Item
from pipeline.errors import ReadingError
from pipeline.mapping.cell_graph import cell_graph
from pipeline.sample.archive import SampleArchive
from tests.catalog_servers import serving
from tests.pipeline.cell_runs import Prepare, preparing, random_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return random_checkpoint(tmp_path_factory.mktemp("checkpoint") / "random")


@pytest.fixture
def prepare(sample_archive: SampleArchive, checkpoint: Checkpoint, tmp_path: Path) -> Prepare:
    return preparing(sample_archive, checkpoint, tmp_path / "run")


def test_a_truncated_raster_is_left_out_counted_and_reported(
    prepare: Prepare, sample_archive: SampleArchive, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(sample_archive.folder, archive)
    prepared = prepare(catalog={"url": str(archive)})
    cell = prepared.cells[0]
    items = prepared.items_of(cell)
    sound = cell_graph(cell, items, prepared.run).compute(scheduler="threads")
    shutil.rmtree(tmp_path / "run" / "cells")  # a finished cell is not replaced by a worse one
    victim = Path(items[0].assets["B04"].href)
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 3])
    report = cell_graph(cell, items, prepared.run).compute(scheduler="threads")
    assert [fault.band for fault in report.stats.faults] == ["B04"]
    assert report.stats.faults[0].asset == str(victim)
    assert report.nodata == sound.nodata

    strict = prepare(
        catalog={"url": str(archive)}, out=str(tmp_path / "strict"), reading={"strict": True}
    )
    with pytest.raises(ReadingError, match=victim.name):
        cell_graph(cell, items, strict.run).compute(scheduler="threads")


class _Refusing(BaseHTTPRequestHandler):
    """A server whose signatures have expired."""

    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _moved(item: Item, folder: Path, place: str, bands: Callable[[str], bool]) -> Item:
    """The item with some of its assets in another place than the archive's folder."""
    return replace(
        item,
        assets={
            band: replace(asset, href=asset.href.replace(str(folder), place))
            if bands(band)
            else asset
            for band, asset in item.assets.items()
        },
    )


@pytest.mark.parametrize("bands", [{SCL}, {"B04"}])
def test_an_archive_that_refuses_never_becomes_an_empty_map(
    prepare: Prepare, sample_archive: SampleArchive, bands: set[str]
) -> None:
    prepared = prepare()
    cell, run = prepared.cells[0], prepared.run
    items = prepared.items_of(cell)
    with serving(_Refusing) as address:
        refused = [_moved(i, sample_archive.folder, address, bands.__contains__) for i in items]
        with pytest.raises(ReadingError, match=r"HTTP 403\. Start again when it can be reached"):
            cell_graph(cell, refused, run).compute(scheduler="threads")
    assert prepared.unfinished() == prepared.cells
    report = cell_graph(cell, items, run).compute(scheduler="threads")
    assert not report.stats.faults
    assert report.pixels


@pytest.mark.parametrize("band", [SCL, "B04"])
def test_an_archive_without_a_band_never_becomes_an_empty_map(
    prepare: Prepare, sample_archive: SampleArchive, band: str
) -> None:
    prepared = prepare()
    cell = prepared.cells[0]
    gone = [
        _moved(item, sample_archive.folder, "/gone", {band}.__contains__)
        for item in prepared.items_of(cell)
    ]
    with pytest.raises(ReadingError, match=rf"cell {cell.id}: of \d+ rasters of {band} not one"):
        cell_graph(cell, gone, prepared.run).compute(scheduler="threads")
    assert prepared.unfinished() == prepared.cells


def test_items_elsewhere_in_the_tile_are_not_opened(
    prepare: Prepare, sample_archive: SampleArchive
) -> None:
    prepared = prepare()
    cell = prepared.cells[0]
    items = prepared.items_of(cell)
    sound = cell_graph(cell, items, prepared.run).compute(scheduler="threads")
    elsewhere = replace(
        _moved(items[0], sample_archive.folder, "/gone", lambda _band: True),
        acquisition="elsewhere",
        footprint=shapely.affinity.translate(items[0].footprint, 0.8),
    )
    report = cell_graph(cell, [elsewhere, *items], prepared.run).compute(scheduler="threads")
    assert not report.stats.faults
    assert (report.pixels, report.observations) == (sound.pixels, sound.observations)
