"""Blocks of land: the pieces of a grid of nearly equal areas.

Rows of equal height go from pole to pole; each is cut into the whole number of columns that makes
its pieces as wide as they are high.
"""

import numpy as np

from models.errors import UserError

EARTH_KM = 6371.0072
"""The radius of the sphere of the Earth's area (authalic, WGS 84)."""
_HALF_TURN = np.pi * EARTH_KM


def blocks_of(lon: np.ndarray, lat: np.ndarray, block_km: float) -> np.ndarray:
    """The block of each point: int64 (n,), equal where points share one.

    `lon`, `lat` are float64 (n,) in degrees (EPSG:4326); UserError is raised for other values.
    """
    lon, lat = np.asarray(lon, np.float64), np.asarray(lat, np.float64)
    # NaN compares as false, so it is found here, too.
    wrong = ~((np.abs(lon) <= 360) & (np.abs(lat) <= 90))
    if wrong.any():
        first = int(wrong.argmax())
        raise UserError(
            f"point {first} at longitude {lon[first]}, latitude {lat[first]}",
            f"{int(wrong.sum())} points lie nowhere on Earth",
            "Give degrees, longitude from -180 to 180 and latitude from -90 to 90",
        )
    rows = max(1, round(_HALF_TURN / block_km))
    row = np.minimum(((lat + 90) / 180 * rows).astype(np.int64), rows - 1)
    middle = np.radians((row + 0.5) / rows * 180 - 90)
    columns = np.maximum(1, np.round(2 * rows * np.cos(middle)).astype(np.int64))
    column = np.minimum((lon % 360 / 360 * columns).astype(np.int64), columns - 1)
    return row * (2 * rows) + column


def on_sphere(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Places in degrees, (n,) each, as points of the unit sphere: float64 (n, 3)."""
    x, y = np.radians(np.asarray(lon, np.float64)), np.radians(np.asarray(lat, np.float64))
    return np.column_stack([np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)])


def nearest_km(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The way from each place to the nearest of the others, in km: float64 (n,).

    Both are points of the unit sphere (`on_sphere`).
    """
    # Imported here: SciPy takes a third of a second, and settings are read without it.
    from scipy.spatial import KDTree

    chord, _ = KDTree(others).query(places)
    ways: np.ndarray = 2 * np.arcsin(np.minimum(chord / 2, 1)) * EARTH_KM
    return ways
