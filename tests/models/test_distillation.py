"""A student learns to give its teacher's embeddings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.distillation import (
    Bank,
    label_series,
    student_architecture,
    train_student,
    vary_bank,
)
from models.encoder.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.encoder.inference import embed_all
from models.encoder.preprocessing import AUTHORS
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from models.errors import CheckpointError
from models.towers.text_embeddings import TextEmbeddings
from tests.made_card import made_card

TEACHER = TimeSenClipArchitecture(
    dim=32, depth=2, heads=2, feedforward=32, embedding_dim=24, dropout=0.1
)
SIZES = {"dim": 16, "depth": 1, "heads": 2, "feedforward": 16}


def made_series(count: int, seed: int) -> np.ndarray:
    """Series of four kinds of ground in turn, with a season and noise: uint16 (n, 12, 10)."""
    rng = np.random.default_rng(seed)
    kinds = np.random.default_rng(99).uniform(300, 3500, (4, 2, 10))
    kind, phase = np.arange(count) % 4, rng.uniform(-1, 1, (count, 1))
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * np.arange(12) / 12 + phase)
    low, high = kinds[kind, 0][:, None], kinds[kind, 1][:, None]
    values = low + (high - low) * wave[:, :, None] + rng.normal(0, 40, (count, 12, 10))
    return np.clip(values, 1, 10_000).astype(np.uint16)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Random weights, by which four kinds of ground differ a little."""
    torch.manual_seed(3)
    encoder = TimeSenClipEncoder(TEACHER)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    folder = tmp_path_factory.mktemp("teacher") / "teacher"
    save_checkpoint(folder, encoder, made_card(TEACHER, logit_scale=20.0))
    return load_checkpoint(folder)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def embedded(encoder: TimeSenClipEncoder, teacher: Checkpoint, series: np.ndarray) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = encoder(teacher.card.preprocessing.normalise(series))
    return found


def words(teacher: Checkpoint) -> TextEmbeddings:
    """Texts by which the teacher tells the four kinds of ground apart."""
    found = embedded(teacher.encoder, teacher, made_series(400, 7)).numpy()
    apart = np.stack([found[kind::4].mean(axis=0) for kind in range(4)]) - found.mean(axis=0)
    apart = (apart / np.linalg.norm(apart, axis=1, keepdims=True)).astype(np.float32)
    return TextEmbeddings.of_classes(apart, apart[:0])


def test_a_student_agrees_with_its_teacher(teacher: Checkpoint) -> None:
    text = words(teacher)
    config = student_architecture(teacher.card, **SIZES)
    shares: list[float] = []
    student = train_student(
        label_series(teacher, made_series(400, 0), 1500, 0),
        teacher.card,
        config,
        steps=300,
        batch=128,
        seed=0,
        text=text,
        progress=shares.append,
    )
    unseen = made_series(300, 1)
    wanted = embedded(teacher.encoder, teacher, unseen)
    found = embedded(student, teacher, unseen)
    assert student.architecture == config
    assert not student.training
    assert (wanted * found).sum(dim=1).mean() > 0.99
    classes, own = (text.cosines(part.numpy()).argmax(axis=1) for part in (wanted, found))
    assert np.bincount(classes, minlength=4).min() > 30
    assert (classes == own).mean() > 0.95
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_seed_gives_the_same_student(teacher: Checkpoint) -> None:
    config = student_architecture(teacher.card, **SIZES)
    first, again, other = (
        train_student(
            label_series(teacher, made_series(100, 0), 200, seed),
            teacher.card,
            config,
            steps=12,
            batch=64,
            seed=seed,
        )
        for seed in (5, 5, 6)
    )
    assert all(
        torch.equal(one, two)
        for one, two in zip(first.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert not torch.equal(first.mlp_head[1].weight, other.mlp_head[1].weight)


def test_texts_change_what_is_learned(teacher: Checkpoint) -> None:
    bank = label_series(teacher, made_series(100, 0), 200, 0)
    config = student_architecture(teacher.card, **SIZES)
    without, sharpened = (
        train_student(bank, teacher.card, config, steps=12, batch=64, seed=0, text=text)
        for text in (None, words(teacher))
    )
    assert not torch.equal(without.mlp_head[1].weight, sharpened.mlp_head[1].weight)


def test_only_the_nearest_member_of_a_class_teaches(teacher: Checkpoint) -> None:
    """The same member twice changes nothing; as a class of its own it does."""
    bank = label_series(teacher, made_series(100, 0), 200, 0)
    config = student_architecture(teacher.card, **SIZES)
    text = words(teacher)
    twice = text.members[[0, 1, 2, 3, 3]]
    weights = [
        train_student(
            bank, teacher.card, config, steps=12, batch=64, seed=0, text=given
        ).mlp_head[1].weight
        for given in (
            text,
            TextEmbeddings(twice, np.array([0, 1, 2, 3, 3]), text.background),
            TextEmbeddings.of_classes(twice, text.background),
        )
    ]  # fmt: skip
    torch.testing.assert_close(weights[0], weights[1], atol=1e-4, rtol=1e-3)
    assert not torch.allclose(weights[0], weights[2], atol=1e-3, rtol=1e-3)


def test_labels_are_those_of_what_the_student_sees(teacher: Checkpoint) -> None:
    shares: list[float] = []
    bank = label_series(teacher, made_series(50, 0), 120, 0, shares.append)
    assert bank.series.shape == (120, 12, 10)
    plain = embedded(teacher.encoder, teacher, bank.series)
    assert (bank.embeddings - plain).abs().max() < 1e-5
    assert shares == [1.0]


def test_series_without_a_finite_embedding_are_left_out(
    teacher: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflowing(checkpoint: Checkpoint, series: np.ndarray, progress: None) -> torch.Tensor:
        """As on a GPU, where a float16 product overflows for some series."""
        embeddings = embed_all(checkpoint, series)
        embeddings[::3, 5] = torch.nan
        embeddings[1] = torch.inf
        return embeddings

    whole = label_series(teacher, made_series(50, 0), 120, 0)
    monkeypatch.setattr("models.distillation.embed_all", overflowing)
    bank = label_series(teacher, made_series(50, 0), 120, 0)
    kept = [row for row in range(120) if row % 3 and row != 1]
    assert (whole.left_out, bank.left_out) == (0, 41)
    assert np.array_equal(bank.series, whole.series[kept])
    assert torch.equal(bank.embeddings, whole.embeddings[kept])
    config = student_architecture(teacher.card, **SIZES)
    train_student(bank, teacher.card, config, steps=3, batch=64, seed=0)


def test_a_teacher_that_always_overflows_is_refused(tmp_path: Path) -> None:
    encoder = TimeSenClipEncoder(TEACHER)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=1e20)
    save_checkpoint(tmp_path / "big", encoder, made_card(TEACHER, name="big"))
    with pytest.raises(CheckpointError, match="teacher big: its embeddings of all 30 series are"):
        label_series(load_checkpoint(tmp_path / "big"), made_series(50, 0), 30, 0)


def test_series_are_varied_and_some_are_not() -> None:
    series = made_series(300, 2)
    made = vary_bank(series, 1000, 0)
    assert made.shape == (1000, 12, 10)
    assert made.dtype == np.uint16
    assert made.min() > 0
    known = {one.tobytes() for one in series}
    as_given = sum(one.tobytes() in known for one in made)
    assert 150 < as_given < 350
    lost = [len(np.unique(one, axis=0)) < 12 for one in made]
    assert 150 < sum(lost) < 600
    assert np.array_equal(made, vary_bank(series, 1000, 0))


def test_a_teacher_without_some_bands_is_asked_without_them(tmp_path: Path) -> None:
    preprocessing = replace(AUTHORS, optional_bands=("B05", "B8A"))
    torch.manual_seed(1)
    save_checkpoint(
        tmp_path / "t", TimeSenClipEncoder(TEACHER), made_card(TEACHER, preprocessing=preprocessing)
    )
    series = made_series(300, 2)
    series[::3, :, 7] = 0
    bank = label_series(load_checkpoint(tmp_path / "t"), series, 900, 0)
    absent = (bank.series == 0).all(axis=1)
    assert not absent[:, [0, 1, 2, 4, 5, 6, 8, 9]].any()
    assert 200 < absent[:, 3].sum() < 350  # half of three quarters, then one or both of two
    assert absent[:, 7].sum() > absent[:, 3].sum() + 150
    assert np.array_equal((bank.series == 0).any(axis=1), absent)


def test_every_series_is_taken_as_often() -> None:
    series = np.full((7, 12, 10), 1000, np.uint16)
    series += (np.arange(7, dtype=np.uint16) * 8000)[:, None, None]
    made = vary_bank(series, 700, 1)
    as_given = [int((made == one).all(axis=(1, 2)).sum()) for one in series]
    assert min(as_given) > 8


def test_a_loss_that_is_no_number_ends_it(teacher: Checkpoint) -> None:
    embeddings = torch.full((20, TEACHER.embedding_dim), torch.nan)
    bank = Bank(made_series(20, 0), embeddings)
    config = student_architecture(teacher.card, **SIZES)
    with pytest.raises(CheckpointError, match="at step 1 of 10 its loss is not a number"):
        train_student(bank, teacher.card, config, steps=10, batch=8, seed=0)


def test_sizes_that_no_student_can_have(teacher: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match="the student's sizes: dim 30 cannot be shared"):
        student_architecture(teacher.card, dim=30, heads=4)
