import itertools

import numpy as np
import pytest

from models.vocabulary.colour_distance import least_difference, seen_lab
from models.vocabulary.word_colours import LEAST_APART, MOST_APART, separated_colours

GREENS, YELLOW, BLUE, RED = ("#38a838", "#0b5d2a", "#a5d66f"), "#e8c547", "#2166ac", "#c8102e"


def _seen(*colours: str) -> np.ndarray:
    return seen_lab(np.array([tuple(bytes.fromhex(one[1:])) for one in colours], np.uint8))


def _least(colours: tuple[str, ...]) -> float:
    """The smallest difference between two of the colours, or one of them and no class's colour."""
    seen = _seen(*colours)
    apart = least_difference(seen, _seen(*colours, "#bdbdbd", "#f5f5f5"))
    apart[np.diag_indices(len(colours))] = np.inf
    return float(apart.min())


def test_lab_is_that_of_the_books() -> None:
    # http://www.brucelindbloom.com, sRGB and D65
    expected = {
        "#ffffff": (100, 0, 0),
        "#000000": (0, 0, 0),
        "#ff0000": (53.24, 80.09, 67.20),
        "#00ff00": (87.73, -86.18, 83.18),
        "#0000ff": (32.30, 79.19, -107.86),
    }
    np.testing.assert_allclose(_seen(*expected)[0], list(expected.values()), atol=0.03)


def test_who_sees_no_red_confuses_red_and_green() -> None:
    red, green = _seen("#a03c1e"), _seen("#5a6e1e")
    usual, protanopia, deuteranopia = np.linalg.norm(red - green, axis=-1)[:, 0]
    assert usual > 50
    assert min(protanopia, deuteranopia) < 20
    assert least_difference(red, green)[0, 0] == min(usual, protanopia, deuteranopia)
    grey = _seen("#808080")
    np.testing.assert_allclose(grey[1:], grey[:1].repeat(2, axis=0), atol=0.1)


@pytest.mark.parametrize("count", [2, 5, 12, 20])
@pytest.mark.parametrize("wanted", [(None,), (YELLOW,), (*GREENS, YELLOW, BLUE, RED, None)])
def test_twenty_words_are_apart_for_all_eyes(count: int, wanted: tuple[str | None, ...]) -> None:
    names = [f"word {number:02}" for number in range(count)]
    colours = separated_colours(
        names, list(itertools.islice(itertools.cycle(wanted), count)), [0.9] * count
    )
    assert len(colours) == count
    assert _least(colours) >= (MOST_APART if count <= 2 else LEAST_APART)


def test_hundreds_of_words_are_as_far_apart_as_they_fit() -> None:
    colours = separated_colours([f"word {n}" for n in range(120)], [None] * 120, [0.0] * 120)
    assert len(set(colours)) == 120
    assert _least(colours) >= 5


def test_the_order_of_words_changes_no_colour() -> None:
    words = {"oak": GREENS[0], "beech": GREENS[0], "wheat": YELLOW, "lake": BLUE, "x": None}
    likeness = {"oak": 0.9, "beech": 0.9, "wheat": 0.95, "lake": 0.8, "x": 0.2}
    found = set()
    for order in itertools.permutations(words):
        wanted, likes = [words[word] for word in order], [likeness[word] for word in order]
        colours = separated_colours(order, wanted, likes)
        found.add(tuple(sorted(zip(order, colours, strict=True))))
    (only,) = found
    colour = dict(only)
    assert (colour["wheat"], colour["lake"]) == (YELLOW, BLUE), "nothing is near them"
    assert colour["beech"] == GREENS[0], "the first of two that are as like it"
    _, a, b = _seen(colour["oak"])[0, 0]
    assert 100 < np.degrees(np.arctan2(b, a)) < 165, "the other is green, too"
