"""Made series of land covers: mixtures of materials whose shares follow a season drawn at random.

A few labelled regions know a class by their own calendar and soil. These series know neither: a
season may begin in any month, soils, canopies and amplitudes are drawn widely, and what is left is
what makes the class: water is dark beyond 0.7 µm, a crop is bare before and after its one or two
short seasons, a rainforest is dark and green all year.
"""

import tomllib
from collections.abc import Callable, Collection, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from models.encoder.preprocessing import BANDS, MONTHS
from pipeline.real_land.tables import LabelledPoints
from pipeline.real_land.wordings import group

_SOILS = ("brown_soil", "dark_soil", "red_soil", "pale_soil")
MADE = "made"
"""The name of the made series as a table and as a place."""

MADE_PER_CLASS = 600
"""Made series of each class that the shipped checkpoint is trained on."""

_YEAR = 2021  # as good as any
_NOISE = 15.0  # reflectance × 10000, standard deviation of every value
_BLENDED = 0.15  # highest share of another class within a pixel, in half of the pixels


def made_series(
    per_class: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[frozenset[str]]]:
    """Series of all classes: `per_class` of each, or two or three times that where they vary most.

    Returns:
        uint16 (n, 12, band), reflectance × 10000, all months seen; and what each may be, as
        `LabelledPoints.classes`.
    """
    parts, classes = [], []
    for makes, maker, times in _CLASSES:
        count = times * per_class
        parts.append(maker(Draws(count, rng)))
        classes += [frozenset(makes)] * count
    series = np.concatenate(parts)
    n = len(series)
    share = rng.uniform(0, _BLENDED, (n, 1, 1)) * (rng.random((n, 1, 1)) < 0.5)
    series = (1 - share) * series + share * series[rng.permutation(n)]
    series *= np.exp(0.05 * rng.standard_normal((n, 1, len(BANDS))))
    series *= np.exp(0.04 * rng.standard_normal((n, MONTHS, 1)))
    series += rng.normal(0, _NOISE, series.shape)
    return series.clip(1, 20_000).round().astype(np.uint16), classes


def made_points(per_class: int, rng: np.random.Generator) -> LabelledPoints:
    """The series of `made_series` as points of the place `MADE`.

    Their coordinates, one block each, mean nothing.
    """
    series, classes = made_series(per_class, rng)
    n = len(series)
    steps = np.full((n, MONTHS, 1, len(BANDS)), np.nan, np.float32)
    steps[:, :, 0] = series
    lon, lat = rng.uniform(-180, 180, n), rng.uniform(-60, 60, n)
    labels = np.array(["/".join(sorted(one)) for one in classes])
    return LabelledPoints(
        ids=np.array([f"{MADE}-{number}" for number in range(n)]),
        tables=np.full(n, MADE),
        places=np.full(n, MADE),
        labels=labels,
        classes=np.array([*classes, None], object)[:-1],
        lon=lon,
        lat=lat,
        blocks=np.array([f"{MADE} {number}" for number in range(n)]),
        year=np.full(n, _YEAR),
        first=np.full(n, _YEAR * MONTHS),
        months=np.full(n, MONTHS),
        steps=steps,
    )


@cache
def _materials() -> dict[str, np.ndarray]:
    content = Path(__file__).with_name("made_materials.toml").read_text(encoding="utf-8")
    return {name: np.array(values, float) for name, values in tomllib.loads(content).items()}


class Draws:
    """Random numbers, curves and spectra for n pixels of a class."""

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        self.n, self.rng = n, rng

    def uniform(self, low: float, high: float) -> np.ndarray:
        """A number of each pixel: (n, 1)."""
        return self.rng.uniform(low, high, (self.n, 1))

    def chance(self, probability: float) -> np.ndarray:
        """True with this probability: bool (n, 1)."""
        return self.rng.random((self.n, 1)) < probability

    def season(
        self,
        peak: np.ndarray | None = None,
        width: tuple[float, float] = (1.5, 3.5),
        power: tuple[float, float] = (1.5, 4),
    ) -> np.ndarray:
        """A curve of 0 … 1 over the months, its peak at any time of the year by default: (n, 12).

        It is exp(−(d / width) ^ power), d the distance to the peak in months around the year.
        """
        peak = self.uniform(0, MONTHS) if peak is None else peak
        half = MONTHS / 2
        distance = np.abs((np.arange(MONTHS) - peak + half) % MONTHS - half)
        curve: np.ndarray = np.exp(-((distance / self.uniform(*width)) ** self.uniform(*power)))
        return curve

    def spectrum(self, names: Sequence[str], spread: float = 0.12) -> np.ndarray:
        """A mixture of materials in random shares, more or less bright: (n, 1, band)."""
        shares = self.rng.dirichlet([0.7] * len(names), self.n)
        mixture = shares @ np.array([_materials()[name] for name in names])
        bright = np.exp(spread * self.rng.standard_normal((self.n, 1)))
        return np.asarray(mixture * bright)[:, None]

    def soil(self, names: Sequence[str] = _SOILS) -> np.ndarray:
        """A soil that is darker where it is wet: (n, 12, band)."""
        noise = np.exp(0.12 * self.rng.standard_normal((self.n, MONTHS)))
        wet = 1 - 0.15 * self.season()
        return self.spectrum(names, 0.2) * (noise * wet)[..., None]


def _mixed(*parts: tuple[np.ndarray, np.ndarray], rest: np.ndarray) -> np.ndarray:
    """Spectra in shares (n, 12), and `rest` in the share that they leave: (n, 12, band)."""
    left = np.clip(1 - sum(share for share, _ in parts), 0, 1)
    total = left[..., None] * rest
    for share, spectrum in parts:
        total = total + share[..., None] * spectrum
    return np.asarray(total)


def _water(d: Draws) -> np.ndarray:
    level = np.exp(0.25 * d.uniform(0.2, 1) * d.rng.standard_normal((d.n, MONTHS)))
    glint = d.uniform(0, 250) * (d.rng.random((d.n, MONTHS)) < 0.3)
    water = d.spectrum(("clear_water", "green_water", "turbid_water"))
    return water * level[..., None] + glint[..., None]


def _evergreen(leaves: Sequence[str]) -> Callable[[Draws], np.ndarray]:
    def make(d: Draws) -> np.ndarray:
        green = d.uniform(0.85, 1) - d.uniform(0, 0.12) * d.season()
        return _mixed(
            (green, d.spectrum(leaves)),
            (0.7 * (1 - green), d.spectrum(("litter",))),
            rest=d.soil(("dark_soil", "brown_soil")),
        )

    return make


def _deciduous_forest(d: Draws) -> np.ndarray:
    bare, season = d.uniform(0.05, 0.35), d.season(width=(2.6, 4), power=(3, 7))
    green = bare + (d.uniform(0.85, 1) - bare) * season
    return _mixed(
        (green, d.spectrum(("broad_leaves", "rainforest"))),
        ((1 - green) * d.uniform(0.6, 0.95), d.spectrum(("litter", "dark_soil"))),
        rest=d.soil(("dark_soil", "brown_soil")),
    )


def _open_trees(d: Draws) -> np.ndarray:
    crowns = d.uniform(0.35, 0.75) + np.zeros(MONTHS)
    grass = (1 - crowns) * (d.uniform(0.1, 0.4) + d.uniform(0.3, 0.6) * d.season())
    return _mixed(
        (crowns, d.spectrum(("broad_leaves", "needles", "rainforest"))),
        (grass, d.spectrum(("herbs",))),
        rest=d.spectrum(("dry_grass", "litter")),
    )


def _grassland(d: Draws) -> np.ndarray:
    # From lush meadows to sparse dry grass between stones.
    least, cover = d.uniform(0.03, 0.5), d.uniform(0.45, 1)
    most = np.minimum(least + d.uniform(0.1, 0.6), 0.97)
    green = (least + (most - least) * d.season(width=(1.8, 3.8), power=(1.5, 3))) * cover
    return _mixed(
        (green, d.spectrum(("herbs", "herbs", "lush_herbs"))),
        ((cover - green).clip(0), d.spectrum(("dry_grass", "straw", "litter"))),
        rest=d.soil((*_SOILS, "rock")),
    )


def _savanna(d: Draws) -> np.ndarray:
    trees = d.uniform(0.1, 0.35) + np.zeros(MONTHS)
    green = d.uniform(0.1, 0.35) + d.uniform(0.2, 0.45) * d.season(width=(2, 3.8))
    green = (1 - trees) * green
    dry = (1 - trees - green) * d.uniform(0.7, 1)
    return _mixed(
        (trees, d.spectrum(("broad_leaves", "rainforest"))),
        (green, d.spectrum(("herbs",))),
        (dry, d.spectrum(("dry_grass", "litter"))),
        rest=d.soil(),
    )


def _shrubland(d: Draws) -> np.ndarray:
    green = d.uniform(0.15, 0.5) + d.uniform(0.03, 0.25) * d.season()
    return _mixed(
        (green, 0.87 * d.spectrum(("broad_leaves", "needles", "herbs"))),
        (np.minimum(d.uniform(0.1, 0.4), 1 - green), d.spectrum(("litter", "dry_grass"))),
        rest=d.soil(),
    )


def _wetland(d: Draws) -> np.ndarray:
    green = d.uniform(0.15, 0.45) + d.uniform(0.25, 0.5) * d.season(width=(1.8, 3.8))
    green = np.minimum(green, 0.97)
    wet = d.uniform(0.05, 0.7) * (1 - green) * (1 - 0.5 * d.season(width=(1, 2.5)))
    return _mixed(
        (green, d.spectrum(("herbs", "broad_leaves", "lush_herbs"))),
        (wet, d.spectrum(("clear_water", "green_water", "turbid_water"))),
        rest=d.spectrum(("litter", "dry_grass", "dark_soil", "dark_soil")),
    )


def _bare(ground: Sequence[str]) -> Callable[[Draws], np.ndarray]:
    def make(d: Draws) -> np.ndarray:
        green = d.uniform(0, 0.12) * (1 + d.season(width=(1.2, 3)))
        return _mixed(
            (green, d.spectrum(("herbs",))),
            (d.uniform(0, 0.15) + np.zeros(MONTHS), d.spectrum(("dry_grass",))),
            rest=d.soil(ground),
        )

    return make


def _built_up(least: float, most: float) -> Callable[[Draws], np.ndarray]:
    def make(d: Draws) -> np.ndarray:
        # Lawns that are mown and hedges change less over a year than crops; some gardens do not.
        steady = d.uniform(0.75, 1) + 0.15 * d.season(width=(2, 4))
        seasonal = d.uniform(0.4, 0.9) + 0.4 * d.season(width=(2, 4))
        garden = np.where(d.chance(0.6), steady, seasonal)
        roofs = ("bright_roof", "slate", "roof_tiles", "metal_roof")
        ground = ("asphalt", "asphalt", "gravel", "brown_soil")
        return _mixed(
            (
                d.uniform(least, most) * garden,
                d.spectrum(("herbs", "lush_herbs", "broad_leaves", "needles")),
            ),
            (d.uniform(0, 0.12) + np.zeros(MONTHS), d.spectrum(("litter", "dry_grass"))),
            rest=d.spectrum(roofs + ground, 0.25),
        )

    return make


def _annual_crop(d: Draws) -> np.ndarray:
    peak = d.uniform(0, MONTHS)
    first = d.uniform(0.6, 1) * d.season(peak, (0.9, 2.2), (1.8, 4))
    second = d.uniform(0.3, 0.9) * d.season(peak + d.uniform(4.5, 7.5), (0.7, 1.6), (1.8, 4))
    weeds = d.uniform(0, 0.25) * d.season(width=(1, 3))
    green = np.maximum(np.maximum(first, second * d.chance(0.3)), weeds)
    stubble = d.uniform(0.2, 0.9) * d.season(peak + d.uniform(1.5, 3), (0.7, 2.5))
    return _mixed(
        (green, d.spectrum(("herbs", "lush_herbs", "lush_herbs"))),
        (np.minimum(stubble, 1 - green) * d.chance(0.8), d.spectrum(("straw", "dry_grass"))),
        rest=d.soil(),
    )


def _orchard(d: Draws) -> np.ndarray:
    crowns, season = d.uniform(0.25, 0.7), d.season(width=(2.3, 3.6), power=(2.5, 5))
    green = crowns * np.where(d.chance(0.6), 0.15 + 0.85 * season, 1)
    under = d.uniform(0, 0.5) * d.season() * (1 - crowns)
    return _mixed(
        (np.minimum(green + under, 0.97), d.spectrum(("broad_leaves", "herbs", "broad_leaves"))),
        (d.uniform(0, 0.2) + np.zeros(MONTHS), d.spectrum(("litter", "dry_grass"))),
        rest=d.soil(),
    )


def _cleared_forest(d: Draws) -> np.ndarray:
    at, month = d.rng.integers(1, MONTHS - 1, (d.n, 1)), np.arange(MONTHS)
    regrown = d.uniform(0, 0.5) * ((month - at) / 6).clip(0, 1)
    burnt = 0.6 * (d.chance(0.5) & (month >= at) & (month < at + 2))
    after = _mixed(
        (burnt, d.spectrum(("char",))),
        (regrown * (1 - burnt), d.spectrum(("herbs",))),
        (d.uniform(0.2, 0.6) * (1 - regrown) * (1 - burnt), d.spectrum(("litter", "straw"))),
        rest=d.soil(("red_soil", "brown_soil", "dark_soil")),
    )
    before = d.spectrum(("rainforest", "broad_leaves"))
    return np.where((month < at)[..., None], before, after)


def _snow(d: Draws) -> np.ndarray:
    cover = d.uniform(0.6, 1) * (1 - d.uniform(0, 0.6) * d.season(width=(1, 2.5)))
    return _mixed((cover, d.spectrum(("snow",))), rest=d.soil(("rock", "dark_rock")))


_CLASSES: tuple[tuple[Collection[str], Callable[[Draws], np.ndarray], int], ...] = (
    (("water",), _water, 1),
    (("forest_tropical",), _evergreen(("rainforest", "broad_leaves")), 1),
    (("forest_coniferous",), _evergreen(("needles", "needles", "broad_leaves")), 1),
    (("forest_broadleaved", "forest_mixed"), _deciduous_forest, 1),
    (("trees_open",), _open_trees, 1),
    (("grassland", "pasture"), _grassland, 2),
    (("savanna",), _savanna, 1),
    (("shrubland",), _shrubland, 1),
    (("herbaceous_wetland",), _wetland, 1),
    (("bare_soil",), _bare(_SOILS), 1),
    (("bare_rock",), _bare(("rock", "dark_rock", "brown_soil")), 1),
    (("sand",), _bare(("sand", "sand", "pale_soil")), 1),
    (("urban_dense",), _built_up(0, 0.3), 2),
    (("urban_open",), _built_up(0.2, 0.7), 3),
    (group("annual_crops").of, _annual_crop, 3),
    (group("vines_and_orchards").of, _orchard, 1),
    (("deforestation",), _cleared_forest, 1),
    (("snow_ice",), _snow, 1),
)
