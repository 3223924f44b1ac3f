"""Accuracy of a map and area by class, with confidence intervals, from reference points.

Good practice after Olofsson et al. 2014 (Remote Sensing of Environment 148, 42–57): points are
weighted by the area of the map's class that they lie in (its stratum), so that a class that is
sampled densely doesn't count for more than it covers. Every estimate is a ratio of two totals over
strata (Stehman 2014, doi 10.1080/01431161.2014.930207); where the strata are the map's classes,
values and variances are equations 1 to 11 of Olofsson et al.

It assumes that points were drawn at random, or on a grid, over the whole map or within its
classes, and that references are right. Intervals of these estimates are those of a normal
distribution, which few points do not have; counts of points (`Proportion`) have exact intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from pipeline.evaluation.proportion import Proportion

Z = 1.96
"""Standard errors to either side of a 95 % interval, as in Olofsson et al."""
FEWEST = 2
"""Points that a stratum needs for a variance."""
FEW = 5
"""Points with fewer of which a class has no accuracy that is worth a number."""


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error; `half_width` to either side makes the 95 % interval."""

    value: float
    standard_error: float

    @property
    def half_width(self) -> float:
        """Z × the standard error."""
        return Z * self.standard_error

    def scaled(self, factor: float) -> "Estimate":
        """The estimate in another unit."""
        return Estimate(self.value * factor, self.standard_error * factor)


@dataclass(frozen=True)
class ClassAccuracy:
    """A class of the map; shares are 0 … 1, areas in hectares.

    Attributes:
        mapped_points: Points that are mapped as the class; `reference_points` are of it.
        users: User's accuracy, None without mapped points.
        producers: Producer's accuracy, None without reference points.
        mapped_right: Of the points that are mapped as the class, those that are of it.
        reference_right: Of the points that are of the class, those that are mapped as it.
        one_stratum: Whether all points that are mapped as the class were drawn with the same
            probability: then `mapped_right` estimates the user's accuracy, with an exact interval.
        share: The share of the area that is of the class by the references; `area` in hectares.
        mapped: The area that is mapped as the class.
    """

    name: str
    mapped_points: int
    reference_points: int
    users: Estimate | None
    producers: Estimate | None
    mapped_right: Proportion
    reference_right: Proportion
    one_stratum: bool
    share: Estimate
    area: Estimate
    mapped: float


@dataclass(frozen=True, eq=False)
class AreaAccuracy:
    """A map's accuracy by area.

    Attributes:
        counts: Points, int64 (class, class): rows are the map's classes, columns the references'.
        proportions: Shares of the area, float64, likewise; their sum is 1.
        right: Of all points, those whose class is right; they do not weigh by area.
        hectares: The area of the estimates: that of the strata with `FEWEST` points or more.
        left_out: The areas of the other strata in hectares, the largest first. Their points are
            not counted.
    """

    points: int
    overall: Estimate
    right: Proportion
    by_class: tuple[ClassAccuracy, ...]
    counts: np.ndarray
    proportions: np.ndarray
    hectares: float
    left_out: dict[str, float]


def area_accuracy(
    stratum: np.ndarray,
    mapped: np.ndarray,
    reference: np.ndarray,
    hectares: np.ndarray,
    strata: Sequence[str],
    classes: Sequence[str],
    class_of_stratum: np.ndarray,
    mapped_hectares: np.ndarray | None = None,
) -> AreaAccuracy:
    """Estimate a map's accuracy from n points.

    Points that the map does not cover (`mapped` −1) say how much of the strata it covers; all
    estimates are of the part that it covers.

    Args:
        stratum: The points' strata, int64 (n,), places in `strata`.
        mapped: The mapped classes, int64 (n,), places in `classes`, or −1.
        reference: The reference classes, likewise.
        hectares: The strata's areas, float64 (stratum,).
        strata: The names of the strata, the map's classes.
        classes: The names of the compared classes, which may be coarser.
        class_of_stratum: The class of each stratum, int64 (stratum,), or −1.
        mapped_hectares: The area that is mapped as each class, float64 (class,), where the strata
            are those of another map; else it is that of the class's strata.

    Raises:
        ValueError: No stratum has `FEWEST` points.
    """
    counts = np.bincount(stratum, minlength=len(strata))
    usable = (counts >= FEWEST) & (hectares > 0)
    if not usable.any():
        raise ValueError(f"no class of the map has {FEWEST} points")
    kept = usable[stratum]
    stratum, mapped, reference = stratum[kept], mapped[kept], reference[kept]
    weights = np.where(usable, hectares / float(hectares[usable].sum()), 0.0)
    sample = _Sample(stratum, weights, np.maximum(counts, FEWEST))
    inside = mapped >= 0
    covered = sample.share(inside)
    if covered == 0:
        raise ValueError(f"no class of the map has {FEWEST} points")
    total = float(hectares[usable].sum()) * covered
    matrix = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(matrix, (mapped[inside], reference[inside]), 1)
    proportions = np.zeros(matrix.shape)
    shares = weights[stratum] / counts[stratum] / covered
    np.add.at(proportions, (mapped[inside], reference[inside]), shares[inside])
    by_class = []
    for k, name in enumerate(classes):
        as_mapped, as_reference = mapped == k, inside & (reference == k)
        share = sample.ratio(as_reference, inside)
        assert share is not None  # its denominator is the whole
        own = usable & (class_of_stratum == k)
        right = int(matrix[k, k])
        by_class.append(
            ClassAccuracy(
                name=name,
                mapped_points=int(as_mapped.sum()),
                reference_points=int(as_reference.sum()),
                users=sample.ratio(as_mapped & as_reference, as_mapped),
                producers=sample.ratio(as_mapped & as_reference, as_reference),
                mapped_right=Proportion(right, int(as_mapped.sum())),
                reference_right=Proportion(right, int(as_reference.sum())),
                one_stratum=mapped_hectares is None and int(own.sum()) == 1,
                share=share,
                area=share.scaled(total),
                mapped=float(
                    hectares[own].sum() if mapped_hectares is None else mapped_hectares[k]
                ),
            )
        )
    overall = sample.ratio(inside & (mapped == reference), inside)
    assert overall is not None
    lacking = [k for k in np.argsort(-hectares) if hectares[k] > 0 and not usable[k]]
    return AreaAccuracy(
        points=int(inside.sum()),
        overall=overall,
        right=Proportion(int(np.trace(matrix)), int(inside.sum())),
        by_class=tuple(by_class),
        counts=matrix,
        proportions=proportions,
        hectares=total,
        left_out={strata[k]: float(hectares[k]) for k in lacking},
    )


@dataclass(frozen=True, eq=False)
class _Sample:
    """Points' strata int64 (n,), and each stratum's share of the area and number of points."""

    stratum: np.ndarray
    weights: np.ndarray
    counts: np.ndarray

    def share(self, points: np.ndarray) -> float:
        """The share of the area that points stand for, bool (n,)."""
        return float((self.weights * self._mean(points.astype(np.float64))).sum())

    def ratio(self, upper: np.ndarray, lower: np.ndarray) -> Estimate | None:
        """The ratio of the totals of two sets of points, bool (n,); None where the lower is 0."""
        upper, lower = upper.astype(np.float64), lower.astype(np.float64)
        y, x = self._mean(upper), self._mean(lower)
        below = float((self.weights * x).sum())
        if below == 0:
            return None
        value = float((self.weights * y).sum()) / below
        # The variance of y − R x within a stratum: s²y + R² s²x − 2 R sxy (Stehman 2014, eq. 28).
        apart = upper - value * lower
        centred = apart - self._mean(apart)[self.stratum]
        within = self._sum(centred**2) / (self.counts - 1)
        variance = float((self.weights**2 * within / self.counts).sum())
        return Estimate(value, sqrt(variance) / below)

    def _sum(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.stratum, values, len(self.weights))

    def _mean(self, values: np.ndarray) -> np.ndarray:
        return self._sum(values) / self.counts
