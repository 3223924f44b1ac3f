"""The series of a block, and the batches of its pixels that are to be embedded."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SeriesBlock:
    """The monthly series of a block of pixels, each band at the resolution it was read in.

    `bands` holds one `uint16 (month, rows, columns)` array a band, in the checkpoint's order, or
    `(month, rows / n, columns / n)` for bands of n times coarser pixels: those are repeated only
    where a pixel is encoded, so a block of 20 m bands takes a quarter of the memory.
    0 = nodata. `shape` is (rows, columns) of the block's 10 m pixels.
    """

    bands: tuple[np.ndarray, ...]
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        for band in self.bands:
            if any(full % part for full, part in zip(self.shape, band.shape[1:], strict=True)):
                raise ValueError(f"a band of shape {band.shape} does not divide {self.shape}")

    @property
    def valid(self) -> np.ndarray:
        """Pixels that were seen in every band, bool (rows, columns).

        Gap filling leaves a band without a value in either no month or all of them.
        """
        valid = np.ones(self.shape, bool)
        for band in self.bands:
            valid &= _repeated(np.all(band > 0, axis=0), self.shape)
        return valid

    def pixels(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """The series of some pixels: uint16 (pixel, month, band)."""
        months = self.bands[0].shape[0]
        series = np.empty((len(rows), months, len(self.bands)), np.uint16)
        for index, band in enumerate(self.bands):
            ratio_y, ratio_x = (
                full // part for full, part in zip(self.shape, band.shape[1:], strict=True)
            )
            series[:, :, index] = band[:, rows // ratio_y, columns // ratio_x].T
        return series


def _repeated(coarse: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if coarse.shape == shape:
        return coarse
    rows, columns = (full // part for full, part in zip(shape, coarse.shape, strict=True))
    return coarse.repeat(rows, axis=0).repeat(columns, axis=1)


def batches_of(
    block: SeriesBlock, wanted: np.ndarray, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A block's pixels that are valid and wanted, in batches: what is to be embedded.

    `wanted` is bool (rows, columns). Yields (rows, columns, series): pixel positions and uint16
    (pixel, month, band).
    """
    rows, columns = np.nonzero(block.valid & wanted)
    for start in range(0, len(rows), batch_size):
        part = slice(start, start + batch_size)
        yield rows[part], columns[part], block.pixels(rows[part], columns[part])
