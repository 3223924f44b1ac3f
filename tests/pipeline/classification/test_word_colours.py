import numpy as np
import pytest

from models.encoder.card import Card
from models.encoder.checkpoint import load_checkpoint
from models.towers.text_embeddings import embed_for_checkpoint
from models.vocabulary.colour_distance import least_difference, seen_lab
from models.vocabulary.vocabulary import Vocabulary, vocabulary_from_words
from pipeline.classification.word_colours import with_colours_of_meaning

HUES = {"red": (10, 55), "yellow": (70, 105), "green": (105, 165), "blue": (240, 300)}
"""Degrees in CIELAB's plane of a* and b*."""


@pytest.fixture(scope="module")
def card() -> Card:
    return load_checkpoint("sample").card


def _coloured(words: str, card: Card) -> Vocabulary:
    vocabulary = vocabulary_from_words(words)
    return with_colours_of_meaning(vocabulary, embed_for_checkpoint(vocabulary, card), card)


def _lab(vocabulary: Vocabulary) -> np.ndarray:
    colours = [tuple(bytes.fromhex(entry.colour[1:])) for entry in vocabulary.classes]
    return seen_lab(np.array(colours, np.uint8))


def _hue(vocabulary: Vocabulary) -> dict[str, float]:
    _, a, b = _lab(vocabulary)[0].T
    hue = np.degrees(np.arctan2(b, a)) % 360
    return dict(zip((entry.name for entry in vocabulary.classes), hue.tolist(), strict=True))


@pytest.mark.parametrize(
    "words", ["pasture, forest, wheat, water", "town, water, wheat, pasture, forest, river, sea"]
)
def test_words_have_the_colours_that_people_expect(words: str, card: Card) -> None:
    families = {
        **dict.fromkeys(("pasture", "forest"), "green"),
        **dict.fromkeys(("water", "river", "sea"), "blue"),
        "wheat": "yellow",
        "town": "red",
    }
    for name, hue in _hue(_coloured(words, card)).items():
        low, high = HUES[families[name]]
        assert low < hue < high, f"{name} is not {families[name]}"


def test_what_is_like_nothing_is_violet_or_pink(card: Card) -> None:
    hue = _hue(_coloured("forest, water, xylophone concert", card))["xylophone concert"]
    assert hue > 310 or hue < 15


def test_a_class_has_the_colour_of_the_member_that_is_most_like_another(card: Card) -> None:
    hues = _hue(_coloured("crops: wheat, rest: lake | xylophone concert", card))
    assert HUES["blue"][0] < hues["rest"] < HUES["blue"][1]


def test_twenty_words_keep_apart(card: Card) -> None:
    vocabulary = _coloured(
        "pasture, forest, wheat, water, town, lake, river, vineyard, orchard, maize, rapeseed, "
        "sugar beet, bare rock, snow, wetland, heath, beach, solar panels, road, sea",
        card,
    )
    apart = least_difference(_lab(vocabulary), _lab(vocabulary))
    assert apart[np.triu_indices(20, 1)].min() >= 10


def test_nothing_but_colours_changes(card: Card) -> None:
    before = vocabulary_from_words("forest, water: lake | sea")
    after = _coloured("forest, water: lake | sea", card)
    assert after != before
    colours = {"classes": {"__all__": {"colour"}}}
    assert after.model_dump(exclude=colours) == before.model_dump(exclude=colours)
    assert after.identity == before.identity
