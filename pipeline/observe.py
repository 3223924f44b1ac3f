"""What one Dask task does: read a year of one band in one block and composite it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from pipeline.composite import clear_counts, clear_pixels, monthly_medians
from pipeline.cube import (
    Block,
    acquisition_numbers,
    band_resolution,
    month_of,
    observations,
)
from pipeline.grid import Cell
from pipeline.item import SCL, Item
from pipeline.reader import Fault, FaultLog, ReaderSettings


@dataclass(frozen=True)
class ClearMask:
    """Which observations of a cell are clear, by their scene classification.

    `clear` is bool (item, y, x) at `resolution` metres (20, or 10 where the classification is);
    `month` 0 … 11 and `acquisition` (a number an overpass) are int (item,); `counts` is the
    number of clear acquisitions a month, uint8 (12, y, x). `read_seconds` is the time it took,
    `read_bytes` what was decoded.
    """

    clear: np.ndarray
    resolution: int
    month: np.ndarray
    acquisition: np.ndarray
    counts: np.ndarray
    faults: tuple[Fault, ...]
    read_seconds: float
    read_bytes: int


@dataclass(frozen=True)
class BandSeries:
    """The monthly series of one band in one block: uint16 (12, y, x) at `resolution` metres.

    Reflectance × 10000 without offset, 0 = nodata. `observations` counts the items that were
    read, `read_bytes` what was decoded of them.
    """

    series: np.ndarray
    resolution: int
    observations: int
    faults: tuple[Fault, ...]
    read_seconds: float
    composite_seconds: float
    read_bytes: int


def read_clear(
    items: Sequence[Item],
    cell: Cell,
    keep: Sequence[int],
    settings: ReaderSettings | None = None,
) -> ClearMask:
    """Read the scene classification of all items in a cell; clear is what is of a class in `keep`.

    Items without a scene classification are never clear. Raises ReadingError for a raster that
    cannot be read where `settings` are strict; else its item is not clear, and a fault.
    """
    start = time.perf_counter()
    faults = FaultLog()
    resolution = band_resolution(items, SCL)
    stack = observations(
        items,
        [SCL],
        cell.bounds,
        cell.epsg,
        resolution,
        dtype=np.uint8,
        settings=settings,
        faults=faults,
    )
    scl = _one_band(stack)
    clear = clear_pixels(scl, keep)
    month = np.array([month_of(item) for item in items], np.int8)
    acquisition = acquisition_numbers(items)
    return ClearMask(
        clear=clear,
        resolution=resolution,
        month=month,
        acquisition=acquisition,
        counts=clear_counts(clear, month, acquisition),
        faults=tuple(faults),
        read_seconds=time.perf_counter() - start,
        read_bytes=scl.nbytes,
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
    or the mask's where that is finer. Raises ReadingError for a raster that cannot be read where
    `settings` are strict; else it is left out, and a fault.
    """
    if len(items) != len(clear.clear):
        raise ValueError(f"{len(items)} items do not go with a mask of {len(clear.clear)}")
    start = time.perf_counter()
    faults = FaultLog()
    resolution = min(band_resolution(items, band), clear.resolution)
    mask = clear.clear[:, *block.slices(clear.resolution)]
    chosen = np.flatnonzero(mask.any(axis=(1, 2)))
    stack = observations(
        [items[i] for i in chosen.tolist()],
        [band],
        block.bounds(cell),
        cell.epsg,
        resolution,
        settings=settings,
        faults=faults,
    )
    values = _one_band(stack)
    read = time.perf_counter()
    series = monthly_medians(values, mask[chosen], clear.month[chosen], clear.acquisition[chosen])
    return BandSeries(
        series=series,
        resolution=resolution,
        observations=len(chosen),
        faults=tuple(faults),
        read_seconds=read - start,
        composite_seconds=time.perf_counter() - read,
        read_bytes=values.nbytes,
    )


def _one_band(stack: xr.DataArray) -> np.ndarray:
    """Compute, within this thread, observations of one band: (t, y, x).

    They are one chunk, which is taken as it is: an array's own `compute` would copy it.
    """
    (chunk,) = stack.data.to_delayed().ravel()
    values: np.ndarray = chunk.compute(scheduler="synchronous")
    return values[:, 0]
