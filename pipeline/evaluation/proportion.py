"""Counts of right points as a share, with an interval that holds for few points, too."""

from dataclasses import dataclass

from scipy.stats import binomtest


@dataclass(frozen=True)
class Proportion:
    """Of `total` points that were drawn alike, `right` are right."""

    right: int
    total: int

    @property
    def share(self) -> float | None:
        """The share of right points, 0 … 1; None without points."""
        return self.right / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95 % interval of the share (Clopper and Pearson 1934, Biometrika 26, 404–413).

        It holds the true share in 95 % of samples or more, however few the points; without points
        it is 0 to 1.
        """
        if not self.total:
            return 0.0, 1.0
        found = binomtest(self.right, self.total).proportion_ci(0.95, method="exact")
        return float(found.low), float(found.high)
