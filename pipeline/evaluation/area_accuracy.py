"""Accuracy of a map and area by class, with confidence intervals, from reference points.

Good practice after Olofsson et al. 2014 (Remote Sensing of Environment 148, 42–57): points are
weighted by the area of the map's class that they lie in (its stratum), so that a class that is
sampled densely doesn't count for more than it covers. Every estimate is a ratio of two totals over
strata (Stehman 2014, doi 10.1080/01431161.2014.930207); where the strata are the map's classes,
values and variances are equations 1 to 11 of Olofsson et al.

It presumes that points were drawn at random, or on a grid, over the whole map or within its
classes, and that a reference is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

Z = 1.96
"""Standard errors to either side that make 95 %, as Olofsson et al. take them."""
FEWEST = 2
"""Points that a stratum needs for a variance."""


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
    """A class of the map: shares are 0 … 1, areas in hectares.

    `users`: of what is mapped as it, the share that is of it; `producers`: of what is of it, the
    share that is mapped as it. None where no point tells. `share` and `area`: what is of it, by the
    references; `mapped` what the map shows. `mapped_points` and `reference_points` count points.
    """

    name: str
    mapped_points: int
    reference_points: int
    users: Estimate | None
    producers: Estimate | None
    share: Estimate
    area: Estimate
    mapped: float


@dataclass(frozen=True, eq=False)
class AreaAccuracy:
    """A map's accuracy by area.

    `counts` int64 and `proportions` float64, both (class, class): rows are the map's classes,
    columns the references'; proportions are of the area and sum to 1. `hectares` is the area that
    the estimates hold for: that of the strata with `FEWEST` points or more. `left_out` are the
    others with their area in hectares, the largest first; their points count nowhere.
    """

    points: int
    overall: Estimate
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
) -> AreaAccuracy:
    """Estimate from points, int64 (n,): their stratum, the class mapped there, the reference.

    `stratum` are places in `strata`, the map's classes, of which `hectares` float64 (stratum,) are
    the areas; `mapped` and `reference` are places in `classes`, which may be coarser:
    `class_of_stratum` int64 (stratum,) says into which class each goes, or −1. Raises ValueError
    where no stratum has points enough.
    """
    counts = np.bincount(stratum, minlength=len(strata))
    usable = (counts >= FEWEST) & (hectares > 0)
    if not usable.any():
        raise ValueError(f"no class of the map has {FEWEST} points")
    kept = usable[stratum]
    stratum, mapped, reference = stratum[kept], mapped[kept], reference[kept]
    total = float(hectares[usable].sum())
    weights = np.where(usable, hectares / total, 0.0)
    sample = _Sample(stratum, weights, np.maximum(counts, FEWEST))
    matrix = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(matrix, (mapped, reference), 1)
    proportions = np.zeros(matrix.shape)
    np.add.at(proportions, (mapped, reference), weights[stratum] / counts[stratum])
    every = np.ones(len(stratum))
    right = (mapped == reference).astype(np.float64)
    by_class = []
    for k, name in enumerate(classes):
        as_mapped, as_reference = (mapped == k).astype(float), (reference == k).astype(float)
        share = sample.ratio(as_reference, every)
        assert share is not None  # its denominator is the whole
        by_class.append(
            ClassAccuracy(
                name=name,
                mapped_points=int(as_mapped.sum()),
                reference_points=int(as_reference.sum()),
                users=sample.ratio(as_mapped * right, as_mapped),
                producers=sample.ratio(as_reference * right, as_reference),
                share=share,
                area=share.scaled(total),
                mapped=float(hectares[usable & (class_of_stratum == k)].sum()),
            )
        )
    overall = sample.ratio(right, every)
    assert overall is not None
    lacking = [k for k in np.argsort(-hectares) if hectares[k] > 0 and not usable[k]]
    return AreaAccuracy(
        points=len(stratum),
        overall=overall,
        by_class=tuple(by_class),
        counts=matrix,
        proportions=proportions,
        hectares=total,
        left_out={strata[k]: float(hectares[k]) for k in lacking},
    )


@dataclass(frozen=True, eq=False)
class _Sample:
    """Points' strata int64 (n,), and of each stratum its share of the area and its points."""

    stratum: np.ndarray
    weights: np.ndarray
    counts: np.ndarray

    def ratio(self, upper: np.ndarray, lower: np.ndarray) -> Estimate | None:
        """The ratio of two totals, of values float64 (n,) a point; None where the lower is 0."""
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
