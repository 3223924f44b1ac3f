"""The mask of a cell's clear observations, a bit each, and the choice of acquisitions to read.

Both need the scene classification alone. The bands have fifty times its bytes, so each acquisition
that is not read saves time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import distance_transform_edt

from models.encoder.preprocessing import MONTHS
from pipeline.grid.cell_blocks import Block
from pipeline.observations.monthly_median import clear_pixels
from pipeline.raster.read_stats import NO_STATS, ReadStats

CLOUD_AND_SHADOW = (3, 8, 9, 10)
"""Scene classes that are dilated: shadow, cloud of medium and of high probability, thin cirrus."""


@dataclass(frozen=True)
class Masking:
    """Which observations count as clear, and which acquisitions are read.

    Attributes:
        keep: The scene classes that count as clear.
        dilate: Metres around cloud and shadow within which nothing is clear.
        most: Acquisitions read per month; None: all.
        least: Acquisitions of which a smaller share (0 … 1) is clear are not read; the share is
            of the pixels that they show of the cell.
    """

    keep: tuple[int, ...]
    dilate: float = 0.0
    most: int | None = None
    least: float = 0.0


@dataclass(frozen=True)
class ClearMask:
    """The observations of a cell that are clear and are read.

    Attributes:
        bits: uint8 (⌈items / 8⌉, y, x): item i is bit i mod 8 of byte i div 8, so that a mask
            travels between workers as few bytes. An item that is not read has no bit set.
        resolution: Metres of a pixel: 20, or 10 where the classification has 10.
        month: int (item,), 0 … 11.
        acquisition: int (item,), the number of the item's overpass.
        acquisitions: How many acquisitions show anything of the cell.
        stats: The facts of reading.
    """

    bits: np.ndarray
    resolution: int
    month: np.ndarray
    acquisition: np.ndarray
    acquisitions: int
    stats: ReadStats = NO_STATS

    @property
    def clear_acquisitions(self) -> int:
        """How many acquisitions are read; granules of one overpass are one acquisition."""
        return len(np.unique(self.acquisition[any_clear(self.bits, len(self.month))]))

    @cached_property
    def monthly_counts(self) -> np.ndarray:
        """Clear acquisitions of each pixel by month: uint8 (12, y, x) at `resolution`."""
        counts = np.zeros((MONTHS, *self.bits.shape[1:]), np.uint8)
        for overpass in np.unique(self.acquisition):
            items = np.flatnonzero(self.acquisition == overpass)
            clear = np.logical_or.reduce([_plane(self.bits, item) for item in items.tolist()])
            counts[self.month[items[0]]] += clear
        return counts

    def within(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """The items with a clear pixel in a block, int (n,), and their masks, bool (n, y, x)."""
        part = np.ascontiguousarray(self.bits[:, *block.slices(self.resolution)])
        items = np.flatnonzero(any_clear(part, len(self.month)))
        clear = np.empty((len(items), *part.shape[1:]), bool)
        for place, item in zip(clear, items.tolist(), strict=True):
            np.not_equal(part[item // 8] & np.uint8(1 << item % 8), 0, out=place)
        return items, clear


class MaskBuilder:
    """Makes the bits of a `ClearMask` from scene classifications, item by item.

    Args:
        items: How many items there are.
        shape: (y, x) of the mask.
        margin: Pixels by which the classifications are larger on each side, so that clouds beyond
            the cell's edge are dilated into it.
        resolution: Metres of a pixel.
        masking: The rules.
        land: Scene classes whose clear pixels are kept apart, too, as the bits `land`.
    """

    def __init__(
        self,
        items: int,
        shape: tuple[int, int],
        margin: int,
        resolution: int,
        masking: Masking,
        land: tuple[int, ...] = (),
    ) -> None:
        self.bits = np.zeros((-(-items // 8), *shape), np.uint8)
        self.land = np.zeros_like(self.bits) if land else self.bits[:0]
        self._land = land
        self.seen = np.zeros(items, np.int64)
        self._inner = tuple(slice(margin, margin + side) for side in shape)
        self._resolution = resolution
        self._masking = masking

    def add(self, item: int, values: np.ndarray) -> None:
        """Add the scene classes of an item: uint8 or uint16 (y, x), margins included."""
        clear = clear_pixels(values, self._masking.keep)
        if self._masking.dilate:
            clear &= far_from_cloud(values, self._masking.dilate / self._resolution)
        clear = clear[self._inner]
        self.bits[item // 8] |= clear.view(np.uint8) << np.uint8(item % 8)
        if self._land:
            land = clear & clear_pixels(values[self._inner], self._land)
            self.land[item // 8] |= land.view(np.uint8) << np.uint8(item % 8)
        self.seen[item] = np.count_nonzero(values[self._inner])

    def drop(self, item: int) -> None:
        """Have an item clear nowhere."""
        self.bits[item // 8] &= np.uint8(0xFF ^ (1 << item % 8))

    def choose(self, month: np.ndarray, acquisition: np.ndarray) -> None:
        """Clear the bits of the items that are not to be read."""
        masking = self._masking
        if masking.most is None and masking.least == 0:
            return
        for number in np.unique(month):  # one after the other: planes take eight times the bits
            items = np.flatnonzero(month == number)
            planes = [_plane(self.bits, item) for item in items.tolist()]
            chosen = chosen_acquisitions(
                planes, self.seen[items], acquisition[items], masking.most, masking.least
            )
            for item in items[~chosen].tolist():
                self.drop(item)


def far_from_cloud(scenes: np.ndarray, pixels: float) -> np.ndarray:
    """The pixels (y, x) with no cloud or shadow within a distance, from centre to centre.

    Args:
        scenes: The scene classes: uint8 or uint16 (y, x).
        pixels: The distance in pixels.

    Returns:
        bool (y, x).
    """
    hidden = clear_pixels(scenes, CLOUD_AND_SHADOW)
    if not hidden.any():
        return np.ones(scenes.shape, bool)
    free: np.ndarray = distance_transform_edt(~hidden) > pixels
    return free


def _plane(bits: np.ndarray, item: int) -> np.ndarray:
    return (bits[item // 8] >> np.uint8(item % 8) & np.uint8(1)).view(bool)


def any_clear(bits: np.ndarray, items: int) -> np.ndarray:
    """Whether each item has a bit set anywhere: bool (item,)."""
    joined = np.bitwise_or.reduce(bits, axis=(1, 2))
    return np.unpackbits(joined, count=items, bitorder="little").astype(bool)


def strict_keep(trained_with: Sequence[int]) -> tuple[int, ...]:
    """The scene classes that count as clear by default: those of a card without the doubtful.

    Defects, cloud and shadow (1, 3, 8, 9, 10) are left out. Composites that keep 8, as the
    authors' do, are 3 to 33 times further from a clear day
    (`tests/benchmarks/results/masking.md`).
    """
    return tuple(scene for scene in trained_with if scene not in (1, *CLOUD_AND_SHADOW))


_SAMPLE = 4  # every fourth pixel each way shows how much an acquisition adds


def chosen_acquisitions(
    planes: Sequence[np.ndarray],
    seen: np.ndarray,
    acquisition: np.ndarray,
    most: int | None,
    least: float,
) -> np.ndarray:
    """The items of one month that are read.

    Left out are acquisitions of which too few pixels are clear. Of the others, the one that adds
    most is taken first, then the one that adds most to it, and so on: a pixel that has n clear
    observations already counts 1 / (n + 1). So the clearest come first, but a part of the cell
    that only another orbit sees has its observations, too.

    Args:
        planes: The clear pixels of each item: bool (y, x).
        seen: How many pixels each item shows at all: int (item,).
        acquisition: The number of each item's acquisition: int (item,).
        most: How many acquisitions to take; None: all.
        least: The least share (0 … 1) of clear pixels among those shown, of the largest granule
            where an acquisition has several.

    Returns:
        bool (item,).
    """
    clear: dict[int, np.ndarray] = {}
    for number in np.unique(acquisition[seen > 0]).tolist():
        items = np.flatnonzero((acquisition == number) & (seen > 0))
        plane = np.logical_or.reduce([planes[item] for item in items.tolist()])
        if plane.any() and plane.sum() >= least * seen[items].max():
            clear[number] = plane
    taken = list(clear) if most is None else _adding_most(clear, most)
    return np.isin(acquisition, taken) & (seen > 0)


def _adding_most(clear: Mapping[int, np.ndarray], most: int) -> list[int]:
    if len(clear) <= most:
        return list(clear)
    left = {number: plane[::_SAMPLE, ::_SAMPLE] for number, plane in clear.items()}
    count = np.zeros(next(iter(left.values())).shape, np.intp)
    worth = 1 / np.arange(1, most + 1)  # of a pixel with 0, 1, … clear observations
    taken: list[int] = []
    while left and len(taken) < most:
        # Of two that add the same the earlier is taken, so that a run can be repeated. Pixels are
        # counted first, since a sum of many fractions depends on their order.
        best = max(
            sorted(left),
            key=lambda number: np.bincount(count[left[number]], minlength=most) @ worth,
        )
        count += left.pop(best)
        taken.append(best)
    return taken
