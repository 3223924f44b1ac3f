"""Bayesian smoothing of class probabilities, as in the R package sits.

Camara et al. 2024, “Bayesian inference for post-processing of remote sensing image classification”
(Remote Sensing 16(23), 4572). Of each class apart: the logit x of a pixel's probability is seen as
drawn from a normal distribution around its true value, with variance σ² (`smoothness`); the true
values of the neighbourhood are seen as normal, with the mean m and variance s² of the logits there.
The posterior mean is

    s² / (s² + σ²) · x  +  σ² / (s² + σ²) · m.

Only the highest logits of the neighbourhood count, a fraction of them (`fraction`), so that at the
edge of a field the neighbours beyond it do not. A pixel takes the class of the highest posterior.
"""

import math

import numpy as np

from pipeline.derived.majority import window_sum

LEAST_SHARE = 0.0025
"""Of a probability; those kept in percent that are 0 lie below 0.5 %, and 100 above 99.5 %."""
_AT_ONCE = 2**22  # numbers of neighbourhoods in memory, 16 MB


def logits_of(shares: np.ndarray) -> np.ndarray:
    """ln(p / (1 − p)) of probabilities, float32; those below `LEAST_SHARE` count as that."""
    bounded = np.clip(shares, LEAST_SHARE, 1 - LEAST_SHARE).astype(np.float32)
    logits: np.ndarray = np.log(bounded / (1 - bounded))
    return logits


def smoothed_logits(
    logits: np.ndarray, window: int, smoothness: float, fraction: float
) -> np.ndarray:
    """The posterior means of the logits of one class.

    Args:
        logits: float32 (y, x), with `window // 2` pixels more on each side; NaN where none is.
        window: The side of the neighbourhood in pixels, an odd number.
        smoothness: σ², the variance of a logit around its true value.
        fraction: The part of a neighbourhood's logits that counts, the highest, 0 … 1.

    Returns:
        float32 (y, x) without the pixels more; NaN where the pixel has no logit.
    """
    halo = window // 2
    own = logits[halo : logits.shape[0] - halo, halo : logits.shape[1] - halo]
    if fraction == 1:
        return _drawn(own, *_of_all(logits, window), smoothness)
    smoothed = np.empty_like(own)
    rows = max(1, _AT_ONCE // (own.shape[1] * window * window))
    views = np.lib.stride_tricks.sliding_window_view(logits, (window, window))
    for top in range(0, own.shape[0], rows):
        part = slice(top, top + rows)
        around = views[part].reshape(-1, window * window)
        mean, variance = (one.reshape(own[part].shape) for one in _of_highest(around, fraction))
        smoothed[part] = _drawn(own[part], mean, variance, smoothness)
    return smoothed


def _drawn(
    own: np.ndarray, mean: np.ndarray, variance: np.ndarray, smoothness: float
) -> np.ndarray:
    """Logits drawn towards the mean of their neighbourhoods: float32 of their shape."""
    weight = variance / (variance + np.float32(smoothness))
    drawn: np.ndarray = weight * own + (1 - weight) * mean
    return drawn


def _of_all(logits: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sample variance of all numbers in the window around each inner pixel, float32."""
    there = ~np.isnan(logits)
    values = np.where(there, logits, 0).astype(np.float64)
    count = np.maximum(window_sum(there, window, np.int32), 1)
    mean = window_sum(values, window, np.float64) / count
    squares = window_sum(values**2, window, np.float64) - count * mean**2
    variance = np.where(count > 1, np.maximum(squares, 0) / np.maximum(count - 1, 1), 0)
    return mean.astype(np.float32), variance.astype(np.float32)


def _of_highest(around: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sample variance of the highest of each row's numbers, float32 (n,); NaN is none."""
    there = ~np.isnan(around)
    count = there.sum(axis=1)
    mean, variance = (np.zeros(len(around), np.float32) for _ in range(2))
    for number in np.unique(count).tolist():
        if not number:
            continue
        used = max(1, math.ceil(fraction * number))
        rows = np.flatnonzero(count == number)
        low = np.where(there[rows], around[rows], -np.inf)
        if used < low.shape[1]:
            low = np.partition(low, low.shape[1] - used, axis=1)[:, low.shape[1] - used :]
        mean[rows] = low.mean(axis=1)
        if used > 1:  # else there is no variance: the pixel is all that is known
            variance[rows] = low.var(axis=1, ddof=1)
    return mean, variance
