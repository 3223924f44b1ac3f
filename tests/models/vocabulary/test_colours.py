"""Distinct colours of classes."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.vocabulary.colours import _oklab, _rgb, distinct_colours


@given(st.integers(2, 40))
def test_colours_are_distinct_and_neither_black_nor_white(count: int) -> None:
    colours = distinct_colours(count)
    assert colours == distinct_colours(count)
    assert len(set(colours)) == count
    lab = _oklab(np.array([_rgb(colour) for colour in colours], np.uint8))
    assert 0.45 <= lab[:, 0].min() <= lab[:, 0].max() <= 0.85
    if count <= 12:
        gaps = [np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2)]
        assert min(gaps) > 0.1  # a just noticeable difference is about 0.02


def test_colours_keep_away_from_those_taken() -> None:
    first = distinct_colours(5)
    assert not set(first) & set(distinct_colours(5, taken=first))


def test_oklab_of_known_colours() -> None:
    """Values of the author's page, https://bottosson.github.io/posts/oklab/ (white) and CSS 4."""
    got = _oklab(np.array([[255, 255, 255], [255, 0, 0], [0, 0, 255]], np.uint8))
    expected = [[1, 0, 0], [0.62796, 0.22486, 0.12585], [0.45201, -0.03246, -0.31153]]
    np.testing.assert_allclose(got, expected, atol=2e-4)
