"""The sample that a pretraining writes: of training rows, judged by rows of other blocks."""

from pathlib import Path

import numpy as np
import torch

from flows.training.embedding_sample import _divided, embedding_sample
from models.encoder.checkpoint import Checkpoint
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from pipeline.evaluation.samples import Samples
from pipeline.training_set.loader import TrainingSet
from tests.made_card import made_card
from tests.training_sets import made_set


def checkpoint() -> Checkpoint:
    torch.manual_seed(2)
    sizes = TimeSenClipArchitecture(dim=16, depth=1, heads=2, feedforward=16, embedding_dim=16)
    card = made_card(sizes, trained_steps=(4, 12))
    return Checkpoint(TimeSenClipEncoder(sizes).eval(), card, "", Path("made"))


def test_training_is_sampled_and_validation_judges(tmp_path: Path) -> None:
    made_set(str(tmp_path / "one"), train=60, held_out=30)
    made_set(str(tmp_path / "other"), train=50, held_out=20, seed=1)
    sets = [TrainingSet.open(str(tmp_path / name)) for name in ("one", "other")]
    both = embedding_sample(checkpoint(), sets)
    assert both is not None
    assert both.stored.shape == (110, 16)
    assert both.steps == 12
    assert 0 < both.distances[0] <= both.limit
    alone = embedding_sample(checkpoint(), sets[:1])
    assert alone is not None
    assert len(alone.stored) == 60


def test_one_block_without_validation_is_too_little(tmp_path: Path) -> None:
    made_set(str(tmp_path / "set"), train=60, held_out=0)
    assert embedding_sample(checkpoint(), [TrainingSet.open(str(tmp_path / "set"))]) is None


def test_without_validation_a_fifth_of_the_blocks_judges() -> None:
    blocks = np.repeat(np.arange(20), 3)
    series = np.arange(60, dtype=np.uint16)[:, None, None] * np.ones((1, 12, 10), np.uint16)
    rows, held_out = _divided(Samples(series, {}, blocks))
    assert (len(rows), len(held_out)) == (48, 12)
    assert not set(rows.blocks) & set(held_out.blocks)
    few, other = _divided(Samples(series, {}, np.repeat([0, 1, 2], 20)))
    assert (len(few), len(other)) == (40, 20)
