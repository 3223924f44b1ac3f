"""Twelve-month series, January first, out of longer calendars of months or ten-day steps."""

import numpy as np

from pipeline.observations.monthly_median import MONTHS
from pipeline.real_land.tables import LabelledPoints

_THINNED, _LOST = 0.7, 0.4  # how often a month is thinned out, and how many of its steps then go


def last_years(points: LabelledPoints) -> np.ndarray:
    """The last twelve months of each point: uint16 (n, 12, band), 0 = no observation.

    A month is the median of its steps.
    """
    start = points.months - MONTHS
    return _composited(points, start, np.isfinite(_window(points, start)[..., 0]))


def drawn_years(points: LabelledPoints, rng: np.random.Generator) -> np.ndarray:
    """Any twelve months of each point, of some of their steps: uint16 (n, 12, band).

    The window begins in any month that leaves twelve; where a month has several steps, some of
    them may be lost to clouds, but never all.
    """
    start = (rng.uniform(size=len(points)) * (points.months - MONTHS + 1)).astype(np.int64)
    seen = np.isfinite(_window(points, start)[..., 0])
    lost = rng.uniform(size=seen.shape) < _LOST
    lost &= rng.uniform(size=(*seen.shape[:2], 1)) < _THINNED
    kept = seen & ~lost
    none = ~kept.any(axis=2)
    kept[none] = seen[none]
    return _composited(points, start, kept)


def _window(points: LabelledPoints, start: np.ndarray) -> np.ndarray:
    month = start[:, None] + np.arange(MONTHS)
    window: np.ndarray = points.steps[np.arange(len(points))[:, None], month]
    return window


def _composited(points: LabelledPoints, start: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The median of the kept steps of each month, rolled so that January comes first."""
    steps = np.ma.masked_array(
        _window(points, start),
        np.broadcast_to(~kept[..., None], (*kept.shape, points.steps.shape[-1])),
    )
    medians = np.ma.median(steps, axis=2).filled(0.0)
    seen = np.logical_or.reduce(kept, axis=2)
    # 0 means that there is no observation, so what was observed is 1 at least.
    values = np.where(seen[..., None], np.maximum(np.rint(medians), 1), 0)
    calendar = (points.first + start)[:, None] + np.arange(MONTHS)
    january_first = np.argsort(calendar % MONTHS, axis=1)
    return np.take_along_axis(values, january_first[:, :, None], axis=1).astype(np.uint16)
