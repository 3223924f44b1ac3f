"""The part of a tile's pixel grid that the sample archive's rasters cover."""

from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline.grid.mgrs import Tile, to_utm
from pipeline.sample.landscape import Landscape, LandscapePixels, from_plane, to_plane
from pipeline.sample.weather import Overpass

_TILE_PIXELS = 10980
_ALIGN = 20  # metres: crops begin and end on pixels of 20 m
_FAR = 30_000.0  # metres from the plane's origin, farther than any crop reaches


@dataclass(frozen=True)
class Crop:
    """The part of a tile's granules that the archive holds: metres of the tile's zone."""

    tile: Tile
    left: int
    bottom: int
    right: int
    top: int

    @classmethod
    def of(cls, tile: Tile, bbox: tuple[float, float, float, float]) -> "Crop":
        """The smallest crop of a tile's grid that holds the area `bbox` (degrees)."""
        outline = shapely.get_coordinates(shapely.segmentize(shapely.box(*bbox), 0.005))
        x, y = to_utm(tile.epsg).transform(outline[:, 0], outline[:, 1])
        ulx, uly = tile.grid_origin
        reach = _TILE_PIXELS * 10
        edges = (x.min() - ulx, uly - y.max(), x.max() - ulx, uly - y.min())  # from the corner
        west, north, east, south = (min(max(edge, 0), reach) for edge in edges)
        return cls(
            tile,
            ulx + int(west // _ALIGN) * _ALIGN,
            uly + int(-south // _ALIGN) * _ALIGN,
            ulx - int(-east // _ALIGN) * _ALIGN,
            uly - int(north // _ALIGN) * _ALIGN,
        )

    def transform(self, resolution: int) -> tuple[float, float, float, float, float, float]:
        """Affine coefficients for pixels of `resolution` metres."""
        return (resolution, 0.0, self.left, 0.0, -resolution, self.top)

    def pixels_of(self, landscape: Landscape) -> LandscapePixels:
        """The landscape in this crop's pixels of 10 m."""
        xs = np.arange(self.left + 5, self.right, 10)
        return landscape.pixels(self.tile.epsg, xs, np.arange(self.top - 5, self.bottom, -10))

    def footprint(self, overpass: Overpass, top: int, bottom: int) -> BaseGeometry:
        """The part of the rows between two northings in the swath, in EPSG:4326."""
        rectangle = shapely.segmentize(shapely.box(self.left, bottom, self.right, top), 1000)
        x, y = to_plane(self.tile.epsg).transform(*shapely.get_coordinates(rectangle).T)
        seen = shapely.intersection(
            shapely.Polygon(np.column_stack([x, y])),
            shapely.Polygon(overpass.swath(_FAR)),
        )
        outward = from_plane()
        lonlat = shapely.transform(
            seen, lambda xy: np.column_stack(outward.transform(xy[:, 0], xy[:, 1]))
        )
        return shapely.set_precision(lonlat, 1e-7)
