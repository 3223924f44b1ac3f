"""What a training step takes: some points' series, and what was seen on the ground there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import safe_open

_ARRAYS = ("series", "ground", "present", "keys")
_IDS = "ids"

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


def save_batch(batch: Batch, path: Path) -> None:
    """Write a batch as a safetensors file, without its labels; raises OSError."""
    arrays = {name: np.ascontiguousarray(getattr(batch, name)) for name in _ARRAYS}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(safetensors.numpy.save(arrays, {_IDS: json.dumps(list(batch.ids))}))


def read_batch(path: Path) -> Batch:
    """The batch of such a file, to look at why a training stopped at it."""
    with safe_open(path, "np") as file:
        arrays = {name: file.get_tensor(name) for name in _ARRAYS}
        return Batch(**arrays, ids=json.loads(file.metadata()[_IDS]))
