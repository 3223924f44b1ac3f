"""The series of a block, and the batches of its pixels for the encoder."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from models.encoder.gpu_transfers import beside, to_device


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
            valid &= (band.min(axis=0) > 0).repeat(ratio_y, axis=0).repeat(ratio_x, axis=1)
        return valid

    def pixels(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """The series of some pixels: uint16 (pixel, month, band)."""
        months = self.bands[0].shape[0]
        series = np.empty((len(rows), months, len(self.bands)), np.uint16)
        for index, band in enumerate(self.bands):
            ratio_y, ratio_x = self._ratio(band)
            series[:, :, index] = band[:, rows // ratio_y, columns // ratio_x].T
        return series

    def rows(self, first: int, end: int) -> "SeriesBlock":
        """The rows `first` … `end` − 1 as a block; all bands' ratios divide both."""
        parts = []
        for band in self.bands:
            ratio, _ = self._ratio(band)
            parts.append(band[:, first // ratio : end // ratio])
        return SeriesBlock(tuple(parts), (end - first, self.shape[1]), self.optional)

    def on_device(
        self, rows: np.ndarray, columns: np.ndarray, device: torch.device
    ) -> torch.Tensor:
        """The series of some pixels on a device: int16 (pixel, month, band), uint16's bits.

        The device picks the pixels from the block's bands, which takes a core far longer.
        """
        place = to_device((rows * self.shape[1] + columns).astype(np.int32), device)
        row, column = place // self.shape[1], place % self.shape[1]
        series = []
        for band in self.bands:
            ratio_y, ratio_x = self._ratio(band)
            stored = to_device(np.ascontiguousarray(band).view(np.int16), device)
            at = (row // ratio_y) * stored.shape[2] + column // ratio_x
            series.append(stored.flatten(1).index_select(1, at))
        return torch.stack(series).movedim(2, 0).transpose(1, 2).contiguous()

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


def batches_on_device(
    block: SeriesBlock, wanted: np.ndarray, batch_size: int, device: torch.device
) -> Iterator[tuple[np.ndarray, np.ndarray, torch.Tensor]]:
    """A block's valid pixels in batches that a GPU has picked, strip by strip.

    Args:
        block: The block.
        wanted: The pixels to embed: bool (rows, columns).
        batch_size: The pixels of a strip, which has whole rows, and two or more.
        device: The GPU.

    Yields:
        Rows and columns of pixels, and their series as `SeriesBlock.on_device` gives them.
    """
    height, width = block.shape
    coarsest = max(height // band.shape[1] for band in block.bands)
    step = max(1, batch_size // (width * coarsest)) * coarsest
    for first in range(0, height, step):
        end = min(first + step, height)
        strip = block.rows(first, end)
        rows, columns = np.nonzero(strip.valid & wanted[first:end])
        if len(rows):
            made = partial(strip.on_device, rows, columns, device)
            yield rows + first, columns, beside(device, made)
