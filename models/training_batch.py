"""What a training step takes: some points' series, and what was seen on the ground there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

NO_KEY = -1
"""The key of a ground view that depicts the same as no other."""


@dataclass(frozen=True, eq=False)
class Batch:
    """n points, each with 1 … k ground views; arrays are of one length n.

    `series` uint16 (n, 12, band): reflectance × 10000 without offset, 0 where a month has no clear
    observation. `ground` float32 (n, k, dim): embeddings of unit length by a frozen tower.
    `present` bool (n, k): which of the k views a point has, one or more. `keys` int64 (n, k): equal
    keys depict the same, so one is no negative of the other; NO_KEY is the same as nothing. `ids`:
    the points' names. `labels`: by name, one text or None a point.
    """

    series: np.ndarray
    ground: np.ndarray
    present: np.ndarray
    keys: np.ndarray
    ids: Sequence[str]
    labels: Mapping[str, Sequence[str | None]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)
