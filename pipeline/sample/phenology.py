"""Parcels of land and their reflectance on a day of the year.

Cover rises and falls as logistic curves of time (Zhang et al. 2003, Beck et al. 2006). Every parcel
has its own dates, cover and soil, drawn about those of its class (`classes.toml`).
"""

from dataclasses import dataclass

import numpy as np

from pipeline.sample.classes import (
    DRY,
    FLOWERING,
    GRASSLAND,
    GREEN,
    GROUND,
    RAPESEED,
    WATER,
    class_table,
)

_NEVER = 900.0  # in `classes.toml`, a day of the year that does not come
_MOWINGS = 3


@dataclass(frozen=True)
class Parcels:
    """Pieces of land of one class each, and the traits that vary between them; n rows each.

    Days are days of the year, widths are days, all others are shares of the ground or factors.
    """

    land: np.ndarray  # class index, int (n,)
    days: np.ndarray  # (n, 7): winter end, green-up, senescence, regrowth, cut, ploughed, flower
    widths: np.ndarray  # (n, 4): of winter end, green-up, senescence and flowering
    covers: np.ndarray  # (n, 4): green in winter, at the peak, regrown; seasonless dry matter
    litter: np.ndarray  # (n, 3): share of what is not green that is dry: growing, ripe, cut
    flower: np.ndarray  # (n,): share of the leaves that flowers hide at their peak
    mowing: np.ndarray  # (n, 3, 2): day and depth
    canopy: np.ndarray  # (n, band): factor of the green canopy's reflectance
    ground: np.ndarray  # (n, band): factor of the ground's reflectance

    def __len__(self) -> int:
        return len(self.land)


@dataclass(frozen=True)
class Season:
    """A year's difference from the mean: days earlier (−) or later, and dryness 0 … 1."""

    spring: float
    autumn: float
    drought: float


def draw_season(rng: np.random.Generator) -> Season:
    """A year's weather: spring and harvest shift by about a week between years."""
    spring = float(np.clip(rng.normal(0, 5), -12, 12))
    return Season(spring, float(np.clip(0.4 * spring + rng.normal(0, 4), -12, 12)), rng.uniform())


_AUTUMNAL = (2, 3, 4, 5)  # columns of `days` that the autumn's shift moves
_VERNAL = (0, 1, 6)


def draw_parcels(land: np.ndarray, rng: np.random.Generator, season: Season) -> Parcels:
    """Draw one parcel for each class in `land`, int (n,) of 0 … 11, in one season."""
    land = np.asarray(land, np.intp)
    n = len(land)

    def drawn(table: str) -> np.ndarray:
        mean, spread = np.moveaxis(class_table(table)[land], 2, 0)
        return mean + spread * np.clip(rng.standard_normal(mean.shape), -2.2, 2.2)

    days = drawn("days")
    days[:, _VERNAL] += season.spring
    days[:, _AUTUMNAL] += season.autumn
    covers = np.clip(drawn("covers"), 0.0, 0.99)
    widths = class_table("widths")[land] * rng.uniform(0.8, 1.25, (n, 4))
    litter = np.clip(class_table("litter")[land] + rng.normal(0, 0.05, (n, 3)), 0, 0.98)
    litter[:, 0] += np.where(land == GRASSLAND, 0.2 * season.drought, 0)
    covers[:, 3] = np.where(land == GRASSLAND, rng.uniform(0, 0.12, n) * season.drought, 0)
    canopy_spread, ground_spread = class_table("spreads")[land].T
    return Parcels(
        land=land,
        days=days,
        widths=widths,
        covers=covers,
        litter=litter,
        flower=np.where(land == RAPESEED, rng.uniform(0.65, 0.95, n), 0.0),
        mowing=_draw_mowing(land, rng, season),
        canopy=_tinted(canopy_spread, rng),
        ground=_tinted(ground_spread, rng),
    )


def reflectance(parcels: Parcels, day: float | np.ndarray, wetness: float = 0.0) -> np.ndarray:
    """Surface reflectance × 10000 of each parcel on a day of the year: float32 (n, band).

    `day` may differ from parcel to parcel (n,). `wetness` 0 … 1 darkens bare ground, most in the
    short-wave infrared (Lobell & Asner 2002).
    """
    green, dry, flower = cover(parcels, day)
    leaves = GREEN[parcels.land]
    leaves = leaves + flower[:, None] * (FLOWERING - leaves)
    ground = GROUND[parcels.land] * parcels.ground
    soaked = np.where(parcels.land == WATER, 0.0, wetness)[:, None]
    ground = ground * (1 - soaked * np.linspace(0.28, 0.42, leaves.shape[1]))
    mixed = (
        green[:, None] * leaves * parcels.canopy
        + dry[:, None] * DRY[parcels.land] * (0.5 + 0.5 * parcels.canopy)
        + (1 - green - dry)[:, None] * ground
    )
    return mixed.astype(np.float32)


def cover(parcels: Parcels, day: float | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of green cover, of dry matter, and of the green that flowers hide; each (n,)."""
    winter_end, green_up, senescence, regrowth, cut, ploughed, flowering = parcels.days.T
    w_winter, w_up, w_down, w_flower = parcels.widths.T
    winter, peak, regrown, bottom = parcels.covers.T
    up = _rise(day, green_up, w_up)
    down = _rise(day, senescence, w_down)
    base = winter * (1 - _rise(day, winter_end, w_winter))
    green = base + (peak - winter * (winter_end >= _NEVER / 2)) * up * (1 - down)
    green = np.minimum(green, peak) + regrown * _rise(day, regrowth, 9.0)
    since = np.subtract(day, parcels.mowing[:, :, 0].T).T
    regrowing = np.where(since < 0, 0.0, np.exp(-np.maximum(since, 0) / 16.0))
    green = green * np.prod(1 - parcels.mowing[:, :, 1] * regrowing, axis=1)
    harvested = _rise(day, cut, 1.5)
    growing, ripe, stubble = parcels.litter.T
    share = growing + (ripe - growing) * down + (stubble - ripe) * harvested
    share = share * (1 - _rise(day, ploughed, 1.5) * (ploughed < _NEVER / 2) * 0.9)
    summer = np.exp(-(((np.asarray(day) - 215.0) / 35.0) ** 2))
    green = np.clip(green * (1 - bottom * 4 * summer), 0, 1)
    flower = parcels.flower * np.exp(-(((day - flowering) / w_flower) ** 2))
    return green, np.clip(share, 0, 1) * (1 - green), flower


def _rise(day: float | np.ndarray, middle: np.ndarray, width: np.ndarray | float) -> np.ndarray:
    """The logistic curve from 0 to 1 about `middle`."""
    return 1.0 / (1.0 + np.exp(-np.clip((day - middle) / width, -40, 40)))


def _draw_mowing(land: np.ndarray, rng: np.random.Generator, season: Season) -> np.ndarray:
    n = len(land)
    day = np.array([142.0, 196.0, 252.0]) + rng.normal(0, 9, (n, _MOWINGS)) + season.spring
    mown = (rng.uniform(size=(n, _MOWINGS)) < 0.55) & (land == GRASSLAND)[:, None]
    depth = np.where(mown, rng.uniform(0.2, 0.6, (n, _MOWINGS)), 0.0)
    return np.stack([day, depth], axis=2)


def _tinted(spread: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Factors (n, band): brightness, a tilt from blue to infrared, and a little of each band."""
    n, bands = len(spread), len(FLOWERING)
    normal = np.clip(rng.standard_normal((n, 2 + bands)), -2.2, 2.2)
    tilt = np.linspace(-1, 1, bands)
    log = normal[:, :1] + 0.35 * normal[:, 1:2] * tilt + 0.2 * normal[:, 2:]
    return np.exp(spread[:, None] * log)
