import io

import numpy as np
from PIL import Image

from models.vocabulary.vocabulary import vocabulary_from_words
from pipeline.viewer.tile_pictures import class_png, empty_png, heat_png, true_colour_png

LEGEND = vocabulary_from_words("wheat, water, town").legend
VALUES = np.array([[0, 1], [2, 3]], np.uint8)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def colour(place: int) -> list[int]:
    text = LEGEND[place].colour
    return [int(text[k : k + 2], 16) for k in (1, 3, 5)]


def test_classes_have_the_colours_of_the_legend() -> None:
    found = pixels(class_png(VALUES, LEGEND))
    assert found[0, 0, 3] == 0
    for place, at in enumerate([(0, 1), (1, 0), (1, 1)]):
        assert found[at].tolist() == [*colour(place), 255]


def test_only_some_classes_are_shown_and_unknown_values_are_not() -> None:
    found = pixels(class_png(VALUES, LEGEND[:2], only={2, 3}))
    assert found[..., 3].tolist() == [[0, 0], [255, 0]]


def test_confidence_is_opacity() -> None:
    confidence = np.array([[100, 0], [50, 255]], np.uint8)
    alpha = pixels(class_png(VALUES, LEGEND, confidence=confidence))[..., 3]
    assert alpha[0, 0] == 0  # nodata, however sure
    assert 0 < alpha[0, 1] < alpha[1, 0] < 255
    assert alpha[1, 1] == alpha[0, 1]
    assert pixels(class_png(VALUES, LEGEND, confidence=np.full((2, 2), 100)))[1, 1, 3] == 255


def test_values_of_large_vocabularies_have_colours_too() -> None:
    many = vocabulary_from_words(", ".join(f"class {k}" for k in range(400)))
    found = pixels(class_png(np.array([[400, 0]], np.uint16), many.legend))
    assert found[0, :, 3].tolist() == [255, 0]
    text = many.legend[399].colour
    assert found[0, 0, :3].tolist() == [int(text[k : k + 2], 16) for k in (1, 3, 5)]


def test_a_heat_map_goes_from_dark_to_light() -> None:
    found = pixels(heat_png(np.array([[-1, 0.2, 0.6, 2, np.nan]], np.float32), 0.0, 1.0))
    light = found[0, :, :3].astype(int).sum(axis=1)
    assert light[0] < light[1] < light[2] < light[3]
    assert found[0, :, 3].tolist() == [255, 255, 255, 255, 0]


def test_true_colour_and_nothing() -> None:
    values = np.array([[[0, 60]], [[10, 70]], [[10, 80]]], np.uint8)
    found = pixels(true_colour_png(values))
    assert found[0, :, 3].tolist() == [0, 255]
    assert (np.diff(found[0, 1, :3].astype(int)) > 0).all()
    assert not pixels(empty_png())[..., 3].any()
