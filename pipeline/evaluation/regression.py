"""Regression by prompts: how a number goes with the similarity to words.

After the paper's scenicness (arXiv 2508.11919), which follows contrastive prompting (Levering et
al. 2024, doi 10.1371/journal.pone.0307083): the score is the softmax share of a positive prompt
against a negative one. No number is learned from.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import pearsonr, spearmanr


@dataclass(frozen=True)
class Correlation:
    """How a score goes with a number, over `rows` rows.

    `pearson` is Pearson's r, `low` and `high` its 95 % interval (Fisher's transformation),
    `spearman` the correlation of ranks. NaN where either does not vary.
    """

    rows: int
    pearson: float
    low: float
    high: float
    spearman: float


def prompt_score(
    embeddings: np.ndarray, positive: np.ndarray, negative: np.ndarray, logit_scale: float
) -> np.ndarray:
    """The share of the positive prompt, float64 (n,), 0 … 1.

    `embeddings` float32 (n, dim); `positive` and `negative` float32 (dim,): text embeddings; all of
    unit length.
    """
    apart = embeddings.astype(np.float64) @ (positive.astype(np.float64) - negative)
    return np.asarray(expit(logit_scale * apart))


def correlation(score: np.ndarray, number: np.ndarray) -> Correlation:
    """How scores float (n,) go with numbers float (n,). Raises ValueError of fewer than 4 rows."""
    if len(score) < 4:
        raise ValueError(f"{len(score)} rows, and a correlation's interval takes 4")
    if np.ptp(score) == 0 or np.ptp(number) == 0:
        return Correlation(len(score), np.nan, np.nan, np.nan, np.nan)
    found = pearsonr(score, number)
    interval = found.confidence_interval(0.95)
    return Correlation(
        rows=len(score),
        pearson=float(found.statistic),
        low=float(interval.low),
        high=float(interval.high),
        spearman=float(spearmanr(score, number).statistic),
    )
