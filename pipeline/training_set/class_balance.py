"""Balanced drawing: rows of rare classes come several times in an epoch, others not in each.

An epoch keeps its number of rows. Which rows come, and how often, is a function of the numbers of
rows per shard and class, the seed and the epoch: no process needs to read what others read.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.training_set.random_order import raw_numbers, shuffled


@dataclass(frozen=True)
class ClassBalance:
    """Draws the classes of a label in proportion to their number of rows to the power `exponent`.

    With 1 every row comes once in an epoch, with 0 all classes come equally often. Rows without a
    class come once.
    """

    label: str
    exponent: float

    def rows_per_class(self, counts: np.ndarray) -> np.ndarray:
        """How many rows of each class an epoch has: int64 (class,), in sum as many as there are.

        `counts` is int64 (class,), rows of each class, the last those without one. Exact shares are
        rounded by largest remainder, so that every class has one row or more.
        """
        named = counts[:-1]
        weights = np.where(named > 0, np.maximum(named, 1) ** float(self.exponent), 0)
        exact = weights / max(weights.sum(), 1) * named.sum()
        return np.append(largest_remainders(exact), counts[-1])

    def rows_per_shard(self, counts: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """How many rows of each class an epoch takes from each shard: int64 (shard, class).

        `counts` is int64 (shard, class), the last class being none. A class's rows are taken
        evenly over its shards; where that leaves fractions, the epoch's order decides.
        """
        order = shuffled(len(counts), seed, epoch)
        held = counts.sum(axis=0)
        wanted = self.rows_per_class(held)
        drawn = [int(raw_numbers(1, seed, epoch, 0, 1 + n)[0]) for n in range(len(held))]
        first = np.array([number % max(int(n), 1) for number, n in zip(drawn, held, strict=True)])
        until = np.cumsum(counts[order], axis=0) * wanted + first
        taken = np.diff(until // np.maximum(held, 1), axis=0, prepend=0)
        result = np.empty_like(counts)
        result[order] = taken
        return result


def times_of_rows(
    classes: np.ndarray, wanted: np.ndarray, seed: int, epoch: int, shard: int
) -> np.ndarray:
    """How often each row of a shard comes in an epoch: int64 (n,).

    Rows of a class come equally often, but for some that are drawn and come once more.

    Args:
        classes: int64 (n,), the rows' classes; -1 for none, which is the last of `wanted`.
        wanted: int64 (class,), how many rows of each class are to come.
        seed: That of the drawing.
        epoch: Its number.
        shard: The shard's number.
    """
    times = np.zeros(len(classes), np.int64)
    for number, count in enumerate(wanted.tolist()):
        last = number == len(wanted) - 1
        rows = np.flatnonzero(classes == (-1 if last else number))
        if len(rows):
            times[rows], more = divmod(count, len(rows))
            times[rows[shuffled(len(rows), seed, epoch, 1 + shard, 1 + number)[:more]]] += 1
    return times


def largest_remainders(exact: np.ndarray) -> np.ndarray:
    """Round numbers to whole ones of the same sum, those up that lack least: int64 (n,)."""
    whole = np.floor(exact).astype(np.int64)
    lacking = round(float(exact.sum())) - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:lacking]] += 1
    return whole
