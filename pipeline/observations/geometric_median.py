"""The geometric median of a month's observations: one spectrum, robust as a whole.

The median of each band may be a mixture that no date has shown; the geometric median minimises the
sum of distances to the observed spectra (Weiszfeld 1937; for satellite composites Roberts, Mueller
and McIntyre 2017, IEEE TGRS 55(11), 6254-6264). Geoscience Australia's `geomad` computes it.
"""

from collections.abc import Sequence

import geomad
import numpy as np

_STRIP = 64  # rows computed at once: a strip is copied with all its dates side by side
_STEP = 0.05  # DN: the iteration ends when it moves the spectrum by less
_ITERATIONS = 200


def geometric_median(
    bands: Sequence[np.ndarray], clear: np.ndarray, acquisition: np.ndarray
) -> np.ndarray:
    """The geometric median of every pixel: uint16 (band, y, x), 0 = nodata.

    An observation counts where it is clear and no band is 0; of one acquisition only the first
    that counts, in the order of the arrays. Distances are in DN over all bands. The median of two
    observations is their midpoint.

    Args:
        bands: uint16 (t, y, x) for each band, 0 = nodata, or (t, y / n, x / n) for n times coarser
            pixels; the finest band has the result's pixels.
        clear: The clear pixels: bool (t, y, x), or coarser in the same way.
        acquisition: int (t,), equal for observations of one overpass.

    Raises:
        ValueError: The shapes do not fit.
    """
    times, height, width = max((band.shape for band in bands), key=lambda shape: shape[1])
    for part in (*bands, clear):
        if part.shape[0] != times or height % part.shape[1] or width % part.shape[2]:
            shapes = [band.shape for band in bands]
            raise ValueError(f"bands {shapes} and clear {clear.shape} do not fit one another")
    if len(acquisition) != times:
        raise ValueError(f"{len(acquisition)} acquisitions do not go with {times} observations")
    result = np.zeros((len(bands), height, width), np.uint16)
    if times == 0:
        return result
    for top in range(0, height, _STRIP):
        rows = np.arange(top, min(top + _STRIP, height))
        spectra = np.empty((len(rows), width, len(bands), times), np.uint16)
        for index, band in enumerate(bands):
            spectra[:, :, index] = np.moveaxis(_finer(band, rows, height, width), 0, -1)
        counts = np.moveaxis(_finer(clear, rows, height, width), 0, -1) & spectra.all(axis=2)
        counts = _first_of_each(counts, acquisition)
        spectra *= counts[:, :, None]
        result[:, rows] = np.moveaxis(_solved(spectra), -1, 0)
    return result


def with_gaps_filled(months: np.ndarray) -> np.ndarray:
    """Monthly composites, uint16 (month, band, y, x), 0 = nodata, without gaps.

    A month that is nodata gets the geometric median of the pixel's other months, so that the
    year's observations need not be held at once. A pixel that is nodata in all months stays so.
    """
    present = np.asarray(months.all(axis=1))
    gaps = ~present & present.any(axis=0)
    if not gaps.any():
        return months
    year = geometric_median(list(np.moveaxis(months, 1, 0)), present, np.arange(len(months)))
    filled: np.ndarray = np.where(gaps[:, None], year[None], months)
    return filled


def _finer(part: np.ndarray, rows: np.ndarray, height: int, width: int) -> np.ndarray:
    """Rows (of `height`) of an array whose pixels are repeated to `height` × `width`."""
    repeated: np.ndarray = part[:, rows // (height // part.shape[1])].repeat(
        width // part.shape[2], axis=2
    )
    return repeated


def _first_of_each(counts: np.ndarray, acquisition: np.ndarray) -> np.ndarray:
    """The observations that count, bool (y, x, t), but only the first of each acquisition."""
    if len(np.unique(acquisition)) == len(acquisition):
        return counts
    first = counts.copy()
    for time, number in enumerate(acquisition.tolist()):
        before = np.flatnonzero(acquisition[:time] == number)
        if len(before):
            first[..., time] &= ~counts[..., before].any(axis=-1)
    return first


def _solved(spectra: np.ndarray) -> np.ndarray:
    """(y, x, band, t), 0 = does not count → (y, x, band); 0 where nothing counts."""
    # geomad starts from the left neighbour's result. Here every pixel has a row of its own, so that
    # its value does not depend on where a block begins.
    medians = geomad.nangeomedian_pcm(
        spectra.reshape(-1, 1, *spectra.shape[2:]),
        nodata=0,
        scale=1.0,
        offset=0.0,
        eps=_STEP,
        maxiters=_ITERATIONS,
        num_threads=1,
        nocheck=True,
    )
    medians = medians.reshape(spectra.shape[:3])
    anything = np.asarray(spectra.any(axis=(2, 3)))
    rounded = np.clip(np.rint(np.nan_to_num(medians, nan=1.0)), 1, 65535).astype(np.uint16)
    return np.where(anything[..., None], rounded, np.uint16(0))
