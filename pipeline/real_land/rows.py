"""Training rows: random years of each point, each with several descriptions of its class."""

from dataclasses import dataclass

import numpy as np

from models.vocabulary.prompts import TEMPLATES, sentences
from pipeline.real_land.calendars import drawn_years
from pipeline.real_land.descriptions import groups_with
from pipeline.real_land.tables import LabelledPoints

YEARS, VIEWS = 16, 8
"""Rows of each point, and sentences of each row."""

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
    """

    points: LabelledPoints
    ids: list[str]
    series: np.ndarray
    texts: list[list[str]]
    keys: list[list[str]]


def drawn_rows(
    points: LabelledPoints, rng: np.random.Generator, years: int = YEARS, views: int = VIEWS
) -> TrainingRows:
    """Draw `years` rows of each point, each with `views` sentences.

    Half of a row's sentences have wordings of its class alone, half have wordings that it shares
    with other classes, if there are both kinds.
    """
    many = points.take(np.tile(np.arange(len(points)), years))
    ids = [f"{name}#{row // len(points)}" for row, name in enumerate(many.ids)]
    texts, keys = [], []
    for name in many.classes:
        own = groups_with(name)
        alone = [group for group in own if len(group.of) == 1]
        shared = [group for group in own if len(group.of) > 1]
        kinds = [kind for kind in (alone, shared) if kind]
        of_row, subjects = [], []
        for view in range(views):
            kind = kinds[view % len(kinds)]
            group = kind[rng.integers(len(kind))]
            wording = group.seen[rng.integers(len(group.seen))]
            (sentence,) = sentences([wording], [SENTENCES[rng.integers(len(SENTENCES))]])
            of_row.append(sentence)
            subjects.append(group.name)
        texts.append(of_row)
        keys.append(subjects)
    return TrainingRows(many, ids, drawn_years(many, rng), texts, keys)
