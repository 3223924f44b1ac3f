"""Statistics of the bands of many series, exact, without holding the series."""

import numpy as np

from pipeline.dataset_card import Statistics

_VALUES = 65536  # of uint16
_PERCENTS = (1, 50, 99)


class BandStatistics:
    """Counts each band's values as series come; 0 is a month without a clear observation."""

    def __init__(self, bands: int) -> None:
        self._counts = np.zeros((bands, _VALUES), np.int64)

    def add(self, series: np.ndarray) -> None:
        """Count series, uint16 (n, month, band)."""
        for counts, band in zip(self._counts, np.moveaxis(series, -1, 0), strict=True):
            counts += np.bincount(band.ravel(), minlength=_VALUES)

    def result(self) -> Statistics:
        """The statistics of all that was counted.

        A quantile is the lowest value that has at least that share of the values up to it (NumPy's
        "inverted_cdf"). Raises ValueError where a band was never seen.
        """
        seen = self._counts[:, 1:]
        total = seen.sum(axis=1)
        if not total.all():
            raise ValueError("a band has no clear observation at all")
        values = np.arange(1, _VALUES, dtype=np.float64)
        mean = seen @ values / total
        variance = seen @ values**2 / total - mean**2
        below = seen.cumsum(axis=1)
        return Statistics(
            quantiles={
                str(percent): tuple(
                    1.0 + int(np.searchsorted(band, percent / 100 * count))
                    for band, count in zip(below, total, strict=True)
                )
                for percent in _PERCENTS
            },
            mean=tuple(mean.tolist()),
            std=tuple(np.sqrt(np.maximum(variance, 0)).tolist()),
            missing=float(self._counts[:, 0].sum() / self._counts.sum()),
        )
