"""Calibration against the definition, and temperature scaling against a known temperature."""

import numpy as np
import pytest
from scipy.special import softmax

from pipeline.evaluation.calibration import calibration, fit_logit_scale


def test_the_definition_written_plainly() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0, 1, 500)
    confidence[:2] = 0.0, 1.0
    hits = rng.uniform(size=500) < confidence**2
    found = calibration(confidence, hits, bins=10)
    apart = []
    for k in range(10):
        low, high = k / 10, (k + 1) / 10
        inside = (confidence <= high) & ((confidence > low) | (k == 0))
        apart.append(inside.sum() / 500 * abs(hits[inside].mean() - confidence[inside].mean()))
        assert found.counts[k] == inside.sum()
    assert found.ece == pytest.approx(sum(apart))
    assert found.mce == pytest.approx(np.nanmax(np.abs(found.confidence - found.accuracy)))
    assert found.mean_confidence == pytest.approx(confidence.mean())


def test_empty_bins_and_certainty() -> None:
    found = calibration(np.array([1.0, 1.0]), np.array([True, True]))
    assert found.ece == 0
    assert np.isnan(found.confidence[:-1]).all()
    with pytest.raises(ValueError, match="no rows"):
        calibration(np.empty(0), np.empty(0, bool))


def test_fitting_recovers_the_scale_that_drew_the_classes() -> None:
    rng = np.random.default_rng(2)
    cosine = rng.normal(0, 0.15, (20_000, 6)).astype(np.float32)
    bias = np.array([0, 0.5, 0, 0, -0.5, 0], np.float32)
    groups = np.array([0, 0, 1, 1, 2, 2])  # two texts a class
    shares = softmax(30.0 * cosine + bias, axis=1)
    drawn = (shares.cumsum(axis=1) < rng.uniform(size=(20_000, 1))).sum(axis=1)
    found = fit_logit_scale(cosine, bias, groups, groups[drawn], logit_scale=10.0)
    assert found.logit_scale == pytest.approx(30, rel=0.05)
    assert found.loss < found.loss_before
    assert not found.at_bound
    assert found.rows == 20_000


def test_no_maximum_is_said() -> None:
    cosine = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)
    args = (cosine, np.zeros(2, np.float32), np.arange(2))
    assert fit_logit_scale(*args, np.array([0, 1]), 10.0).at_bound  # all right: the more the better
    assert fit_logit_scale(*args, np.array([1, 0]), 10.0).at_bound
