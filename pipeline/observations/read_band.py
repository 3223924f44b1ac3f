"""The work of a Dask task: read the mask of a cell, or a year of one band in a block of it."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import dask.array as da
import numpy as np

from pipeline.catalog.item import SCL, Item, dark_band
from pipeline.errors import ReadingError
from pipeline.grid.cell_blocks import Block
from pipeline.grid.cells import Cell
from pipeline.io.store import public_url
from pipeline.observations.clear_mask import ClearMask, MaskBuilder, Masking, any_clear
from pipeline.observations.cube import (
    Bounds,
    acquisition_numbers,
    band_resolution,
    is_opened,
    month_of,
    observations,
    overlaps,
    read_observations,
)
from pipeline.observations.monthly_median import monthly_medians
from pipeline.observations.offset_check import LAND, OFFSET_REASON, wrong_offsets
from pipeline.raster.read_stats import NO_STATS, Fault, FaultLog, ReadStats
from pipeline.raster.reused_memory import keep_freed_memory
from pipeline.raster.stackstac_reader import ReaderSettings

SCL_DATES = 32
"""Scene classifications that are held at once: 32 MB of a cell of 2048² pixels."""

_EDGE = 0.01  # share of a block: at a swath's edge bands end some pixels before the classification


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
    """Read the scene classification of all items in a cell, and choose the acquisitions to read.

    An item without a scene classification is never clear. The item of a damaged one is not clear,
    and a fault. So is one whose numbers contradict the offset that it states
    (`pipeline.observations.offset_check`), unless `settings` trust it.

    Raises:
        ReadingError: A raster is unreachable, or damaged where `settings` are strict, or every
            raster that reaches into the cell is damaged: then the fault lies elsewhere, and the
            cell is not land without observations.
    """
    settings = settings or ReaderSettings()
    start = time.perf_counter()
    resolution = band_resolution(items, SCL)
    clear = _read_clear(items, cell, masking, settings, resolution)
    # Items that contradict their rasters have been left out: they do not decide either.
    left_out = {fault.asset for fault in clear.stats.faults}
    kept = [i for i in items if SCL in i.assets and public_url(i.assets[SCL].href) not in left_out]
    if left_out and band_resolution(kept, SCL) != resolution:
        clear = _read_clear(items, cell, masking, settings, band_resolution(kept, SCL))
    return replace(clear, stats=replace(clear.stats, seconds={"read": time.perf_counter() - start}))


def _read_clear(
    items: Sequence[Item],
    cell: Cell,
    masking: Masking,
    settings: ReaderSettings,
    resolution: int,
) -> ClearMask:
    """As `read_clear`, at a resolution in metres."""
    keep_freed_memory()
    faults = FaultLog()
    margin = math.ceil(masking.dilate / 20) * 20  # metres; whole pixels of 10 and 20
    left, bottom, right, top = cell.bounds
    bounds = (left - margin, bottom - margin, right + margin, top + margin)
    stack = observations(
        items,
        [SCL],
        bounds,
        cell.epsg,
        resolution,
        dtype=np.uint8,
        settings=settings,
        faults=faults,
        dates=SCL_DATES,
    )
    shape = (cell.height * 10 // resolution, cell.width * 10 // resolution)
    checked = not settings.trust_offsets and any(dark_band(item) for item in items)
    land = LAND if checked else ()
    builder = MaskBuilder(len(items), shape, margin // resolution, resolution, masking, land)
    for first, values in _chunks(stack):
        for k, classes in enumerate(values):
            builder.add(first + k, classes)
    stats = faults.stats()
    _require_any(stats.faults, items, SCL, cell, bounds)
    month = np.array([month_of(item) for item in items], np.int8)
    acquisition = acquisition_numbers(items)
    if checked:
        _drop_wrong_offsets(builder, items, cell, resolution, settings, faults, month, acquisition)
        stats = faults.stats()
    else:
        builder.choose(month, acquisition)
    return ClearMask(
        bits=builder.bits,
        resolution=resolution,
        month=month,
        acquisition=acquisition,
        acquisitions=len(np.unique(acquisition[builder.seen > 0])),
        stats=stats,
    )


def _drop_wrong_offsets(
    builder: MaskBuilder,
    items: Sequence[Item],
    cell: Cell,
    resolution: int,
    settings: ReaderSettings,
    faults: FaultLog,
    month: np.ndarray,
    acquisition: np.ndarray,
) -> None:
    """Choose the acquisitions to read among the items whose offsets agree with their numbers."""
    sound, left_out = set[int](), 0
    while True:
        before = builder.bits.copy()
        builder.choose(month, acquisition)
        chosen = np.flatnonzero(any_clear(builder.bits, len(items))).tolist()
        unknown = [number for number in chosen if number not in sound]
        wrong = wrong_offsets(items, unknown, builder.land, resolution, cell, settings, faults)
        if not wrong:
            break
        sound |= set(unknown) - wrong.keys()
        left_out += len(wrong)
        builder.bits = before
        for number, fault in wrong.items():
            faults.append(fault)
            builder.drop(number)
    if left_out and (settings.strict or not builder.bits.any()):
        fault = next(fault for fault in faults if fault.reason == OFFSET_REASON)
        raise ReadingError(
            f"cell {cell.id}: {left_out} items contradict their rasters, such as {fault.asset}: "
            f"{fault.reason}. If that is how it should be, set trust_offsets under [reading]"
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

    Items without a clear pixel in the block are not opened. A damaged raster is left out, and a
    fault. So is one that is nodata wherever its scene classification is clear.

    `clear` is the mask of the same items in the whole cell. The series has the finest resolution
    of the band's assets (20 or 10 m), or the mask's where that is finer.

    Raises:
        ReadingError: A raster is unreachable, or damaged where `settings` are strict, or every
            raster that reaches into the block is damaged.
    """
    start = time.perf_counter()
    items_read, mask, chosen = chosen_in(items, clear, block)
    resolution = min(band_resolution(items, band), clear.resolution)
    read = read_band(items_read, band, cell, block, mask, resolution, settings, reuse=True)
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
    """The items that are read in a block, their masks, bool (n, y, x), and numbers, int (n,).

    With a `month` (0 … 11), the items of that month only.
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
    *,
    reuse: bool = False,
) -> BandValues:
    """Read a band of items in a block, with their masks in it. Raises as `read_series`.

    With `reuse` the values lie in memory that this thread's next read of the kind overwrites.
    """
    faults = FaultLog()
    bounds = block.bounds(cell)
    values = read_observations(
        items, band, bounds, cell.epsg, resolution, settings=settings, faults=faults, reuse=reuse
    )
    shown = mask.mean(axis=(1, 2)) > _EDGE
    blank = [items[i] for i in np.flatnonzero(shown).tolist() if not values[i].any()]
    known = {fault.asset for fault in faults}
    for asset in (item.assets[band] for item in blank if band in item.assets):
        name = public_url(asset.href)
        if name not in known and overlaps(asset, bounds, cell.epsg):
            faults.append(Fault(name, band, "is nodata where its scene classification is not"))
    stats = faults.stats()
    _require_any(stats.faults, items, band, cell, bounds)
    return BandValues(values, stats)


def _require_any(
    faults: Sequence[Fault], items: Sequence[Item], band: str, cell: Cell, bounds: Bounds
) -> None:
    """Raise ReadingError where every raster that reaches into the bounds has failed."""
    reaching = sum(is_opened(item, band, bounds, cell.epsg) for item in items)
    if faults and len(faults) == reaching:
        raise ReadingError(
            f"cell {cell.id}: of {reaching} rasters of {band} not one can be read, such as "
            f"{faults[0].asset}: {faults[0].reason}. Start again when they can be read to go on"
        )


def _chunks(stack: da.Array) -> Iterator[tuple[int, np.ndarray]]:
    """Compute the observations of one band in this thread: the first item, and (item, y, x).

    Chunks are computed one by one: `compute` of the whole array would copy them.
    """
    first = 0
    for chunk in stack.to_delayed().ravel():
        values: np.ndarray = chunk.compute(scheduler="synchronous")
        yield first, values[:, 0]
        first += len(values)
