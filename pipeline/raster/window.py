"""Windows of one grid in rasters whose pixels are equal, or a whole number of times coarser."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from affine import Affine

from pipeline.raster.read_errors import damaged

_ALIGNED = 1e-3  # of a pixel: grids that differ by less are equal
_COARSEST = 60.0  # metres: of a band of Sentinel-2

Span = tuple[int, int]  # first, and first after


class BandRaster(Protocol):
    """One band on its own grid, north up."""

    @property
    def width(self) -> int:
        """Columns."""

    @property
    def height(self) -> int:
        """Rows."""

    @property
    def transform(self) -> Affine:
        """Its grid, in its own CRS."""

    @property
    def nodata(self) -> int:
        """The stored number that stands for nodata."""


@dataclass(frozen=True)
class Extent:
    """The extent of a raster: min x, min y, max x, max y in metres of `epsg`."""

    epsg: int
    bounds: tuple[float, float, float, float]


@dataclass(frozen=True)
class Target:
    """The window to read: its grid, from its upper left corner on, and (rows, columns)."""

    transform: Affine
    shape: tuple[int, int]


@dataclass(frozen=True)
class Placement:
    """A target's place on a raster.

    Attributes:
        ratio: How often a pixel of the raster is repeated each way.
        row: First row of the target, in pixels `ratio` times finer than the raster's.
        column: First column of the target, in the same pixels.
    """

    ratio: int
    row: int
    column: int


def require_extent(raster: BandRaster, epsg: int | None, stated: Extent | None) -> None:
    """Require that a raster is the band that its item describes.

    A raster with pixels coarser than any band's is a preview. One that covers less than its item
    states, by more than a pixel, was cut or has a wrong grid. A raster in another CRS than its
    item states is not checked.

    Args:
        raster: The raster.
        epsg: Its CRS, if it has an EPSG code.
        stated: The extent that its item states.

    Raises:
        Unreadable: It is not that band.
    """
    own = raster.transform
    if own.a > _COARSEST:
        raise damaged(f"has pixels of {own.a:g} m, which no band has")
    if stated is None or epsg != stated.epsg or own.b or own.d:
        return
    left, bottom, right, top = stated.bounds
    if (
        own.c > left + own.a
        or own.f < top + own.e
        or own.c + own.a * raster.width < right - own.a
        or own.f + own.e * raster.height > bottom - own.e
    ):
        raise damaged("covers less than its item says")


def placement(raster: BandRaster, target: Target) -> Placement | None:
    """The place of a target in the raster's own CRS; None where the two grids differ."""
    own, wanted = raster.transform, target.transform
    if not all(map(math.isfinite, own[:6])):
        raise damaged("has no grid")
    ratio = round(own.a / wanted.a)
    row, column = (own.f - wanted.f) / -wanted.e, (wanted.c - own.c) / wanted.a
    agree = (
        ratio >= 1
        and own.b == own.d == 0
        and abs(own.a - ratio * wanted.a) * raster.width < _ALIGNED * wanted.a
        and abs(own.e - ratio * wanted.e) * raster.height < _ALIGNED * -wanted.e
        and abs(row - round(row)) < _ALIGNED
        and abs(column - round(column)) < _ALIGNED
    )
    return Placement(ratio, round(row), round(column)) if agree else None


@dataclass(frozen=True)
class NativeWindow:
    """The part of a raster that a target needs.

    Attributes:
        rows: The raster's rows.
        columns: The raster's columns.
        place: The target's place on the raster.
        shape: The target's (rows, columns).
        nodata: The raster's stored number for nodata.
    """

    rows: Span
    columns: Span
    place: Placement
    shape: tuple[int, int]
    nodata: int

    def placed(self, stored: np.ndarray) -> np.ndarray:
        """The target's pixels as uint8 or uint16, 0 where they are nodata or outside the raster.

        Args:
            stored: The raster's pixels in `rows` and `columns`; may be changed and returned.
        """
        values = unsigned(stored, self.nodata)
        ratio = self.place.ratio
        row, column = (
            self.place.row - self.rows[0] * ratio,
            self.place.column - self.columns[0] * ratio,
        )
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


def native_window(raster: BandRaster, place: Placement, shape: tuple[int, int]) -> NativeWindow:
    """The part of a raster that a target needs. Raises Unreadable where they do not meet."""
    ratio, row, column = place.ratio, place.row, place.column
    rows = (max(row, 0), min(row + shape[0], raster.height * ratio))
    columns = (max(column, 0), min(column + shape[1], raster.width * ratio))
    if rows[0] >= rows[1] or columns[0] >= columns[1]:
        raise damaged("lies elsewhere than its item says")
    return NativeWindow(
        (rows[0] // ratio, -(-rows[1] // ratio)),
        (columns[0] // ratio, -(-columns[1] // ratio)),
        place,
        shape,
        raster.nodata,
    )


def unsigned(values: np.ndarray, nodata: int) -> np.ndarray:
    """The values as uint8 or uint16, 0 where they are nodata or below 0; may be `values` itself."""
    if nodata != 0:
        values[values == nodata] = 0
    if values.dtype in (np.uint8, np.uint16):
        return values
    return np.clip(values, 0, 65535).astype(np.uint16)


def nodata_of(stated: float | None, dtype: np.dtype) -> int:
    """The number that stands for nodata: the stated one where the type can hold it, else 0."""
    limits = np.iinfo(dtype)
    if stated is None or not (limits.min <= stated <= limits.max and float(stated).is_integer()):
        return 0
    return int(stated)
