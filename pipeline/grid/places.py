"""Places on Earth, and the pixels of a grid in which they lie."""

from dataclasses import dataclass, field

import numpy as np
from affine import Affine

from pipeline.grid.mgrs import to_utm

_NEAR = 12.0  # degrees from a zone's central meridian: further, UTM's formulas give no places


@dataclass(frozen=True, eq=False)
class Places:
    """Places: `lon` and `lat` float64 (n,), degrees of WGS 84, NaN for no place."""

    lon: np.ndarray
    lat: np.ndarray
    _of_zone: dict[int, tuple[np.ndarray, np.ndarray]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __len__(self) -> int:
        return len(self.lon)

    def in_grid(
        self, epsg: int, transform: Affine, shape: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find the places in a grid.

        Args:
            epsg: The grid's UTM zone.
            transform: Pixels → metres, north up.
            shape: Rows and columns of the grid.

        Returns:
            The numbers of the places in it, and the row and column of the pixel of each, int64.
        """
        x, y = self._projected(epsg)
        column, row = (x - transform.c) / transform.a, (y - transform.f) / transform.e
        with np.errstate(invalid="ignore"):  # NaN lies nowhere
            inside = (column >= 0) & (column < shape[1]) & (row >= 0) & (row < shape[0])
        found = np.flatnonzero(inside)
        return found, row[found].astype(np.int64), column[found].astype(np.int64)

    def _projected(self, epsg: int) -> tuple[np.ndarray, np.ndarray]:
        """The places in a UTM zone, NaN for places far from it."""
        if epsg not in self._of_zone:
            middle = epsg % 100 * 6 - 183
            near = np.abs((self.lon - middle + 180) % 360 - 180) < _NEAR
            x, y = np.full(len(self), np.nan), np.full(len(self), np.nan)
            x[near], y[near] = to_utm(epsg).transform(self.lon[near], self.lat[near])
            self._of_zone[epsg] = x, y
        return self._of_zone[epsg]
