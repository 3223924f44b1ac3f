"""The pixels of an exported map: their size, and what of the map's own pixels they show."""

import math
from dataclasses import dataclass
from typing import Literal

from pyproj import CRS

from pipeline.errors import SettingsError
from pipeline.product.layers import OutputLayer
from pipeline.product.map_crs import crs_code, pixel_of

MapResampling = Literal["nearest", "majority", "average"]
_COARSEST = 4096  # of the map's pixels a side, 41 km: so many are read at once
_ROUNDING = 1e-6  # of a pixel: 1/12000 of a degree has no end in decimals


@dataclass(frozen=True)
class PixelGrid:
    """The pixels of a mosaic, in the unit of its CRS, and squares of `across` × `across` of them.

    The edges of a mosaic are edges of squares.
    """

    pixel: float
    across: int = 1

    @property
    def square(self) -> float:
        """The side of a square."""
        return self.pixel * self.across


def resampling_for(layer: OutputLayer, wanted: MapResampling | None = None) -> MapResampling:
    """How coarse pixels are made of those of a layer; by default as its overviews are.

    Raises SettingsError where classes are to be averaged, or numbers to be counted.
    """
    usual: MapResampling = "majority" if layer.overview == "mode" else "average"
    if wanted not in (None, "nearest", usual):
        problem = f"{layer.name} has {'classes' if usual == 'majority' else 'numbers'}"
        raise SettingsError(f"resampling = {wanted}", problem, f"Give nearest or {usual}")
    return wanted or usual


def map_grid(crs: CRS, resolution: float | None, resampling: MapResampling) -> PixelGrid:
    """The grid of a map whose pixels have a side of `resolution`, in the unit of the CRS.

    A pixel of majority or average is a square of as many smaller ones as make these at most the
    map's own (10 m, or 1/12000 degree). That of "nearest" is one pixel.

    Raises SettingsError for pixels that are finer than the map's own, or too coarse to be read.
    """
    finest = pixel_of(crs)
    if resolution is None:
        return PixelGrid(finest)
    unit = "degrees" if crs.is_geographic else str(crs.axis_info[0].unit_name)
    given = f"resolution = {resolution:g}"
    whose = f"the unit of {crs_code(crs)} is {unit}"
    if not resolution >= finest * (1 - 1e-3):
        problem = f"the map's own pixels have {finest:g}, and nothing finer is in it ({whose})"
        raise SettingsError(given, problem, f"Give {finest:g} or more")
    if not resolution <= finest * _COARSEST:
        most = finest * _COARSEST
        raise SettingsError(given, f"it is too coarse ({whose})", f"Give {most:g} at most")
    across = max(1, math.ceil(resolution / finest - _ROUNDING))
    return (
        PixelGrid(resolution) if resampling == "nearest" else PixelGrid(resolution / across, across)
    )
