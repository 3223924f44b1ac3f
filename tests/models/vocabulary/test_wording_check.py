"""What is said of words: a single wording, classes too near, phrases of one member far apart."""

from typing import Any

import numpy as np
import pytest

from models.vocabulary.vocabulary import Vocabulary, make_vocabulary
from models.vocabulary.wording_check import (
    close_classes,
    phrases_apart,
    single_wordings,
    with_phrases,
)


def vocabulary(*classes: dict[str, Any]) -> Vocabulary:
    described = {"name": "v", "title": "v", "source": "v", "licence": "none"}
    return make_vocabulary(described | {"classes": classes}, "test")


def at(*degrees: float) -> np.ndarray:
    """Unit vectors (n, 2) in these directions."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


WORDS = vocabulary(
    {"name": "wood", "prompts": ["forest", "trees"]},
    {"name": "other", "members": [["lake", "river"], "town"]},
    {"name": "field"},
)


def test_a_class_with_one_phrase_is_named() -> None:
    assert single_wordings(WORDS) == ("field",)


def test_close_classes_are_sorted_by_how_much() -> None:
    found = close_classes(
        vocabulary(*({"name": name} for name in "abcde")), at(0, 10, 90, 95, 200), close=0.95
    )
    assert [(pair.first, pair.second) for pair in found] == [("c", "d"), ("a", "b")]
    np.testing.assert_allclose([pair.cosine for pair in found], np.cos(np.radians([5, 10])))


def test_of_two_classes_the_nearest_members_count() -> None:
    """wood 0°, other: lake 10° and town 5°, field 90°; members of one class may be as near."""
    [pair] = close_classes(WORDS, at(0, 10, 5, 90), close=0.9)
    assert (pair.first, pair.second) == ("wood", "other (town)")
    assert pair.cosine == pytest.approx(np.cos(np.radians(5)))


def test_phrases_far_apart_within_a_member_are_named() -> None:
    """forest 0°, trees 70°; lake 0°, river 80°; town 180° is another member."""
    phrases = at(0, 70, 0, 80, 180, 90)
    found = phrases_apart(WORDS, phrases, apart=0.4)
    assert [(name, words.first, words.second) for name, words in found] == [
        ("other", "lake", "river"),
        ("wood", "forest", "trees"),
    ]
    assert found[0][1].cosine == pytest.approx(np.cos(np.radians(80)))
    assert phrases_apart(WORDS, phrases, apart=0.1) == []


def test_each_phrase_can_be_a_member() -> None:
    synonyms = [entry.synonyms for entry in with_phrases(WORDS).classes]
    assert synonyms == [
        (("forest",), ("trees",)),
        (("lake",), ("river",), ("town",)),
        (("field",),),
    ]
