"""Blocks of a cell: the parts that are read one by one, along the blocks of source rasters."""

from dataclasses import dataclass
from itertools import pairwise

from pipeline.grid.cells import PIXEL, Cell


@dataclass(frozen=True)
class Block:
    """A part of a cell, in pixels of 10 m from the cell's upper left corner; all even."""

    row: int
    column: int
    height: int
    width: int

    def bounds(self, cell: Cell) -> tuple[float, float, float, float]:
        """Extent (min x, min y, max x, max y) in metres of the cell's CRS."""
        left, _, _, top = cell.bounds
        left, top = left + self.column * PIXEL, top - self.row * PIXEL
        return (left, top - self.height * PIXEL, left + self.width * PIXEL, top)

    def slices(self, resolution: int = PIXEL) -> tuple[slice, slice]:
        """Rows and columns of the block in an array of the cell at 10 or 20 m."""
        n = resolution // PIXEL
        return (
            slice(self.row // n, (self.row + self.height) // n),
            slice(self.column // n, (self.column + self.width) // n),
        )


def block_windows(cell: Cell, source_block: int = 1024) -> tuple[Block, ...]:
    """The cell cut along its tile's source blocks, so that each is decoded for one part only.

    Source blocks begin at the tile's grid origin. Their side is `source_block` pixels of 10 m, an
    even number: COGs have blocks of 1024 pixels, which are 2048 of these for bands of 20 m.
    """
    return tuple(
        Block(row, column, height, width)
        for row, height in _cuts(cell.row_offset, cell.height, source_block)
        for column, width in _cuts(cell.column_offset, cell.width, source_block)
    )


def _cuts(offset: int, length: int, block: int) -> list[tuple[int, int]]:
    """(start, length) of the parts into which block edges cut offset … offset + length."""
    edges = [offset, *range((offset // block + 1) * block, offset + length, block), offset + length]
    return [(a - offset, b - a) for a, b in pairwise(edges)]
