"""Which observations of a cell are clear, a bit each: the scene classification's verdict.

Which acquisitions of a month are worth reading in a cell, by their scene classification alone.

Bands are fifty times the bytes of the scene classification, so what is not read is the time saved.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import distance_transform_edt

from pipeline.observations.cube import Block
from pipeline.observations.monthly_median import MONTHS, clear_pixels
from pipeline.raster.read_stats import NO_STATS, ReadStats

CLOUD_AND_SHADOW = (3, 8, 9, 10)
"""Scene classes around which a dilation masks: shadow, cloud of medium and high probability,
thin cirrus."""


@dataclass(frozen=True)
class Masking:
    """Which observations count as clear, and which of these are read.

    `keep` are scene classes; within `dilate` metres of cloud or shadow nothing is clear. `most`
    acquisitions a month are read (None: all), none of which less than `least` (0 … 1) of what it
    shows of the cell is clear (`pipeline.observations.clear_mask`).
    """

    keep: tuple[int, ...]
    dilate: float = 0.0
    most: int | None = None
    least: float = 0.0


@dataclass(frozen=True)
class ClearMask:
    """Which observations of a cell are clear and to be read.

    `bits` is uint8 (⌈items / 8⌉, y, x) at `resolution` metres (20, or 10 where the classification
    is): item i is bit i mod 8 of byte i div 8, since a mask travels between workers; an item that
    is not to be read has none set. `month` 0 … 11 and `acquisition` (a number an overpass) are
    int (item,). `acquisitions` counts those that show anything of the cell.
    """

    bits: np.ndarray
    resolution: int
    month: np.ndarray
    acquisition: np.ndarray
    acquisitions: int
    stats: ReadStats = NO_STATS

    @property
    def clear_acquisitions(self) -> int:
        """Acquisitions that are read for the cell; granules of one overpass are one."""
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
        """The items that have a clear pixel in a block, and where: int (n,), bool (n, y, x)."""
        part = np.ascontiguousarray(self.bits[:, *block.slices(self.resolution)])
        items = np.flatnonzero(any_clear(part, len(self.month)))
        clear = np.empty((len(items), *part.shape[1:]), bool)
        for place, item in zip(clear, items.tolist(), strict=True):
            np.not_equal(part[item // 8] & np.uint8(1 << item % 8), 0, out=place)
        return items, clear


class Scenes:
    """The clear pixels of items, as their scene classifications come in.

    `shape` is (y, x) of the mask; what comes is `margin` pixels larger on each side, so that
    clouds beyond the cell's edge are dilated into it.
    """

    def __init__(
        self, items: int, shape: tuple[int, int], margin: int, resolution: int, masking: Masking
    ) -> None:
        self.bits = np.zeros((-(-items // 8), *shape), np.uint8)
        self.seen = np.zeros(items, np.int64)
        self._inner = tuple(slice(margin, margin + side) for side in shape)
        self._resolution = resolution
        self._masking = masking

    def put(self, item: int, values: np.ndarray) -> None:
        """Take the scene classes of an item: uint8 or uint16 (y, x)."""
        clear = clear_pixels(values, self._masking.keep)
        if self._masking.dilate:
            clear &= beyond(values, self._masking.dilate / self._resolution)
        clear = clear[self._inner]
        self.bits[item // 8] |= clear.view(np.uint8) << np.uint8(item % 8)
        self.seen[item] = np.count_nonzero(values[self._inner])

    def choose(self, month: np.ndarray, acquisition: np.ndarray) -> None:
        """Leave only what is to be read."""
        masking = self._masking
        if masking.most is None and masking.least == 0:
            return
        for number in np.unique(month):  # one after the other: planes take eight times the bits
            items = np.flatnonzero(month == number)
            chosen = chosen_acquisitions(
                [_plane(self.bits, item) for item in items.tolist()],
                self.seen[items], month[items], acquisition[items], masking.most, masking.least,
            )  # fmt: skip
            for item in items[~chosen].tolist():
                self.bits[item // 8] &= np.uint8(0xFF ^ (1 << item % 8))


def beyond(scenes: np.ndarray, pixels: float) -> np.ndarray:
    """Where no cloud or shadow lies within `pixels`, centre to centre: bool of the same shape."""
    hidden = clear_pixels(scenes, CLOUD_AND_SHADOW)
    if not hidden.any():
        return np.ones(scenes.shape, bool)
    apart: np.ndarray = distance_transform_edt(~hidden) > pixels
    return apart


def _plane(bits: np.ndarray, item: int) -> np.ndarray:
    return (bits[item // 8] >> np.uint8(item % 8) & np.uint8(1)).view(bool)


def any_clear(bits: np.ndarray, items: int) -> np.ndarray:
    """Which items have a bit set anywhere: bool (item,)."""
    joined = np.bitwise_or.reduce(bits, axis=(1, 2))
    return np.unpackbits(joined, count=items, bitorder="little").astype(bool)


def strict_keep(trained_with: Sequence[int]) -> tuple[int, ...]:
    """The scene classes that count as clear by default, of those that a checkpoint's card names.

    Without those that are defective, cloud or cloud's shadow (1, 3, 8, 9, 10): composites that
    keep 8 as the authors' do are 2 to 33 times further from a clear day
    (`tests/benchmarks/results/masking.md`).
    """
    return tuple(scene for scene in trained_with if scene not in (1, *CLOUD_AND_SHADOW))


_SAMPLE = 4  # every fourth pixel each way tells how much an acquisition adds


def chosen_acquisitions(
    planes: Sequence[np.ndarray],
    seen: np.ndarray,
    month: np.ndarray,
    acquisition: np.ndarray,
    most: int | None,
    least: float,
) -> np.ndarray:
    """Which items to read: bool (item,).

    `planes` says where each item is clear, bool (y, x); `seen` counts the pixels that it shows
    at all. Left out are acquisitions of which less than `least` (0 … 1) of what they show (their
    largest granule, where there are several) is clear; of the others `most` a month are taken
    (None: all), one after the other the one that adds most: a pixel that has n clear observations
    already counts 1 / (n + 1). So the clearest come first, but not so that a part of the cell,
    which only another orbit sees, goes without.
    """
    chosen = np.zeros(len(planes), bool)
    for items in _by_month(month, acquisition, seen):
        clear = {number: _joined(planes, of_it) for number, of_it in items.items()}
        enough = {
            number: plane
            for number, plane in clear.items()
            if plane.any() and plane.sum() >= least * max(int(seen[items[number]].max()), 1)
        }
        for number in enough if most is None else _adding_most(enough, most):
            chosen[items[number]] = True
    return chosen


def _by_month(
    month: np.ndarray, acquisition: np.ndarray, seen: np.ndarray
) -> Iterator[Mapping[int, np.ndarray]]:
    """The items of each acquisition, month by month; those that show nothing are left out."""
    for number in np.unique(month):
        of_month = np.flatnonzero((month == number) & (seen > 0))
        yield {
            int(overpass): of_month[acquisition[of_month] == overpass]
            for overpass in np.unique(acquisition[of_month])
        }


def _joined(planes: Sequence[np.ndarray], items: np.ndarray) -> np.ndarray:
    joined: np.ndarray = np.logical_or.reduce([planes[item] for item in items.tolist()])
    return joined


def _adding_most(clear: Mapping[int, np.ndarray], most: int) -> list[int]:
    if len(clear) <= most:
        return list(clear)
    left = {number: plane[::_SAMPLE, ::_SAMPLE] for number, plane in clear.items()}
    count = np.zeros(next(iter(left.values())).shape, np.intp)
    worth = 1 / np.arange(1, most + 1)  # of a pixel that has 0, 1, … clear observations already
    taken: list[int] = []
    while left and len(taken) < most:
        # The earlier of two that add the same, so that a run can be repeated: pixels are counted,
        # since sums of many fractions differ by the order in which they are added.
        best = max(
            sorted(left),
            key=lambda number: np.bincount(count[left[number]], minlength=most) @ worth,
        )
        count += left.pop(best)
        taken.append(best)
    return taken
