"""The year of a cell in true colour, sampled from the monthly series while they are in memory."""

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.grid.cell_blocks import Block
from pipeline.grid.cells import Cell
from pipeline.product.layers import TRUE_COLOUR

TRUE_COLOUR_BANDS = ("B04", "B03", "B02")
_STEP = TRUE_COLOUR.step or 1
# A camera's picture is stored by about the square root of light, too: dark land has more steps.
_STORED = np.sqrt(np.arange(2**16).clip(max=10_000) / 10_000) * 255
_STORED = np.maximum(_STORED.round(), np.arange(2**16) > 0).astype(np.uint8)  # 0 is nodata only


def block_true_colour(
    block: Block, cell: Cell, bands: Sequence[np.ndarray], owned: np.ndarray
) -> np.ndarray:
    """The part of a cell's true-colour raster that a block has: uint8 (3, y, x), 0 = nodata.

    One pixel in 4 × 4 is looked at: that of the median of its months (of an even number the lower
    one of the middle two), in each band by itself.

    Args:
        block: The part of the cell.
        cell: The cell.
        bands: The block's series of red, green and blue: uint16 (month, y, x), or of n times
            coarser pixels; reflectance × 10000, 0 = nodata, without gaps.
        owned: bool (y, x), the pixels that are mapped of the whole cell.
    """
    rows = _sampled(cell.height, block.row, block.height)
    columns = _sampled(cell.width, block.column, block.width)
    colours = []
    for band in bands:
        n = block.height // band.shape[1]
        near = band[:, ((rows - block.row) // n)[:, None], (columns - block.column) // n]
        near.sort(axis=0)
        colours.append(_STORED[near[(len(near) - 1) // 2]])
    picture = np.stack(colours)
    picture[:, ~(picture.all(axis=0) & _any_owned(owned, rows, columns))] = 0
    return picture


def cell_true_colour(cell: Cell, parts: Iterable[tuple[Block, np.ndarray]]) -> np.ndarray:
    """The true-colour raster of a cell, of the parts of its blocks: uint8 (3, y, x)."""
    rows, columns = (len(_sampled(size, 0, size)) for size in cell.shape)
    picture = np.zeros((3, rows, columns), np.uint8)
    for block, part in parts:
        # The first of the block's pixels in the raster: as many lie before it.
        row = len(_sampled(cell.height, 0, block.row))
        column = len(_sampled(cell.width, 0, block.column))
        picture[:, row : row + part.shape[1], column : column + part.shape[2]] = part
    return picture


def _any_owned(owned: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The raster's pixels of some sampled ones that hold any pixel of `owned`: bool (y, x).

    If the sampled one had to be owned, light lines would run between neighbouring cells.
    """
    if not (len(rows) and len(columns)):
        return np.zeros((len(rows), len(columns)), bool)
    tops, lefts = rows // _STEP * _STEP, columns // _STEP * _STEP
    part = owned[tops[0] : tops[-1] + _STEP, lefts[0] : lefts[-1] + _STEP]
    part = np.logical_or.reduceat(part, tops - tops[0], axis=0)
    return np.asarray(np.logical_or.reduceat(part, lefts - lefts[0], axis=1))


def _sampled(size: int, first: int, count: int) -> np.ndarray:
    """The sampled pixels `first` … `first + count` − 1 of a cell's side of `size` pixels.

    They lie near the middles of the raster's pixels, the last of which may pass the cell's edge.
    """
    places = np.minimum(np.arange(0, size, _STEP) + _STEP // 2, size - 1)
    return places[(places >= first) & (places < first + count)]
