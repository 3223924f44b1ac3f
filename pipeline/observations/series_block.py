"""The series of a block, and the batches of its pixels for the encoder."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SeriesBlock:
    """The monthly series of a block of pixels, each band at the resolution it was read in.

    Attributes:
        bands: An array for each band, in the checkpoint's order: uint16 (month, rows, columns), or
            (month, rows / n, columns / n) for bands of n times coarser pixels; 0 = nodata. Coarse
            pixels are repeated only when they are encoded, so a block of 20 m bands takes a
            quarter of the memory.
        shape: Rows and columns of the block's 10 m pixels.
        optional: The numbers of bands that a pixel may lack: these are 0 in all months then.
    """

    bands: tuple[np.ndarray, ...]
    shape: tuple[int, int]
    optional: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for band in self.bands:
            if any(full % part for full, part in zip(self.shape, band.shape[1:], strict=True)):
                raise ValueError(f"a band of shape {band.shape} does not divide {self.shape}")

    @property
    def valid(self) -> np.ndarray:
        """The pixels with a value in every band that is not optional: bool (rows, columns).

        Gap filling leaves a band without a value in either no month or all of them.
        """
        valid = np.ones(self.shape, bool)
        for number, band in enumerate(self.bands):
            if number in self.optional:
                continue
            ratio_y, ratio_x = self._ratio(band)
            valid &= np.all(band > 0, axis=0).repeat(ratio_y, axis=0).repeat(ratio_x, axis=1)
        return valid

    def pixels(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """The series of some pixels: uint16 (pixel, month, band)."""
        months = self.bands[0].shape[0]
        series = np.empty((len(rows), months, len(self.bands)), np.uint16)
        for index, band in enumerate(self.bands):
            ratio_y, ratio_x = self._ratio(band)
            series[:, :, index] = band[:, rows // ratio_y, columns // ratio_x].T
        return series

    def _ratio(self, band: np.ndarray) -> tuple[int, int]:
        return self.shape[0] // band.shape[1], self.shape[1] // band.shape[2]


def batches_of(
    block: SeriesBlock, wanted: np.ndarray, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A block's valid pixels in batches for the encoder.

    Args:
        block: The block.
        wanted: The pixels to embed: bool (rows, columns).
        batch_size: The most pixels of a batch.

    Yields:
        Rows and columns of pixels, and their series: uint16 (pixel, month, band).
    """
    rows, columns = np.nonzero(block.valid & wanted)
    for start in range(0, len(rows), batch_size):
        part = slice(start, start + batch_size)
        yield rows[part], columns[part], block.pixels(rows[part], columns[part])
