from itertools import combinations

import numpy as np
import pytest

from models.vocabulary.colour_distance import least_difference, seen_lab
from models.vocabulary.vocabulary import load_vocabulary, vocabulary_from_words
from pipeline.product.cog_writer import rgb
from pipeline.product.colour_blind import colour_blind_safe

# Viénot, Brettel and Mollon (1999), "Digital video colourmaps for checking the legibility of
# displays by dichromats", for linear sRGB: another simulation than the one that chose the colours.
_DICHROMATS = [
    np.eye(3),
    np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
    np.array([[0.29031, 0.70969, 0], [0.29031, 0.70969, 0], [-0.02197, 0.02197, 1]]),
]


def _least_of(differences: np.ndarray) -> float:
    return min(differences[pair] for pair in combinations(range(len(differences)), 2))


def _as_vienot_sees(colours: list[str]) -> float:
    """The least difference (ΔE*ab) of two colours, for any of three kinds of vision."""
    encoded = np.array([rgb(colour) for colour in colours]) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    least = np.inf
    for vision in _DICHROMATS:
        light = np.clip(linear @ vision.T, 0, 1)
        shown = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        lab = seen_lab(255 * shown)[:1]
        least = min(least, _least_of(least_difference(lab, lab)))
    return least


@pytest.mark.parametrize("name", ["lucas-land-cover", "esa-worldcover", "eunis-habitats"])
def test_classes_stay_apart_as_another_simulation_sees_them(name: str) -> None:
    vocabulary = load_vocabulary(name)
    own = _as_vienot_sees([entry.colour for entry in vocabulary.legend])
    safe = _as_vienot_sees(list(colour_blind_safe(vocabulary).values()))
    assert safe > 2 * own
    if len(vocabulary.legend) <= 12:
        assert safe > 8  # 2.3 is just noticeable


def test_classes_stay_apart_without_blue_cones() -> None:
    colours = colour_blind_safe(load_vocabulary("lucas-land-cover")).values()
    seen = seen_lab(np.array([rgb(colour) for colour in colours]), tritanopia=True)
    assert _least_of(least_difference(seen[3:], seen[3:])) > 12


def test_the_first_class_keeps_its_colour_and_all_differ() -> None:
    vocabulary = vocabulary_from_words(", ".join(f"class {number}" for number in range(90)))
    colours = colour_blind_safe(vocabulary)
    assert list(colours) == [entry.value for entry in vocabulary.legend]
    assert len(set(colours.values())) == 90
    lucas = load_vocabulary("lucas-land-cover")
    assert colour_blind_safe(lucas)[lucas.legend[0].value] == lucas.legend[0].colour


def test_more_classes_than_anyone_tells_apart_keep_their_own() -> None:
    vocabulary = vocabulary_from_words(", ".join(f"class {number}" for number in range(300)))
    assert colour_blind_safe(vocabulary) == {e.value: e.colour for e in vocabulary.legend}
