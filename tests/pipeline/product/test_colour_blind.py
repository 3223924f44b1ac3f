from itertools import combinations

import numpy as np
import pytest

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
_XYZ = np.array(  # IEC 61966-2-1
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)


def _least_difference(colours: list[str]) -> float:
    """The least CIE 1976 difference (ΔE*ab) of two colours, for any of three kinds of vision."""
    encoded = np.array([rgb(colour) for colour in colours]) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    least = np.inf
    for seen in _DICHROMATS:
        x, y, z = np.cbrt(np.clip(linear @ seen.T, 0, 1) @ _XYZ.T / _XYZ.sum(axis=1)).T
        lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
        pairs = [np.linalg.norm(lab[i] - lab[j]) for i, j in combinations(range(len(lab)), 2)]
        least = min(least, *pairs)
    return least


@pytest.mark.parametrize("name", ["lucas-land-cover", "esa-worldcover", "eunis-habitats"])
def test_classes_stay_apart_as_another_simulation_sees_them(name: str) -> None:
    vocabulary = load_vocabulary(name)
    own = _least_difference([entry.colour for entry in vocabulary.legend])
    safe = _least_difference(list(colour_blind_safe(vocabulary).values()))
    assert safe > 2 * own
    if len(vocabulary.legend) <= 12:
        assert safe > 8  # 2.3 is just noticeable


def test_the_first_class_keeps_its_colour_and_all_differ() -> None:
    vocabulary = vocabulary_from_words(", ".join(f"class {number}" for number in range(90)))
    colours = colour_blind_safe(vocabulary)
    assert list(colours) == [entry.value for entry in vocabulary.legend]
    assert len(set(colours.values())) == 90
    assert colours == colour_blind_safe(vocabulary)
    lucas = load_vocabulary("lucas-land-cover")
    assert colour_blind_safe(lucas)[lucas.legend[0].value] == lucas.legend[0].colour


def test_more_classes_than_anyone_tells_apart_keep_their_own() -> None:
    vocabulary = vocabulary_from_words(", ".join(f"class {number}" for number in range(300)))
    assert colour_blind_safe(vocabulary) == {e.value: e.colour for e in vocabulary.legend}
