"""A cell mapped by a real worker process: the time of its stages, and its memory."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import torch
from distributed import Client

from flows.execution.dask_cluster import open_cluster
from models.encoder.checkpoint import save_checkpoint
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from pipeline.catalog.item import Item
from pipeline.clusters.settings import ClusterSettings
from pipeline.grid.cells import PIXEL, Cell
from pipeline.grid.mgrs import to_lonlat
from pipeline.mapping.cell_graph import cell_graph
from pipeline.mapping.prepare import prepare_run
from pipeline.mapping.run import Run
from pipeline.settings.map import MapSettings, make_settings
from tests.benchmarks import archive
from tests.benchmarks.memory import peak_bytes, reset_peak
from tests.catalog_servers import published_in, search_named
from tests.made_card import made_card

THREADS = 2
MEMORY_LIMIT = "3GB"
_SPOT, _SPOTS_APART = 32, 512  # pixels: a spot of 32 × 32 in each 512 × 512


@dataclass(frozen=True)
class Job:
    """A cell to map: its run, its items, and the time of finding them."""

    run: Run
    cell: Cell
    items: tuple[Item, ...]
    search_seconds: float


@dataclass(frozen=True)
class Measured:
    """One mapping of a cell.

    `seconds` by stage, summed over the worker's threads; `encoded` counts the pixels that were
    encoded; `spilled` is the bytes that Dask put on disk, `paused` whether it stopped the worker
    for want of memory.
    """

    wall: float
    seconds: Mapping[str, float]
    encoded: int
    peak: int
    spilled: int
    paused: bool


def prepare(
    made: archive.BenchArchive, folder: Path, checkpoint: str, size: int, *, spots: bool = False
) -> Job:
    """A cell of `size` pixels of the archive; with `spots` only some of its pixels are mapped.

    The whole cell is then read and composited all the same.
    """
    settings = _settings(made, folder, checkpoint, size, made.region)
    prepared = prepare_run(settings)
    at = archive.BLOCK * archive.SIZE // size
    (cell,) = (c for c in prepared.cells if (c.row, c.column) == (at, at))
    if cell.shape != (size, size):
        raise ValueError(f"the archive does not cover a cell of {size} pixels: {cell}")
    run = prepared.run
    if spots:
        run = replace(run, region=replace(run.region, geometry=_spots(cell)))
    began = time.perf_counter()
    search_named(prepared.run.region, settings)
    return Job(run, cell, prepared.items_of(cell), time.perf_counter() - began)


def _settings(
    made: archive.BenchArchive, folder: Path, checkpoint: str, size: int, region: Path
) -> MapSettings:
    return make_settings(
        {
            "region": str(region),
            "year": archive.YEAR,
            "vocabulary": "sample-landscape",
            "checkpoint": checkpoint,
            "catalog": {"url": str(made.folder)},
            "out": str(folder),
            "cell_size": size,
        }
    )


def measure(job: Job) -> Measured:
    """Map a cell in a new worker process, after a corner of it, which loads code and encoder."""
    corner = replace(job.cell, height=_SPOT, width=_SPOT)
    cluster = ClusterSettings(kind="local", workers=1, threads=THREADS, memory_limit=MEMORY_LIMIT)
    with open_cluster(cluster) as client:
        client.compute(cell_graph(corner, job.items, job.run)).result()
        client.run(reset_peak)
        began = time.perf_counter()
        report = client.compute(cell_graph(job.cell, job.items, job.run)).result()
        wall = time.perf_counter() - began
        (peak,) = client.run(peak_bytes).values()
        (spilled,) = client.run(_spilled).values()
        paused = _has_paused(client)
    encoded = sum(report.pixels.values())
    return Measured(wall, report.stats.seconds, encoded, peak, spilled, paused)


def write_paper_checkpoint(folder: Path) -> None:
    """An encoder of the paper's size with random weights.

    It embeds into 384 dimensions instead of 512, as the offline text tower does: a part in three
    thousand of its work.
    """
    torch.manual_seed(0)
    config = TimeSenClipArchitecture(embedding_dim=384)
    card = made_card(
        config, name="paper-size", description="Random weights, to measure time and memory"
    )
    save_checkpoint(folder, TimeSenClipEncoder(config), card)


def write_plain_input(job: Job, made: archive.BenchArchive, folder: Path) -> tuple[Path, Path]:
    """The input of `tests.benchmarks.plain`: the items and the cell, as JSON files."""
    cell = job.cell
    items, where = folder / "items.json", folder / "cell.json"
    settings = _settings(made, folder, job.run.checkpoint, cell.height, made.region)
    items.write_text(json.dumps(published_in(search_named(job.run.region, settings))))
    place = (cell.row, cell.column, cell.row_offset, cell.column_offset, *cell.shape)
    about: dict[str, Any] = {
        "bounds": cell.bounds,
        "epsg": cell.epsg,
        "keep": job.run.reading.masking.keep,
        "tile": cell.tile.name,
        "place": place,
        "threads": THREADS,
    }
    where.write_text(json.dumps(about))
    return items, where


def _spots(cell: Cell) -> shapely.MultiPolygon:
    """Squares spread over a cell, EPSG:4326."""
    left, bottom, right, top = cell.bounds
    side, apart = _SPOT * PIXEL, _SPOTS_APART * PIXEL
    squares = [
        shapely.box(x, y, x + side, y + side)
        for x in range(int(left) + side, int(right), apart)
        for y in range(int(bottom) + side, int(top), apart)
    ]
    lonlat = to_lonlat(cell.epsg)
    return shapely.MultiPolygon(
        [
            shapely.Polygon(np.column_stack(lonlat.transform(*square.exterior.coords.xy)))
            for square in squares
        ]
    )


def _spilled(dask_worker: Any) -> int:
    return int(dask_worker.data.cumulative_metrics.get(("disk-write", "bytes"), 0))


def _has_paused(client: Client) -> bool:
    (worker,) = client.scheduler_info()["workers"]
    return any(event.get("status") == "paused" for _, event in client.get_events(worker))
