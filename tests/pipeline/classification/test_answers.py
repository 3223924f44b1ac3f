"""What pixels are: their nearest class, its parent, or none of these."""

from typing import Any

import numpy as np
import pytest
import torch

from models.towers.text_embeddings import TextEmbeddings
from models.vocabulary.vocabulary import Vocabulary, make_vocabulary
from pipeline.classification.classify import Answers, answers_of

SCALE = 12.0
CLASSES = [
    {"name": "wheat", "parent": "B", "value": 11},
    {"name": "maize", "parent": "B", "value": 12},
    {"name": "oak", "parent": "C", "value": 21},
    {"name": "pine", "parent": "C", "value": 22, "bias": 1.5},
]
PARENTS = [
    {"name": "cropland", "code": "B", "value": 2},
    {"name": "woodland", "code": "C", "value": 3},
]


def vocabulary(**fields: Any) -> Vocabulary:
    described = {"name": "v", "title": "v", "source": "v", "licence": "none"}
    return make_vocabulary(described | {"classes": CLASSES, "parents": PARENTS} | fields, "test")


def unit(rng: np.random.Generator, count: int) -> np.ndarray:
    vectors = rng.normal(size=(count, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return unit(np.random.default_rng(1), 400)


@pytest.fixture(scope="module")
def text() -> TextEmbeddings:
    rng = np.random.default_rng(2)
    return TextEmbeddings(unit(rng, 4), unit(rng, 2))


def shown(answers: Answers, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    place, percent = answers.of(torch.from_numpy(pixels))
    return answers.values[place[:, 0].numpy()], percent[:, 0].numpy()


def plainly(
    vocabulary: Vocabulary, text: TextEmbeddings, pixels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Value and percent, pixel by pixel."""
    parents = {parent.key: parent.value for parent in vocabulary.parents}
    stands = [
        parents[str(entry.parent)] if vocabulary.level == "parent" else entry.value
        for entry in vocabulary.classes
    ] + [vocabulary.none_value] * len(text.background)
    bias = [entry.bias for entry in vocabulary.classes] + [0.0] * len(text.background)
    values, percents = [], []
    for pixel in pixels.astype(np.float64):
        cosine = [float(pixel @ t) for t in (*text.classes, *text.background)]
        weights = [np.exp(SCALE * c + b) for c, b in zip(cosine, bias, strict=True)]
        best = int(np.argmax(weights))
        same = sum(w for w, s in zip(weights, stands, strict=True) if s == stands[best])
        value, share = stands[best], 100 * same / sum(weights)
        if vocabulary.threshold is not None and cosine[best] < vocabulary.threshold:
            value, share = vocabulary.none_value, 0.0
        values.append(value)
        percents.append(share)
    return np.array(values), np.array(percents)


@pytest.mark.parametrize("level", ["class", "parent"])
@pytest.mark.parametrize("threshold", [None, 0.4])
@pytest.mark.parametrize("background", [(), ("a wall", "a cat")])
def test_agrees_with_the_plain_way(
    text: TextEmbeddings,
    pixels: np.ndarray,
    level: str,
    threshold: float | None,
    background: tuple[str, ...],
) -> None:
    asked = vocabulary(level=level, threshold=threshold, background=background)
    given = text if background else TextEmbeddings(text.classes, text.background[:0])
    answers = answers_of(asked, given, SCALE, torch.device("cpu"))
    values, percent = shown(answers, pixels)
    expected, share = plainly(asked, given, pixels)
    np.testing.assert_array_equal(values, expected)
    assert np.abs(percent - share).max() <= 0.5 + 1e-3
    assert percent.dtype == np.uint8
    assert values.dtype == asked.dtype
    # Every value that occurs is in the legend, and nothing of the legend is beyond reach.
    assert set(values.tolist()) == {entry.value for entry in asked.legend}


def test_a_parent_is_that_of_the_nearest_class(text: TextEmbeddings, pixels: np.ndarray) -> None:
    of_class, of_parent = (
        shown(answers_of(vocabulary(level=level), text, SCALE, torch.device("cpu")), pixels)[0]
        for level in ("class", "parent")
    )
    np.testing.assert_array_equal(of_parent == 255, of_class == 255)
    np.testing.assert_array_equal(
        of_parent[of_class < 255], np.where(of_class < 20, 2, 3)[of_class < 255]
    )


@pytest.mark.parametrize("level", ["class", "parent"])
def test_ranks_follow_their_shares(text: TextEmbeddings, pixels: np.ndarray, level: str) -> None:
    asked = vocabulary(level=level, background=("a wall", "a cat"))
    answers = answers_of(asked, text, SCALE, torch.device("cpu"))
    place, percent = answers.of(torch.from_numpy(pixels), most=8)
    assert place.shape == percent.shape == (len(pixels), len(asked.legend))
    alone, share = answers.of(torch.from_numpy(pixels))
    assert torch.equal(place[:, :1], alone)
    assert torch.equal(percent[:, :1], share)
    assert all(len(set(row)) == len(row) for row in place.tolist())
    later = percent[:, 1:].int()
    assert (later[:, :-1] >= later[:, 1:]).all()
    assert (percent.int().sum(dim=1) - 100).abs().max() <= 3  # roundings
