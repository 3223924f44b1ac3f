"""Made points to train on: series that differ, each with one to three ground views of its own."""

import numpy as np

from models.encoder.timesenclip import TimeSenClipArchitecture
from models.pretraining.batch import NO_KEY, Batch

SIZES = TimeSenClipArchitecture(
    dim=32, depth=2, heads=2, feedforward=32, embedding_dim=16, dropout=0.0
)


def made_points(count: int, seed: int = 0, views: int = 3, dim: int = 16) -> Batch:
    """Points "0", "1" …; a fifth of the months are missing, and the second view of every third."""
    rng = np.random.default_rng(seed)
    series = rng.integers(100, 4000, (count, 12, 10)).astype(np.uint16)
    series[:, 1:][rng.random((count, 11)) < 0.2] = 0
    ground = rng.normal(size=(count, 1, dim)) + 0.3 * rng.normal(size=(count, views, dim))
    ground /= np.linalg.norm(ground, axis=-1, keepdims=True)
    present = np.ones((count, views), bool)
    present[::3, 1:2] = False
    keys = np.full((count, views), NO_KEY, np.int64)
    return Batch(series, ground.astype(np.float32), present, keys, [str(n) for n in range(count)])


def rows_of(batch: Batch, rows: np.ndarray | slice) -> Batch:
    """Some points of a batch."""
    ids = np.array(batch.ids)[rows].tolist()
    return Batch(batch.series[rows], batch.ground[rows], batch.present[rows], batch.keys[rows], ids)


def batch_of_step(points: Batch, batch: int, step: int, rank: int = 0, world: int = 1) -> Batch:
    """A process's part of the batch of a step: every point once an epoch, shuffled for each."""
    epoch, number = divmod(step, len(points) // batch)
    order = np.random.default_rng([7, epoch]).permutation(len(points))
    rows = order[number * batch : (number + 1) * batch]
    return rows_of(points, np.split(rows, world)[rank])
