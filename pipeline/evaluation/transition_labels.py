"""The labels of reference points of a map of changes: transitions of classes."""

from collections.abc import Sequence

from models.vocabulary.labels import Level
from models.vocabulary.vocabulary import NONE, Vocabulary

ARROW = " → "
"""Between the names of a transition's classes, "forest → town"."""
STABLE, CHANGED = "no change", "change"
"""The parents of transitions: of a class into itself, and into another."""


def joined_labels(
    before: Sequence[str | None], after: Sequence[str | None]
) -> tuple[str | None, ...]:
    """The transitions of points whose class was labelled before and after; None where one lacks."""
    return tuple(
        None if a is None or b is None else f"{a}{ARROW}{b}"
        for a, b in zip(before, after, strict=True)
    )


def transition_labels(
    labels: Sequence[str | None], vocabulary: Vocabulary, level: Level | None
) -> tuple[str | None, ...]:
    """Labels of transitions as a map of changes knows them.

    A transition between classes of the map that the map shows nowhere is "none of these": an error
    of the map, which must count. At the level of parents, transitions are change or no change.

    Args:
        labels: Texts such as "forest → town"; None for no label. Others stay as they are.
        vocabulary: The transitions that the map shows.
        level: The level of the comparison, if it is given.
    """
    shown = {entry.name.casefold() for entry in vocabulary.classes}
    classes = {part.casefold() for entry in vocabulary.classes for part in entry.name.split(ARROW)}

    def known(label: str | None) -> str | None:
        if label is None or label.count(ARROW.strip()) != 1:
            return label
        before, after = (part.strip() for part in label.split(ARROW.strip()))
        name = f"{before}{ARROW}{after}"
        if not {before.casefold(), after.casefold()} <= classes:
            return name
        if level == "parent":
            return STABLE if before.casefold() == after.casefold() else CHANGED
        return name if name.casefold() in shown else NONE

    return tuple(known(label) for label in labels)
