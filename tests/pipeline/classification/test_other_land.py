"""Land that is none of a map's classes, found and counted."""

from collections import Counter

import numpy as np
import pytest
import torch

from models.towers.text_embeddings import TextEmbeddings
from models.vocabulary.vocabulary import vocabulary_from_words
from pipeline.classification.class_scores import ClassTexts
from pipeline.classification.other_land import OtherLand, OtherLandFinder, _left_out

DIM = 16
GENERAL = vocabulary_from_words("trees, cropland, water: lake | sea, town")


def unit(*rows: np.ndarray) -> np.ndarray:
    stacked = np.stack(rows).astype(np.float32)
    unit_rows: np.ndarray = stacked / np.linalg.norm(stacked, axis=1, keepdims=True)
    return unit_rows


@pytest.fixture
def general() -> TextEmbeddings:
    """One text for each member, at right angles."""
    return TextEmbeddings(
        np.eye(5, DIM, dtype=np.float32), np.array([0, 1, 2, 2, 3]), np.zeros((0, DIM), np.float32)
    )


def words_near(
    general: TextEmbeddings, *places: int, background: int | None = None
) -> TextEmbeddings:
    """Words whose texts lie near those of the general vocabulary at these places."""
    own = np.eye(1, DIM, 9, dtype=np.float32)[0]
    classes = unit(*(general.members[place] + 0.3 * own for place in places))
    behind = classes[:0] if background is None else general.members[background : background + 1]
    return TextEmbeddings.of_classes(classes, behind)


def test_what_words_leave_out(general: TextEmbeddings) -> None:
    left = _left_out(words_near(general, 0, 1), GENERAL, general)
    assert left is not None
    assert left.names == ("water", "town")
    np.testing.assert_array_equal(left.texts, general.members[2:])
    assert left.class_index.tolist() == [0, 0, 1]
    kept = OtherLand.from_tensors(left.tensors())
    assert kept.names == left.names
    np.testing.assert_array_equal(kept.texts, left.texts)
    with_water = _left_out(words_near(general, 0, 1, background=3), GENERAL, general)
    assert with_water is not None
    assert with_water.names == ("town",)
    assert _left_out(words_near(general, 0, 1, 3, 4), GENERAL, general) is None


def test_a_word_between_two_general_classes_stands_for_both(general: TextEmbeddings) -> None:
    between = unit(general.members[0] + 0.98 * general.members[1], general.members[4])
    left = _left_out(TextEmbeddings.of_classes(between, between[:0]), GENERAL, general)
    assert left is not None
    assert left.names == ("water",)


@pytest.mark.parametrize("classes", [3, 300])  # more than are compared at once
def test_pixels_of_other_land(classes: int) -> None:
    draw = np.random.default_rng(classes)
    own = unit(*draw.normal(size=(classes, DIM)))
    other = OtherLand(
        ("water", "town"), unit(*draw.normal(size=(5, DIM))), np.array([0, 0, 0, 1, 1])
    )
    pixels = unit(*draw.normal(size=(500, DIM)))
    pixels[7] = np.nan
    device = torch.device("cpu")
    texts = ClassTexts.on_device(own, np.arange(classes), device)
    places = OtherLandFinder(other, texts, device).places(torch.from_numpy(pixels)).numpy()

    cosines = pixels @ other.texts.T
    lands = np.stack((cosines[:, :3].max(axis=1), cosines[:, 3:].max(axis=1)), axis=1)
    nearer = lands.max(axis=1) > (pixels @ own.T).max(axis=1)
    np.testing.assert_array_equal(places, np.where(nearer, lands.argmax(axis=1), 255))
    assert places[7] == 255
    assert nearer.any()

    values = draw.integers(1, 4, 500).astype(np.uint8)
    counted = OtherLandFinder(other, texts, device).count(places, values)
    plain = Counter(
        (int(value), other.names[place])
        for value, place in zip(values, places, strict=True)
        if place != 255
    )
    assert counted == plain
