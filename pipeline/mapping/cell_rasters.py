"""A cell's rasters and counts, assembled from its blocks and its clear observations."""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from pipeline.grid.cell_blocks import Block
from pipeline.grid.cells import Cell, owned_pixels
from pipeline.mapping.run import Run
from pipeline.product.layers import CLEAR_MONTHS, CLEAR_OBSERVATIONS, cell_layers


def blank_rasters(run: Run, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Give an array full of nodata for each raster that a run computes per pixel.

    Args:
        run: Its settings say which rasters it writes.
        shape: Rows and columns, in pixels of 10 m.

    Returns:
        (band, y, x) by the name of the layer.
    """
    return {
        layer.name: np.full(
            (len(layer.bands(run.manifest)), *shape),
            layer.nodata or 0,
            layer.dtype_for(run.vocabulary),
        )
        for layer in cell_layers(run.manifest)
        if layer.per_pixel
    }


def cell_rasters(
    run: Run,
    cell: Cell,
    blocks: Iterable[tuple[Block, Mapping[str, np.ndarray]]],
    clear_counts: np.ndarray,
) -> dict[str, np.ndarray]:
    """Assemble the rasters of a cell.

    Args:
        run: The run that maps the cell.
        cell: The cell.
        blocks: Parts of the cell with their arrays, as `blank_rasters` makes them.
        clear_counts: uint8 (12, y, x), clear acquisitions per month, of 10 or 20 m.

    Returns:
        (band, y, x) by the name of the layer.
    """
    rasters = blank_rasters(run, cell.shape)
    for block, parts in blocks:
        for name, part in parts.items():
            rasters[name][:, *block.slices()] = part
    return rasters | {
        CLEAR_OBSERVATIONS.name: clear_counts,
        CLEAR_MONTHS.name: _clear_months(clear_counts, owned_pixels(cell, run.region)),
    }


def _clear_months(clear_counts: np.ndarray, owned: np.ndarray) -> np.ndarray:
    """The number of clear months of the pixels of 10 m that the cell owns: uint8 (y, x)."""
    ratio = owned.shape[0] // clear_counts.shape[1]  # 2 where the classification has 20 m
    months = (clear_counts > 0).sum(axis=0, dtype=np.uint8).repeat(ratio, 0).repeat(ratio, 1)
    return np.where(owned, months, np.uint8(CLEAR_MONTHS.nodata or 0))


def joint_counts(
    parts: Iterable[Counter[tuple[int, str]] | None],
) -> Counter[tuple[int, str]] | None:
    """The sum of the counts of a cell's parts; None where none was counted."""
    counted = [part for part in parts if part is not None]
    return sum(counted, Counter()) if counted else None
