"""The shipped sample checkpoint does what its card says, on seeds that no training saw."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.encoder.checkpoint import Checkpoint, load_checkpoint
from models.towers.text_embeddings import embed_vocabulary
from models.towers.text_tower import SentenceTower, TextTower
from models.vocabulary.vocabulary import load_vocabulary, vocabulary_from_words
from pipeline.sample import train as training
from pipeline.sample.classes import CLASS_COUNT, MAIZE, WATER, WHEAT, sample_classes
from pipeline.sample.descriptions import ABSENT, Description, DescriptionTexts, descriptions
from pipeline.sample.evaluation import calibrated_scale, evaluate_embeddings
from pipeline.sample.series import sample_series

UNSEEN_SEED = 31


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint("sample")


@pytest.fixture(scope="module")
def tower() -> SentenceTower:
    return SentenceTower()


@pytest.fixture(scope="module")
def unseen(checkpoint: Checkpoint) -> tuple[np.ndarray, np.ndarray]:
    land, series = sample_series(UNSEEN_SEED, 4000)
    with torch.inference_mode():
        embeddings = checkpoint.encoder(checkpoint.card.preprocessing.normalise(series))
    return land, embeddings.numpy()


def test_its_card_is_plain(checkpoint: Checkpoint, tower: SentenceTower) -> None:
    card = checkpoint.card
    assert card.demonstration
    assert "demonstration only" in card.description.lower()
    assert card.architecture == training.ENCODER
    assert card.preprocessing == training.PREPROCESSING
    assert (card.text_tower, card.text_tower_revision) == (tower.name, tower.revision)
    assert card.metrics["accuracy, 12 classes, names"] >= 0.9
    size = sum(path.stat().st_size for path in checkpoint.path.iterdir())
    assert size < 2_000_000


def test_it_classifies_by_names(
    checkpoint: Checkpoint, tower: SentenceTower, unseen: tuple[np.ndarray, np.ndarray]
) -> None:
    land, embeddings = unseen
    metrics = evaluate_embeddings(embeddings, land, tower, checkpoint.card.logit_scale)
    assert set(metrics) == set(checkpoint.card.metrics)
    for name, value in metrics.items():
        least = {"lowest class accuracy, 12 classes, names": 0.75}.get(name, 0.9)
        if name.startswith(("accuracy", "mean class", "lowest")):
            assert value > least, name
        assert value == pytest.approx(checkpoint.card.metrics[name], abs=0.04), name
    assert metrics["calibration error, 12 classes"] < 0.05


def test_it_maps_classes_in_free_words(
    tower: SentenceTower, unseen: tuple[np.ndarray, np.ndarray]
) -> None:
    land, embeddings = unseen
    text = embed_vocabulary(vocabulary_from_words("corn, wheat, open water"), tower)
    for index, k in enumerate((MAIZE, WHEAT, WATER)):
        nearest = text.cosines(embeddings[land == k]).argmax(axis=1)
        assert (nearest == index).mean() > 0.9


def test_no_pixel_is_snow_or_mangrove(
    tower: SentenceTower, unseen: tuple[np.ndarray, np.ndarray]
) -> None:
    _land, embeddings = unseen
    text = embed_vocabulary(load_vocabulary("esa-worldcover"), tower)
    names = [entry.name for entry in load_vocabulary("esa-worldcover").classes]
    found = text.cosines(embeddings).argmax(axis=1)
    for name in ("Snow and ice", "Mangroves", "Moss and lichen"):
        assert (found == names.index(name)).mean() < 0.01


def test_fitting_recovers_the_scale(tower: SentenceTower) -> None:
    text = embed_vocabulary(load_vocabulary("sample-landscape"), tower)
    rng = np.random.default_rng(0)
    vectors = (
        rng.standard_normal((3000, text.members.shape[1])) * 0.3
        + text.members[text.starts][rng.integers(0, 12, 3000)]
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scale = 20.0
    logits = scale * text.cosines(vectors)
    drawn = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # from the softmax itself
    assert calibrated_scale(vectors, drawn, tower) == pytest.approx(scale, rel=0.15)


def test_held_out_descriptions_are_not_trained() -> None:
    entries = descriptions()
    seen = {entry.wording for entry in entries if not entry.is_held_out}
    held_out = {entry.wording for entry in entries if entry.is_held_out}
    assert not seen & held_out
    assert not (seen | held_out) & set(ABSENT)
    assert len({entry.wording for entry in entries}) == len(entries)
    for k, named in enumerate(sample_classes()):
        own = [entry for entry in entries if entry.classes == (k,)]
        assert named.name in {entry.wording for entry in own if not entry.is_held_out}
        assert sum(entry.is_held_out for entry in own) == 3


class _Letters:
    """A text tower that needs no weights: counts of letters."""

    name, revision, dim = "letters", "1", 26

    def embed(self, texts: list[str]) -> np.ndarray:
        counts = [[text.lower().count(chr(97 + k)) for k in range(26)] for text in texts]
        vectors = np.array(counts, np.float32) + 0.01
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_descriptions_are_drawn_from_what_is_true() -> None:
    tower: TextTower = _Letters()
    entries = [Description(f"only {k}", (k,)) for k in range(CLASS_COUNT)]
    entries.append(Description("crops", (0, 1, 2, 3)))
    texts = DescriptionTexts(entries, tower.embed)
    land = np.repeat(np.arange(CLASS_COUNT), 200)
    chosen = texts.choose(land, np.random.default_rng(0))
    assert texts.is_true[land, chosen].all()
    shared = chosen == CLASS_COUNT
    assert 0.3 < shared[land < 4].mean() < 0.5
    assert not shared[land >= 4].any()
    assert texts.embeddings.shape == (13, texts.wordings, 26)


@pytest.mark.slow
def test_training_learns_and_writes_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_HELD_OUT_PIXELS", 1200)
    monkeypatch.setattr(training, "descriptions", lambda: descriptions()[::9])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train", "--steps", "40", "--pixels", "4000"])
    training.main()
    made = load_checkpoint(tmp_path / "sample-checkpoint")
    assert made.card.metrics["mean class accuracy, 12 classes, names"] > 0.25  # by chance 0.08
    assert made.card.training["steps"] == 40


def test_training_repeats_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_HELD_OUT_PIXELS", 600)
    monkeypatch.setattr(training, "descriptions", lambda: descriptions()[::9])
    (first, card), (again, _card) = (
        training.train_sample_encoder(steps=3, pixels=800) for _ in range(2)
    )
    assert card.demonstration
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
