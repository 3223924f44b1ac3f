"""The sample of training embeddings that a pretraining writes beside its checkpoint."""

import logging
from collections.abc import Sequence

import numpy as np

from flows.training.batches import TRAIN, VALIDATION
from models.encoder.checkpoint import Checkpoint
from models.encoder.inference import embed_all
from models.encoder.training_sample import TrainingSample, sample_training
from models.errors import CheckpointError
from pipeline.evaluation.checkpoint_evaluation import embed_finite
from pipeline.evaluation.samples import Samples, open_samples
from pipeline.training_set.loader import TrainingSet
from pipeline.training_set.spatial_split import SplitRule

_log = logging.getLogger(__name__)
_MOST = 20_000  # rows of a set that are embedded, drawn at random
_SHARE = 5  # without validation, one of so many blocks of land is held out


def embedding_sample(checkpoint: Checkpoint, sets: Sequence[TrainingSet]) -> TrainingSample | None:
    """Sample the embeddings that a checkpoint gives of its training sets.

    The held-out points are those of validation, in other blocks of land. A set without them gives a
    fifth of its blocks: these are left out of the sample, but the encoder has seen them, so that
    the distances are too small, and more land counts as unlike them.

    Args:
        checkpoint: The trained checkpoint.
        sets: What it was trained on.

    Returns:
        The sample, of series of as many steps as the longest that it was trained on. None where
        the sets are too small to tell: of a single block, or with equal embeddings.
    """
    steps, inputs = max(checkpoint.card.trained_steps), checkpoint.card.preprocessing
    trained, held_out = [], []
    for one in sets:
        address, optional = one.store.root, inputs.optional_bands
        source = open_samples(address, inputs.bands, SplitRule(), optional)
        rows = source.read(TRAIN, _MOST)
        if VALIDATION in one.card.splits and one.rows(VALIDATION):
            others = source.read(VALIDATION, _MOST)
        else:
            rows, others = _divided(rows)
        trained.append(_embedded(checkpoint, rows, steps))
        held_out.append(_embedded(checkpoint, others, steps))
    try:
        return sample_training(
            np.concatenate([part for part in trained if len(part)] or [np.empty((0, 1))]),
            np.concatenate([part for part in held_out if len(part)] or [np.empty((0, 1))]),
            steps=steps,
        )
    except CheckpointError as error:  # the checkpoint is worth more than its sample
        _log.warning("The checkpoint gets no sample of its training: %s", error)
        return None


def _divided(rows: Samples) -> tuple[Samples, Samples]:
    """The rows of most blocks of land, and those of a fifth of the blocks."""
    _, number = np.unique(rows.blocks, return_inverse=True)
    left = number % _SHARE == _SHARE - 1 if number.max(initial=0) >= _SHARE - 1 else number == 1
    return rows.take(~left), rows.take(left)


def _embedded(checkpoint: Checkpoint, rows: Samples, steps: int) -> np.ndarray:
    def embed(series: np.ndarray) -> np.ndarray:
        return embed_all(checkpoint, series, steps=steps).numpy()

    embeddings, _ = embed_finite(embed, rows.series)
    return embeddings
