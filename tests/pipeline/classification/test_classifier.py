"""What pixels are: their nearest class, its parent, or none of these."""

from typing import Any

import numpy as np
import pytest
import torch

from models.towers.text_embeddings import TextEmbeddings
from models.vocabulary.vocabulary import Vocabulary, make_vocabulary
from pipeline.classification.classify import Classifier, make_classifier

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
    return TextEmbeddings.of_classes(unit(rng, 4), unit(rng, 2))


def shown(classifier: Classifier, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = classifier.classify(torch.from_numpy(pixels))
    place, percent = found.place, found.percent
    return classifier.values[place[:, 0].numpy()], percent[:, 0].numpy()


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
        of_members = [float(pixel @ t) for t in text.members]
        cosine = [
            max(c for c, owner in zip(of_members, text.class_index, strict=True) if owner == k)
            for k in range(len(vocabulary.classes))
        ] + [float(pixel @ t) for t in text.background]
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
@pytest.mark.parametrize("members", [(1, 1, 1, 1), (1, 3, 1, 2)])
def test_agrees_with_the_plain_way(
    pixels: np.ndarray,
    level: str,
    threshold: float | None,
    background: tuple[str, ...],
    members: tuple[int, ...],
) -> None:
    asked = vocabulary(level=level, threshold=threshold, background=background)
    rng = np.random.default_rng(2)
    index = np.repeat(np.arange(4), members)
    given = TextEmbeddings(unit(rng, len(index)), index, unit(rng, 2)[: len(background)])
    classifier = make_classifier(asked, given, SCALE, torch.device("cpu"))
    values, percent = shown(classifier, pixels)
    expected, share = plainly(asked, given, pixels)
    np.testing.assert_array_equal(values, expected)
    assert np.abs(percent - share).max() <= 0.5 + 1e-3
    assert percent.dtype == np.uint8
    assert values.dtype == asked.dtype
    # Every value that occurs is in the legend, and nothing of the legend is beyond reach.
    assert set(values.tolist()) == {entry.value for entry in asked.legend}


def test_members_give_a_class_no_advantage(text: TextEmbeddings, pixels: np.ndarray) -> None:
    """The same member nine times is the class as it was."""
    index = np.repeat(np.arange(4), (1, 9, 1, 1))
    repeated = TextEmbeddings(text.members[index], index, text.background)
    plain, nine = (
        shown(make_classifier(vocabulary(), given, SCALE, torch.device("cpu")), pixels)
        for given in (text, repeated)
    )
    np.testing.assert_array_equal(plain, nine)


def test_a_parent_is_that_of_the_nearest_class(text: TextEmbeddings, pixels: np.ndarray) -> None:
    of_class, of_parent = (
        shown(make_classifier(vocabulary(level=level), text, SCALE, torch.device("cpu")), pixels)[0]
        for level in ("class", "parent")
    )
    np.testing.assert_array_equal(of_parent == 255, of_class == 255)
    np.testing.assert_array_equal(
        of_parent[of_class < 255], np.where(of_class < 20, 2, 3)[of_class < 255]
    )


@pytest.mark.parametrize("level", ["class", "parent"])
def test_ranks_follow_their_shares(text: TextEmbeddings, pixels: np.ndarray, level: str) -> None:
    asked = vocabulary(level=level, background=("a wall", "a cat"))
    classifier = make_classifier(asked, text, SCALE, torch.device("cpu"))
    found = classifier.classify(torch.from_numpy(pixels), 8)
    place, percent = found.place, found.percent
    assert place.shape == percent.shape == (len(pixels), len(asked.legend))
    first = classifier.classify(torch.from_numpy(pixels))
    alone, share = first.place, first.percent
    assert torch.equal(place[:, :1], alone)
    assert torch.equal(percent[:, :1], share)
    assert all(len(set(row)) == len(row) for row in place.tolist())
    later = percent[:, 1:].int()
    assert (later[:, :-1] >= later[:, 1:]).all()
    assert (percent.int().sum(dim=1) - 100).abs().max() <= 3  # roundings


@pytest.mark.parametrize("level", ["class", "parent"])
@pytest.mark.parametrize("background", [(), ("a wall", "a cat")])
def test_no_class_is_shown_twice_below_a_threshold(
    text: TextEmbeddings, pixels: np.ndarray, level: str, background: tuple[str, ...]
) -> None:
    wanted = vocabulary(level=level, threshold=0.4, background=background)
    used = text if background else TextEmbeddings.of_classes(text.members, text.background[:0])
    classifier = make_classifier(wanted, used, SCALE, torch.device("cpu"))
    plain = make_classifier(
        wanted.model_copy(update={"threshold": None}), used, SCALE, torch.device("cpu")
    )
    place = classifier.classify(torch.from_numpy(pixels), 3).place.tolist()
    without = plain.classify(torch.from_numpy(pixels), 3).place.tolist()
    none = len(classifier.values) - 2
    assert all(len(set(row)) == len(row) for row in place)
    below = [(row, other) for row, other in zip(place, without, strict=True) if row != other]
    assert below
    for row, other in below:  # the nearest classes follow "none of these", in their order
        assert row == [none, *(each for each in other if each != none)][: len(row)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("threshold", [None, 0.4])
@pytest.mark.parametrize("level", ["class", "parent"])
def test_an_embedding_that_is_no_number_is_nodata(
    text: TextEmbeddings, pixels: np.ndarray, value: float, threshold: float | None, level: str
) -> None:
    wanted = vocabulary(level=level, threshold=threshold, background=("a wall", "a cat"))
    classifier = make_classifier(wanted, text, SCALE, torch.device("cpu"))
    whole = classifier.rasters(classifier.classify(torch.from_numpy(pixels), 2), 2)
    broken = pixels.copy()
    broken[3, 5], broken[7] = value, value
    rasters = classifier.rasters(classifier.classify(torch.from_numpy(broken), 2), 2)
    for name, nodata in (
        ("class", 0), ("confidence", 255), ("top-classes", 0), ("top-confidences", 255),
    ):  # fmt: skip
        assert (rasters[name][:, [3, 7]] == nodata).all(), name
        others = np.delete(rasters[name], [3, 7], axis=1)
        np.testing.assert_array_equal(others, np.delete(whole[name], [3, 7], axis=1))
