"""A synthetic landscape: the parcel at each place, and the shares of parcels in each pixel.

Fields of 1 to 10 ha in blocks, each block laid out in its own direction; hedges and roads along
the blocks' borders; woods, heath, a lake, a river with wetland and meadows along it, villages and
a quarry. It is drawn once on a fine grid in an equal-area plane, so that all tiles show the same;
beyond its 5.6 km it is mirrored, so that an archive can be of any size.
"""

from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import numpy as np
from numba import njit
from pyproj import Transformer
from scipy.ndimage import gaussian_filter

from pipeline.sample.ground import EXTENT, FINE, draw_parcel_map

CENTRE = (6.0, 49.61364)
"""Longitude and latitude where zone 31 meets zone 32 and two 100 km rows of tiles meet."""

PLANE = f"+proj=laea +lon_0={CENTRE[0]} +lat_0={CENTRE[1]} +datum=WGS84 +units=m"
"""The equal-area plane of the landscape; its origin is `CENTRE`."""

MOST_PARCELS = 4
"""The most parcels in a pixel's mixture."""

_COARSE = 10.0  # metres of the texture's grid
_REACH = 7.5  # metres around a pixel's centre that send light into it, along either axis


@dataclass(frozen=True)
class Landscape:
    """Parcels on a fine grid, first row in the north.

    Attributes:
        parcel: int32 (row, column), the number of a parcel.
        land: int (parcel,), the classes.
        texture: float32 (row, column) at 10 m: factors of brightness within parcels.
    """

    parcel: np.ndarray
    land: np.ndarray
    texture: np.ndarray

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The parcel at places of the plane, in metres: int32 of their shape."""
        n = len(self.parcel)
        return self.parcel[_mirrored(-y, FINE, n), _mirrored(x, FINE, n)]

    def pixels(self, epsg: int, xs: np.ndarray, ys: np.ndarray) -> "LandscapePixels":
        """The pixels with centres at columns `xs` and rows `ys` (metres, EPSG:`epsg`)."""
        x, y = plane_of(epsg, xs, ys)
        parts, weights = _mixtures(self.parcel, x, y, FINE, _REACH)
        n = len(self.texture)
        texture = self.texture[_mirrored(-y, _COARSE, n), _mirrored(x, _COARSE, n)]
        return LandscapePixels(parts, weights, texture, x, y, self.land)


@dataclass(frozen=True)
class LandscapePixels:
    """The landscape in the pixels of one grid.

    Attributes:
        parts: int32 (row, column, 4), parcels, the largest share first.
        weights: float32 (row, column, 4), their shares, of sum 1.
        texture: float32 (row, column).
        x: The centres in the plane, metres; `y` too.
        land: As in `Landscape`.
    """

    parts: np.ndarray
    weights: np.ndarray
    texture: np.ndarray
    x: np.ndarray
    y: np.ndarray
    land: np.ndarray

    @cached_property
    def truth(self) -> np.ndarray:
        """Class value 1 … 12 of the parcel with the largest share: uint8 (row, column)."""
        return (self.land[self.parts[:, :, 0]] + 1).astype(np.uint8)


def plane_of(epsg: int, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The x and y in the plane of a grid's columns `xs` and rows `ys`: (row, column), metres."""
    grid = np.meshgrid(xs, ys)
    x, y = to_plane(epsg).transform(*grid)
    return x, y


@cache
def to_plane(epsg: int) -> Transformer:
    """Coordinates of a CRS (x or longitude first) → metres of the plane."""
    return Transformer.from_crs(epsg, PLANE, always_xy=True)


@cache
def from_plane() -> Transformer:
    """Metres of the plane → longitude, latitude (WGS 84, degrees)."""
    return Transformer.from_crs(PLANE, 4326, always_xy=True)


@lru_cache(maxsize=2)
def make_landscape(seed: int) -> Landscape:
    """Draw a landscape; the same seed gives the same landscape."""
    rng = np.random.default_rng([seed, 1])
    parcel, land = draw_parcel_map(rng)
    n = int(EXTENT / _COARSE)
    fine = gaussian_filter(rng.standard_normal((n, n)), 1.0, mode="mirror")
    broad = gaussian_filter(rng.standard_normal((n, n)), 6, mode="mirror")
    texture = 1 + 0.005 * fine / fine.std() + 0.04 * broad / broad.std()
    return Landscape(parcel, land, texture.astype(np.float32))


def _mirrored(along: np.ndarray, step: float, count: int) -> np.ndarray:
    """The row or column of a grid, centred on the origin, that places along an axis fall in."""
    index = np.floor(along / step).astype(np.int64) + count // 2
    folded = np.mod(index, 2 * count)
    return np.where(folded < count, folded, 2 * count - 1 - folded)


@njit(nogil=True, cache=True)
def _fold(along: float, step: float, count: int) -> int:
    """As `_mirrored`, for one place."""
    folded = (int(np.floor(along / step)) + count // 2) % (2 * count)
    return folded if folded < count else 2 * count - 1 - folded


@njit(nogil=True, cache=True)
def _mixtures(
    parcel: np.ndarray, x: np.ndarray, y: np.ndarray, step: float, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """The parcels in each pixel by falling share, and the shares.

    A pixel gathers light from a little more than its square (the instrument's point spread):
    6 × 6 samples, whose weights fall linearly with the distance from the centre.
    """
    rows, columns = x.shape
    parts = np.zeros((rows, columns, MOST_PARCELS), np.int32)
    shares = np.zeros((rows, columns, MOST_PARCELS), np.float32)
    seen = np.empty(36, np.int32)
    share = np.empty(36, np.float32)
    for i in range(rows):
        for j in range(columns):
            kinds = 0
            for a in range(6):
                dy = (a - 2.5) / 3 * reach
                row = _fold(-(y[i, j] + dy), step, len(parcel))
                for b in range(6):
                    dx = (b - 2.5) / 3 * reach
                    here = parcel[row, _fold(x[i, j] + dx, step, len(parcel))]
                    weight = (1 - abs(a - 2.5) / 3) * (1 - abs(b - 2.5) / 3)
                    k = 0
                    while k < kinds and seen[k] != here:
                        k += 1
                    if k == kinds:
                        seen[k], share[k] = here, 0.0
                        kinds += 1
                    share[k] += weight
            total = np.float32(0.0)
            for part in range(min(MOST_PARCELS, kinds)):
                best = part
                for k in range(part + 1, kinds):
                    if share[k] > share[best]:
                        best = k
                seen[part], seen[best] = seen[best], seen[part]
                share[part], share[best] = share[best], share[part]
                parts[i, j, part], shares[i, j, part] = seen[part], share[part]
                total += share[part]
            shares[i, j] /= total
    return parts, shares
