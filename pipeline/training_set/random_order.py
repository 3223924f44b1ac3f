"""The random order of an epoch's rows, which are read a few shards at a time.

An order is a function of the seed and the epoch: it is the same on every machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_WINDOW = 4  # shards that are shuffled together


@dataclass(frozen=True)
class Window:
    """Shards that are shuffled together, and the place of their rows in the epoch's order."""

    number: int
    shards: tuple[int, ...]
    start: int
    rows: int

    @property
    def end(self) -> int:
        """The place in the order after its last row."""
        return self.start + self.rows


def windows_of(counts: Sequence[int], seed: int, epoch: int) -> list[Window]:
    """List the windows of an epoch over shards with these numbers of rows."""
    order = shuffled(len(counts), seed, epoch)
    windows: list[Window] = []
    start = 0
    for first in range(0, len(order), _WINDOW):
        shards = tuple(int(shard) for shard in order[first : first + _WINDOW])
        rows = sum(counts[shard] for shard in shards)
        windows.append(Window(len(windows), shards, start, rows))
        start += rows
    return windows


def inner_order(window: Window, seed: int, epoch: int) -> np.ndarray:
    """The rows of a window in their order: int64 (rows,), counted over its shards in theirs."""
    return shuffled(window.rows, seed, epoch, 1 + window.number)


def shuffled(count: int, *key: int) -> np.ndarray:
    """Shuffle 0 … count - 1 by a key of whole numbers, 0 or more: int64 (count,).

    Made of a bit generator's raw output, which NumPy keeps the same over its versions
    (https://numpy.org/neps/nep-0019-rng-policy.html); it does not keep `Generator.permutation`.
    """
    return np.argsort(raw_numbers(count, *key), kind="stable")


def raw_numbers(count: int, *key: int) -> np.ndarray:
    """Draw random numbers by a key of whole numbers, 0 or more: uint64 (count,)."""
    return np.random.PCG64(np.random.SeedSequence(key)).random_raw(count)
