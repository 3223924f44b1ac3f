"""The pixels of a rectangle of UTM that a tile owns: those in its square and in its zone's strips.

Most rectangles lie within one strip, or are cut by a meridian alone, which crosses each row once:
then two numbers a row say all that a mask of millions of pixels would.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.grid.mgrs import SQUARE, Strip, Tile, strips_of, to_utm

_Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class RowSpans:
    """In each row of a rectangle the pixels of columns `start` ≤ column < `stop`.

    Attributes:
        start: int64 (row,).
        stop: int64 (row,); not below `start`.
        width: The rectangle's columns.
    """

    start: np.ndarray
    stop: np.ndarray
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """The rectangle's rows and columns."""
        return (len(self.start), self.width)

    @property
    def mask(self) -> np.ndarray:
        """Bool (row, column)."""
        columns = np.arange(self.width)
        return (columns >= self.start[:, None]) & (columns < self.stop[:, None])


OwnedPixels = RowSpans | np.ndarray
"""Pixels of a rectangle: as spans of rows, or as bool (row, column)."""


def as_mask(pixels: OwnedPixels) -> np.ndarray:
    """The pixels as bool (row, column)."""
    return pixels.mask if isinstance(pixels, RowSpans) else pixels


def common(pixels: OwnedPixels, mask: np.ndarray) -> np.ndarray:
    """Those of the pixels that are in a mask: bool (row, column)."""
    if (
        isinstance(pixels, RowSpans)
        and not pixels.start.any()
        and pixels.stop.min() == pixels.width
    ):
        return mask
    return as_mask(pixels) & mask


def pixel_count(pixels: OwnedPixels) -> int:
    """The number of pixels."""
    if isinstance(pixels, RowSpans):
        return int((pixels.stop - pixels.start).sum())
    return int(np.count_nonzero(pixels))


def pixel_extent(pixels: OwnedPixels) -> tuple[int, int, int, int] | None:
    """The first and last row, and the first and last column of pixels; None where there is none."""
    if isinstance(pixels, RowSpans):
        rows = np.flatnonzero(pixels.stop > pixels.start)
        if not len(rows):
            return None
        left, right = pixels.start[rows].min(), pixels.stop[rows].max() - 1
    else:
        rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        if not len(rows):
            return None
        left, right = columns[0], columns[-1]
    return int(rows[0]), int(rows[-1]), int(left), int(right)


def tile_pixels(tile: Tile, x: np.ndarray, y: np.ndarray, degrees: _Bounds) -> OwnedPixels:
    """The pixels whose centres lie in the tile's square and in the strips of its zone.

    Args:
        tile: The tile.
        x: Eastings of the columns' centres, rising.
        y: Northings of the rows' centres.
        degrees: West, south, east, north around the rectangle; longitudes may pass ±180.
    """
    down = (y > tile.northing) & (y < tile.northing + SQUARE)
    first = np.searchsorted(x, tile.easting, "right")
    end = np.searchsorted(x, tile.easting + SQUARE)
    pixels = _zone_pixels(tile.epsg, x, y, degrees)
    if isinstance(pixels, RowSpans):
        start = np.maximum(pixels.start, first)
        stop = np.where(down, np.minimum(pixels.stop, end), 0)
        return RowSpans(start, np.maximum(start, stop), len(x))
    across = np.arange(len(x))
    return pixels & down[:, None] & ((across >= first) & (across < end))


def _zone_pixels(epsg: int, x: np.ndarray, y: np.ndarray, degrees: _Bounds) -> OwnedPixels:
    west, south, east, north = degrees
    strips = [s for s in strips_of(epsg % 100) if s.south < north and s.north > south]
    if len(strips) == 1 and strips[0].south <= south and strips[0].north >= north:
        return _between_meridians(strips[0], epsg, x, y, degrees)
    inside = np.zeros((len(y), len(x)), bool)
    for strip in strips:
        part = _between_meridians(strip, epsg, x, y, degrees).mask
        if strip.south > south:
            part &= _north_of(strip.south, epsg, x, y, west, east)
        if strip.north < north:
            part &= ~_north_of(strip.north, epsg, x, y, west, east)
        inside |= part
    return inside


def _between_meridians(
    strip: Strip, epsg: int, x: np.ndarray, y: np.ndarray, degrees: _Bounds
) -> RowSpans:
    """The pixels of a strip, as if it reached from pole to pole."""
    west, south, east, north = degrees
    start, stop = np.zeros(len(y), np.int64), np.full(len(y), len(x), np.int64)
    if strip.west > west:
        start = np.searchsorted(x, _easting(strip.west, epsg, y, south, north))
    if strip.east < east:
        stop = np.searchsorted(x, _easting(strip.east, epsg, y, south, north))
    return RowSpans(start, np.maximum(start, stop), len(x))


def _easting(longitude: float, epsg: int, y: np.ndarray, south: float, north: float) -> np.ndarray:
    """The easting of a meridian, which in UTM is a curve, at each northing.

    The curve is drawn by chords of 0.001°, which stay within 1 mm of it.
    """
    latitude = np.arange(south - 0.01, north + 0.011, 0.001)
    easting, northing = to_utm(epsg).transform(np.full_like(latitude, longitude), latitude)
    return np.interp(y, northing, easting)


def _north_of(
    latitude: float, epsg: int, x: np.ndarray, y: np.ndarray, west: float, east: float
) -> np.ndarray:
    """Pixel centres north of a parallel, which is drawn as a meridian is: bool (row, column)."""
    longitude = np.arange(west - 0.01, east + 0.011, 0.001)
    easting, northing = to_utm(epsg).transform(longitude, np.full_like(longitude, latitude))
    return np.asarray(y[:, None] >= np.interp(x, easting, northing)[None, :])
