"""What a run will take, against numbers added up by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch
from dask.system import CPU_COUNT

from models.encoder.checkpoint import Checkpoint
from models.encoder.preprocessing import AUTHORS
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from pipeline.catalog.normalise import normalise
from pipeline.grid.cells import Cell, cells_of, tiles_of
from pipeline.grid.region import read_region
from pipeline.mapping.cell_graph import cell_graph
from pipeline.mapping.cost_estimate import (
    disk_warning,
    memory_warning,
    output_bytes,
    worker_memory,
)
from pipeline.product.committed_cells import finished_cells
from pipeline.sample.archive import SampleArchive
from pipeline.settings.map import MapSettings
from tests.made_card import made_card
from tests.pipeline.cell_runs import preparing, random_checkpoint
from tests.pipeline.conftest import small_disk
from tests.stac_items import earth_search_item

__all__ = ["small_disk"]

GB = 1e9


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """An encoder of the authors' size."""
    config = TimeSenClipArchitecture()
    torch.manual_seed(0)
    return Checkpoint(TimeSenClipEncoder(config).eval(), made_card(config), "none", Path("authors"))


def settings_of(size: int = 2048, **cluster: Any) -> MapSettings:
    return MapSettings.model_validate(
        {
            "region": "31UFS",
            "year": 2021,
            "out": "out",
            "classes": "a, b",
            "cell_size": size,
            "cluster": cluster,
        }
    )


def whole_cell(size: int) -> Cell:
    region = read_region("31UFS")
    (tile,) = [tile for tile in tiles_of(region) if tile.name == "31UFS"]
    return next(c for c in cells_of(tile, region, size) if c.height == c.width == size)


def memory(
    checkpoint: Checkpoint, size: int = 2048, dates: int = 60, requests: int = 32, **cluster: Any
) -> float:
    item = normalise(earth_search_item())
    bands = [item.assets[band].resolution for band in AUTHORS.bands]
    settings = settings_of(size, **cluster)
    return worker_memory(whole_cell(size), dates, bands, checkpoint, settings, requests)


def test_requests_of_the_catalogue_take_memory(checkpoint: Checkpoint) -> None:
    few, many = (memory(checkpoint, threads=2, requests=n) for n in (1, 64))
    assert few < memory(checkpoint, threads=2) < many


def test_a_cell_of_the_default_size_fits_the_default_limit(checkpoint: Checkpoint) -> None:
    assert 2 * GB < memory(checkpoint, threads=2) < 3 * GB


def test_memory_does_not_grow_with_dates_that_are_not_read(checkpoint: Checkpoint) -> None:
    mask = (150 - 72) * 1024**2 / 8  # a bit a date
    alone: dict[str, Any] = {"threads": 1, "cells_in_flight": 1}
    grown = memory(checkpoint, dates=150, **alone) - memory(checkpoint, dates=72, **alone)
    assert grown == pytest.approx(mask, rel=0.01)


def test_memory_is_that_of_what_tasks_hold(checkpoint: Checkpoint) -> None:
    """One thread and one cell: its series and mask, and the source block being read."""
    held = (
        12 * 2 * 2048**2 * (4 + 6 / 4)  # series: four bands of 10 m, six of 20 m
        + 60 * 1024**2 / 8  # mask, 20 m
        + 60 * 2 * 1024**2  # a band's block at all dates
    )
    rest = memory(checkpoint, threads=1, cells_in_flight=1) - held
    assert 0.7 * GB < rest < 0.95 * GB  # what a process takes at least, a batch, the map


def test_memory_counts_the_threads_of_one_worker(checkpoint: Checkpoint) -> None:
    one, two = (memory(checkpoint, threads=n, cells_in_flight=1) for n in (1, 2))
    assert 60 * 2 * 1024**2 < two - one < 0.35 * GB
    shared = memory(checkpoint, kind="local", workers=CPU_COUNT, cells_in_flight=1)
    assert shared == one, "cores are shared by the workers"


def test_memory_counts_the_cells_that_share_a_worker(checkpoint: Checkpoint) -> None:
    alone, beside = (memory(checkpoint, threads=2, cells_in_flight=n) for n in (1, 2))
    assert beside - alone > 12 * 2 * 2048**2 * (4 + 6 / 4)
    local = {"kind": "local", "threads": 2, "cells_in_flight": 2}
    assert memory(checkpoint, workers=2, **local) == alone
    # Only begun ones have series: of many that wait, a worker has the masks.
    many = memory(checkpoint, threads=2, cells_in_flight=12)
    assert many - beside == pytest.approx(10 * 60 * 1024**2 / 8)


def test_scarce_memory_is_told_with_what_helps(checkpoint: Checkpoint) -> None:
    local = {"kind": "local", "workers": 1, "threads": 4, "memory_limit": "2GB"}
    needed = memory(checkpoint, **local)
    said = memory_warning(needed, settings_of(**local))
    assert said is not None
    assert "memory_limit is 2.0 GB" in said
    assert "fewer threads per worker than 4" in said
    assert "a smaller cell_size" in said
    enough = local | {"memory_limit": said.partition('memory_limit = "')[2].partition('"')[0]}
    assert memory_warning(memory(checkpoint, **enough), settings_of(**enough)) is None
    fewer = local | {"threads": 1}
    assert memory_warning(memory(checkpoint, 1024, **fewer), settings_of(1024, **fewer)) is None


def test_memory_of_machines_elsewhere_is_not_judged() -> None:
    assert memory_warning(1e15, settings_of(kind="address", address="tcp://host:8786")) is None
    assert memory_warning(1e15, settings_of()) is not None


@pytest.mark.parametrize("more", [{}, {"keep_embeddings": True}, {"top_k": 3}], ids=str)
def test_output_is_that_of_all_rasters(
    sample_archive: SampleArchive, tmp_path: Path, more: dict[str, Any]
) -> None:
    """It was 313 kB where kept embeddings made it 21.4 MB."""
    prepare = preparing(sample_archive, random_checkpoint(tmp_path / "random"), tmp_path / "run")
    prepared = prepare(cell_size=512, **more)
    cell = max(prepared.cells, key=lambda one: one.height * one.width)
    cell_graph(cell, prepared.items_of(cell), prepared.run).compute(scheduler="threads")
    sizes = prepared.run.store.sizes(f"cells/{cell.tile.name}/{cell.id}")
    (report,) = finished_cells(prepared.run.store, prepared.run.manifest.fingerprint).values()
    dim = prepared.run.card.architecture.embedding_dim
    said = output_bytes(sum(report.pixels.values()), 1, prepared.run.settings, dim)
    assert sum(sizes.values()) < 2 * said
    if not more.get("keep_embeddings"):  # those of made land deflate, and those of real land hardly
        assert said < 2 * sum(sizes.values())
    assert prepared.plan.output_bytes >= said


def test_a_disk_that_is_too_small_is_told_of(small_disk: Path) -> None:
    out = str(small_disk / "runs" / "a")
    assert disk_warning(0.9e6, out) is None
    warned = disk_warning(5e6, out)
    assert warned is not None
    assert f"about 0.005 GB, and the disk of {small_disk} has 0.00105 GB free" in warned
    assert disk_warning(1e15, "s3://bucket/run") is None
