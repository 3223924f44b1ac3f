"""Places at the border of UTM zones that no zone owns (`pipeline.product.zone_seams`)."""

from collections.abc import Iterable

import numpy as np

from pipeline.grid.cells import PIXEL
from pipeline.grid.mgrs import to_lonlat, to_utm, zone_at


def owned_by_none(zones: Iterable[int], lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Whether places (degrees) lie in pixels that none of some zones owns: bool (n,)."""
    lost = np.ones(len(lon), bool)
    for epsg in zones:
        lost &= ~_owned_by(epsg, lon, lat)
    return lost


def _owned_by(epsg: int, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Whether a zone owns the pixels of its grid in which places lie: bool (n,)."""
    x, y = to_utm(epsg).transform(lon, lat)
    x, y = ((axis // PIXEL + 0.5) * PIXEL for axis in (x, y))
    centres = np.column_stack(to_lonlat(epsg).transform(x, y)).tolist()
    return np.array(
        [zone_at(*at) == epsg % 100 and (at[1] >= 0) == (epsg < 32700) for at in centres]
    )
