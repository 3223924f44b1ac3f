"""Scenes: the digital numbers and scene classification of Sentinel-2 at one overpass."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from pipeline.sample.classes import CLOUD, SHADOW, SNOW, WATER
from pipeline.sample.landscape import LandscapePixels
from pipeline.sample.phenology import Parcels, reflectance
from pipeline.sample.weather import Overpass, Sky

TEN_METRE = (0, 1, 2, 6)  # B02, B03, B04, B08 of the ten bands
TWENTY_METRE = (3, 4, 5, 7, 8, 9)
STEP = 8
"""Digital numbers come in steps: the instrument counts in 12 bits, about 4; twice that keeps the
archive small."""

_NOISE, _SPREAD = 4.0, 0.001
_THIN, _MEDIUM, _HIGH, _SHADOWED = 0.07, 0.28, 0.5, 0.62  # thresholds of the scene classification


@dataclass(frozen=True)
class Scene:
    """One acquisition on one grid: reflectance × 10000 without offset, 0 = nodata.

    Attributes:
        ten: uint16 (4, row, column): B02, B03, B04, B08.
        twenty: uint16 (6, row / 2, column / 2): B05, B06, B07, B8A, B11, B12.
        scl: uint8 (row / 2, column / 2), the scene classification.
    """

    ten: np.ndarray
    twenty: np.ndarray
    scl: np.ndarray


def measurement_spread(value: np.ndarray) -> np.ndarray:
    """Standard deviation of a measurement of `value`, both in reflectance × 10000."""
    return _NOISE + _SPREAD * value


@dataclass(frozen=True)
class Conditions:
    """The conditions of the whole area at an overpass: soil wetness, haze, light, lying snow."""

    wetness: float
    haze: float
    gain: float
    snow: float


def draw_conditions(overpass: Overpass, is_snowy: bool) -> Conditions:
    """Draw the conditions of an overpass; soils are wet from November to March."""
    rng = np.random.default_rng([*overpass.seed, 7])
    wet = 0.35 + 0.3 * np.cos(2 * np.pi * (overpass.day - 15) / 365)
    return Conditions(
        wetness=float(np.clip(rng.normal(wet, 0.2), 0, 1)),
        haze=float(rng.gamma(1.5, 12.0)),
        gain=float(np.clip(rng.normal(1.0, 0.02), 0.95, 1.05)),
        snow=0.9 if is_snowy else 0.0,
    )


def make_scene(
    pixels: LandscapePixels, parcels: Parcels, overpass: Overpass, sky: Sky, conditions: Conditions
) -> Scene:
    """Measure the pixels of a grid of 10 m; rows and columns are even in number."""
    clear = reflectance(parcels, overpass.day, conditions.wetness)
    patchy = np.random.default_rng([*overpass.seed, 8]).uniform(0.6, 1.1, len(parcels))
    covered = np.clip(conditions.snow * patchy, 0, 1)[:, None] * (parcels.land != WATER)[:, None]
    clear = (clear + covered * (SNOW - clear)).astype(np.float32)
    seen = overpass.is_seen(pixels.x, pixels.y)
    surface = _surface(pixels.parts, pixels.weights, clear, pixels.texture)
    opacity, cirrus, light = _overhead(pixels.x, pixels.y, sky)
    veil = np.maximum(opacity, cirrus)
    haze = conditions.haze * np.linspace(1.5, 0.1, len(CLOUD), dtype=np.float32)
    seed = np.random.SeedSequence([*overpass.seed, *pixels.parts.shape[:2]]).generate_state(1)[0]
    ten, twenty = _measured(
        surface, veil, light, seen, CLOUD, SHADOW, haze, conditions.gain, int(seed)
    )
    scl = _classified(ten, twenty, _halved(veil), _halved(opacity), _halved(light), int(seed))
    return Scene(ten, twenty, scl)


def _overhead(x: np.ndarray, y: np.ndarray, sky: Sky) -> tuple[np.ndarray, ...]:
    """The sky's fields over places of the plane, bilinear."""
    n = len(sky.opacity)
    column = np.clip(x / sky.step + n / 2 - 0.5, 0, n - 1.001)
    row = np.clip(-y / sky.step + n / 2 - 0.5, 0, n - 1.001)
    i, j = row.astype(int), column.astype(int)
    a, b = (row - i).astype(np.float32), (column - j).astype(np.float32)
    return tuple(
        (field[i, j] * (1 - a) + field[i + 1, j] * a) * (1 - b)
        + (field[i, j + 1] * (1 - a) + field[i + 1, j + 1] * a) * b
        for field in (sky.opacity, sky.cirrus, sky.light)
    )


def _halved(field: np.ndarray) -> np.ndarray:
    """Mean of each 2 × 2 pixels."""
    rows, columns = field.shape
    return field.reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3))


@njit(nogil=True, cache=True)
def _surface(
    parts: np.ndarray, weights: np.ndarray, clear: np.ndarray, texture: np.ndarray
) -> np.ndarray:
    """Reflectance of mixed pixels: float32 (band, row, column)."""
    rows, columns, most = parts.shape
    bands = clear.shape[1]
    surface = np.empty((bands, rows, columns), np.float32)
    value = np.empty(bands, np.float32)
    for i in range(rows):
        for j in range(columns):
            value[:] = 0
            for part in range(most):
                weight = weights[i, j, part]
                if weight > 0:
                    for band in range(bands):
                        value[band] += weight * clear[parts[i, j, part], band]
            for band in range(bands):
                surface[band, i, j] = value[band] * texture[i, j]
    return surface


@njit(nogil=True, cache=True)
def _measured(
    surface: np.ndarray,
    veil: np.ndarray,
    light: np.ndarray,
    seen: np.ndarray,
    cloud: np.ndarray,
    shadow: np.ndarray,
    haze: np.ndarray,
    gain: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Digital numbers of the bands of 10 m and, from means of 2 × 2 pixels, of 20 m."""
    _bands, rows, columns = surface.shape
    ten = np.zeros((len(TEN_METRE), rows, columns), np.uint16)
    twenty = np.zeros((len(TWENTY_METRE), rows // 2, columns // 2), np.uint16)
    for k in range(len(TEN_METRE)):
        band = TEN_METRE[k]
        for i in range(rows):
            for j in range(columns):
                if seen[i, j]:
                    bare = surface[band, i, j] * gain + haze[band]
                    value = _veiled(bare, veil[i, j], light[i, j], cloud[band], shadow[band])
                    ten[k, i, j] = _counted(value, seed, (k * rows + i) * columns + j)
    for k in range(len(TWENTY_METRE)):
        band = TWENTY_METRE[k]
        for i in range(rows // 2):
            for j in range(columns // 2):
                total = np.float32(0.0)
                whole = True
                for a in range(2):
                    for b in range(2):
                        y, x = 2 * i + a, 2 * j + b
                        bare = surface[band, y, x] * gain + haze[band]
                        total += _veiled(bare, veil[y, x], light[y, x], cloud[band], shadow[band])
                        whole &= seen[y, x]
                if whole:
                    place = ((10 + k) * rows + i) * columns + j
                    twenty[k, i, j] = _counted(total / 4, seed, place)
    return ten, twenty


@njit(nogil=True, cache=True)
def _veiled(bare: float, veil: float, light: float, cloud: float, shadow: float) -> float:
    """Reflectance of a place under a cloud's veil and in a cloud's shadow."""
    value = bare * (light + (1 - light) * shadow)
    return value + veil * (cloud * (0.8 + 0.5 * veil) - value)


@njit(nogil=True, cache=True)
def _counted(value: float | np.float32, seed: int, place: int) -> int:
    """A noisy measurement in steps of the instrument, never nodata."""
    noisy = value + (_NOISE + _SPREAD * value) * _normal(seed, place)
    return int(min(max(round(noisy / STEP) * STEP, STEP), 16000))


@njit(nogil=True, cache=True)
def _normal(seed: int, place: int) -> float:
    """About a standard normal number, from a hash of the place (SplitMix64, Steele et al. 2014)."""
    z = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(place)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    total = 0.0
    for part in range(4):
        total += float((z >> np.uint64(16 * part)) & np.uint64(0xFFFF)) / 65535.0
    return (total - 2.0) * 1.7320508


@njit(nogil=True, cache=True)
def _classified(
    ten: np.ndarray,
    twenty: np.ndarray,
    veil: np.ndarray,
    opacity: np.ndarray,
    light: np.ndarray,
    seed: int,
) -> np.ndarray:
    """The scene classification in Sen2Cor's numbers; it misses the thinnest clouds."""
    rows, columns = veil.shape
    scl = np.zeros((rows, columns), np.uint8)
    for i in range(rows):
        for j in range(columns):
            if twenty[0, i, j] == 0:
                continue
            green = red = infrared = 0.0
            for a in range(2):
                for b in range(2):
                    green += ten[1, 2 * i + a, 2 * j + b] / 4
                    red += ten[2, 2 * i + a, 2 * j + b] / 4
                    infrared += ten[3, 2 * i + a, 2 * j + b] / 4
            swir = float(twenty[4, i, j])
            doubt = 0.03 * _normal(seed + 1, i * columns + j)
            if opacity[i, j] + doubt > _HIGH:
                scl[i, j] = 9
            elif opacity[i, j] + doubt > _MEDIUM:
                scl[i, j] = 8
            elif veil[i, j] + doubt > _THIN + 0.03:
                scl[i, j] = 10
            elif light[i, j] + doubt < _SHADOWED:
                scl[i, j] = 3
            elif (green - swir) / (green + swir) > 0.42 and green > 2000:
                scl[i, j] = 11
            elif infrared < 800 and swir < 450 and green > infrared:
                scl[i, j] = 6
            elif infrared < 1000 and red < 900:
                scl[i, j] = 2
            elif (infrared - red) / (infrared + red) > 0.38:
                scl[i, j] = 4
            elif abs((infrared - red) / (infrared + red) - 0.36) < 0.015:
                scl[i, j] = 7
            else:
                scl[i, j] = 5
    return scl
