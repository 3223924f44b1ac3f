"""What one Dask task does: read a year of one band in one block and composite it."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from pipeline.catalog.item import SCL, Item
from pipeline.errors import ReadingError
from pipeline.grid.cells import Cell
from pipeline.io.store import public_url
from pipeline.observations.clear_mask import ClearMask, Masking, Scenes
from pipeline.observations.cube import (
    Block,
    Bounds,
    acquisition_numbers,
    band_resolution,
    month_of,
    observations,
    overlaps,
)
from pipeline.observations.monthly_median import monthly_medians
from pipeline.raster.read_stats import NO_STATS, Fault, FaultLog, ReadStats
from pipeline.raster.stackstac_reader import ReaderSettings

SCL_DATES = 32
"""Scene classifications that are held at once: 32 MB of a cell of 2048² pixels."""

_EDGE = 0.01  # of a block: at a swath's edge bands end some pixels before the classification


@dataclass(frozen=True)
class BandSeries:
    """The monthly series of one band in one block: uint16 (12, y, x) at `resolution` metres.

    Reflectance × 10000 without offset, 0 = nodata.
    """

    series: np.ndarray
    resolution: int
    stats: ReadStats = NO_STATS


def read_clear(
    items: Sequence[Item],
    cell: Cell,
    masking: Masking,
    settings: ReaderSettings | None = None,
) -> ClearMask:
    """Read the scene classification of all items in a cell: what is clear, and what to read.

    Items without a scene classification are never clear. Raises ReadingError for a raster that is
    unreachable, or damaged where `settings` are strict; else the item of a damaged one is not
    clear, and a fault. Raises ReadingError, too, where that is so of every item that reaches into
    the cell: then the fault lies elsewhere, and the cell is not land without observations.
    """
    start = time.perf_counter()
    faults = FaultLog()
    resolution = band_resolution(items, SCL)
    margin = math.ceil(masking.dilate / 20) * 20  # metres; whole pixels of 10 and 20
    left, bottom, right, top = cell.bounds
    bounds = (left - margin, bottom - margin, right + margin, top + margin)
    stack = observations(
        items, [SCL], bounds, cell.epsg, resolution,
        dtype=np.uint8, settings=settings, faults=faults, dates=SCL_DATES,
    )  # fmt: skip
    shape = (cell.height * 10 // resolution, cell.width * 10 // resolution)
    scenes = Scenes(len(items), shape, margin // resolution, resolution, masking)
    for first, values in _chunks(stack):
        for k, classes in enumerate(values):
            scenes.put(first + k, classes)
    stats = faults.stats()
    _require_any(stats.faults, items, SCL, cell, bounds)
    month = np.array([month_of(item) for item in items], np.int8)
    acquisition = acquisition_numbers(items)
    scenes.choose(month, acquisition)
    return ClearMask(
        bits=scenes.bits,
        resolution=resolution,
        month=month,
        acquisition=acquisition,
        acquisitions=len(np.unique(acquisition[scenes.seen > 0])),
        stats=replace(stats, seconds={"read": time.perf_counter() - start}),
    )


def read_series(
    items: Sequence[Item],
    band: str,
    cell: Cell,
    block: Block,
    clear: ClearMask,
    settings: ReaderSettings | None = None,
) -> BandSeries:
    """Read one band of all items in a block of a cell and make its monthly series.

    `clear` is the mask of the same items in the whole cell; items without a clear pixel in the
    block are not opened. The series has the finest resolution of the band's assets (20 or 10 m),
    or the mask's where that is finer. Raises ReadingError for a raster that is unreachable, or
    damaged where `settings` are strict; else a damaged one is left out, and a fault, unless that
    is so of every item that reaches into the block. One that is nodata wherever its scene
    classification is clear is a fault, too.
    """
    start = time.perf_counter()
    items_read, mask, chosen = chosen_in(items, clear, block)
    resolution = min(band_resolution(items, band), clear.resolution)
    read = read_band(items_read, band, cell, block, mask, resolution, settings)
    done = time.perf_counter()
    series = monthly_medians(read.values, mask, clear.month[chosen], clear.acquisition[chosen])
    seconds = {"read": done - start, "composite": time.perf_counter() - done}
    return BandSeries(series, resolution, replace(read.stats, seconds=seconds))


@dataclass(frozen=True)
class BandValues:
    """The observations of one band in one block: uint16 (item, y, x)."""

    values: np.ndarray
    stats: ReadStats


def chosen_in(
    items: Sequence[Item], clear: ClearMask, block: Block, month: int | None = None
) -> tuple[list[Item], np.ndarray, np.ndarray]:
    """Choose the items that are read in a block, of one month (0 … 11) or of all.

    Returns:
        The items; bool (n, y, x), where they are clear; int (n,), their numbers.
    """
    if len(items) != len(clear.month):
        raise ValueError(f"{len(items)} items do not go with a mask of {len(clear.month)}")
    chosen, mask = clear.within(block)
    if month is not None:
        of_month = clear.month[chosen] == month
        chosen, mask = chosen[of_month], mask[of_month]
    return [items[i] for i in chosen.tolist()], mask, chosen


def read_band(
    items: Sequence[Item],
    band: str,
    cell: Cell,
    block: Block,
    mask: np.ndarray,
    resolution: int,
    settings: ReaderSettings | None,
) -> BandValues:
    """Read a band of items in a block; `mask` is where they are clear. Raises as `read_series`."""
    faults = FaultLog()
    bounds = block.bounds(cell)
    stack = observations(
        items, [band], bounds, cell.epsg, resolution, settings=settings, faults=faults
    )
    ((_, values),) = _chunks(stack)
    shown = mask.mean(axis=(1, 2)) > _EDGE
    blank = [items[i] for i in np.flatnonzero(shown).tolist() if not values[i].any()]
    for fault in _blank(blank, band, faults, cell, bounds):
        faults.append(fault)
    stats = faults.stats()
    _require_any(stats.faults, items, band, cell, bounds)
    return BandValues(values, stats)


def _blank(
    items: Sequence[Item], band: str, faults: FaultLog, cell: Cell, bounds: Bounds
) -> list[Fault]:
    """Faults of items without any value of a band, where a raster was read for it."""
    known = {fault.asset for fault in faults}
    assets = [item.assets[band] for item in items if band in item.assets]
    names = [public_url(a.href) for a in assets if overlaps(a, bounds, cell.epsg)]
    reason = "is nodata where its scene classification is not"
    return [Fault(name, band, reason) for name in names if name not in known]


def _require_any(
    faults: Sequence[Fault],
    items: Sequence[Item],
    band: str,
    cell: Cell,
    bounds: Bounds,
) -> None:
    """Raise ReadingError where not one raster that reaches into the bounds can be read."""
    reaching = sum(
        band in item.assets and overlaps(item.assets[band], bounds, cell.epsg) for item in items
    )
    if faults and len(faults) == reaching:
        raise ReadingError(
            f"cell {cell.id}: of {reaching} rasters of {band} not one can be read, such as "
            f"{faults[0].asset}: {faults[0].reason}. Start again when they can be read to go on"
        )


def _chunks(stack: xr.DataArray) -> Iterator[tuple[int, np.ndarray]]:
    """Compute, within this thread, observations of one band: the first time, and (t, y, x).

    A chunk is taken as it is: an array's own `compute` would copy it.
    """
    first = 0
    for chunk in stack.data.to_delayed().ravel():
        values: np.ndarray = chunk.compute(scheduler="synchronous")
        yield first, values[:, 0]
        first += len(values)
