"""Encoders trained on real series in memory, by the recipe that is shipped, and judged by words."""

from collections.abc import Iterator

import numpy as np
import torch

from models.encoder.card import Card
from models.encoder.checkpoint import Checkpoint
from models.encoder.preprocessing import Preprocessing
from models.encoder.series_encoder import SeriesEncoder
from models.encoder.series_months import fill_gaps, reduce_months
from models.pretraining.batch import Batch
from models.pretraining.recipe import Recipe
from models.pretraining.trainer import Pretraining
from models.towers.text_cache import embed_texts
from models.vocabulary.prompts import sentences
from pipeline.ground_views.table import key_of
from pipeline.real_land.descriptions import groups
from pipeline.real_land.rows import SENTENCES, VIEWS, TrainingRows, drawn_rows
from pipeline.real_land.tables import LabelledPoints


def trained(points: LabelledPoints, recipe: Recipe, start: Checkpoint) -> SeriesEncoder:
    """An encoder trained on points as `timesen pretrain` would, in this process."""
    rng = np.random.default_rng(recipe.seed)
    batches = _batches(drawn_rows(points, rng), recipe.batch, start.card, rng)
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


def _batches(
    rows: TrainingRows, size: int, card: Card, rng: np.random.Generator
) -> Iterator[Batch]:
    # All possible sentences, the same each time: embedded once, then found in the cache.
    texts = sentences([wording for group in groups() for wording in group.seen], SENTENCES)
    place = {text: number for number, text in enumerate(texts)}
    embeddings = embed_texts(card.text_tower, card.text_tower_revision, texts)
    ground = embeddings[[[place[text] for text in said] for said in rows.texts]]
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
    encoder: SeriesEncoder, preprocessing: Preprocessing, series: np.ndarray, steps: int = 12
) -> np.ndarray:
    """Embeddings float32 (n, dim) of series uint16 (n, 12, band), 0 = missing, in T steps."""
    whole = reduce_months(fill_gaps(torch.from_numpy(series.astype(np.float32))), steps)
    return encoder(preprocessing.normalise(whole)).numpy()
