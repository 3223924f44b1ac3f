"""The mask of a cell in a run: which of its pixels are mapped, and how many are not."""

import numpy as np

from pipeline.grid.cells import Cell, owned_pixels
from pipeline.grid.region import Region
from pipeline.mapping.land_mask import MaskedPixels
from pipeline.mapping.run import Run
from pipeline.product.cell_report import MaskedCounts


def masked_pixels(cell: Cell, run: Run) -> MaskedPixels | None:
    """The mask of a cell; None where the run has none. Raises as `LandMask.pixels`."""
    return None if run.mask is None else run.mask.pixels(cell)


def wanted_pixels(cell: Cell, region: Region, mask: MaskedPixels | None) -> np.ndarray:
    """The pixels that a run maps of a cell: those that it owns, within the mask: bool (y, x)."""
    owned = owned_pixels(cell, region)
    return owned if mask is None else owned & mask.inside


def masked_counts(cell: Cell, region: Region, mask: MaskedPixels | None) -> MaskedCounts | None:
    """The numbers of owned pixels that the mask leaves out; None without a mask."""
    if mask is None:
        return None
    owned = owned_pixels(cell, region)
    lacking = int(np.count_nonzero(owned & mask.lacking))
    return MaskedCounts(int(np.count_nonzero(owned & ~mask.inside)) - lacking, lacking)
