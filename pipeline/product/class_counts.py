"""What is counted of a cell's classes: pixels, their confidence, and their runners-up."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

LITTLE = 50
"""Percent; a confidence below is counted as little."""
_RUNNERS_UP = 3  # of each class of a cell, the most frequent: hundreds of classes make short items

_AT_ONCE = 2**16  # pixels, whose numbers stay in a core's cache


@dataclass(frozen=True)
class ClassConfidence:
    """The confidence of a class's pixels in a cell.

    Attributes:
        mean: In percent.
        little: Pixels below 50 %.
    """

    mean: float
    little: int


@dataclass(frozen=True)
class ClassCounts:
    """The classes of a cell in numbers.

    Attributes:
        pixels: Pixels by class value.
        nodata: Pixels without a class.
        mean_confidence: In percent; None if no pixel has a class.
        confidence: By class value.
    """

    pixels: Mapping[int, int]
    nodata: int
    mean_confidence: float | None
    confidence: Mapping[int, ClassConfidence]


def tally(
    classes: np.ndarray, confidence: np.ndarray, nodata_class: int, nodata_confidence: int
) -> ClassCounts:
    """Count the classes of a cell and their confidence.

    `classes` uint8/uint16 and `confidence` uint8 (percent), both of one shape. Pixels without a
    class have no confidence.
    """
    values = _values(classes)
    joint = _joint_counts(classes, values, confidence, np.arange(256))
    with_confidence = np.delete(joint, nodata_confidence, axis=1)
    percents = np.delete(np.arange(256), nodata_confidence)
    counts, sums = with_confidence.sum(axis=1), with_confidence @ percents
    little = with_confidence[:, percents < LITTLE].sum(axis=1)
    pixels = {int(v): int(n) for v, n in zip(values, joint.sum(axis=1), strict=True)}
    nodata = pixels.pop(nodata_class, 0)
    return ClassCounts(
        pixels=pixels,
        nodata=nodata,
        mean_confidence=round(float(sums.sum() / counts.sum()), 2) if counts.any() else None,
        confidence={
            int(value): ClassConfidence(round(float(total / count), 2), int(few))
            for value, total, count, few in zip(values, sums, counts, little, strict=True)
            if value != nodata_class and count
        },
    )


def runners_up(
    classes: np.ndarray, second: np.ndarray, nodata_class: int
) -> dict[int, dict[int, int]]:
    """The most frequent second ranks of each class: pixels by class value and the second's value.

    `classes` and `second` are uint8/uint16 of one shape, the first and the second rank.
    """
    values, others = _values(classes), _values(second)
    joint = _joint_counts(classes, values, second, others)
    joint[:, others == nodata_class] = 0
    found = {}
    for value, counts in zip(values.tolist(), joint, strict=True):
        most = np.argsort(-counts, kind="stable")[:_RUNNERS_UP]
        named = {int(others[one]): int(counts[one]) for one in most if counts[one]}
        if named and value != nodata_class:
            found[value] = named
    return found


def _values(array: np.ndarray) -> np.ndarray:
    """The values that occur in an array, ascending."""
    return np.flatnonzero(np.bincount(array.ravel()))


def _joint_counts(
    first: np.ndarray, values: np.ndarray, other: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """How often pairs of numbers occur: int64 (value, other).

    `values` and `others`, both ascending, are all that occur in `first` and in `other`.
    """
    row, column = (np.zeros(int(v.max(initial=0)) + 1, np.int64) for v in (values, others))
    row[values], column[others] = np.arange(len(values)) * len(others), np.arange(len(others))
    counts = np.zeros(len(values) * len(others), np.int64)
    for start in range(0, first.size, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        pairs = row[first.ravel()[part]] + column[other.ravel()[part]]
        counts += np.bincount(pairs, minlength=len(counts))
    return counts.reshape(len(values), len(others))
