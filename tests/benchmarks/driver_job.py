"""A run of very many cells that do nothing, through the real flow: one process of `bench_driver`.

Each cell has one task, which commits a small raster and the cell's STAC item. What is left is the
work of the driver: queue, scheduler, claims, ledger, progress, Prefect's tasks, publication.
"""

import argparse
import gc
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import s3fs
from dask.delayed import Delayed, delayed

import flows.execution.cell_work as cell_work
from flows.execution.console import PlainConsole, show_flow
from flows.execution.progress import RunProgress, progress_listener
from flows.map_region import map_region, prepared_beforehand
from pipeline.catalog.item import Item
from pipeline.grid.cells import Cell, tiles_of
from pipeline.grid.region import read_region
from pipeline.layout import ITEM, cell_key, failure_key
from pipeline.mapping.prepare import prepare_run
from pipeline.mapping.run import PreparedRun, Run
from pipeline.product.cell_report import CellReport
from pipeline.product.class_counts import ClassConfidence
from pipeline.product.cog_writer import cog_bytes
from pipeline.product.committed_cells import mapped_item
from pipeline.product.layers import CLASS
from pipeline.product.ledger import require_held
from pipeline.product.stac import RasterFile, cell_item
from pipeline.raster.read_stats import ReadStats
from pipeline.settings.map import make_settings
from tests.benchmarks.memory import peak_bytes, reset_peak

CELLS_A_TILE = 18  # Europe's 14,407 cells are of 794 tiles
_SIDE = 2048
_REGION = "-9,38,30,62"

_began: list[float] = []
_requests: Counter[str] = Counter()
_raster: dict[str, bytes] = {}


def count_requests() -> None:
    """Count this process's requests to object storage, by kind."""
    call = s3fs.S3FileSystem._call_s3

    async def counted(self: Any, method: str, *given: Any, **named: Any) -> Any:
        _requests[method] += 1
        return await call(self, method, *given, **named)

    s3fs.S3FileSystem._call_s3 = counted


def commit_nothing(cell: Cell, run: Run) -> CellReport:
    """Commit a cell of one class, as `pipeline.product.cell_commit` does."""
    _began.append(time.monotonic())
    store, manifest = run.store, run.manifest
    mapped_item(store, manifest, cell)
    require_held(store, manifest)
    content = _raster["class"]
    report = CellReport(
        cell=cell.id,
        pixels={1: _SIDE**2},
        nodata=0,
        mean_confidence=50.0,
        acquisitions=60,
        observations=40,
        coverage=(90.0,) * 12,
        stats=ReadStats(seconds={"read": 1.0}),
        confidence={1: ClassConfidence(mean=50.0, little=0)},
    )
    store.write(cell_key(cell.tile.name, cell.id, CLASS.file), content)
    item = cell_item(manifest, cell, run.vocabulary, report, {CLASS.name: RasterFile(content, 1)})
    text = json.dumps(item, indent=1, ensure_ascii=False) + "\n"
    store.write(cell_key(cell.tile.name, cell.id, ITEM), text.encode())
    store.remove(failure_key(cell.id))
    return report


def graph_of_nothing(
    cell: Cell, items: Sequence[Item], run: Run, *, gpu: bool = False, readers: bool = False
) -> Delayed:
    """The graph of a cell: one task."""
    return delayed(commit_nothing)(cell, delayed(run, traverse=False))


def prepared_of(cells: int, out: str, archive: str, checkpoint: str) -> PreparedRun:
    """A prepared run of so many cells of Europe, in a new folder or in one that it continues."""
    settings = make_settings(
        {
            "region": "5.991,49.608,6.009,49.619",
            "year": 2021,
            "vocabulary": "sample-landscape",
            "checkpoint": checkpoint,
            "catalog": {"url": archive},
            "out": out,
            "cluster": {"threads": 2, "cells_in_flight": 32},
        }
    )
    prepared = prepare_run(settings)
    tiles = tiles_of(read_region(_REGION))
    made: list[Cell] = []
    for tile in tiles:
        for number in range(CELLS_A_TILE):
            row, column = divmod(number, 5)
            made.append(Cell(tile, row, column, row * _SIDE, column * _SIDE, _SIDE, _SIDE))
    if len(made) < cells:
        raise RuntimeError(f"only {len(made)} cells")
    return replace(prepared, cells=tuple(made[:cells]))


def measured(prepared: PreparedRun) -> dict[str, Any]:
    """Run the flow once; seconds and bytes of its parts."""
    stages: list[tuple[str, float, int, int]] = []

    def listen(progress: RunProgress) -> None:
        stage = progress.stage
        if not stages or stages[-1][0] != stage:
            stages.append((stage, time.monotonic(), peak_bytes(), _requests.total()))

    gc.collect()
    reset_peak()
    process = psutil.Process()
    began, busy = time.monotonic(), sum(process.cpu_times()[:2])
    with show_flow(PlainConsole()) as wait, progress_listener(listen):
        wait()
        served = time.monotonic()
        with prepared_beforehand(prepared):
            map_region(prepared.run.settings)
        ended = time.monotonic()
    mapped = next(each for each in stages if each[0] == "publishing")
    return {
        "server": served - began,
        "first": (min(_began) if _began else mapped[1]) - served,
        "map": max(_began) - min(_began) if _began else 0.0,
        "publish": ended - mapped[1],
        "map_bytes": mapped[2],
        "bytes": peak_bytes(),
        "cpu": sum(process.cpu_times()[:2]) - busy,
        "map_requests": mapped[3],
        "requests": _requests.total(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", type=int)
    parser.add_argument("out")
    parser.add_argument("archive")
    parser.add_argument("checkpoint")
    given = parser.parse_args()
    cell_work.cell_graph = graph_of_nothing
    count_requests()
    prepared = prepared_of(given.cells, given.out, given.archive, given.checkpoint)
    _raster["class"] = cog_bytes(
        np.full((1, _SIDE, _SIDE), 1, np.uint8),
        prepared.cells[0].transform,
        32631,
        0,
        description="class",
    )
    base = psutil.Process().memory_info().rss
    _requests.clear()
    print(json.dumps({"base": base, **measured(prepared)}))


if __name__ == "__main__":
    # By its name, so that Dask sends the functions by reference.
    import tests.benchmarks.driver_job as job

    job.main()
