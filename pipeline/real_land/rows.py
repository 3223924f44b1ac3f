"""Training rows: random years of each point, each with several descriptions of its class."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from models.vocabulary.prompts import sentences
from pipeline.real_land.calendars import drawn_years
from pipeline.real_land.tables import LabelledPoints
from pipeline.real_land.wordings import Group, groups

ROWS, MOST_YEARS, VIEWS = 10_000, 16, 8
"""Rows wanted of a table, years of a point at most, and sentences of each row."""

BREADTH = 0.35
"""How much more often narrow groups are drawn than wide ones: 0 is alike."""

_PLAIN = ("name", "synonym")  # kinds of wordings that are drawn twice as often as others

SENTENCES = (
    "{}",
    "a photo of {}.",
    "a land cover photo of {}.",
    "a satellite view of {}.",
)
"""Templates of sentences: two of the paper's and others."""


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """Rows, each a year of a point with descriptions.

    Attributes:
        points: The point of each row.
        series: uint16 (n, 12, band), 0 = missing.
        texts: The descriptions of each row.
        keys: The subject of each of its descriptions.
        possible: Further subjects that may be true of the row, nobody knows.
    """

    points: LabelledPoints
    ids: list[str]
    series: np.ndarray
    texts: list[list[str]]
    keys: list[list[str]]
    possible: list[list[str]]


def drawn_rows(
    points: LabelledPoints, rng: np.random.Generator, views: int = VIEWS
) -> TrainingRows:
    """Draw rows of points: years of each, each with `views` sentences.

    Points of a table with fewer than `ROWS` come several times. The group of a sentence is drawn
    from those that are true of the point, narrow ones more often than wide ones. Points of which no
    group is true are left out.
    """
    described = np.array([bool(subjects(classes).true) for classes in points.classes])
    points = points.take(described)
    chosen = np.concatenate(
        [
            np.tile(own, min(MOST_YEARS, -(-ROWS // len(own))))
            for name in dict.fromkeys(points.tables)
            for own in [np.flatnonzero(points.tables == name)]
        ]
    )
    many = points.take(chosen)
    count: dict[str, int] = {}
    ids = []
    for name in many.ids:
        ids.append(f"{name}#{count.setdefault(name, 0)}")
        count[name] += 1
    texts, keys, possible = [], [], []
    for classes in many.classes:
        about = subjects(classes)
        drawn = [about.true[k] for k in rng.choice(len(about.true), views, p=about.weight)]
        texts.append([_sentence(one, rng) for one in drawn])
        keys.append([one.key for one in drawn])
        # A group that is true but was not drawn is no negative either.
        others = {*about.true, *about.possible} - set(drawn)
        possible.append(sorted(one.key for one in others))
    return TrainingRows(many, ids, drawn_years(many, rng), texts, keys, possible)


@dataclass(frozen=True, eq=False)
class Subjects:
    """The groups that are `true` of a point, and those that are `possible`, nobody knows.

    `weight` is the probability of each true one to be drawn, in proportion to its number of classes
    to the power of `-BREADTH`, so that a rice field is "rice" more often than "land without trees".
    """

    true: tuple[Group, ...]
    weight: np.ndarray
    possible: tuple[Group, ...]


@cache
def subjects(classes: frozenset[str]) -> Subjects:
    """The groups for a point that is one of `classes`."""
    true = tuple(one for one in groups() if one.is_true_of(classes))
    possible = tuple(one for one in groups() if one.may_be_true_of(classes) and one not in true)
    weight = np.array([len(one.of) for one in true], float) ** -BREADTH
    return Subjects(true, weight / weight.sum(), possible)


def _sentence(one: Group, rng: np.random.Generator) -> str:
    kinds = [kind for kind in one.words if one.words[kind]]
    weight = np.array([2.0 if kind in _PLAIN else 1.0 for kind in kinds])
    wordings = one.words[kinds[rng.choice(len(kinds), p=weight / weight.sum())]]
    wording = wordings[int(rng.integers(len(wordings)))]
    (sentence,) = sentences([wording], [SENTENCES[rng.integers(len(SENTENCES))]])
    return sentence
