"""What one Dask task does: read a year of one band in one block and composite it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from pipeline.composite import clear_pixels, monthly_medians
from pipeline.cube import (
    Block,
    acquisition_numbers,
    band_resolution,
    month_of,
    observations,
    overlaps,
)
from pipeline.errors import ReadingError
from pipeline.faults import Fault, FaultLog
from pipeline.grid import Cell
from pipeline.item import SCL, Item
from pipeline.reader import ReaderSettings


@dataclass(frozen=True)
class ClearMask:
    """Which observations of a cell are clear, by their scene classification.

    `bits` is uint8 (⌈items / 8⌉, y, x) at `resolution` metres (20, or 10 where the classification
    is): item i is bit i mod 8 of byte i div 8, since a mask travels between workers. `month`
    0 … 11 and `acquisition` (a number an overpass) are int (item,). `read_seconds` is the time it
    took.
    """

    bits: np.ndarray
    resolution: int
    month: np.ndarray
    acquisition: np.ndarray
    faults: tuple[Fault, ...]
    read_seconds: float

    @property
    def clear_acquisitions(self) -> int:
        """Acquisitions that have a clear pixel in the cell; granules of one overpass are one."""
        return len(np.unique(self.acquisition[_any_clear(self.bits, len(self.month))]))

    def within(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """The items that have a clear pixel in a block, and where: int (n,), bool (n, y, x)."""
        part = np.ascontiguousarray(self.bits[:, *block.slices(self.resolution)])
        items = np.flatnonzero(_any_clear(part, len(self.month)))
        clear = np.empty((len(items), *part.shape[1:]), bool)
        for place, item in zip(clear, items.tolist(), strict=True):
            np.not_equal(part[item // 8] & np.uint8(1 << item % 8), 0, out=place)
        return items, clear


@dataclass(frozen=True)
class BandSeries:
    """The monthly series of one band in one block: uint16 (12, y, x) at `resolution` metres.

    Reflectance × 10000 without offset, 0 = nodata.
    """

    series: np.ndarray
    resolution: int
    faults: tuple[Fault, ...]
    read_seconds: float
    composite_seconds: float


def read_clear(
    items: Sequence[Item],
    cell: Cell,
    keep: Sequence[int],
    settings: ReaderSettings | None = None,
) -> ClearMask:
    """Read the scene classification of all items in a cell; clear is what is of a class in `keep`.

    Items without a scene classification are never clear. Raises ReadingError for a raster that is
    unreachable, or damaged where `settings` are strict; else the item of a damaged one is not
    clear, and a fault. Raises ReadingError, too, where that is so of every item that reaches into
    the cell: then the fault lies elsewhere, and the cell is not land without observations.
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
    met = tuple(faults)
    _require_any(met, items, SCL, cell, cell.bounds)
    return ClearMask(
        bits=_packed(scl, keep),
        resolution=resolution,
        month=np.array([month_of(item) for item in items], np.int8),
        acquisition=acquisition_numbers(items),
        faults=met,
        read_seconds=time.perf_counter() - start,
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
    is so of every item that reaches into the block.
    """
    if len(items) != len(clear.month):
        raise ValueError(f"{len(items)} items do not go with a mask of {len(clear.month)}")
    start = time.perf_counter()
    faults = FaultLog()
    resolution = min(band_resolution(items, band), clear.resolution)
    chosen, mask = clear.within(block)
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
    met = tuple(faults)
    _require_any(met, [items[i] for i in chosen.tolist()], band, cell, block.bounds(cell))
    read = time.perf_counter()
    series = monthly_medians(values, mask, clear.month[chosen], clear.acquisition[chosen])
    return BandSeries(
        series=series,
        resolution=resolution,
        faults=met,
        read_seconds=read - start,
        composite_seconds=time.perf_counter() - read,
    )


def _require_any(
    faults: Sequence[Fault],
    items: Sequence[Item],
    band: str,
    cell: Cell,
    bounds: tuple[float, float, float, float],
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


def _packed(scl: np.ndarray, keep: Sequence[int]) -> np.ndarray:
    """The bits of a `ClearMask`; by items, as np.packbits along the first axis is far slower."""
    bits = np.zeros((-(-len(scl) // 8), *scl.shape[1:]), np.uint8)
    for item, scenes in enumerate(scl):
        bits[item // 8] |= clear_pixels(scenes, keep).view(np.uint8) << np.uint8(item % 8)
    return bits


def _any_clear(bits: np.ndarray, items: int) -> np.ndarray:
    """Which items have a bit set anywhere: bool (item,)."""
    joined = np.bitwise_or.reduce(bits, axis=(1, 2))
    return np.unpackbits(joined, count=items, bitorder="little").astype(bool)


def _one_band(stack: xr.DataArray) -> np.ndarray:
    """Compute, within this thread, observations of one band: (t, y, x).

    They are one chunk, which is taken as it is: an array's own `compute` would copy it.
    """
    (chunk,) = stack.data.to_delayed().ravel()
    values: np.ndarray = chunk.compute(scheduler="synchronous")
    return values[:, 0]
