"""Groups of points in the same source blocks, so that each block is read once for all of them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.grid.cells import PIXEL, Cell, cell_in
from pipeline.grid.mgrs import SQUARE, Tile, square_tile, to_utm, zone_at
from pipeline.grid.region import Region
from pipeline.point_series.points import Points

CELL_SIZE = 2048
"""The side of a group's cell in pixels of 10 m: one source block of 20 m, four of 10 m."""

_FALSE_NORTHING = 10_000_000  # metres, UTM south of the equator


@dataclass(frozen=True, eq=False)
class PointGroup:
    """The points of one year in one cell of a tile, which are read together.

    Attributes:
        row: The cell's row in the tile, `column` its column.
        members: The numbers of the points, int64 (n,).
        rows: The points' rows in the tile's grid of 10 m, int64 (n,); `columns` likewise.
    """

    tile: Tile
    year: int
    row: int
    column: int
    members: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    def __len__(self) -> int:
        return len(self.members)

    @property
    def season(self) -> str:
        """The tile and year, "31UFS-2018": groups of a season share their items."""
        return f"{self.tile.name}-{self.year}"

    @property
    def place(self) -> str:
        """The cell within the tile, "02-03"."""
        return f"{self.row:02d}-{self.column:02d}"

    @property
    def name(self) -> str:
        """Tile, year and cell: "31UFS-2018-02-03"."""
        return f"{self.season}-{self.place}"

    def cell(self) -> Cell:
        """The cell in a map of the whole tile."""
        region = Region(self.tile.owned, self.tile.name)
        cell = cell_in(self.tile, region, self.row, self.column, CELL_SIZE)
        # A zone's border cuts pixels: the points' pixels may all belong to the tile beyond it.
        size = CELL_SIZE
        return cell or Cell(
            self.tile, self.row, self.column, self.row * size, self.column * size, size, size
        )

    def within(self, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the points' pixels in the cell, int64 (n,) each.

        A point's pixel at a zone's border may belong to the zone beyond: then it is the nearest
        pixel of this cell.
        """
        return (
            np.clip(self.rows - cell.row_offset, 0, cell.height - 1),
            np.clip(self.columns - cell.column_offset, 0, cell.width - 1),
        )


def group_points(points: Points) -> list[PointGroup]:
    """The points in groups, in the order of tile, year and cell; each point in exactly one.

    A point belongs to the tile that owns its place (`pipeline.grid.mgrs.tile_at`).
    """
    tiles, rows, columns = _located(points.lon, points.lat)
    numbers_of: defaultdict[tuple[Tile, int, int, int], list[int]] = defaultdict(list)
    cell_rows, cell_columns = (rows // CELL_SIZE).tolist(), (columns // CELL_SIZE).tolist()
    years = points.year.tolist()
    for number, tile in enumerate(tiles):
        numbers_of[tile, years[number], cell_rows[number], cell_columns[number]].append(number)
    return [
        PointGroup(*key, members, rows[members], columns[members])
        for key, members in (
            (key, np.array(numbers_of[key], np.int64)) for key in sorted(numbers_of)
        )
    ]


def group_by_season(groups: Sequence[PointGroup]) -> dict[str, list[PointGroup]]:
    """The groups by tile and year."""
    seasons: defaultdict[str, list[PointGroup]] = defaultdict(list)
    for group in groups:
        seasons[group.season].append(group)
    return dict(seasons)


def _located(lon: np.ndarray, lat: np.ndarray) -> tuple[list[Tile], np.ndarray, np.ndarray]:
    """The tile of each place, and the row and column of its pixel in the tile's grid."""
    epsg = np.array(
        [
            (32600 if y >= 0 else 32700) + zone_at(x, y)
            for x, y in zip(lon.tolist(), lat.tolist(), strict=True)
        ],
        np.int64,
    )
    easting, northing = np.empty(len(lon)), np.empty(len(lon))
    for code in np.unique(epsg).tolist():
        of = epsg == code
        easting[of], northing[of] = to_utm(code).transform(lon[of], lat[of])
    # Rounding must not move a place across the equator, where another CRS begins.
    northing = np.where(epsg >= 32700, np.minimum(northing, _FALSE_NORTHING - 1e-6), northing)
    northing = np.maximum(northing, 0.0)
    squares = zip(
        epsg.tolist(),
        (easting // SQUARE).astype(np.int64).tolist(),
        (northing // SQUARE).astype(np.int64).tolist(),
        strict=True,
    )
    tiles = [square_tile(code, east * SQUARE, north * SQUARE) for code, east, north in squares]
    origins = np.array([tile.grid_origin for tile in tiles], np.float64).reshape(-1, 2)
    columns = (easting - origins[:, 0]) // PIXEL
    rows = (origins[:, 1] - northing) // PIXEL
    return tiles, rows.astype(np.int64), columns.astype(np.int64)
