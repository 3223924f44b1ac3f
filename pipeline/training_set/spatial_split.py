"""Training, validation and test parts by blocks of land, so that neighbours don't leak.

A block is a piece of a grid of nearly equal areas: rows of equal height from pole to pole, each cut
into the whole number of columns that makes its pieces as wide as they are high. All points of a
block go to one part. Points of two parts can still meet at a block's border: `split` leaves out
those of training that lie within a buffer of what is held out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from models.errors import UserError
from pipeline.training_set.random_order import shuffled

SPLITS = ("train", "validation", "test")
NO_SPLIT = -1
"""The number of points that lie too near to a held-out part."""

_EARTH_KM = 6371.0072  # radius of the sphere of the Earth's area (authalic, WGS 84)
_HALF_TURN = np.pi * _EARTH_KM


@dataclass(frozen=True)
class SplitRule:
    """How points are parted: blocks of `block_km`, `shares` of the points a part, a `seed`.

    `shares` are those of training, validation and test, and make 1. Points of training, and of
    validation before test, nearer than `buffer_km` to a part that is held out are left out.
    Raises UserError.
    """

    block_km: float = 50.0
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    buffer_km: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        given = f"blocks of {self.block_km:g} km, shares {self.shares}, seed {self.seed}"
        require_block(self.block_km)
        if min(self.shares) <= 0 or abs(sum(self.shares) - 1) > 1e-6:
            raise UserError(given, "the shares make no whole", "Give three above 0 that make 1")
        if not 0 <= self.buffer_km < self.block_km / 2:
            raise UserError(
                f"a buffer of {self.buffer_km:g} km",
                f"blocks of {self.block_km:g} km take one of 0 to less than half of that",
                "Give a smaller buffer, or larger blocks",
            )


def blocks_of(lon: np.ndarray, lat: np.ndarray, block_km: float) -> np.ndarray:
    """The block of each point: int64 (n,), equal where points share one.

    `lon`, `lat` float64 (n,) in degrees (EPSG:4326). Raises UserError for a place that is none.
    """
    require_block(block_km)
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


def folds(lon: np.ndarray, lat: np.ndarray, k: int, block_km: float, seed: int) -> np.ndarray:
    """The fold of each point for spatially blocked cross-validation: int64 (n,), 0 … k - 1.

    Blocks come in an order drawn by the seed, each into the fold that has fewest points: folds are
    of nearly equal size. A function of the set of points, whatever their order. Raises UserError
    where there are fewer blocks than folds.
    """
    if k < 2:
        raise UserError(f"{k} folds", "there is nothing to hold out", "Give 2 or more")
    names = [f"fold {number}" for number in range(k)]
    return _shared(blocks_of(lon, lat, block_km), np.full(k, 1 / k), names, block_km, seed)


def split(lon: np.ndarray, lat: np.ndarray, rule: SplitRule) -> np.ndarray:
    """The part of each point: int64 (n,), an index into `SPLITS`, or `NO_SPLIT`.

    A function of the set of points, whatever their order. Raises UserError where the blocks leave
    a part empty.
    """
    blocks = blocks_of(lon, lat, rule.block_km)
    parts = _shared(blocks, np.array(rule.shares), SPLITS, rule.block_km, rule.seed)
    if rule.buffer_km:
        places = _on_sphere(np.asarray(lon, np.float64), np.asarray(lat, np.float64))
        whole = parts.copy()
        for part in (0, 1):
            own, held_out = np.flatnonzero(whole == part), whole > part
            near = _within(places[own], places[held_out], rule.buffer_km)
            parts[own[near]] = NO_SPLIT
        _require_all(parts, SPLITS, rule.block_km, len(np.unique(blocks)))
    return parts


def require_block(block_km: float) -> None:
    """Raise UserError for a size that no block has."""
    if not 0.1 <= block_km <= 5000:
        raise UserError(
            f"blocks of {block_km:g} km", "no such blocks are cut", "Give 0.1 to 5000 km"
        )


def _shared(
    blocks: np.ndarray, shares: np.ndarray, names: Sequence[str], block_km: float, seed: int
) -> np.ndarray:
    """The part of each point: a block at a time goes where most of a part's share is missing."""
    _, block, counts = np.unique(blocks, return_inverse=True, return_counts=True)
    taken = np.zeros(len(shares))
    part = np.empty(len(counts), np.int64)
    for number in shuffled(len(counts), seed):
        part[number] = np.argmin(taken / shares)
        taken[part[number]] += counts[number]
    _require_all(part, names, block_km, len(counts))
    return part[block]


def _require_all(parts: np.ndarray, names: Sequence[str], block_km: float, blocks: int) -> None:
    empty = [name for number, name in enumerate(names) if not (parts == number).any()]
    if empty:
        raise UserError(
            f"blocks of {block_km:g} km",
            f"the points lie in {blocks} of them, which leaves {', '.join(empty)} empty",
            "Give smaller blocks, or points of a larger region",
        )


def _on_sphere(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Points of the unit sphere: float64 (n, 3)."""
    lon, lat = np.radians(lon), np.radians(lat)
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def _within(places: np.ndarray, others: np.ndarray, km: float) -> np.ndarray:
    """Whether each place is at most so many km from one of the others: bool (n,)."""
    chord = 2 * np.sin(km / _EARTH_KM / 2)
    distance, _ = KDTree(others).query(places, distance_upper_bound=chord)
    return np.isfinite(distance)
