"""The work of a Dask task for geometric medians: read all bands of a month in a block."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.encoder.preprocessing import MONTHS
from pipeline.catalog.item import Item
from pipeline.grid.cell_blocks import Block
from pipeline.grid.cells import PIXEL, Cell
from pipeline.observations.clear_mask import ClearMask
from pipeline.observations.cube import band_resolution
from pipeline.observations.geometric_median import geometric_median, with_gaps_filled
from pipeline.observations.read_band import BandSeries, chosen_in, read_band
from pipeline.raster.read_stats import ReadStats, total_stats
from pipeline.raster.stackstac_reader import ReaderSettings


@dataclass(frozen=True)
class MonthComposite:
    """The geometric median of one month in one block: uint16 (band, y, x) at 10 m, 0 = nodata.

    Reflectance × 10000 without offset.
    """

    spectra: np.ndarray
    stats: ReadStats


def read_month(
    items: Sequence[Item],
    bands: Sequence[str],
    cell: Cell,
    block: Block,
    clear: ClearMask,
    month: int,
    settings: ReaderSettings | None = None,
    optional: Collection[int] = (),
) -> MonthComposite:
    """Read all bands of a month (0 … 11) in a block and make their geometric median.

    `clear` is the mask of the same items in the whole cell, `optional` the numbers of bands that
    may be absent. Bands are held at their own resolution. Raises as
    `pipeline.observations.read_band.read_series`.
    """
    start = time.perf_counter()
    of_month, mask, chosen = chosen_in(items, clear, block, month)
    read = [
        read_band(of_month, band, cell, block, mask, band_resolution(items, band), settings)
        for band in bands
    ]
    done = time.perf_counter()
    values, acquisition = [part.values for part in read], clear.acquisition[chosen]
    spectra = geometric_median(values, mask, acquisition, optional)
    n = block.height // spectra.shape[1]  # without a band of 10 m
    if n > 1:
        spectra = spectra.repeat(n, axis=1).repeat(n, axis=2)
    seconds = {"read": done - start, "composite": time.perf_counter() - done}
    stats = total_stats(part.stats for part in read)
    return MonthComposite(spectra, replace(stats, seconds=seconds))


def series_of_months(
    *months: MonthComposite, optional: Collection[int] = ()
) -> tuple[BandSeries, ...]:
    """The series of each band from a year's months, in order, gaps filled.

    The first band's series has the stats of all. `optional` are the numbers of bands that may be
    absent.
    """
    if len(months) != MONTHS:
        raise ValueError(f"a year has {MONTHS} months, not {len(months)}")
    start = time.perf_counter()
    spectra = with_gaps_filled(np.stack([month.spectra for month in months]), optional)
    filling = ReadStats(seconds={"composite": time.perf_counter() - start})
    stats = total_stats([filling, *(month.stats for month in months)])
    others = (BandSeries(spectra[:, band], PIXEL) for band in range(1, spectra.shape[1]))
    return (BandSeries(spectra[:, 0], PIXEL, stats), *others)
