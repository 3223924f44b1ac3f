"""Windows of one grid in rasters whose pixels are equal, or a whole number of times coarser."""

import math
from dataclasses import dataclass

import numpy as np
from affine import Affine

from pipeline.raster.read_errors import damaged

_ALIGNED = 1e-3  # of a pixel: grids that differ by less are equal
_SAME_PIXEL = 1e-3  # pixels whose sizes differ by a smaller share are equal
_COARSEST = 60.0  # metres: of a band of Sentinel-2

Span = tuple[int, int]  # first, and first after


@dataclass(frozen=True)
class RasterGrid:
    """The grid of a raster of one band.

    Attributes:
        width: Columns.
        height: Rows.
        transform: Pixel (column, row) → metres of its CRS.
        epsg: Its CRS, if that has an EPSG code.
        nodata: The stored number that stands for nodata.
    """

    width: int
    height: int
    transform: Affine
    epsg: int | None
    nodata: int


@dataclass(frozen=True)
class Extent:
    """The extent of a raster, as its item states it.

    Attributes:
        epsg: Its CRS.
        bounds: min x, min y, max x, max y in metres of that CRS.
        pixel: The size of a pixel in metres, if it is stated.
        epsg_stated: Whether the CRS is stated; else it is the tile's.
    """

    epsg: int
    bounds: tuple[float, float, float, float]
    pixel: float | None = None
    epsg_stated: bool = False


@dataclass(frozen=True)
class Target:
    """The window to read: its grid, from its upper left corner on, and (rows, columns)."""

    transform: Affine
    shape: tuple[int, int]


@dataclass(frozen=True)
class NativeWindow:
    """The part of a raster that a target needs.

    Attributes:
        rows: The raster's rows.
        columns: The raster's columns.
        ratio: How often a pixel of the raster is repeated each way.
        row: First row of the target, in pixels `ratio` times finer than the raster's.
        column: First column of the target, in the same pixels.
        shape: The target's (rows, columns).
        nodata: The raster's stored number for nodata.
    """

    rows: Span
    columns: Span
    ratio: int
    row: int
    column: int
    shape: tuple[int, int]
    nodata: int

    def placed(self, stored: np.ndarray) -> np.ndarray:
        """The target's pixels as uint8 or uint16, 0 where they are nodata or outside the raster.

        Args:
            stored: The raster's pixels in `rows` and `columns`; may be changed and returned.
        """
        values = as_unsigned(stored, self.nodata)
        ratio = self.ratio
        row, column = self.row - self.rows[0] * ratio, self.column - self.columns[0] * ratio
        if ratio > 1:  # columns first: rows are then copied whole
            values = values.repeat(ratio, axis=1).repeat(ratio, axis=0)
        if (row, column) == (0, 0) and values.shape == self.shape:
            return values
        inside = values[max(row, 0) : row + self.shape[0], max(column, 0) : column + self.shape[1]]
        if inside.shape == self.shape:
            return inside
        padded = np.zeros(self.shape, values.dtype)
        padded[max(-row, 0) :, max(-column, 0) :][: inside.shape[0], : inside.shape[1]] = inside
        return padded


def native_window(
    raster: RasterGrid, target: Target, extent: Extent | None = None
) -> NativeWindow | None:
    """The part of a raster that a target in the raster's CRS needs; None where the grids differ.

    It is empty where raster and target do not meet, as the extent that the raster's item states
    says. Raises Unreadable where they should meet.
    """
    own, wanted = raster.transform, target.transform
    if not all(map(math.isfinite, own[:6])):
        raise damaged("has no grid")
    ratio = round(own.a / wanted.a)
    first_row, first_column = (own.f - wanted.f) / -wanted.e, (wanted.c - own.c) / wanted.a
    agree = (
        ratio >= 1
        and own.b == own.d == 0
        and abs(own.a - ratio * wanted.a) * raster.width < _ALIGNED * wanted.a
        and abs(own.e - ratio * wanted.e) * raster.height < _ALIGNED * -wanted.e
        and abs(first_row - round(first_row)) < _ALIGNED
        and abs(first_column - round(first_column)) < _ALIGNED
    )
    if not agree:
        return None
    row, column = round(first_row), round(first_column)
    rows = (max(row, 0), min(row + target.shape[0], raster.height * ratio))
    columns = (max(column, 0), min(column + target.shape[1], raster.width * ratio))
    if rows[0] >= rows[1] or columns[0] >= columns[1]:
        if extent is None or extent.epsg != raster.epsg or _meet(extent.bounds, target):
            raise damaged("lies elsewhere than its item says")
        rows = columns = (0, 0)
    return NativeWindow(
        rows=(rows[0] // ratio, -(-rows[1] // ratio)),
        columns=(columns[0] // ratio, -(-columns[1] // ratio)),
        ratio=ratio,
        row=row,
        column=column,
        shape=target.shape,
        nodata=raster.nodata,
    )


def _meet(bounds: tuple[float, float, float, float], target: Target) -> bool:
    grid, (height, width) = target.transform, target.shape
    return (
        bounds[0] < grid.c + grid.a * width
        and bounds[2] > grid.c
        and bounds[1] < grid.f
        and bounds[3] > grid.f + grid.e * height
    )


def require_extent(raster: RasterGrid, extent: Extent | None) -> None:
    """Require that a raster is the band that its item describes; raises Unreadable.

    A raster with pixels coarser than any band's is a preview. If CRS, pixel or extent are others
    than its item states, the extent by more than a pixel, then raster or item are wrong, and what
    was concluded from the item is, too. An extent in another CRS than the raster's is not compared.
    """
    own = raster.transform
    if own.a > _COARSEST:
        raise damaged(f"has pixels of {own.a:g} m, which no band has")
    if extent is None or raster.epsg is None or own.b or own.d:
        return
    if raster.epsg != extent.epsg:
        if extent.epsg_stated:
            raise damaged(f"is in EPSG:{raster.epsg}, and its item says EPSG:{extent.epsg}")
        return
    if extent.pixel is not None and not math.isclose(own.a, extent.pixel, rel_tol=_SAME_PIXEL):
        raise damaged(f"has pixels of {own.a:g} m, and its item says {extent.pixel:g} m")
    left, bottom, right, top = extent.bounds
    if (
        own.c > left + own.a
        or own.f < top + own.e
        or own.c + own.a * raster.width < right - own.a
        or own.f + own.e * raster.height > bottom - own.e
    ):
        raise damaged("covers less than its item says")
    if (
        own.c < left - own.a
        or own.f > top - own.e
        or own.c + own.a * raster.width > right + own.a
        or own.f + own.e * raster.height < bottom + own.e
    ):
        raise damaged("covers more than its item says")


def as_unsigned(values: np.ndarray, nodata: int) -> np.ndarray:
    """The values as uint8 or uint16, 0 where they are nodata or below 0; may be `values` itself."""
    if nodata != 0:
        values[values == nodata] = 0
    if values.dtype in (np.uint8, np.uint16):
        return values
    return np.clip(values, 0, 65535).astype(np.uint16)


def nodata_of(number: float | None, dtype: np.dtype) -> int:
    """The number that stands for nodata: the file's own where `dtype` can hold it, else 0."""
    limits = np.iinfo(dtype)
    if number is None or not (limits.min <= number <= limits.max and float(number).is_integer()):
        return 0
    return int(number)
