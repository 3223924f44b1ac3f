"""Observations → monthly series: medians of the clear ones, gaps filled by the year's median.

It is written by hand because reading and compositing a cell by stackstac or odc-stac and xarray's
`groupby` and `median` takes 8 to 12 times as long (`tests/benchmarks/bench_cell.py`, results in
`tests/benchmarks/results/cell.md`). A pixel has few values and many pixels lie side by side, so
pixels are not sorted one by one: a strip of pixels is gathered once, one row for each observation,
and a sorting network (Batcher's merge exchange, Knuth, TAOCP 3, 5.2.2 M) exchanges whole rows.
Every step is a loop over neighbouring `uint16`, which the compiler turns into vector instructions.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit

from models.encoder.preprocessing import MONTHS

_STRIP = 512  # pixels: 60 observations of them (60 kB) stay in a core's second-level cache
_MOST = 65535  # observations that a count of uint16 can hold
_ABSENT = np.uint16(65535)  # sorts last; equal to a saturated value, which does no harm (below)


def clear_pixels(scl: np.ndarray, keep: Sequence[int]) -> np.ndarray:
    """The pixels whose scene class is one of `keep`, never 0 (nodata): bool of `scl`'s shape.

    `scl` is uint8 or uint16.
    """
    clear = np.zeros(np.iinfo(scl.dtype).max + 1, bool)
    clear[[scene for scene in keep if scene != 0]] = True
    return clear[scl]


def monthly_medians(
    observations: np.ndarray, clear: np.ndarray, month: np.ndarray, acquisition: np.ndarray
) -> np.ndarray:
    """The monthly series of every pixel: uint16 (12, y, x), reflectance × 10000, 0 = nodata.

    An observation counts where it is clear and not 0; of one acquisition only the first that
    counts, in the order of the arrays. A month has the median of its observations, or without any
    the median of the year's; a pixel without observations is 0. The median of an even number is
    the mean of the middle two, rounded half to even.

    Args:
        observations: uint16 (t, y, x), 0 = nodata; t is at most 65535.
        clear: The clear pixels: bool (t, y, x), or (t, y / n, x / n) for n times coarser pixels.
        month: int (t,), 0 … 11.
        acquisition: int (t,), equal for observations of one overpass.

    Raises:
        ValueError: The shapes do not fit, a month is out of range, or t is too large.
    """
    times, height, width = observations.shape
    ratio = height // max(clear.shape[1], 1)
    repeated = (clear.shape[0], clear.shape[1] * ratio, clear.shape[2] * ratio)
    if repeated != observations.shape or not len(month) == len(acquisition) == times:
        raise ValueError(
            f"observations {observations.shape}, clear {clear.shape}, {len(month)} months and "
            f"{len(acquisition)} acquisitions do not fit one another"
        )
    if times > _MOST:
        raise ValueError(f"{times} observations of a pixel are more than {_MOST}")
    month = _checked_month(month)
    order, is_new = _by_acquisition(acquisition)
    series = np.zeros((MONTHS, height, width), np.uint16)
    if observations.size == 0:
        return series
    _medians(
        np.ascontiguousarray(observations, np.uint16),
        np.ascontiguousarray(clear, bool).view(np.uint8),
        month,
        order,
        is_new,
        series,
    )
    return series


def _checked_month(month: np.ndarray) -> np.ndarray:
    if len(month) and not (np.min(month) >= 0 and np.max(month) < MONTHS):
        raise ValueError(f"months are 0 to 11, not {np.min(month)} to {np.max(month)}")
    return np.asarray(month, np.int64)


def _by_acquisition(acquisition: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order of observations by acquisition, and whether each is the first of one."""
    order = np.argsort(acquisition, kind="stable").astype(np.int64)
    ordered = np.asarray(acquisition)[order]
    return order, np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)]


@njit(nogil=True, cache=True)
def _medians(
    observations: np.ndarray,
    clear: np.ndarray,
    month: np.ndarray,
    order: np.ndarray,
    is_new: np.ndarray,
    series: np.ndarray,
) -> None:
    times, height, width = observations.shape
    ratio = height // clear.shape[1]
    strip = max(_STRIP // ratio, 1) * ratio  # begins at a whole pixel of the mask
    first = np.zeros(MONTHS + 1, np.int64)  # month m has the rows first[m] … first[m + 1] - 1
    for t in range(times):
        first[month[t] + 1 :] += 1
    rows = np.empty((times, strip), np.uint16)
    used = np.empty(MONTHS, np.int64)  # rows of each month that hold a value
    counts = np.empty((MONTHS, strip), np.uint16)
    mask = np.empty(strip, np.uint8)
    taken = np.empty(strip, np.uint8)  # whether the acquisition has its value already
    for y in range(height):
        for left in range(0, width, strip):
            right = min(left + strip, width)
            used[:] = 0
            counts[:] = 0
            for k in range(times):
                t = order[k]
                m = month[t]
                if is_new[k]:
                    taken[:] = 0
                _repeat(clear[t, y // ratio, left // ratio :], ratio, mask, right - left)
                row = rows[first[m] + used[m]]
                if _gather(observations[t, y, left:right], mask, taken, row, counts[m]):
                    used[m] += 1
            _strip_medians(rows, first, used, counts, series[:, y, left:right])


@njit(nogil=True, cache=True)
def _repeat(coarse: np.ndarray, ratio: int, mask: np.ndarray, size: int) -> None:
    """The mask of a strip's pixels from those of the pixels `ratio` times coarser."""
    if ratio == 1:
        for x in range(size):
            mask[x] = coarse[x]
    elif ratio == 2:
        for x in range(size // 2):
            mask[2 * x] = coarse[x]
            mask[2 * x + 1] = coarse[x]
    else:
        for x in range(size):
            mask[x] = coarse[x // ratio]


@njit(nogil=True, cache=True)
def _gather(
    values: np.ndarray, mask: np.ndarray, taken: np.ndarray, row: np.ndarray, counts: np.ndarray
) -> bool:
    """Fill a row with the values of an observation that count; returns whether any did."""
    any_counts = np.uint8(0)
    for x in range(len(values)):
        it_counts = np.uint8(values[x] != 0) & mask[x] & (taken[x] ^ np.uint8(1))
        taken[x] |= it_counts
        any_counts |= it_counts
        row[x] = values[x] if it_counts else _ABSENT
        counts[x] += it_counts
    return any_counts != 0


@njit(nogil=True, cache=True)
def _strip_medians(
    rows: np.ndarray, first: np.ndarray, used: np.ndarray, counts: np.ndarray, series: np.ndarray
) -> None:
    size = series.shape[1]
    year = np.empty((used.sum(), rows.shape[1]), np.uint16)
    year_counts = np.zeros(size, np.uint16)
    filled = 0
    has_gaps = False
    for m in range(MONTHS):
        of_month = rows[first[m] : first[m] + used[m]]
        year[filled : filled + used[m]] = of_month
        filled += used[m]
        _sort(of_month, size)
        for x in range(size):
            year_counts[x] += counts[m, x]
            if counts[m, x]:
                series[m, x] = _median(of_month, counts[m, x], x)
            else:
                has_gaps = True
    if not has_gaps:
        return
    _sort(year, size)
    for x in range(size):
        if year_counts[x]:
            annual = _median(year, year_counts[x], x)
            for m in range(MONTHS):
                if counts[m, x] == 0:
                    series[m, x] = annual


@njit(nogil=True, cache=True)
def _median(ascending: np.ndarray, count: int, x: int) -> np.int64:
    """Median of the lowest `count` of a pixel's sorted values, rounded half to even.

    A saturated value equals `_ABSENT`; the two need not be distinguished.
    """
    twice = np.int64(ascending[(count - 1) // 2, x]) + np.int64(ascending[count // 2, x])
    half = twice >> 1
    return half + (twice & half & 1)


@njit(nogil=True, cache=True)
def _sort(rows: np.ndarray, size: int) -> None:
    """Sort every column of the rows, the smallest value first."""
    n = len(rows)
    top = 1
    while 2 * top < n:
        top *= 2
    p = top
    while p > 0 and n > 1:
        q, r, d = top, 0, p
        while True:
            for i in range(n - d):
                if i & p == r:
                    _exchange(rows[i], rows[i + d], size)
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2


@njit(nogil=True, cache=True)
def _exchange(low: np.ndarray, high: np.ndarray, size: int) -> None:
    for x in range(size):
        a, b = low[x], high[x]
        low[x] = min(a, b)
        high[x] = max(a, b)
