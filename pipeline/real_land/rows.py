"""Training rows: random years of each point, each with some descriptions of its class."""

from dataclasses import dataclass

import numpy as np

from models.vocabulary.prompts import TEMPLATES, sentences
from pipeline.real_land.calendars import drawn_years
from pipeline.real_land.descriptions import groups_with
from pipeline.real_land.tables import LabelledPoints

YEARS, VIEWS = 16, 8
"""Years drawn of each point, and sentences of each year."""

SAID = ("{}", "land covered by {}.", "a satellite view of {}.", "{a} seen from above.", *TEMPLATES)
"""The sentences that wordings go into: the paper's templates and others."""


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """Years of points and descriptions of them, each a row.

    `points` are a row's point, `ids` its name, `series` uint16 (n, 12, band) with 0 = missing.
    `texts` and `keys`: what is said of each row, and what that depicts, as many of each.
    """

    points: LabelledPoints
    ids: list[str]
    series: np.ndarray
    texts: list[list[str]]
    keys: list[list[str]]


def drawn_rows(
    points: LabelledPoints, rng: np.random.Generator, years: int = YEARS, views: int = VIEWS
) -> TrainingRows:
    """`years` rows of each point, each with `views` sentences.

    Half of a row's sentences are of wordings of its class alone, half of those that it shares with
    others, where there are both kinds.
    """
    many = points.of(np.tile(np.arange(len(points)), years))
    ids = [f"{name}#{row // len(points)}" for row, name in enumerate(many.ids)]
    texts, keys = [], []
    for name in many.classes:
        own = groups_with(name)
        alone = [group for group in own if len(group.of) == 1]
        shared = [group for group in own if len(group.of) > 1]
        kinds = [kind for kind in (alone, shared) if kind]
        said, depicted = [], []
        for view in range(views):
            kind = kinds[view % len(kinds)]
            group = kind[rng.integers(len(kind))]
            wording = group.seen[rng.integers(len(group.seen))]
            (sentence,) = sentences([wording], [SAID[rng.integers(len(SAID))]])
            said.append(sentence)
            depicted.append(group.name)
        texts.append(said)
        keys.append(depicted)
    return TrainingRows(many, ids, drawn_years(many, rng), texts, keys)
