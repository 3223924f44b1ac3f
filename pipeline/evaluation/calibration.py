"""Calibration: how far confidence is from accuracy, and the logit scale that joins them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

_LOWEST, _HIGHEST = 0.5, 1000.0
_NOTHING = 1e-6  # nats


@dataclass(frozen=True, eq=False)
class Calibration:
    """A reliability curve over bins of equal width, of confidence 0 … 1.

    `edges` float64 (bin + 1,); `counts` int64 (bin,); `confidence` and `accuracy` float64 (bin,)
    are means, NaN where a bin is empty. `ece` is the expected calibration error: the mean distance
    of the two, weighted by counts; `mce` the largest (Guo et al. 2017, arXiv 1706.04599, eq. 3 and
    5). `mean_confidence` is that of all rows.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    ece: float
    mce: float
    mean_confidence: float


def calibration(confidence: np.ndarray, hits: np.ndarray, bins: int = 15) -> Calibration:
    """The calibration of confidences float (n,) in 0 … 1 against hits bool (n,).

    A bin holds the confidences above its lower edge, up to its upper one. Raises ValueError without
    rows.
    """
    if not len(confidence):
        raise ValueError("no rows to calibrate")
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, confidence, bins) / counts
        right = np.bincount(place, hits, bins) / counts
    apart = np.abs(mean - right)[counts > 0]
    return Calibration(
        edges=edges,
        counts=counts,
        confidence=mean,
        accuracy=right,
        ece=float(np.average(apart, weights=counts[counts > 0])),
        mce=float(apart.max()),
        mean_confidence=float(np.mean(confidence)),
    )


@dataclass(frozen=True)
class FittedScale:
    """The logit scale (1 / temperature) under which the right classes are likeliest.

    `loss` and `loss_before`: mean negative log-likelihood in nats, with it and with the scale that
    was given. `rows` is how many it was fitted on. `at_bound`: the likelihood has no maximum within
    0.5 … 1000, as where every class is right or none.
    """

    logit_scale: float
    loss: float
    loss_before: float
    rows: int
    at_bound: bool


def fit_logit_scale(
    cosine: np.ndarray,
    bias: np.ndarray,
    groups: np.ndarray,
    reference: np.ndarray,
    logit_scale: float,
) -> FittedScale:
    """Temperature scaling (Guo et al. 2017, section 4.2) of softmax(scale × cosine + bias).

    `cosine` float32 (n, text), `bias` float (text,), `groups` int64 (text,): the class that each
    text stands for; `reference` int64 (n,) the right ones. `logit_scale` is the scale until now.
    """
    loss = _likelihood(cosine.astype(np.float64), bias, groups, reference)
    found = minimize_scalar(
        lambda log_scale: loss(float(np.exp(log_scale))),
        bounds=(np.log(_LOWEST), np.log(_HIGHEST)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    scale = float(np.exp(found.x))
    return FittedScale(
        logit_scale=scale,
        loss=loss(scale),
        loss_before=loss(logit_scale),
        rows=len(reference),
        # Where all are right, the loss is 0 from some scale on.
        at_bound=loss(scale) < _NOTHING or not _LOWEST * 1.01 < scale < _HIGHEST / 1.01,
    )


def _likelihood(
    cosine: np.ndarray, bias: np.ndarray, groups: np.ndarray, reference: np.ndarray
) -> Callable[[float], float]:
    """Mean negative log-likelihood of the right classes, as a function of the scale."""
    right = groups[None, :] == reference[:, None]

    def loss(scale: float) -> float:
        logits = scale * cosine + bias
        own = logsumexp(np.where(right, logits, -np.inf), axis=1)
        return float((logsumexp(logits, axis=1) - own).mean())

    return loss
