"""Exact intervals against published numbers, and how often they hold the truth."""

import numpy as np
import pytest
from scipy.stats import binom

from pipeline.evaluation.proportion import Proportion


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [
        (0, 10, 0.0, 0.3085),  # 1 − 0.025^(1/10)
        (10, 10, 0.6915, 1.0),
        (81, 263, 0.2527, 0.3676),  # Newcombe 1998, Table I, method 5
        (15, 148, 0.0578, 0.1617),
        (0, 20, 0.0, 0.1684),
        (1, 29, 0.0009, 0.1776),
    ],
)
def test_published_intervals(right: int, total: int, low: float, high: float) -> None:
    assert np.round(Proportion(right, total).interval, 4).tolist() == [low, high]


def test_without_points_nothing_is_known() -> None:
    assert Proportion(0, 0).share is None
    assert Proportion(0, 0).interval == (0.0, 1.0)


@pytest.mark.parametrize("total", [1, 4, 30])
def test_the_truth_lies_within_in_95_percent_or_more(total: int) -> None:
    low, high = np.array([Proportion(k, total).interval for k in range(total + 1)]).T
    for truth in np.linspace(0.001, 0.999, 199):
        held = (low <= truth) & (truth <= high)
        assert binom.pmf(np.arange(total + 1), total, truth)[held].sum() >= 0.95
