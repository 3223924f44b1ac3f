"""Series of twelve months from longer series of ten days to half a year."""

import numpy as np

from models.encoder.preprocessing import MONTHS
from pipeline.real_land.tables import LabelledPoints

_THINNED, _LOST = 0.7, 0.4  # share of months that lose steps, and of steps that these lose


def last_years(points: LabelledPoints) -> np.ndarray:
    """The medians of each point's last twelve months: uint16 (n, 12, band), 0 = no observation."""
    start = points.months - MONTHS
    return _composited(points, start, _is_seen(_window(points, start)))


def drawn_years(points: LabelledPoints, rng: np.random.Generator) -> np.ndarray:
    """Twelve consecutive months of each point, drawn at random: uint16 (n, 12, band).

    A month with several steps may lose some of them, as to clouds, but never all.
    """
    start = (rng.uniform(size=len(points)) * (points.months - MONTHS + 1)).astype(np.int64)
    seen = _is_seen(_window(points, start))
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


def _is_seen(window: np.ndarray) -> np.ndarray:
    """Which steps have values: bool (n, month, step). A band may be absent from a whole table."""
    return np.isfinite(window).any(axis=3)


def _composited(points: LabelledPoints, start: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The median of the kept steps of each month; January comes first."""
    values = _window(points, start)
    hidden = ~kept[..., None] | np.isnan(values)
    medians = np.ma.median(np.ma.masked_array(values, hidden), axis=2)
    # 0 means no observation, so that an observed value is at least 1.
    composite = np.where(
        np.ma.getmaskarray(medians), 0, np.maximum(np.rint(medians.filled(0.0)), 1)
    )
    calendar = (points.first + start)[:, None] + np.arange(MONTHS)
    january_first = np.argsort(calendar % MONTHS, axis=1)
    return np.take_along_axis(composite, january_first[:, :, None], axis=1).astype(np.uint16)
