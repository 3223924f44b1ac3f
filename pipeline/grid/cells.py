"""Cells on Sentinel-2's own pixel grid: every place belongs to exactly one.

A cell lies on its tile's grid, so no pixel is resampled and each source block is decoded once. This
is written by hand because libraries (odc-geo, stackstac) cut one common grid for all tiles;
`tests/benchmarks/bench_reading.py` measures what reading on that costs (`results/reading.md`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import shapely
from affine import Affine
from shapely.geometry.base import BaseGeometry

from pipeline.grid.mgrs import (
    SQUARE,
    Strip,
    Tile,
    polygons_of,
    square_tile,
    squares_in,
    strips_of,
    to_lonlat,
    to_utm,
    unwrapped,
)
from pipeline.grid.region import Region
from pipeline.grid.tile_pixels import (
    OwnedPixels,
    as_mask,
    common,
    pixel_count,
    pixel_extent,
    tile_pixels,
)

PIXEL = 10  # metres
SOURCE_BLOCK = 1024
"""Pixels a side of the source's COG blocks, at 10 m and at 20 m alike."""
_MARGIN = 0.02  # degrees around a cell; the part of the region within is all that matters to it
CHORD = 0.001
"""Degrees; an edge of this length bends by millimetres in UTM."""
_SURE_AREA = 1e6  # m²; a tile that shares less with the region is counted only if it owns a pixel


@dataclass(frozen=True, order=True)
class Cell:
    """A block of 10 m pixels of a tile's grid that is read, encoded and written as one.

    It is block (`row`, `column`) of `cell_size` pixels, counted from the tile's grid origin,
    trimmed to the rows and columns with owned pixels. `row_offset`, `column_offset`, `height` and
    `width` are pixels of that grid. They are even, so that they fall on pixels of 20 m.
    """

    tile: Tile
    row: int
    column: int
    row_offset: int
    column_offset: int
    height: int
    width: int

    @property
    def id(self) -> str:
        """Its name, e.g. "31UFS-02-03": tile, row and column of the block."""
        return f"{self.tile.name}-{self.row:02d}-{self.column:02d}"

    @property
    def epsg(self) -> int:
        """The CRS: the tile's UTM zone."""
        return self.tile.epsg

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of 10 m pixels."""
        return (self.height, self.width)

    @property
    def transform(self) -> Affine:
        """Pixel (column, row) → easting, northing, for pixels of 10 m."""
        left, _, _, top = self.bounds
        return Affine(PIXEL, 0, left, 0, -PIXEL, top)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Extent (min x, min y, max x, max y) in metres."""
        left, top = self.tile.grid_origin
        left, top = left + self.column_offset * PIXEL, top - self.row_offset * PIXEL
        return (left, top - self.height * PIXEL, left + self.width * PIXEL, top)

    @property
    def lonlat_bounds(self) -> tuple[float, float, float, float]:
        """Extent (west, south, east, north) in degrees; longitudes may pass ±180."""
        return lonlat_bounds_of(self.bounds, self.epsg)


def tiles_of(region: Region) -> tuple[Tile, ...]:
    """The tiles that own a part of the region, sorted by name."""
    tiles = {
        tile
        for zone in range(1, 61)
        for strip in strips_of(zone)
        for tile in _tiles_in_strip(region, zone, strip)
    }
    return tuple(sorted(tiles))


def cells_of(tile: Tile, region: Region, cell_size: int = 2048) -> tuple[Cell, ...]:
    """The cells of a tile that hold pixels of the region that the tile owns.

    Their blocks of `cell_size` pixels (even) begin at the tile's grid origin. If `cell_size` is a
    multiple of 2048, each source block of 1024 pixels lies in one cell, at 10 m and at 20 m.
    """
    return tuple(cell for cell, _ in _cells(tile, region_near(tile, region), region, cell_size))


def cells_with_pixels(
    tile: Tile, region: Region, cell_size: int = 2048
) -> tuple[tuple[Cell, int], ...]:
    """The cells of `cells_of`, each with the number of its `owned_pixels`."""
    near = region_near(tile, region)
    return tuple(
        (cell, pixel_count(owned if owned.shape == cell.shape else _owned(cell, near, region)))
        for cell, owned in _cells(tile, near, region, cell_size)
    )


def _cells(
    tile: Tile, near: Region, region: Region, cell_size: int
) -> Iterator[tuple[Cell, OwnedPixels]]:
    """The cells, each with the owned pixels of the block from which it was trimmed."""
    left, top = tile.grid_origin
    first_row, first_column = _first_pixel(tile)
    side = SQUARE // PIXEL
    area = projected_to_utm(near.geometry, tile.epsg, CHORD)
    if area.is_empty:
        return
    # A small region lies in few of a tile's blocks: only those near it are examined.
    west, south, east, north = (round(edge) for edge in area.buffer(10 * PIXEL).bounds)
    begin_row = max(first_row, (top - north) // PIXEL)
    end_row = min(first_row + side - 1, (top - south) // PIXEL)
    begin_column = max(first_column, (west - left) // PIXEL)
    end_column = min(first_column + side - 1, (east - left) // PIXEL)
    for row in range(begin_row // cell_size, end_row // cell_size + 1):
        for column in range(begin_column // cell_size, end_column // cell_size + 1):
            block = _block(tile, row, column, cell_size)
            owned = _owned(block, near, region)
            if cell := _trimmed(block, owned):
                yield cell, owned


def cell_in(
    tile: Tile, region: Region, row: int, column: int, cell_size: int = 2048
) -> Cell | None:
    """The cell of `cells_of` in a block of a tile; None where it owns no pixel of the region."""
    block = _block(tile, row, column, cell_size)
    return _trimmed(block, _owned(block, region, region))


def _block(tile: Tile, row: int, column: int, cell_size: int) -> Cell:
    (first_row, first_column), side = _first_pixel(tile), SQUARE // PIXEL
    top, bottom = max(row * cell_size, first_row), min((row + 1) * cell_size, first_row + side)
    left, right = (
        max(column * cell_size, first_column),
        min((column + 1) * cell_size, first_column + side),
    )
    return Cell(tile, row, column, top, left, bottom - top, right - left)


def region_near(tile: Tile, region: Region) -> Region:
    """The part of a region around a tile: as much of it as the tile's cells need."""
    square = (tile.easting, tile.northing, tile.easting + SQUARE, tile.northing + SQUARE)
    return region.within(*_padded(lonlat_bounds_of(square, tile.epsg)))


def owned_pixels(cell: Cell, region: Region) -> np.ndarray:
    """The pixels of a cell that its tile owns and that lie in the region: bool (height, width).

    The centre of such a pixel is within the tile's square, within the strips of its UTM zone, and
    in the region. So every place belongs to the pixels of one tile only.
    """
    return as_mask(_owned(cell, region, region))


def _owned(cell: Cell, near: Region, region: Region) -> OwnedPixels:
    """The pixels of `owned_pixels`, as spans of rows where they can be told by these.

    `near` is the region, or the part of it around the cell's tile; where the whole region covers
    what is around the cell, that part need not be cut out.
    """
    around, area = _padded(cell.lonlat_bounds), None
    if not region.indexed.ask(shapely.covers, shapely.box(*around)):
        area = projected_to_utm(near.within(*around).geometry, cell.epsg, CHORD)
        if area.is_empty:
            return np.zeros(cell.shape, bool)
    owned = tile_pixels(cell.tile, *_centres(cell), _padded(cell.lonlat_bounds, 0.001))
    if area is None or area.covers(shapely.box(*cell.bounds)):
        return owned
    # Imported here: it takes a fifth of a second, which `timesen status` has no use for.
    from pipeline.grid.polygon_pixels import pixels_inside

    return common(owned, pixels_inside(area, cell.shape, cell.transform))


def _centres(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    left, _, _, top = cell.bounds
    x = left + PIXEL * (np.arange(cell.width) + 0.5)
    y = top - PIXEL * (np.arange(cell.height) + 0.5)
    return x, y


def _trimmed(block: Cell, owned: OwnedPixels) -> Cell | None:
    extent = pixel_extent(owned)
    if extent is None:
        return None
    top, bottom, left, right = extent
    return replace(
        block,
        row_offset=block.row_offset + top // 2 * 2,
        column_offset=block.column_offset + left // 2 * 2,
        height=bottom // 2 * 2 + 2 - top // 2 * 2,
        width=right // 2 * 2 + 2 - left // 2 * 2,
    )


def _first_pixel(tile: Tile) -> tuple[int, int]:
    """Row and column, in the tile's grid, of the first pixel of its square."""
    left, top = tile.grid_origin
    return (top - tile.northing - SQUARE) // PIXEL, (tile.easting - left) // PIXEL


def _tiles_in_strip(region: Region, zone: int, strip: Strip) -> list[Tile]:
    tiles = []
    for epsg, south, north in ((32700 + zone, strip.south, 0.0), (32600 + zone, 0.0, strip.north)):
        if strip.south >= north or strip.north <= south:
            continue
        part = region.within(strip.west, max(south, strip.south), strip.east, north).geometry
        if part.is_empty:
            continue
        # A generous outline finds candidates. One that shares little with it must own a pixel.
        area = projected_to_utm(part, epsg, 0.1).buffer(200.0)
        shapely.prepare(area)
        for easting, northing in squares_in(area.bounds):
            square = shapely.box(easting, northing, easting + SQUARE, northing + SQUARE)
            if not area.intersects(square):
                continue
            if epsg >= 32700 and northing >= 10_000_000:  # north of the equator
                continue
            tile = square_tile(epsg, easting, northing)
            sure = area.intersection(square.buffer(-200.0)).buffer(-200.0).area > _SURE_AREA
            if sure or cells_of(tile, region):
                tiles.append(tile)
    return tiles


def projected_to_utm(geometry: BaseGeometry, epsg: int, chord: float) -> BaseGeometry:
    """A geometry of degrees in UTM metres; its edges, straight in degrees, are cut into chords."""
    if geometry.is_empty:
        return geometry

    def forward(lonlat: np.ndarray) -> np.ndarray:
        return np.column_stack(to_utm(epsg).transform(lonlat[:, 0], lonlat[:, 1]))

    projected = shapely.transform(shapely.segmentize(geometry, chord), forward)
    if not projected.is_valid:
        projected = polygons_of(shapely.make_valid(projected))
    shapely.prepare(projected)
    return projected


@lru_cache(maxsize=4096)
def lonlat_bounds_of(
    bounds: tuple[float, float, float, float], epsg: int
) -> tuple[float, float, float, float]:
    """The extent of a rectangle of UTM (min x, min y, max x, max y) in degrees.

    West, south, east, north; longitudes may pass ±180.
    """
    # The extremes lie on the outline; its sampled points miss them by less than 0.001 degrees.
    left, bottom, right, top = bounds
    outline = shapely.segmentize(shapely.box(left, bottom, right, top), 500.0)
    x, y = shapely.get_coordinates(outline).T
    longitude, latitude = to_lonlat(epsg).transform(x, y)
    longitude = unwrapped(longitude, epsg % 100)
    return (
        float(longitude.min()),
        float(latitude.min()),
        float(longitude.max()),
        float(latitude.max()),
    )


def _padded(
    bounds: tuple[float, float, float, float], margin: float = _MARGIN
) -> tuple[float, float, float, float]:
    west, south, east, north = bounds
    return (west - margin, south - margin, east + margin, north + margin)
