"""Training, validation and test splits by blocks of land, so that neighbours don't leak.

All points of a block (`pipeline.grid.blocks`) belong to one split. Points of two splits can still
meet at a block's border: `split` leaves out those of training that lie within a buffer of points
that are held out.
"""

from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
from pydantic import ConfigDict, Field, field_validator, model_validator

from models.errors import UserError
from models.option import COMMAS, Option
from pipeline.grid.blocks import EARTH_KM, blocks_of, on_sphere
from pipeline.settings.sections import Strict
from pipeline.training_set.random_order import shuffled

SPLITS = ("train", "validation", "test")
NO_SPLIT = -1
"""The number of points that lie too near to a split that is held out."""


BlockSize = Annotated[float, Field(ge=0.1, le=5000)]
"""The side of a block, in km."""


class SplitRule(Strict):
    """How points are split by blocks of land."""

    model_config = ConfigDict(title="How to split")

    block_km: Annotated[BlockSize, Option(metavar="KM")] = Field(
        50.0, description="side of the blocks of land, each of which goes to one part as a whole"
    )
    shares: Annotated[
        tuple[float, float, float], COMMAS, Option(metavar="TRAIN VALIDATION TEST")
    ] = Field(
        (0.8, 0.1, 0.1),
        description="shares of the points; their sum is 1; 0 leaves out validation or test",
    )
    buffer_km: Annotated[float, Option(metavar="KM")] = Field(
        1.0,
        ge=0,
        description="leave out points of training (and of validation) nearer than this to a "
        "held-out part",
    )
    seed: int = Field(0, ge=0, description="seed of the parts and of the order of rows")

    @field_validator("shares")
    @classmethod
    def _one_whole(cls, shares: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(shares) < 0 or not shares[0] or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(
                "give three shares whose sum is 1, that of training above 0; 0 leaves out a part"
            )
        return shares

    @model_validator(mode="after")
    def _narrow_buffer(self) -> Self:
        if not self.buffer_km < self.block_km / 2:
            raise ValueError(
                f"a buffer of {self.buffer_km:g} km leaves nothing of blocks of "
                f"{self.block_km:g} km; give less than half of that"
            )
        return self


def folds(lon: np.ndarray, lat: np.ndarray, k: int, block_km: float, seed: int) -> np.ndarray:
    """The fold of each point for spatially blocked cross-validation: int64 (n,), 0 … k - 1.

    In a random order, each block goes to the fold that has fewest points, so that folds are of
    nearly equal size. The order of the points does not matter. UserError is raised where there are
    fewer blocks than folds.
    """
    if k < 2:
        raise UserError(f"{k} folds", "there is nothing to hold out", "Give 2 or more")
    names = [f"fold {number}" for number in range(k)]
    return _divide(blocks_of(lon, lat, block_km), np.full(k, 1 / k), names, block_km, seed)


def split(lon: np.ndarray, lat: np.ndarray, rule: SplitRule) -> np.ndarray:
    """The split of each point: int64 (n,), an index into `SPLITS`, or `NO_SPLIT`.

    The order of the points does not matter. UserError is raised where the blocks leave a split
    empty.
    """
    blocks = blocks_of(lon, lat, rule.block_km)
    parts = _divide(blocks, np.array(rule.shares), SPLITS, rule.block_km, rule.seed)
    if rule.buffer_km:
        places = on_sphere(lon, lat)
        whole = parts.copy()
        for part in (0, 1):
            own, held_out = np.flatnonzero(whole == part), whole > part
            near = _within(places[own], places[held_out], rule.buffer_km)
            parts[own[near]] = NO_SPLIT
        _require_all(parts, np.array(rule.shares), SPLITS, rule.block_km, len(np.unique(blocks)))
    return parts


def _divide(
    blocks: np.ndarray, shares: np.ndarray, names: Sequence[str], block_km: float, seed: int
) -> np.ndarray:
    """The part of each point: each block goes to the part that lacks most of its share."""
    _, block, counts = np.unique(blocks, return_inverse=True, return_counts=True)
    taken = np.zeros(len(shares))
    part = np.empty(len(counts), np.int64)
    for number in shuffled(len(counts), seed):
        part[number] = np.argmin(np.where(shares > 0, taken, np.inf) / np.maximum(shares, 1e-9))
        taken[part[number]] += counts[number]
    _require_all(part, shares, names, block_km, len(counts))
    return part[block]


def _require_all(
    parts: np.ndarray, shares: np.ndarray, names: Sequence[str], block_km: float, blocks: int
) -> None:
    wanted = zip(shares, names, strict=True)
    empty = [name for k, (share, name) in enumerate(wanted) if share and not (parts == k).any()]
    if empty:
        raise UserError(
            f"blocks of {block_km:g} km",
            f"the points lie in {blocks} of them, which leaves {', '.join(empty)} empty",
            "Give smaller blocks, or points of a larger region",
        )


def _within(places: np.ndarray, others: np.ndarray, km: float) -> np.ndarray:
    """Whether each place on the unit sphere is at most `km` from one of the others: bool (n,)."""
    # Imported here: SciPy takes a third of a second, and settings are read without it.
    from scipy.spatial import KDTree

    chord = 2 * np.sin(km / EARTH_KM / 2)
    distance, _ = KDTree(others).query(places, distance_upper_bound=chord)
    return np.isfinite(distance)
