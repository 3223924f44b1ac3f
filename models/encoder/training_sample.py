"""A sample of the embeddings that an encoder was trained on, and how far others lie from it.

A nearest-neighbour distance is the plainest measure of what a network has not seen (Sun et al.
2022, arXiv 2204.06507); here it is the cosine distance, as embeddings are compared by the cosine.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import safetensors.numpy
import torch
from safetensors import SafetensorError

from models.encoder.distance_percent import MOST_PERCENT, NO_PERCENT
from models.encoder.quantised_embeddings import is_valid, quantised, restored
from models.errors import CheckpointError
from models.files.regular_file import DamagedFile
from models.files.tensor_file import StoredTensor, stored_tensors

SAMPLE_SIZE = 1000
"""Embeddings of a sample: 384 kB of 384 dimensions."""
MOST_SAMPLE_BYTES = 2**26
"""A sample has 1000 embeddings, of which each has one byte per dimension."""
LIMIT = 95
"""The percentile of the held-out points' distances that counts as 100 %."""
_EMBEDDINGS, _DISTANCES, _STEPS = "embeddings", "held_out_distances", "steps"
_MOST_EMBEDDINGS = 20 * SAMPLE_SIZE  # all are compared with every pixel
_REMEDY = "Fetch the file again, or remove it: maps go on without it"
_AT_ONCE = 4096  # embeddings compared at once


@dataclass(frozen=True, eq=False)
class TrainingSample:
    """Embeddings of training series, and the distances of held-out ones to the nearest of them.

    Attributes:
        stored: int8 (n, dim), as `quantised_embeddings.quantised` stores embeddings.
        distances: float32 (101,), the percentiles 0 … 100 of the cosine distance from a held-out
            point of training data to its nearest in the sample.
        steps: The number of steps T of the series that were embedded.
    """

    stored: np.ndarray
    distances: np.ndarray
    steps: int

    @property
    def limit(self) -> float:
        """The cosine distance that counts as 100 %: so near are 95 % of held-out points."""
        return float(self.distances[LIMIT])

    def to_bytes(self) -> bytes:
        """The bytes of its file, a safetensors."""
        return safetensors.numpy.save(
            {
                _EMBEDDINGS: self.stored,
                _DISTANCES: self.distances,
                _STEPS: np.array([self.steps], np.int64),
            }
        )

    @classmethod
    def from_bytes(cls, content: bytes, dim: int, where: str) -> "TrainingSample":
        """The sample in a file's bytes, of embeddings of `dim` numbers.

        Raises:
            CheckpointError: There is none in them; the message names `where` and the reason.
        """
        try:
            _require_form(stored_tensors(content), dim, where)
            tensors = safetensors.numpy.load(content)
            sample = cls(tensors[_EMBEDDINGS], tensors[_DISTANCES], int(tensors[_STEPS][0]))
        except (SafetensorError, DamagedFile) as error:
            raise CheckpointError(where, f"truncated or corrupt ({error})", _REMEDY) from None
        if problem := sample._problem():
            raise CheckpointError(where, problem, _REMEDY)
        return sample

    def _problem(self) -> str | None:
        stored, distances = self.stored, self.distances
        if not len(stored) or not stored.any(axis=1).all():
            return "it holds no embeddings, or some of zeros"
        if not np.isfinite(distances).all() or (np.diff(distances) < 0).any() or self.limit <= 0:
            return "distances are not finite numbers in order, above 0"
        return None


def _require_form(stored: Mapping[str, StoredTensor], dim: int, where: str) -> None:
    """Raise CheckpointError where a file's tensors are not those of a sample."""
    absent = StoredTensor("absent", ())
    embeddings, distances, steps = (
        stored.get(name, absent) for name in (_EMBEDDINGS, _DISTANCES, _STEPS)
    )
    if embeddings.dtype != "I8" or embeddings.shape[1:] != (dim,):
        problem = f"embeddings are {embeddings}, not int8 of {dim} dimensions"
    elif embeddings.shape[0] > _MOST_EMBEDDINGS:
        problem = f"it holds {embeddings.shape[0]:,} embeddings, and may hold {_MOST_EMBEDDINGS:,}"
    elif distances != StoredTensor("F32", (101,)):
        problem = f"distances are {distances}, not 101 of float32"
    elif steps != StoredTensor("I64", (1,)):
        problem = f"steps is {steps}, not one of int64"
    else:
        return
    raise CheckpointError(where, problem, _REMEDY)


class TrainingDistance:
    """How far embeddings lie from a training sample, on a device."""

    def __init__(self, sample: TrainingSample, device: torch.device) -> None:
        self._embeddings = restored(torch.from_numpy(sample.stored).to(device))
        self._limit = sample.limit

    @torch.inference_mode()
    def percent(self, embeddings: torch.Tensor) -> torch.Tensor:
        """The cosine distance to the nearest of the sample, in percent of `TrainingSample.limit`.

        Args:
            embeddings: float (pixel, dim), unit length.

        Returns:
            uint8 (pixel,), at most `MOST_PERCENT`; `NO_PERCENT` where an embedding is not a number.
            Above 100, the pixel is farther from the sample than 95 % of held-out training points.
        """
        valid = is_valid(embeddings)
        distance = nearest_distance(torch.where(valid[:, None], embeddings, 0), self._embeddings)
        percent = (distance * (100 / self._limit)).round().clamp(0, MOST_PERCENT)
        return torch.where(valid, percent, NO_PERCENT).to(torch.uint8)


def nearest_distance(embeddings: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
    """The cosine distance to the nearest of a sample: float32 (n,), 0 … 2.

    Both `embeddings` (n, dim) and `sample` (m, dim) are float32 of unit length.
    """
    parts = [1 - (part @ sample.T).amax(dim=1) for part in embeddings.split(_AT_ONCE)]
    return torch.cat(parts).clamp_min(0) if parts else embeddings.new_empty(0)


def sample_training(
    embeddings: np.ndarray,
    held_out: np.ndarray,
    *,
    steps: int = 12,
    size: int = SAMPLE_SIZE,
    seed: int = 0,
) -> TrainingSample:
    """Choose a sample of training embeddings, and measure held-out ones against it.

    The sample is spread by farthest points (Gonzalez 1985): each is the training point that lies
    farthest from those chosen before, so that rare land is in it. Half of the sample is drawn at
    random, so that it is also dense where training is.

    Args:
        embeddings: float32 (n, dim), unit length, of training points.
        held_out: float32 (m, dim), unit length, of points of other blocks of land that no training
            saw.
        steps: The number of steps T of the series.
        size: The most embeddings that are kept.
        seed: The seed of the random half.

    Raises:
        CheckpointError: There are no embeddings of either kind, or the held-out ones are those of
            the sample.
    """
    if not len(embeddings) or not len(held_out):
        raise CheckpointError(
            "a sample of training embeddings",
            f"there are {len(embeddings)} points of training and {len(held_out)} held-out ones",
            "Give some of both",
        )
    trained = torch.from_numpy(np.ascontiguousarray(embeddings, np.float32))
    chosen = quantised(trained[_spread(trained, size, seed)])
    judged = torch.from_numpy(np.ascontiguousarray(held_out, np.float32))
    distance = nearest_distance(judged, restored(chosen)).numpy()
    percentiles = np.percentile(distance, np.arange(101)).astype(np.float32)
    if percentiles[LIMIT] <= 0:
        raise CheckpointError(
            "a sample of training embeddings",
            "held-out points have the same embeddings as those of training",
            "Give points of other blocks of land",
        )
    return TrainingSample(chosen.numpy(), percentiles, steps)


def _spread(embeddings: torch.Tensor, size: int, seed: int) -> torch.Tensor:
    """The places of a sample, int64, at random and by farthest points."""
    if len(embeddings) <= size:
        return torch.arange(len(embeddings))
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(embeddings), generator=generator)[: max(1, size // 2)].tolist()
    nearest = nearest_distance(embeddings, embeddings[chosen])
    while len(chosen) < size:
        farthest = int(nearest.argmax())
        chosen.append(farthest)
        nearest = torch.minimum(nearest, 1 - embeddings @ embeddings[farthest])
    return torch.tensor(chosen)
