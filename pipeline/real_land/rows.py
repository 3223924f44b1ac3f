"""Training rows: random years of each point, each with several descriptions of its class."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from models.vocabulary.prompts import TEMPLATES, sentences
from pipeline.real_land.calendars import drawn_years
from pipeline.real_land.tables import LabelledPoints
from pipeline.real_land.wordings import Group, groups

ROWS, MOST_YEARS, VIEWS = 10_000, 16, 8
"""Rows wanted of a table, years of a point at most, and sentences of each row."""

SENTENCES = (
    "{}",
    "land covered by {}.",
    "a satellite view of {}.",
    "{a} seen from above.",
    *TEMPLATES,
)
"""Templates of sentences: the paper's and others."""


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

    Points of a table with fewer than `ROWS` come several times. Half of a row's sentences have
    wordings of the groups with the fewest classes that are true of it, half those of wider groups,
    if there are both. Points of which no group is true are left out.
    """
    described = np.array([bool(subjects(classes)[0]) for classes in points.classes])
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
        true, others = subjects(classes)
        drawn = [true[view % len(true)] for view in range(views)]
        picked = [kind[rng.integers(len(kind))] for kind in drawn]
        texts.append([_sentence(one, rng) for one in picked])
        keys.append([one.key for one in picked])
        # A group that is true but was not drawn is no negative either.
        undrawn = {one.key for kind in true for one in kind} - {one.key for one in picked}
        possible.append(sorted(undrawn | {one.key for one in others}))
    return TrainingRows(many, ids, drawn_years(many, rng), texts, keys, possible)


@cache
def subjects(classes: frozenset[str]) -> tuple[list[list[Group]], list[Group]]:
    """The groups that are true of a point which is one of `classes`, and those that may be.

    The first are in two lists, or one: the narrowest, and all wider ones.
    """
    true = [one for one in groups() if one.is_true_of(classes)]
    narrowest = min((len(one.of) for one in true), default=0)
    kinds = [
        [one for one in true if len(one.of) == narrowest],
        [one for one in true if len(one.of) > narrowest],
    ]
    others = [one for one in groups() if one.may_be_true_of(classes) and one not in true]
    return [kind for kind in kinds if kind], others


def _sentence(one: Group, rng: np.random.Generator) -> str:
    wordings: Sequence[str] = one.seen()
    wording = wordings[rng.integers(len(wordings))]
    (sentence,) = sentences([wording], [SENTENCES[rng.integers(len(SENTENCES))]])
    return sentence
