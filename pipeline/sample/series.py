"""Monthly series of single pixels for training, made as those of the sample archive."""

from collections.abc import Sequence

import numpy as np

from pipeline.observations.monthly_median import monthly_medians
from pipeline.sample.classes import CLASS_COUNT, CLOUD, SHADOW, SNOW, WATER
from pipeline.sample.phenology import Parcels, draw_parcels, draw_season, reflectance
from pipeline.sample.scene import STEP, Conditions, draw_conditions, measurement_spread
from pipeline.sample.weather import Overpass, overpasses

_BATCH = 600  # pixels that share a year's weather and overpasses
_MOST_VEIL, _LEAST_LIGHT = 0.10, 0.62  # of observations that count as clear


def sample_series(
    seed: int, count: int, land: Sequence[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the series of `count` pixels; the same seed gives the same series.

    Every 600 pixels have a year of their own: season, overpasses, cloudiness. Clear observations
    are composited as in a run (monthly median; a month without any is filled by the year's). Thin
    cloud and half-shadow that the scene classification misses stay in, and every fourth pixel
    holds a part of another parcel; its class is that of the larger part.

    Args:
        seed: The seed of the series.
        count: The number of pixels.
        land: The classes to draw from; by default all.

    Returns:
        Classes, int (n,), and series, uint16 (n, month, band).
    """
    choices = np.arange(CLASS_COUNT) if land is None else np.asarray(land)
    parts = []
    for start in range(0, count, _BATCH):
        rng = np.random.default_rng([seed, 9, start])
        n = min(_BATCH, count - start)
        own = rng.choice(choices, n)
        parts.append((own, _year(own, rng)))
    lands, series = zip(*parts, strict=True)
    return np.concatenate(lands), np.concatenate(series)


def _year(land: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One year of a pixel of each class in `land`, int (n,): uint16 (n, month, band)."""
    n = len(land)
    season = draw_season(rng)
    own = draw_parcels(land, rng, season)
    other = draw_parcels(rng.integers(0, CLASS_COUNT, n), rng, season)
    strange = np.where(rng.uniform(size=n) < 0.25, rng.uniform(0, 0.45, n), 0.0)[:, None]
    texture = rng.normal(1, 0.04, (n, 1))
    passes = overpasses(2021, int(rng.integers(1, 5)), int(rng.integers(1 << 31)))
    swaths = rng.integers(0, 3, n)  # seen from the first orbit, the second, or both
    numbers = sorted({overpass.orbit.number for overpass in passes})
    values = np.zeros((len(passes), n, len(CLOUD)), np.uint16)
    snowy = rng.choice([k for k, p in enumerate(passes) if p.moment.month in (1, 2)])
    for k, overpass in enumerate(passes):
        conditions = draw_conditions(overpass, k == snowy)
        ground = (1 - strange) * _covered(own, overpass, conditions, rng)
        ground += strange * _covered(other, overpass, conditions, rng)
        seen = swaths != 1 - numbers.index(overpass.orbit.number)
        values[k] = _clear_values(ground * texture, overpass, conditions, seen, rng)
    month = np.array([overpass.moment.month - 1 for overpass in passes])
    acquisition = np.arange(len(passes))
    series = [
        monthly_medians(band, band > 0, month, acquisition)[:, 0]
        for band in np.moveaxis(values, 2, 0)[:, :, None, :]
    ]
    made = np.moveaxis(np.array(series), (0, 1, 2), (2, 1, 0))
    unseen = (made == 0).all(axis=(1, 2))
    if unseen.any():  # a pixel without a clear day in its year is drawn again
        made[unseen] = _year(land[unseen], rng)
    return np.ascontiguousarray(made)


def _covered(
    parcels: Parcels, overpass: Overpass, conditions: Conditions, rng: np.random.Generator
) -> np.ndarray:
    """Reflectance of parcels under the day's wetness and snow, float32 (n, band)."""
    bare = reflectance(parcels, overpass.day, conditions.wetness)
    depth = np.clip(conditions.snow * rng.uniform(0.6, 1.1, (len(parcels), 1)), 0, 1)
    # The scene classification finds most snow; it takes some for bare ground.
    missed = depth * (rng.uniform(size=(len(parcels), 1)) < 0.05)
    return bare + missed * (SNOW - bare) * (parcels.land != WATER)[:, None]


def _clear_values(
    ground: np.ndarray,
    overpass: Overpass,
    conditions: Conditions,
    seen: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """The values of an overpass where it counts as clear: uint16 (n, band), 0 elsewhere."""
    n, cover = len(ground), overpass.cloud_cover
    veil = np.where(rng.uniform(size=n) < 0.3, rng.exponential(0.06, n), 0.0)
    veil = np.where(rng.uniform(size=n) < cover, 1.0, veil)[:, None]
    shaded = rng.uniform(size=n) < 1.2 * cover * (1 - cover)
    light = np.where(shaded, rng.uniform(0.05, 1.0, n), 1.0)[:, None]
    is_clear = seen & (veil[:, 0] < _MOST_VEIL) & (light[:, 0] > _LEAST_LIGHT)
    haze = conditions.haze * np.linspace(1.5, 0.1, len(CLOUD))
    value = (ground * conditions.gain + haze) * (light + (1 - light) * SHADOW)
    value = value + veil * (CLOUD * (0.8 + 0.5 * veil) - value)
    value = value + measurement_spread(value) * rng.standard_normal(value.shape)
    counted = np.clip(np.round(value / STEP) * STEP, STEP, 16000).astype(np.uint16)
    return np.where(is_clear[:, None], counted, 0).astype(np.uint16)
