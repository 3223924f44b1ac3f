"""The monthly series of points in a cell, with the same values as a map of the cell.

As in mapping, the cell's scene classification says which acquisitions are read
(`pipeline.observations.read_band`, `pipeline.observations.monthly_median`). Bands are read only
where a point is clear, each source block once for all points in it. Only the points' pixels are
composited, and a month without a clear observation stays 0.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from models.encoder.preprocessing import MONTHS
from pipeline.catalog.item import Item
from pipeline.errors import ReadingError
from pipeline.grid.cell_blocks import Block, block_windows
from pipeline.grid.cells import PIXEL, SOURCE_BLOCK, Cell
from pipeline.observations.clear_mask import ClearMask
from pipeline.observations.cube import band_resolution, reaching, substituted
from pipeline.observations.geometric_median import geometric_median
from pipeline.observations.monthly_median import monthly_medians
from pipeline.observations.read_band import BandValues, chosen_in, read_band, read_clear
from pipeline.observations.reading import Reading
from pipeline.raster.read_stats import NO_STATS, ReadStats, total_stats

_AT_ONCE = 3
"""Bands of a cell that are read in parallel."""
_DATES = 16
"""Rasters of a band in memory at once: up to 2 MB each, if points lie all over a block."""


@dataclass(frozen=True, eq=False)
class PointSeries:
    """The series of points.

    Attributes:
        series: uint16 (n, 12, band), January to December: reflectance × 10000 without offset, 0 =
            no clear observation. A band that no acquisition has is 0 in all months.
        clear: Counts of clear acquisitions that were read, uint16 (n, 12).
        acquisitions: How many acquisitions show any part of the cell.
        items: The items that reach into the cell, by time.
        used: At which points they are clear and read, bool (n, item).
        stats: The facts of reading.
    """

    series: np.ndarray
    clear: np.ndarray
    acquisitions: int
    items: tuple[Item, ...]
    used: np.ndarray
    stats: ReadStats = NO_STATS


def read_point_series(
    cell: Cell, rows: np.ndarray, columns: np.ndarray, items: Sequence[Item], reading: Reading
) -> PointSeries:
    """Read the series at pixels of a cell.

    Args:
        cell: The cell.
        rows: The pixels' rows, int (n,), in pixels of 10 m.
        columns: The pixels' columns, likewise.
        items: The items of the cell's tile, by time.
        reading: As for mapping the cell.

    Raises:
        ReadingError: A raster cannot be read; the same as in mapping.
    """
    start = time.perf_counter()
    items = substituted(reaching(items, cell), dict(reading.substitute))
    series = np.zeros((len(rows), MONTHS, len(reading.bands)), np.uint16)
    if not items:
        none = np.zeros((len(rows), 0), bool)
        return PointSeries(series, np.zeros((len(rows), MONTHS), np.uint16), 0, (), none)
    clear = read_clear(items, cell, reading.masking, reading.reader)
    job = _Job(cell, items, clear, reading)
    composite = job.months if reading.geometric else job.medians
    stats = [clear.stats]
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        for part in pool.map(lambda read_part: read_part(), composite(rows, columns)):
            series[part.points[:, None], part.months, part.bands] = part.values
            stats.append(part.stats)
    finally:  # after a failure, do not wait for the others
        pool.shutdown(wait=False, cancel_futures=True)
    used = _used(clear, rows, columns)
    return PointSeries(
        series=series,
        clear=_counts(clear, used),
        acquisitions=clear.acquisitions,
        items=tuple(items),
        used=used,
        # Bands are read in parallel: the sum of their times would exceed the time that passed.
        stats=replace(total_stats(stats), seconds={"read": time.perf_counter() - start}),
    )


@dataclass(frozen=True, eq=False)
class _Part:
    """Some of the series: `values` of `points` in `months` and `bands` (broadcast together)."""

    points: np.ndarray
    months: np.ndarray | int
    bands: np.ndarray | int
    values: np.ndarray
    stats: ReadStats


_ReadPart = Callable[[], _Part]


@dataclass(frozen=True, eq=False)
class _At:
    """Points of a block: their numbers, and the window around their pixels."""

    points: np.ndarray
    block: Block
    window: Block
    rows: np.ndarray
    columns: np.ndarray

    def of(self, values: np.ndarray) -> np.ndarray:
        """The values of a raster of the window, (k, y, x), at the points: (k, 1, n)."""
        ratio = self.window.height // values.shape[1]
        found: np.ndarray = values[:, self.rows // ratio, self.columns // ratio]
        return found[:, None, :]


@dataclass(frozen=True, eq=False)
class _Job:
    cell: Cell
    items: Sequence[Item]
    clear: ClearMask
    reading: Reading

    def medians(self, rows: np.ndarray, columns: np.ndarray) -> Iterator[_ReadPart]:
        """The year of a band in a block, for each block and band.

        The bands of a block follow one another, so that bands that are read in parallel do not
        need the header of the same raster.
        """
        resolutions = [band_resolution(self.items, band) for band in self.reading.bands]
        for size, coarse in ((2 * SOURCE_BLOCK, True), (SOURCE_BLOCK, False)):
            for at in _blocks(self.cell, rows, columns, size):
                seen = _seen(self.items, self.clear, at)
                for index, band in enumerate(self.reading.bands):
                    if (resolutions[index] > PIXEL) == coarse:
                        yield partial(self._median, at, seen, band, index)

    def months(self, rows: np.ndarray, columns: np.ndarray) -> Iterator[_ReadPart]:
        """A month of all bands in a block, for each block and month."""
        for at in _blocks(self.cell, rows, columns, 2 * SOURCE_BLOCK):
            for month in range(MONTHS):
                yield partial(self._geometric_median, at, month)

    def _median(self, at: _At, seen: "_Seen", band: str, index: int) -> _Part:
        resolution = min(band_resolution(self.items, band), self.clear.resolution)
        read = self._read(at, seen, band, resolution)
        observed, month = read.values, self.clear.month[seen.chosen]
        series = monthly_medians(observed, seen.at, month, self.clear.acquisition[seen.chosen])
        counts = seen.at & (observed > 0)
        for number in range(MONTHS):  # a map's composite fills gaps, which stay 0 here
            series[number][~counts[month == number].any(axis=0)] = 0
        return _Part(at.points, np.arange(MONTHS), index, series[:, 0].T, read.stats)

    def _geometric_median(self, at: _At, month: int) -> _Part:
        seen = _seen(self.items, self.clear, at, month)
        read = [
            self._read(at, seen, band, band_resolution(self.items, band))
            for band in self.reading.bands
        ]
        spectra = geometric_median(
            [part.values for part in read],
            seen.at,
            self.clear.acquisition[seen.chosen],
            self.reading.optional,
        )
        return _Part(
            at.points,
            month,
            np.arange(len(read)),
            spectra[:, 0].T,
            total_stats(part.stats for part in read),
        )

    def _read(self, at: _At, seen: "_Seen", band: str, resolution: int) -> BandValues:
        """The observations of a band at points: (k, 1, n), a few rasters at once."""
        parts = [
            self._read_some(at, seen, slice(start, start + _DATES), band, resolution)
            for start in range(0, len(seen.chosen), _DATES)
        ]
        none = np.zeros((0, 1, len(at.points)), np.uint16)
        return BandValues(
            np.concatenate([none, *(part.values for part in parts)]),
            total_stats(part.stats for part in parts),
        )

    def _read_some(
        self, at: _At, seen: "_Seen", some: slice, band: str, resolution: int
    ) -> BandValues:
        settings = self.reading.reader
        try:
            read = read_band(
                seen.items[some], band, self.cell, at.window, seen.masks(some), resolution, settings
            )
            values = read.values
        except ReadingError:
            # None of these few rasters can be read. As in mapping, all that are clear anywhere in
            # the block decide whether these rasters or their server are at fault.
            items, mask, chosen = chosen_in(self.items, self.clear, at.block)
            read = read_band(items, band, self.cell, at.block, mask, resolution, settings)
            ratio = at.block.height // read.values.shape[1]
            top = (at.window.row - at.block.row) // ratio
            left = (at.window.column - at.block.column) // ratio
            height, width = at.window.height // ratio, at.window.width // ratio
            values = read.values[np.isin(chosen, seen.chosen[some])]
            values = values[:, top : top + height, left : left + width]
        return BandValues(at.of(values), read.stats)


@dataclass(frozen=True, eq=False)
class _Seen:
    """The items that are clear at one or more points.

    `chosen` are their numbers; `at` says at which points they are clear. `mask` holds the window's
    masks of these and other items, which bands share; `kept` are the places of these in it.
    """

    items: Sequence[Item]
    chosen: np.ndarray
    at: np.ndarray
    mask: np.ndarray
    kept: np.ndarray

    def masks(self, some: slice) -> np.ndarray:
        """The window's masks of some of the items: bool (k, y, x), True = clear."""
        masks: np.ndarray = self.mask[self.kept[some]]
        return masks


def _seen(items: Sequence[Item], clear: ClearMask, at: _At, month: int | None = None) -> _Seen:
    found, mask, chosen = chosen_in(items, clear, at.window, month)
    here = at.of(mask)
    kept = np.flatnonzero(here.any(axis=(1, 2)))
    return _Seen([found[i] for i in kept.tolist()], chosen[kept], here[kept], mask, kept)


def _blocks(cell: Cell, rows: np.ndarray, columns: np.ndarray, size: int) -> Iterator[_At]:
    """The source blocks of a cell that hold points."""
    for block in block_windows(cell, size):
        points = np.flatnonzero(
            (rows >= block.row)
            & (rows < block.row + block.height)
            & (columns >= block.column)
            & (columns < block.column + block.width)
        )
        if not len(points):
            continue
        top, left = (int(axis[points].min()) // 2 * 2 for axis in (rows, columns))
        bottom, right = (int(axis[points].max()) // 2 * 2 + 2 for axis in (rows, columns))
        window = Block(top, left, bottom - top, right - left)
        yield _At(points, block, window, rows[points] - top, columns[points] - left)


def _used(clear: ClearMask, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """At which points items are clear and read: bool (n, item)."""
    ratio = clear.resolution // PIXEL
    bits = clear.bits[:, rows // ratio, columns // ratio]
    planes = np.unpackbits(bits, axis=0, count=len(clear.month), bitorder="little")
    return np.ascontiguousarray(planes.astype(bool).T)


def _counts(clear: ClearMask, used: np.ndarray) -> np.ndarray:
    """Clear acquisitions of points by month, as `ClearMask.monthly_counts` of pixels."""
    counts = np.zeros((len(used), MONTHS), np.uint16)
    for overpass in np.unique(clear.acquisition):
        items = np.flatnonzero(clear.acquisition == overpass)
        counts[:, clear.month[items[0]]] += used[:, items].any(axis=1)
    return counts
