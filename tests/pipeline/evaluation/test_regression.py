"""Regression by prompts: the share of the positive one, and its correlation."""

import numpy as np
import pytest

from pipeline.evaluation.regression import correlation, prompt_score


def test_the_score_is_the_softmax_of_two() -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(40, 16)).astype(np.float32)
    positive, negative = rng.normal(size=(2, 16)).astype(np.float32)
    logits = 14 * embeddings @ np.stack((positive, negative)).T
    wanted = np.exp(logits[:, 0]) / np.exp(logits).sum(axis=1)
    np.testing.assert_allclose(
        prompt_score(embeddings, positive, negative, 14), wanted, rtol=1e-4, atol=1e-12
    )


def test_correlation() -> None:
    rng = np.random.default_rng(1)
    number = rng.normal(size=400)
    score = 0.6 * number + 0.8 * rng.normal(size=400)
    found = correlation(score, number)
    assert found.pearson == pytest.approx(np.corrcoef(score, number)[0, 1])
    z, half = np.arctanh(found.pearson), 1.959964 / np.sqrt(397)  # Fisher's
    assert found.low == pytest.approx(np.tanh(z - half), abs=1e-5)
    assert found.high == pytest.approx(np.tanh(z + half), abs=1e-5)
    assert correlation(np.exp(number), number).spearman == pytest.approx(1)


def test_without_variation_or_rows() -> None:
    assert np.isnan(correlation(np.ones(9), np.arange(9.0)).pearson)
    with pytest.raises(ValueError, match="3 rows"):
        correlation(np.arange(3.0), np.arange(3.0))
