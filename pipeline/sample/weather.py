"""Overpasses of Sentinel-2: their dates, their swaths, and the clouds of each.

Two relative orbits, as in Sentinel-2's real plan: each is passed every ten days by each of two
satellites, five days apart (Drusch et al. 2012); it descends at about 13° from south at this
latitude and the edge of its 290 km swath crosses the area. Cloud cover is mostly little or
nearly all of the sky (a beta distribution) and follows the year as over western Central Europe
(Wilson & Jetz 2016), cloudiest from November to February, with skies a little clearer than there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

FOG_MONTH = 12
"""The month in which fog over the lake and the river hides a part of the area all the time."""

FOG = (-1000.0, -300.0, 900.0)
"""Centre (x, y) and radius in metres of the plane of that fog."""

_CLOUDINESS = (0.60, 0.56, 0.50, 0.46, 0.44, 0.42, 0.38, 0.38, 0.42, 0.50, 0.60, 0.62)
_Pass = tuple[str, datetime, int]  # platform, moment, absolute orbit
_TILT = np.tan(np.radians(13.0))


@dataclass(frozen=True)
class Orbit:
    """A relative orbit, whose swath's edge crosses the area.

    Attributes:
        edge: Where the edge meets the x axis of the plane, in metres; it leans as the orbit does.
        side: −1 if the swath lies west of its edge, 1 if east.
        phase: The day, in a cycle of ten, on which Sentinel-2A passes.
        clock: Seconds of the day (UTC).
    """

    number: int
    edge: float
    side: int
    phase: int
    clock: float


ORBITS = (Orbit(8, 1900.0, -1, 3, 38790.3), Orbit(108, -800.0, 1, 6, 37870.6))


@dataclass(frozen=True)
class Overpass:
    """One overpass of one satellite; `edge` differs a little from `Orbit.edge` each time."""

    orbit: Orbit
    platform: str  # A or B
    moment: datetime
    absolute_orbit: int
    edge: float
    cloud_cover: float  # share of the sky
    seed: tuple[int, ...]

    @property
    def day(self) -> float:
        """Day of the year, from 1."""
        return self.moment.timetuple().tm_yday

    def is_seen(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether places of the plane (metres) lie in the swath: bool of their shape."""
        return self.orbit.side * (x - self.edge - _TILT * y) >= 0

    def swath(self, reach: float) -> list[tuple[float, float]]:
        """Corners (metres of the plane) of the swath's part within `reach` of the origin."""
        far = self.edge + self.orbit.side * 4 * reach
        low, high = self.edge - _TILT * reach, self.edge + _TILT * reach
        return [(low, -reach), (far, -reach), (far, reach), (high, reach)]


def overpasses(year: int, per_month: int, seed: int) -> list[Overpass]:
    """The overpasses of a year by time, at most `per_month` of each orbit (6 is all)."""
    chosen = []
    for number, orbit in enumerate(ORBITS):
        for month in range(1, 13):
            rng = np.random.default_rng([seed, 2, number, month])
            passes = _thinned(list(_passes(orbit, year, month)), per_month)
            ranks = (rng.permutation(len(passes)) + rng.uniform(size=len(passes))) / len(passes)
            mean = _CLOUDINESS[month - 1]
            draws = np.quantile(rng.beta(0.7 * mean, 0.7 * (1 - mean), 4000), ranks)
            for (platform, moment, absolute), cover in zip(passes, draws, strict=True):
                edge = orbit.edge + rng.normal(0, 220)
                cloud_cover = 0.0 if cover < 0.04 else 1.0 if cover > 0.96 else float(cover)
                of_day = (seed, 3, orbit.number, moment.timetuple().tm_yday)
                chosen.append(
                    Overpass(orbit, platform, moment, absolute, edge, cloud_cover, of_day)
                )
    return sorted(chosen, key=lambda overpass: overpass.moment)


@dataclass(frozen=True)
class Sky:
    """Clouds over the area at one overpass, on a grid of `step` metres in the plane.

    Attributes:
        opacity: float32 (row, column), first row north: 0 clear … 1 opaque.
        cirrus: The same for thin high cloud.
        light: The share of direct sunlight that reaches the ground.
    """

    step: float
    opacity: np.ndarray
    cirrus: np.ndarray
    light: np.ndarray


def make_sky(overpass: Overpass, reach: float) -> Sky:
    """Draw the sky within `reach` metres of the plane's origin, with the shadows of its clouds."""
    rng = np.random.default_rng(overpass.seed)
    step, margin = 40.0, 4000.0
    n = int(np.ceil(2 * (reach + margin) / step / 16)) * 16
    billows = _cloudy(rng, n)
    cover = overpass.cloud_cover
    if cover in (0.0, 1.0):
        opacity = np.full((n, n), cover, np.float32)
    else:
        threshold = np.quantile(billows, 1 - cover)
        softness = rng.uniform(0.12, 0.3)
        opacity = np.clip((billows - threshold) / softness + 0.25, 0, 1)
    veil = _cloudy(rng, n)
    amount = rng.uniform(0, 1) * (0.25 + 0.75 * (rng.uniform() < 0.35))
    cirrus = np.clip((veil - np.quantile(veil, 1 - 0.35 * amount)) * 0.35, 0, 0.4)
    height = rng.uniform(700, 2300)
    sun = sun_elevation(overpass.day)
    throw = height / np.tan(np.radians(sun))
    azimuth = np.radians(SUN_AZIMUTH)
    rows = round(np.cos(azimuth) * throw / step)  # shadows fall away from the sun
    columns = round(-np.sin(azimuth) * throw / step)
    shade = np.roll(opacity, (rows, columns), axis=(0, 1))
    light = 1 - 0.95 * np.clip(shade * 1.3, 0, 1)
    if overpass.moment.month == FOG_MONTH:
        across = (np.arange(n) + 0.5) * step - n * step / 2
        away = np.hypot(across[None, :] - FOG[0], -across[:, None] - FOG[1])
        opacity = np.maximum(opacity, np.clip((FOG[2] + 250 - away) / 250, 0, 1))
    cut = int(margin / step)
    inner = (slice(cut, n - cut), slice(cut, n - cut))
    fields = (np.ascontiguousarray(f[inner], np.float32) for f in (opacity, cirrus, light))
    return Sky(step, *fields)


SUN_AZIMUTH = 160.0
"""Degrees from north at the hour of the overpasses (10:30 local solar time), the year's mean."""


def sun_elevation(day: float) -> float:
    """Sun's elevation in degrees at half past ten local time at 49.6° N (Cooper's declination)."""
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + day) / 365)
    latitude, hour = np.radians(49.6), np.radians(-20.0)
    sine = np.sin(latitude) * np.sin(declination)
    sine += np.cos(latitude) * np.cos(declination) * np.cos(hour)
    return float(np.degrees(np.arcsin(sine)))


def _passes(orbit: Orbit, year: int, month: int) -> Iterator[_Pass]:
    day = datetime(year, month, 1, tzinfo=UTC)
    while day.month == month:
        since = (day - datetime(2020, 1, 1, tzinfo=UTC)).days
        if (since - orbit.phase) % 5 == 0:
            platform = "AB"[(since - orbit.phase) // 5 % 2]
            absolute = {"A": 23650, "B": 14740}[platform] + int(since * 143 / 10)
            yield platform, day + timedelta(seconds=orbit.clock), absolute
        day += timedelta(days=1)


def _thinned(passes: list[_Pass], count: int) -> list[_Pass]:
    """About `count` passes spread over the month, the satellites in turn."""
    if count >= len(passes):
        return passes
    chosen: list[int] = []
    for k in range(count):
        index = int((k + 0.5) * len(passes) / count)
        if chosen and passes[index][0] == passes[chosen[-1]][0]:
            index += 1 if index + 1 < len(passes) else -1
        chosen.append(index)
    return [passes[index] for index in sorted(set(chosen))]


def _cloudy(rng: np.random.Generator, n: int) -> np.ndarray:
    """A field whose power falls with frequency to the −11/3, as cloud fields' does; (n, n)."""
    frequency = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None, :])
    frequency[0, 0] = np.inf
    scale = np.maximum(frequency, 1.5 / n) ** (-11 / 6)
    scale[0, 0] = 0
    spectrum = np.fft.rfft2(rng.standard_normal((n, n))) * scale
    field = np.fft.irfft2(spectrum, (n, n))
    return field / field.std()
