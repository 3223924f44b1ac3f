"""Which acquisitions of a month are worth reading in a cell, by their scene classification alone.

Bands are fifty times the bytes of the scene classification, so what is not read is the time saved.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

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
