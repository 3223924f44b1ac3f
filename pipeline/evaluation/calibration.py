"""Calibration: the distance of confidence from accuracy, and the logit scale that closes it."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

_LOWEST, _HIGHEST = 0.5, 1000.0
_NO_LOSS = 1e-6  # nats


@dataclass(frozen=True, eq=False)
class Calibration:
    """A reliability curve over bins of equal width, of confidence 0 … 1.

    Attributes:
        edges: float64 (bin + 1,).
        counts: Rows, int64 (bin,).
        confidence: Mean confidence, float64 (bin,), NaN in an empty bin; `accuracy` likewise.
        ece: The expected calibration error: the mean distance of the two, weighted by counts.
        mce: The largest distance (Guo et al. 2017, arXiv 1706.04599, eq. 3 and 5).
        mean_confidence: The mean confidence of all rows.
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

    A bin holds the confidences above its lower edge, up to its upper edge.

    Raises:
        ValueError: There are no rows.
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

    Attributes:
        loss: Mean negative log-likelihood in nats with it; `loss_before` with the old scale.
        rows: The rows that it was fitted to.
        at_bound: The likelihood has no maximum within 0.5 … 1000, for instance because every class
            is right, or none.
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

    Args:
        cosine: float32 (n, class), to the nearest member of each class; a background prompt
            counts as a class.
        bias: float (class,).
        groups: int64 (class,), the place in the legend of each.
        reference: int64 (n,), the right places in the legend.
        logit_scale: The old scale.
    """
    cosine = cosine.astype(np.float64)
    right = groups[None, :] == reference[:, None]

    def loss(scale: float) -> float:
        logits = scale * cosine + bias
        own = logsumexp(np.where(right, logits, -np.inf), axis=1)
        return float((logsumexp(logits, axis=1) - own).mean())

    fitted = minimize_scalar(
        lambda log_scale: loss(float(np.exp(log_scale))),
        bounds=(np.log(_LOWEST), np.log(_HIGHEST)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    scale = float(np.exp(fitted.x))
    return FittedScale(
        logit_scale=scale,
        loss=loss(scale),
        loss_before=loss(logit_scale),
        rows=len(reference),
        # Where all are right, the loss is 0 from some scale on.
        at_bound=loss(scale) < _NO_LOSS or not _LOWEST * 1.01 < scale < _HIGHEST / 1.01,
    )
