"""What an encoder was trained on: chosen, kept with its checkpoint, and compared with others."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from models.encoder.checkpoint import (
    CHECKPOINT_SAMPLE,
    load_checkpoint,
    save_checkpoint,
    save_with_card,
)
from models.encoder.distance_percent import NO_PERCENT
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from models.encoder.training_sample import (
    MOST_PERCENT,
    TrainingDistance,
    TrainingSample,
    sample_training,
)
from models.errors import CheckpointError
from tests.made_card import made_card

DIM = 12
SIZES = TimeSenClipArchitecture(dim=24, depth=1, heads=3, feedforward=20, embedding_dim=DIM)
CPU = torch.device("cpu")


def around(centre: int, count: int, spread: float, seed: int) -> np.ndarray:
    """Embeddings near an axis."""
    rng = np.random.default_rng(seed)
    values = np.eye(DIM)[centre] + rng.normal(0, spread, (count, DIM))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


TRAINED = np.concatenate([around(0, 300, 0.1, 0), around(1, 300, 0.1, 1)])
HELD_OUT = np.concatenate([around(0, 200, 0.1, 2), around(1, 200, 0.1, 3)])


def percents(sample: TrainingSample, embeddings: np.ndarray) -> np.ndarray:
    found: np.ndarray = TrainingDistance(sample, CPU).percent(torch.from_numpy(embeddings)).numpy()
    return found


def test_held_out_points_lie_within_and_others_beyond() -> None:
    sample = sample_training(TRAINED, HELD_OUT, size=100)
    assert sample.stored.shape == (100, DIM)
    assert (percents(sample, HELD_OUT) > 100).mean() == pytest.approx(0.05, abs=0.02)
    assert (percents(sample, TRAINED) > 100).mean() < 0.05
    assert percents(sample, around(5, 50, 0.1, 4)).min() == MOST_PERCENT
    assert (percents(sample, around(0, 400, 0.3, 5)) > 100).mean() > 0.8


def test_the_percent_is_the_cosine_distance_over_the_95th_percentile() -> None:
    sample = sample_training(TRAINED, HELD_OUT, size=10_000)
    assert len(sample.stored) == len(TRAINED)  # fewer are all kept
    asked = around(0, 40, 0.2, 6)
    plain = 1 - (asked @ TRAINED.T).max(axis=1)
    limit = np.percentile(1 - (HELD_OUT @ TRAINED.T).max(axis=1), 95)
    expected = np.minimum(100 * plain / limit, MOST_PERCENT)
    np.testing.assert_allclose(percents(sample, asked), expected, atol=2, rtol=0.03)


def test_rare_training_is_in_the_sample() -> None:
    many = np.concatenate([around(0, 5000, 0.05, 0), around(1, 3, 0.05, 1)])
    sample = sample_training(many, around(0, 200, 0.05, 2), size=60)
    # Three of five thousand: without farthest points, none would be near.
    assert percents(sample, around(1, 3, 0.05, 1)).max() < 100
    same = sample_training(many, around(0, 200, 0.05, 2), size=60)
    np.testing.assert_array_equal(sample.stored, same.stored)


def test_an_embedding_that_is_no_number_has_no_percent() -> None:
    sample = sample_training(TRAINED, HELD_OUT, size=50)
    asked = HELD_OUT[:3].copy()
    asked[1] = np.nan
    found = percents(sample, asked)
    assert found[1] == NO_PERCENT
    assert (found[[0, 2]] < NO_PERCENT).all()
    assert percents(sample, np.empty((0, DIM), np.float32)).shape == (0,)


def test_points_that_say_nothing_are_refused() -> None:
    nothing = np.empty((0, DIM), np.float32)
    with pytest.raises(CheckpointError, match="0 points of training and 400 held-out"):
        sample_training(nothing, HELD_OUT)
    with pytest.raises(CheckpointError, match="600 points of training and 0 held-out"):
        sample_training(TRAINED, nothing)
    same = np.eye(DIM, dtype=np.float32)
    with pytest.raises(CheckpointError, match="the same embeddings as those of training"):
        sample_training(same, same)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    sample = sample_training(TRAINED, HELD_OUT, size=100, steps=12)
    save_checkpoint(
        tmp_path / "c", TimeSenClipEncoder(SIZES), made_card(SIZES), training_sample=sample
    )
    return tmp_path / "c"


def test_it_is_kept_with_the_checkpoint_and_part_of_its_fingerprint(folder: Path) -> None:
    loaded = load_checkpoint(folder)
    assert loaded.training_sample is not None
    wanted = sample_training(TRAINED, HELD_OUT, size=100)
    np.testing.assert_array_equal(loaded.training_sample.stored, wanted.stored)
    np.testing.assert_array_equal(loaded.training_sample.distances, wanted.distances)
    assert loaded.training_sample.steps == 12
    # Without the file it is the checkpoint as it would be without a sample.
    (folder / CHECKPOINT_SAMPLE).unlink()
    without = load_checkpoint(folder)
    assert without.training_sample is None
    assert without.fingerprint == loaded.embedding_fingerprint != loaded.fingerprint
    assert without.embedding_fingerprint == loaded.embedding_fingerprint


def test_it_goes_with_another_card_and_is_replaced_with_the_checkpoint(
    folder: Path, tmp_path: Path
) -> None:
    loaded = load_checkpoint(folder)
    card = loaded.card.model_copy(update={"description": "other"})
    save_with_card(loaded, card, tmp_path / "copy")
    copied = load_checkpoint(tmp_path / "copy")
    assert copied.training_sample is not None
    assert (tmp_path / "copy" / CHECKPOINT_SAMPLE).read_bytes() == (
        folder / CHECKPOINT_SAMPLE
    ).read_bytes()
    torch.manual_seed(1)
    save_checkpoint(folder, TimeSenClipEncoder(SIZES), loaded.card, replace=True)
    assert load_checkpoint(folder).training_sample is None


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("embeddings", np.ones((5, 7), np.int8), "not int8 of 12 dimensions"),
        ("embeddings", np.ones((5, DIM), np.float32), "not int8 of 12 dimensions"),
        ("embeddings", np.zeros((5, DIM), np.int8), "some of zeros"),
        ("held_out_distances", np.zeros(101, np.float32), "not finite numbers in order, above 0"),
        ("held_out_distances", np.linspace(1, 0, 101, dtype=np.float32), "in order"),
        ("held_out_distances", np.ones(7, np.float32), "not 101 of float32"),
        ("steps", np.empty(0, np.int64), "steps is I64"),
    ],
)
def test_a_damaged_sample_is_refused(
    folder: Path, name: str, value: np.ndarray, problem: str
) -> None:
    tensors = load_file(folder / CHECKPOINT_SAMPLE)
    save_file({**tensors, name: value}, folder / CHECKPOINT_SAMPLE)
    with pytest.raises(CheckpointError, match=problem) as caught:
        load_checkpoint(folder)
    assert CHECKPOINT_SAMPLE in str(caught.value)


@pytest.mark.parametrize("keep", [0, 40])
def test_a_truncated_sample_is_refused(folder: Path, keep: int) -> None:
    place = folder / CHECKPOINT_SAMPLE
    place.write_bytes(place.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="truncated or corrupt"):
        load_checkpoint(folder)


def test_saving_refuses_a_sample_of_other_embeddings(tmp_path: Path) -> None:
    other = sample_training(np.eye(5, dtype=np.float32), np.full((3, 5), 0.4472, np.float32))
    with pytest.raises(CheckpointError, match="not int8 of 12 dimensions"):
        save_checkpoint(
            tmp_path / "c", TimeSenClipEncoder(SIZES), made_card(SIZES), training_sample=other
        )
    assert not list(tmp_path.iterdir())
