"""The true area of pixels: on the ellipsoid, not in the projection.

A pixel of 10 m of a UTM grid covers 100 m² in the projection. On the ellipsoid it covers this over
the projection's area scale, which is 0.9992 in the middle of a zone and up to 1.003 at its edges.
"""

from dataclasses import dataclass

import numpy as np
from affine import Affine

from pipeline.product.cell_report import area_scale

_STEP = 64
"""Pixels between the places at which the scale is computed. Between them it is interpolated; that
misses it by less than 1e-8, as its second derivative is about one over the Earth's radius squared.
"""


@dataclass(frozen=True, eq=False)
class PixelAreas:
    """The areas of the pixels of a UTM grid.

    Attributes:
        transform: Pixel (column, row) → metres.
        shape: Rows and columns.
        inverse_scale: True area over projected area at every `_STEP`th row and column, counted from
            the upper left corner, float64 (row, column).
    """

    transform: Affine
    shape: tuple[int, int]
    inverse_scale: np.ndarray

    @classmethod
    def of_grid(cls, epsg: int, transform: Affine, shape: tuple[int, int]) -> "PixelAreas":
        """The areas of the pixels of a grid in EPSG:`epsg`."""
        rows, columns = (np.arange(side // _STEP + 2) * _STEP for side in shape)
        x, y = np.meshgrid(transform.c + transform.a * columns, transform.f + transform.e * rows)
        return cls(transform, shape, 1 / area_scale(f"EPSG:{epsg}", x, y))

    def hectares(self, rows: slice, columns: slice) -> np.ndarray:
        """Hectares of the pixels of a window: float64 (row, column)."""
        down = _between(rows, self.shape[0], self.inverse_scale.shape[0])
        across = _between(columns, self.shape[1], self.inverse_scale.shape[1])
        projected = abs(self.transform.a * self.transform.e) / 10_000
        areas: np.ndarray = projected * (down @ self.inverse_scale @ across.T)
        return areas


def _between(pixels: slice, side: int, nodes: int) -> np.ndarray:
    """The weights of the nodes at the centres of pixels, float64 (pixel, node)."""
    start, stop, _ = pixels.indices(side)
    place = (np.arange(start, stop) + 0.5) / _STEP
    before = place.astype(np.int64)
    weights = np.zeros((stop - start, nodes))
    number = np.arange(stop - start)
    weights[number, before] = 1 - (place - before)
    weights[number, before + 1] = place - before
    return weights
