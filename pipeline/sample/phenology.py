"""Parcels of land and what they reflect on a day of the year.

Cover rises and falls as logistic curves of time (Zhang et al. 2003, Beck et al. 2006). Dates are
those of western Central Europe: winter wheat heads in May, turns yellow in late June and is cut
in late July; rapeseed flowers from mid-April to mid-May and is cut in July; maize emerges in May,
closes its rows in late June and is cut from mid-September; potatoes close theirs in June and are
killed in late August or September (Eurostat and JRC MARS crop calendars; Meroni et al. 2021 and
d'Andrimont et al. 2020 for Sentinel-2). Broad-leaved trees unfold in late April and turn in late
October (Menzel et al. 2006). Every parcel has its own dates, cover and soil.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.sample.classes import (
    BARE,
    BROADLEAVED,
    BUILT_UP,
    CLASS_COUNT,
    CONIFEROUS,
    ENDMEMBERS,
    FLOWERING,
    GRASSLAND,
    MAIZE,
    POTATO,
    RAPESEED,
    SHRUBLAND,
    WATER,
    WETLAND,
    WHEAT,
)

_NEVER = 900.0  # a day of the year that does not come
_ALWAYS = 1.0
_MOWINGS = 3


@dataclass(frozen=True)
class Parcels:
    """Pieces of land that are each one class, with what varies between them; n rows each.

    Days are days of the year, widths days, the rest shares of the ground or factors.
    """

    land: np.ndarray  # class index, int (n,)
    days: np.ndarray  # (n, 7): winter end, green-up, senescence, regrowth, cut, ploughed, flower
    widths: np.ndarray  # (n, 4): of winter end, green-up, senescence and flowering
    covers: np.ndarray  # (n, 4): green in winter, at the peak, regrown; seasonless dry matter
    litter: np.ndarray  # (n, 3): share of what is not green that is dry: growing, ripe, cut
    flower: np.ndarray  # (n,): how far the flowers hide the leaves at their peak
    mowing: np.ndarray  # (n, 3, 2): day and depth
    canopy: np.ndarray  # (n, band): factor of the green endmember
    ground: np.ndarray  # (n, band): factor of the ground endmember

    def __len__(self) -> int:
        return len(self.land)


@dataclass(frozen=True)
class Season:
    """How one year differs from the mean: days earlier (−) or later, and dryness."""

    spring: float
    autumn: float
    drought: float


def draw_season(rng: np.random.Generator) -> Season:
    """A year's weather: spring and harvest shift by about a week between years."""
    spring = float(np.clip(rng.normal(0, 5), -12, 12))
    return Season(spring, float(np.clip(0.4 * spring + rng.normal(0, 4), -12, 12)), rng.uniform())


# Per class: mean and spread of each quantity of `Parcels`, in its columns' order.
# fmt: off
_N, _A = _NEVER, _ALWAYS
_DAYS: dict[int, tuple[tuple[float, float], ...]] = {
    #             winter end green-up    senescence  regrowth   cut         ploughed   flower
    WHEAT:       ((172, 4), (97, 6),    (172, 5),   (272, 18), (205, 6),   (245, 15), (_N, 0)),
    MAIZE:       ((88, 12), (169, 6),   (266, 7),   (330, 12), (276, 8),   (296, 10), (_N, 0)),
    RAPESEED:    ((170, 4), (82, 6),    (170, 5),   (238, 10), (194, 5),   (_N, 0),   (121, 5)),
    POTATO:      ((84, 10), (159, 5),   (245, 8),   (318, 10), (262, 8),   (263, 8),  (_N, 0)),
    GRASSLAND:   ((_N, 0),  (93, 8),    (305, 12),  (_N, 0),   (_N, 0),    (_N, 0),   (_N, 0)),
    BROADLEAVED: ((_N, 0),  (118, 4),   (299, 6),   (_N, 0),   (_N, 0),    (_N, 0),   (_N, 0)),
    CONIFEROUS:  ((_N, 0),  (125, 6),   (290, 8),   (_N, 0),   (_N, 0),    (_N, 0),   (_N, 0)),
    SHRUBLAND:   ((_N, 0),  (114, 7),   (287, 10),  (_N, 0),   (_N, 0),    (_N, 0),   (_N, 0)),
    WETLAND:     ((_N, 0),  (136, 7),   (264, 9),   (_N, 0),   (_N, 0),    (_N, 0),   (_N, 0)),
    WATER:       ((_N, 0),  (190, 15),  (255, 12),  (_N, 0),   (_N, 0),    (_N, 0),   (_N, 0)),
    BARE:        ((_N, 0),  (130, 15),  (250, 20),  (_N, 0),   (_N, 0),    (_N, 0),   (_N, 0)),
    BUILT_UP:    ((_N, 0),  (112, 8),   (295, 10),  (_N, 0),   (_N, 0),    (_N, 0),   (_N, 0)),
}
_WIDTHS: dict[int, tuple[float, float, float, float]] = {
    WHEAT: (4, 9, 4.5, 1), MAIZE: (3, 6.5, 6, 1), RAPESEED: (4, 8, 4.5, 9), POTATO: (3, 5, 4, 1),
    GRASSLAND: (9, 11, 14, 1), BROADLEAVED: (9, 4.5, 7, 1), CONIFEROUS: (9, 14, 16, 1),
    SHRUBLAND: (9, 11, 14, 1), WETLAND: (9, 8, 9, 1), WATER: (9, 12, 12, 1),
    BARE: (9, 14, 14, 1), BUILT_UP: (9, 10, 12, 1),
}
_COVERS: dict[int, tuple[tuple[float, float], ...]] = {
    #             winter        peak          regrown      dry bottom
    WHEAT:       ((0.30, 0.09), (0.94, 0.03), (0.22, 0.18), (0.0, 0)),
    MAIZE:       ((0.20, 0.16), (0.92, 0.04), (0.12, 0.08), (0.0, 0)),
    RAPESEED:    ((0.56, 0.10), (0.96, 0.02), (0.42, 0.14), (0.0, 0)),
    POTATO:      ((0.14, 0.12), (0.95, 0.03), (0.22, 0.10), (0.0, 0)),
    GRASSLAND:   ((0.56, 0.08), (0.88, 0.05), (0.0, 0),     (0.0, 0)),
    BROADLEAVED: ((0.07, 0.03), (0.95, 0.03), (0.0, 0),     (0.0, 0)),
    CONIFEROUS:  ((0.80, 0.05), (0.95, 0.02), (0.0, 0),     (0.0, 0)),
    SHRUBLAND:   ((0.30, 0.07), (0.74, 0.07), (0.0, 0),     (0.0, 0)),
    WETLAND:     ((0.07, 0.04), (0.68, 0.08), (0.0, 0),     (0.0, 0)),
    WATER:       ((0.00, 0.00), (0.05, 0.03), (0.0, 0),     (0.0, 0)),
    BARE:        ((0.02, 0.02), (0.08, 0.05), (0.0, 0),     (0.0, 0)),
    BUILT_UP:    ((0.10, 0.05), (0.22, 0.08), (0.0, 0),     (0.0, 0)),
}
_LITTER_SHARES: dict[int, tuple[float, float, float]] = {
    #            growing ripe  cut
    WHEAT:       (0.05, 0.92, 0.55), MAIZE:      (0.08, 0.85, 0.40),
    RAPESEED:    (0.05, 0.85, 0.50), POTATO:     (0.05, 0.45, 0.10),
    GRASSLAND:   (0.45, 0.50, 0.50), BROADLEAVED: (0.80, 0.85, 0.85),
    CONIFEROUS:  (0.80, 0.80, 0.80), SHRUBLAND:  (0.75, 0.80, 0.80),
    WETLAND:     (0.55, 0.62, 0.62), WATER:      (0.50, 0.50, 0.50),
    BARE:        (0.04, 0.06, 0.06), BUILT_UP:   (0.10, 0.12, 0.12),
}
# Spread of brightness and of spectral tilt between parcels: of the canopy, of the ground.
_SPREADS: dict[int, tuple[float, float]] = {
    WHEAT: (0.07, 0.18), MAIZE: (0.07, 0.18), RAPESEED: (0.06, 0.18), POTATO: (0.06, 0.18),
    GRASSLAND: (0.09, 0.15), BROADLEAVED: (0.09, 0.12), CONIFEROUS: (0.11, 0.12),
    SHRUBLAND: (0.11, 0.14), WETLAND: (0.10, 0.20), WATER: (0.15, 0.28),
    BARE: (0.10, 0.20), BUILT_UP: (0.12, 0.24),
}
# fmt: on
_AUTUMNAL = (2, 3, 4, 5)  # columns of `days` that the autumn's shift moves
_VERNAL = (0, 1, 6)


def draw_parcels(land: np.ndarray, rng: np.random.Generator, season: Season) -> Parcels:
    """Parcels of the given classes (int (n,), 0 … 11) in one season, drawn one by one."""
    land = np.asarray(land, np.intp)
    n = len(land)

    def drawn(table: dict[int, tuple[tuple[float, float], ...]]) -> np.ndarray:
        mean, spread = np.moveaxis(np.array([table[k] for k in range(CLASS_COUNT)])[land], 2, 0)
        return mean + spread * np.clip(rng.standard_normal(mean.shape), -2.2, 2.2)

    def shares(table: Mapping[int, tuple[float, ...]]) -> np.ndarray:
        return np.array([table[k] for k in range(CLASS_COUNT)])[land]

    days = drawn(_DAYS)
    days[:, _VERNAL] += season.spring
    days[:, _AUTUMNAL] += season.autumn
    covers = np.clip(drawn(_COVERS), 0.0, 0.99)
    widths = shares(_WIDTHS) * rng.uniform(0.8, 1.25, (n, 4))
    litter = np.clip(shares(_LITTER_SHARES) + rng.normal(0, 0.05, (n, 3)), 0, 0.98)
    litter[:, 0] += np.where(land == GRASSLAND, 0.2 * season.drought, 0)
    covers[:, 3] = np.where(land == GRASSLAND, rng.uniform(0, 0.12, n) * season.drought, 0)
    canopy_spread, ground_spread = shares(_SPREADS).T
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
    leaves = ENDMEMBERS.green[parcels.land]
    leaves = leaves + flower[:, None] * (FLOWERING - leaves)
    ground = ENDMEMBERS.ground[parcels.land] * parcels.ground
    soaked = np.where(parcels.land == WATER, 0.0, wetness)[:, None]
    ground = ground * (1 - soaked * np.linspace(0.28, 0.42, leaves.shape[1]))
    mixed = (
        green[:, None] * leaves * parcels.canopy
        + dry[:, None] * ENDMEMBERS.dry[parcels.land] * (0.5 + 0.5 * parcels.canopy)
        + (1 - green - dry)[:, None] * ground
    )
    return mixed.astype(np.float32)


def cover(parcels: Parcels, day: float | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of green cover, share of dry matter, and how far flowers hide the green; each (n,)."""
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
