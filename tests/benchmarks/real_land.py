"""Encoders trained on real series in memory, by the recipe that is shipped, and judged by words."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from models.checkpoint import Checkpoint
from models.encoder import Encoder
from models.preprocessing import Preprocessing
from models.pretraining import Pretraining
from models.prompts import TEMPLATES, sentences
from models.recipe import Recipe
from models.series_months import gaps_filled, reduced
from models.text import TextTower
from models.training_batch import Batch
from pipeline.ground_table import key_of
from pipeline.real_land.rows import VIEWS, Rows, drawn_rows
from pipeline.real_land.tables import Points


class Words:
    """Text embeddings, each text embedded once."""

    def __init__(self, tower: TextTower) -> None:
        self._tower = tower
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings float32 (n, dim), of unit length."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self._tower.embed(new), strict=True))
        return np.stack([self._known[text] for text in texts])

    def of_class(self, prompts: Sequence[str], templates: Sequence[str] = TEMPLATES) -> np.ndarray:
        """The embedding of what prompts mean together, as mapping makes it: float32 (dim,)."""
        mean = self(sentences(prompts, templates)).mean(axis=0)
        unit: np.ndarray = mean / np.linalg.norm(mean)
        return unit


def trained(points: Points, recipe: Recipe, start: Checkpoint, words: Words) -> Encoder:
    """An encoder trained on points as `timesen pretrain` would, in this process."""
    rng = np.random.default_rng(recipe.seed)
    batches = _batches(drawn_rows(points, rng), recipe.batch, words, rng)
    training = Pretraining(
        recipe,
        start.card.preprocessing,
        start.card.architecture,
        torch.device("cpu"),
        start=start.encoder,
    )
    for _ in range(recipe.steps):
        training.step(next(batches))
    return training.encoder()


def _batches(rows: Rows, size: int, words: Words, rng: np.random.Generator) -> Iterator[Batch]:
    texts = words([text for said in rows.texts for text in said])
    ground = texts.reshape(len(rows.ids), VIEWS, -1)
    keys = np.array([[key_of(key) for key in depicted] for depicted in rows.keys])
    while True:
        order = rng.permutation(len(rows.ids))
        for first in range(0, len(order) - size + 1, size):
            some = order[first : first + size]
            yield Batch(
                rows.series[some],
                ground[some],
                np.ones((size, VIEWS), bool),
                keys[some],
                [rows.ids[row] for row in some],
            )


@torch.inference_mode()
def embedded(
    encoder: Encoder, preprocessing: Preprocessing, series: np.ndarray, steps: int = 12
) -> np.ndarray:
    """Embeddings float32 (n, dim) of series uint16 (n, 12, band), 0 = missing, in T steps."""
    whole = reduced(gaps_filled(torch.from_numpy(series.astype(np.float32))), steps)
    return encoder(preprocessing.normalise(whole)).numpy()
