"""Transitions and the probability of a change, held to sums over all classes."""

import numpy as np
import pytest

from models.vocabulary.vocabulary import vocabulary_from_words
from pipeline.derived.transitions import (
    change_probability,
    match_transitions,
    transition_vocabulary,
)
from pipeline.errors import OutputError
from pipeline.evaluation.transition_labels import joined_labels, transition_labels
from pipeline.product.rank_shares import rank_shares

WORDS = vocabulary_from_words("wheat, forest, lake, town")
NONE_VALUE = 255


def ranks(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The first ranks of random probabilities of four classes: uint8 (rank, y, x) and percents."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet([0.5] * 4, (12, 15)).transpose(2, 0, 1)
    order = np.argsort(-shares, axis=0)[:count]
    percents = np.rint(100 * np.take_along_axis(shares, order, axis=0))
    classes = order + 1
    classes[:, 0, 0], percents[:, 0, 0] = 0, 255
    return classes.astype(np.uint8), percents.astype(np.uint8)


def dense(classes: np.ndarray, percents: np.ndarray) -> np.ndarray:
    """The probabilities of all four classes, what is not kept shared out evenly: (class, y, x)."""
    found = np.full((4, *classes.shape[1:]), np.nan)
    for row, column in np.ndindex(classes.shape[1:]):
        kept = {
            int(c): int(p) / 100
            for c, p in zip(classes[:, row, column], percents[:, row, column], strict=True)
        }
        total = max(1.0, sum(kept.values()))
        rest = max(0.0, 1 - sum(kept.values())) / max(1, 4 - len(kept))
        found[:, row, column] = [kept.get(c, rest * total) / total for c in (1, 2, 3, 4)]
    return found


@pytest.mark.parametrize(("first", "second"), [(1, 1), (2, 3), (4, 4), (1, 4)])
def test_a_change_is_that_of_all_probabilities(first: int, second: int) -> None:
    before, after = ranks(first, 1), ranks(second, 2)
    transitions = match_transitions(WORDS, WORDS, None, "after")
    found = change_probability(
        rank_shares(*before, NONE_VALUE),
        transitions.places(before[0], later=False),
        rank_shares(*after, NONE_VALUE),
        transitions.places(after[0], later=True),
        4,
    )
    plain = 1 - (dense(*before) * dense(*after)).sum(axis=0)
    there = before[0][0] > 0
    np.testing.assert_allclose(found[there], plain[there], atol=1e-6)


def test_a_pixel_below_the_threshold_is_sure_to_be_none() -> None:
    classes = np.array([[[255]], [[2]]], np.uint8)
    found = rank_shares(classes, np.array([[[0]], [[60]]], np.uint8), NONE_VALUE)
    assert found.shares[:, 0, 0].tolist() == [1, 0]
    assert found.rest[0, 0] == 0


def test_classes_are_matched_by_name_or_by_a_table() -> None:
    later = vocabulary_from_words("Town, lake, forest, wheat")
    transitions = match_transitions(WORDS, later, None, "after")
    assert transitions.later == {1: 3, 2: 2, 3: 1, 4: 0}
    values = transitions.values(np.array([0, 1, -1]), np.array([3, 1, 2]))
    assert values.tolist() == [4, 6, 0]
    other = vocabulary_from_words("city, sea, wood, maize, rye")
    with pytest.raises(
        OutputError, match=r"which has no city, sea, wood, maize and|--classes FILE"
    ):
        match_transitions(WORDS, other, None, "after")
    table = {"City": "town", "sea": "lake", "wood": "forest", "maize": "wheat", "rye": None}
    assert match_transitions(WORDS, other, table, "after").later == {1: 3, 2: 2, 3: 1, 4: 0}
    many = vocabulary_from_words(", ".join(f"class {k}" for k in range(256)))
    with pytest.raises(OutputError, match="up to 255 classes"):
        match_transitions(many, many, None, "after")


def test_what_changes_has_colour() -> None:
    transitions = match_transitions(WORDS, WORDS, None, "after")
    made = transition_vocabulary(transitions, [1, 4, 6], "Changes")
    assert [entry.name for entry in made.classes] == [
        "wheat → wheat",
        "wheat → town",
        "forest → forest",
    ]
    assert [entry.value for entry in made.classes] == [1, 4, 6]
    assert [entry.parent for entry in made.classes] == ["no change", "change", "no change"]
    pale, strong = (int(entry.colour[1:], 16) for entry in made.classes[:2])
    assert pale != strong
    assert len(transition_vocabulary(transitions, [6], "Changes").classes) == 2


def test_labels_of_transitions() -> None:
    transitions = match_transitions(WORDS, WORDS, None, "after")
    made = transition_vocabulary(transitions, [1, 4, 6], "Changes")
    labels = joined_labels(
        ["wheat", "Wheat", "wheat", "wheat", None], ["town", "wheat", "forest", "rock", "town"]
    )
    assert labels == ("wheat → town", "Wheat → wheat", "wheat → forest", "wheat → rock", None)
    shown = transition_labels(labels, made, None)
    assert shown == ("wheat → town", "Wheat → wheat", "none of these", "wheat → rock", None)
    parents = transition_labels(labels, made, "parent")
    assert parents == ("change", "no change", "change", "wheat → rock", None)
