"""Bayesian smoothing, held to the formulas of Camara et al. 2024 written pixel by pixel."""

import math

import numpy as np
import pytest

from pipeline.derived.bayes import LEAST_SHARE, logits_of, smoothed_logits


@pytest.mark.parametrize(("window", "fraction"), [(3, 0.5), (5, 1.0), (7, 0.3)])
def test_posteriors_are_those_of_the_paper(window: int, fraction: float) -> None:
    rng = np.random.default_rng(window)
    logits = rng.normal(0, 2, (21, 26)).astype(np.float32)
    logits[rng.uniform(size=logits.shape) < 0.2] = np.nan
    logits[:8, :8] = np.nan
    halo, smoothness = window // 2, 3.0
    found = smoothed_logits(logits, window, smoothness, fraction)
    assert found.shape == (21 - 2 * halo, 26 - 2 * halo)
    for row, column in np.ndindex(found.shape):
        own = float(logits[row + halo, column + halo])
        if math.isnan(own):
            assert math.isnan(found[row, column])
            continue
        around = logits[row : row + window, column : column + window].ravel().astype(float)
        highest = sorted(around[~np.isnan(around)], reverse=True)
        highest = highest[: math.ceil(fraction * len(highest))]
        mean = sum(highest) / len(highest)
        variance = 0.0
        if len(highest) > 1:
            variance = sum((x - mean) ** 2 for x in highest) / (len(highest) - 1)
        weight = variance / (variance + smoothness)
        assert found[row, column] == pytest.approx(weight * own + (1 - weight) * mean, abs=1e-4)


def test_rounded_probabilities_have_finite_logits() -> None:
    found = logits_of(np.array([0, 0.001, 0.5, 0.999, 1]))
    bound = math.log(LEAST_SHARE / (1 - LEAST_SHARE))
    np.testing.assert_allclose(found, [bound, bound, 0, -bound, -bound], atol=1e-5)


def test_without_smoothing_a_pixel_keeps_its_own() -> None:
    logits = np.random.default_rng(1).normal(0, 1, (9, 9)).astype(np.float32)
    np.testing.assert_allclose(smoothed_logits(logits, 3, 1e-9, 1), logits[1:-1, 1:-1], rtol=1e-5)
