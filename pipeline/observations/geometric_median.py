"""The geometric median of a month's observations: one spectrum, robust as a whole.

The median of each band may be a mixture that no date has shown; the geometric median minimises the
sum of distances to the observed spectra (Weiszfeld 1937; for satellite composites Roberts, Mueller
and McIntyre 2017, IEEE TGRS 55(11), 6254-6264). Geoscience Australia's `geomad` computes it.
"""

from collections.abc import Collection, Sequence

import geomad
import numpy as np

_STRIP = 64  # rows computed at once: a strip is copied with all its dates side by side
_STEP = 0.05  # DN: the iteration ends when it moves the spectrum by less
_ITERATIONS = 200


def geometric_median(
    bands: Sequence[np.ndarray],
    clear: np.ndarray,
    acquisition: np.ndarray,
    optional: Collection[int] = (),
) -> np.ndarray:
    """The geometric median of every pixel: uint16 (band, y, x), 0 = nodata.

    An observation counts where it is clear and no band is 0; of one acquisition only the first
    that counts, in the order of the arrays. Distances are in DN over all bands. The median of two
    observations is their midpoint.

    An optional band that is 0 in all observations of a pixel that are whole otherwise is left out
    of its spectra, and its result is 0. Where no observation has all the bands that are left, all
    optional bands are left out.

    Args:
        bands: uint16 (t, y, x) for each band, 0 = nodata, or (t, y / n, x / n) for n times coarser
            pixels; the finest band has the result's pixels.
        clear: The clear pixels: bool (t, y, x), or coarser in the same way.
        acquisition: int (t,), equal for observations of one overpass.
        optional: The numbers of bands that observations may lack.

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
        shown = np.moveaxis(_finer(clear, rows, height, width), 0, -1)
        found = _medians(spectra.copy() if optional else spectra, shown, acquisition)
        if optional:
            _add_lacking(found, spectra, shown, acquisition, sorted(optional))
        result[:, rows] = np.moveaxis(found, -1, 0)
    return result


def with_gaps_filled(months: np.ndarray, optional: Collection[int] = ()) -> np.ndarray:
    """Monthly composites, uint16 (month, band, y, x), 0 = nodata, without gaps.

    A month that is nodata gets the geometric median of the pixel's other months, so that the
    year's observations need not be held at once. A pixel that is nodata in all months stays so.
    A month that lacks an optional band gets the median of that band in the pixel's other months.
    """
    required = np.ones(months.shape[1], bool)
    required[list(optional)] = False
    present: np.ndarray = np.asarray(months.all(axis=1, where=required[:, None, None]))
    gaps = ~present & present.any(axis=0)
    if gaps.any():
        bands, number = list(np.moveaxis(months, 1, 0)), np.arange(len(months))
        year = geometric_median(bands, present, number, optional)
        months = np.where(gaps[:, None], year[None], months)
    for place in optional:
        some = months[:, place].any(axis=0) & ~months[:, place].all(axis=0)
        if some.any():
            months = months.copy()
            months[:, place, some] = _with_medians(months[:, place, some])
    return months


def _with_medians(values: np.ndarray) -> np.ndarray:
    """Values (month, pixel), 0 = missing: each takes the median of its pixel's others."""
    seen = np.where(values > 0, values.astype(np.float64), np.nan)
    return np.where(values > 0, values, np.rint(np.nanmedian(seen, axis=0)).astype(np.uint16))


def _add_lacking(
    found: np.ndarray,
    spectra: np.ndarray,
    shown: np.ndarray,
    acquisition: np.ndarray,
    optional: Sequence[int],
) -> None:
    """Add the medians of pixels without an observation of all bands to those that are `found`.

    `found` is (y, x, band), `spectra` (y, x, band, t), `shown` the clear observations, (y, x, t).
    """
    required = np.ones(found.shape[-1], bool)
    required[optional] = False
    whole = shown & spectra[:, :, required].all(axis=2)
    lacking = whole.any(axis=-1) & ~found.any(axis=-1)
    if not lacking.any():
        return
    spectra, shown, whole = spectra[lacking], shown[lacking], whole[lacking]  # of n pixels
    medians = np.zeros((len(spectra), len(required)), np.uint16)
    seen = np.asarray(((spectra > 0) & whole[:, None]).any(axis=-1))
    for kept in (*np.unique(seen, axis=0), required):
        left = (seen == kept).all(axis=1) if kept is not required else np.ones(len(seen), bool)
        left &= ~medians.any(axis=1)
        if left.any():
            part = spectra[left][:, kept]
            medians[np.ix_(left, kept)] = _medians(part[None], shown[left][None], acquisition)[0]
    found[lacking] = medians


def _medians(spectra: np.ndarray, shown: np.ndarray, acquisition: np.ndarray) -> np.ndarray:
    """The medians (y, x, band) of spectra (y, x, band, t), where `shown`, bool (y, x, t).

    Spectra that do not count become 0 in place.
    """
    counts = _first_of_each(shown & spectra.all(axis=2), acquisition)
    spectra *= counts[:, :, None]
    return _solved(spectra)


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
