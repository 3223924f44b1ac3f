"""Batches of a training: the series of some points, and the ground views there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.numpy

_ARRAYS = ("series", "ground", "present", "keys")
_IDS = "ids"

NO_KEY = -1
"""The key of a ground view that shares its subject with no other."""


@dataclass(frozen=True, eq=False)
class Batch:
    """n points, each with 1 … k ground views.

    Attributes:
        series: uint16 (n, 12, band), reflectance × 10000 without offset, 0 where a month has no
            clear observation.
        ground: float32 (n, k, dim), embeddings of unit length by a tower that is not trained.
        present: bool (n, k), which of the k views a point has: one or more.
        keys: int64 (n, k or more). First those of the k views, then further ones that may be true
            of the point, as NO_KEY where there is none. A view that carries any key of a point is
            no negative of that point. NO_KEY equals no key, not even itself.
        ids: The points' names.
        labels: By the label's name, one text or None for each point.
    """

    series: np.ndarray
    ground: np.ndarray
    present: np.ndarray
    keys: np.ndarray
    ids: Sequence[str]
    labels: Mapping[str, Sequence[str | None]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


def try_to_save_batch(batch: Batch, path: Path) -> str:
    """Write a batch as a safetensors file, its ids in the metadata, without labels.

    Returns a clause that says whether it is there now.
    """
    arrays = {name: np.ascontiguousarray(getattr(batch, name)) for name in _ARRAYS}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(safetensors.numpy.save(arrays, {_IDS: json.dumps(list(batch.ids))}))
    except OSError as error:
        return f"its batch could not be saved as {path} ({error.strerror})"
    return f"its batch is saved as {path}"
