"""The tiles of Web Mercator (EPSG:3857), and the cells of a run that each of them touches."""

import math
from dataclasses import dataclass

import numpy as np

from pipeline.grid.mgrs import to_utm
from pipeline.viewer.viewed_run import ViewedCell

TILE_SIDE = 256
"""Pixels a side of a tile."""
HIGHEST_ZOOM = 22
_RADIUS = 6378137.0  # metres, of the sphere of EPSG:3857
_HALF = math.pi * _RADIUS
_SLACK = 1e-3  # degrees: a cell's bbox is rounded


@dataclass(frozen=True)
class MapTile:
    """A tile of the usual scheme: column `x` from the west, row `y` from the north, of 2^z."""

    z: int
    x: int
    y: int

    @classmethod
    def at(cls, lon: float, lat: float, z: int) -> "MapTile":
        """The tile of a zoom that holds a place (degrees)."""
        side = 1 << z
        x = int((lon + 180) / 360 * side)
        y = int((1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * side)
        return cls(z, min(max(x, 0), side - 1), min(max(y, 0), side - 1))

    @property
    def is_one(self) -> bool:
        """Whether there is such a tile."""
        side = 1 << min(max(self.z, 0), HIGHEST_ZOOM)
        return 0 <= self.z <= HIGHEST_ZOOM and 0 <= self.x < side and 0 <= self.y < side

    @property
    def pixel(self) -> float:
        """Units of EPSG:3857 a side of a pixel."""
        return 2 * _HALF / (TILE_SIDE << self.z)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in EPSG:3857."""
        side = self.pixel * TILE_SIDE
        left, top = self.x * side - _HALF, _HALF - self.y * side
        return (left, top - side, left + side, top)

    @property
    def ground(self) -> float:
        """Metres on the ground a side of a pixel in the tile's middle."""
        _, bottom, _, top = self.bounds
        return self.pixel / math.cosh((bottom + top) / 2 / _RADIUS)

    def lonlat(
        self, rows: slice = slice(0, TILE_SIDE), columns: slice = slice(0, TILE_SIDE)
    ) -> tuple[np.ndarray, np.ndarray]:
        """The longitudes of columns, float64 (n,), and the latitudes of rows, of pixel centres."""
        left, _, _, top = self.bounds
        x = left + self.pixel * (np.arange(columns.start, columns.stop) + 0.5)
        y = top - self.pixel * (np.arange(rows.start, rows.stop) + 0.5)
        return np.degrees(x / _RADIUS), np.degrees(np.arctan(np.sinh(y / _RADIUS)))


class CellIndex:
    """The bounds of a run's cells in Web Mercator, to find those that a tile touches.

    Of 14,000 cells all are compared, which takes a twentieth of a millisecond.
    """

    def __init__(self, cells: tuple[ViewedCell, ...]) -> None:
        self._cells = cells
        west, south, east, north = np.array([cell.bbox for cell in cells], float).T
        east = np.where(east < west, east + 360, east)
        self._left, self._right = (np.radians(edge) * _RADIUS for edge in (west, east))
        self._bottom, self._top = (
            _RADIUS * np.arcsinh(np.tan(np.radians(edge))) for edge in (south, north)
        )

    def touched(self, tile: MapTile, layer: str, around: float = 20.0) -> list[ViewedCell]:
        """The cells with a layer within a tile or `around` units of EPSG:3857 beside it."""
        left, bottom, right, top = tile.bounds
        rows = (self._bottom < top + around) & (self._top > bottom - around)
        beside = np.zeros_like(rows)
        for turn in (-2 * _HALF, 0, 2 * _HALF):  # a cell may lie over the antimeridian
            beside |= (self._left + turn < right + around) & (self._right + turn > left - around)
        found = np.flatnonzero(rows & beside).tolist()
        return [self._cells[place] for place in found if layer in self._cells[place].layers]


def pixels_in_cell(tile: MapTile, cell: ViewedCell) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels of a tile whose centres lie in a cell's grid.

    Returns:
        Their places in the tile, row by row, and their rows and columns of 10 m in the cell: int64
        (n,) each.
    """
    lon, lat = tile.lonlat()
    west, south, east, north = cell.bbox
    columns = np.flatnonzero((lon - west + _SLACK) % 360 <= (east - west) % 360 + 2 * _SLACK)
    rows = np.flatnonzero((lat >= south - _SLACK) & (lat <= north + _SLACK))
    x, y = to_utm(cell.epsg).transform(
        *(axis.ravel() for axis in np.meshgrid(lon[columns], lat[rows]))
    )
    column = np.floor((x - cell.transform.c) / cell.transform.a).astype(np.int64)
    row = np.floor((y - cell.transform.f) / cell.transform.e).astype(np.int64)
    inside = (row >= 0) & (row < cell.shape[0]) & (column >= 0) & (column < cell.shape[1])
    places = (rows[:, None] * TILE_SIDE + columns).ravel()
    return places[inside], row[inside], column[inside]
