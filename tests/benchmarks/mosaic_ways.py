"""A cloud-masked median mosaic of two months over many granules: the notebook's way, and ours.

Both leave uint16 (band, y, x) in a file, reflectance × 10000, 0 = nodata.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from dask import delayed
from dask.delayed import Delayed
from distributed import Client, as_completed

from pipeline.catalog.item import Item
from pipeline.catalog.normalise import normalise
from pipeline.grid.cell_blocks import Block
from pipeline.grid.cells import Cell
from pipeline.observations.clear_mask import ClearMask, Masking
from pipeline.observations.cube import reaching
from pipeline.observations.read_band import read_clear, read_series
from tests.benchmarks.reading_archive import BAND_ASSETS
from tests.benchmarks.reading_job import Job
from tests.benchmarks.reading_memory import KEEP
from tests.benchmarks.reading_series import parts_of

CELL = 2048
_IN_FLIGHT = 2  # cells


@dataclass(frozen=True)
class MosaicFile:
    """A file of uint16 (band, y, x), written in parts by any thread or process."""

    path: Path

    def create(self, cell: Cell) -> None:
        shape = (len(BAND_ASSETS), *cell.shape)
        np.lib.format.open_memmap(self.path, "w+", np.uint16, shape).flush()

    def __setitem__(self, place: Any, values: np.ndarray) -> None:
        np.lib.format.open_memmap(self.path, "r+")[place] = values


def with_stackstac(job: Job, client: Client, file: MosaicFile) -> Callable[[float], None]:
    """As notebooks do it: stack, mask, median, store."""
    import dask.array as da
    import stackstac

    cell = job.cell
    stack = stackstac.stack(
        job.items, assets=[*BAND_ASSETS, "scl"], epsg=cell.epsg, resolution=10, bounds=cell.bounds
    )
    bands = stack.sel(band=list(BAND_ASSETS)).where(stack.sel(band="scl").isin(KEEP))
    stored = da.round(bands.median("time").data * 10_000)
    numbers = da.where(da.isnan(stored), 0, stored).astype(np.uint16)
    stored_to: Any = file  # whatever takes slices
    future = client.compute(da.store(numbers, stored_to, lock=False, compute=False))
    return lambda timeout: future.result(timeout=timeout)


def with_timesen(job: Job, client: Client, file: MosaicFile) -> Callable[[float], None]:
    """Cell by cell by the pipeline's tasks, a bounded number of cells at once."""
    items = [normalise(item) for item in job.items]
    graphs = (_cell_graph(reaching(items, cell), cell, job.cell, file) for cell in _cells(job.cell))

    def run(timeout: float) -> None:
        first = [client.compute(graph) for _, graph in zip(range(_IN_FLIGHT), graphs, strict=False)]
        running = as_completed(first, timeout=timeout)
        for future in running:
            future.result()
            for graph in graphs:
                running.add(client.compute(graph))
                break

    return run


MOSAIC_WAYS: Mapping[str, Callable[[Job, Client, MosaicFile], Callable[[float], None]]] = {
    "timesen": with_timesen,
    "stackstac": with_stackstac,
}


def _cells(area: Cell) -> Iterator[Cell]:
    size = min(CELL, area.height)
    for top in range(area.row_offset, area.row_offset + area.height, size):
        for left in range(area.column_offset, area.column_offset + area.width, size):
            yield Cell(area.tile, top // size, left // size, top, left, size, size)


def _cell_graph(items: list[Item], cell: Cell, area: Cell, file: MosaicFile) -> Delayed:
    shared = delayed(items, traverse=False)
    clear = delayed(_one_period)(delayed(read_clear)(shared, cell, Masking(tuple(KEEP))))
    names = list(dict(parts_of(items, cell)))
    written = [
        delayed(_write)(shared, band, names.index(band), cell, block, clear, area, file)
        for band, block in parts_of(items, cell)
    ]
    return delayed(len)(written)


def _one_period(clear: ClearMask) -> ClearMask:
    """The mask with all its months taken for one: the series then has the median of all."""
    return replace(clear, month=np.zeros_like(clear.month))


def _write(
    items: list[Item],
    band: str,
    index: int,
    cell: Cell,
    block: Block,
    clear: ClearMask,
    area: Cell,
    file: MosaicFile,
) -> None:
    done = read_series(items, band, cell, block, clear)
    n = done.resolution // 10
    row = cell.row_offset - area.row_offset + block.row
    column = cell.column_offset - area.column_offset + block.column
    place = (index, slice(row, row + block.height), slice(column, column + block.width))
    file[place] = done.series[0].repeat(n, axis=0).repeat(n, axis=1)
