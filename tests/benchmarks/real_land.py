"""Encoders trained on real series in memory, as `timesen pretrain` trains them, and embeddings."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pipeline.real_land
from flows.settings.pretrain import EncoderSizes
from models.encoder.card import Card
from models.encoder.checkpoint import load_checkpoint
from models.encoder.preprocessing import AUTHORS, BANDS, Preprocessing
from models.encoder.registry import make_architecture
from models.encoder.series_encoder import Architecture, SeriesEncoder
from models.encoder.series_months import fill_gaps, reduce_months
from models.pretraining.batch import NO_KEY, Batch
from models.pretraining.recipe import Recipe
from models.pretraining.trainer import Pretraining
from models.towers.text_cache import embed_texts
from models.vocabulary.prompts import sentences
from pipeline.ground_views.table import key_of
from pipeline.real_land.made_series import MADE
from pipeline.real_land.rows import SENTENCES, TrainingRows, drawn_rows
from pipeline.real_land.tables import LabelledPoints, described_tables, folder_name
from pipeline.real_land.wordings import groups

RECIPE = Path(pipeline.real_land.__path__[0]) / "recipe.toml"


@cache
def recipe_file() -> Mapping[str, Any]:
    """The settings of the shipped checkpoint's training."""
    return tomllib.loads(RECIPE.read_text(encoding="utf-8"))


def trained_on(points: LabelledPoints, seed: int) -> SeriesEncoder:
    """An encoder trained on points by the shipped checkpoint's recipe, in this process."""
    settings = recipe_file()
    recipe = Recipe.model_validate(settings["recipe"]).model_copy(update={"seed": seed})
    rows = drawn_rows(points, np.random.default_rng(seed))
    probability = draw_probability(
        rows.points.places, rows.points.labels, float(settings["balance_exponent"]), place_shares()
    )
    sizes = EncoderSizes.model_validate(settings["encoder"]).model_dump(exclude_unset=True)
    architecture = make_architecture({**sizes, "bands": len(BANDS), "embedding_dim": 384})
    card = load_checkpoint("sample").card
    return trained(rows, probability, recipe, AUTHORS, architecture, card)


def trained(
    rows: TrainingRows,
    probability: np.ndarray,
    recipe: Recipe,
    preprocessing: Preprocessing,
    architecture: Architecture,
    card: Card,
) -> SeriesEncoder:
    """An encoder trained on rows, drawn with a `probability` each, in this process."""
    rng = np.random.default_rng(recipe.seed)
    batches = _batches(rows, probability, recipe.batch, card, rng)
    training = Pretraining(recipe, preprocessing, architecture, torch.device("cpu"))
    for _ in range(recipe.steps):
        training.step(next(batches))
    return training.encoder()


def place_shares() -> dict[str, float]:
    """The share of each place in a batch; the recipe lists them in the order of the folders."""
    places = {*(table.place for table in described_tables()), MADE}
    return dict(zip(sorted(places, key=folder_name), recipe_file()["shares"], strict=True))


def draw_probability(
    places: np.ndarray, labels: np.ndarray, exponent: float, shares: Mapping[str, float]
) -> np.ndarray:
    """The probability of each row: places by their shares, their classes by count ** exponent."""
    probability = np.zeros(len(places))
    for place in np.unique(places):
        of_place = places == place
        _, number, counts = np.unique(labels[of_place], return_inverse=True, return_counts=True)
        weight = counts[number] ** (exponent - 1.0)
        probability[of_place] = shares[place] * weight / weight.sum()
    return probability / probability.sum()


def _batches(
    rows: TrainingRows,
    probability: np.ndarray,
    size: int,
    card: Card,
    rng: np.random.Generator,
) -> Iterator[Batch]:
    # All possible sentences, the same each time: embedded once, then found in the cache.
    texts = sentences([wording for group in groups() for wording in group.seen], SENTENCES)
    place = {text: number for number, text in enumerate(texts)}
    embeddings = embed_texts(card.text_tower, card.text_tower_revision, texts)
    drawn = np.array([[place[text] for text in said] for said in rows.texts])
    keys = padded_keys(rows.keys, rows.possible)
    cumulated = probability.cumsum()
    while True:
        some = np.searchsorted(cumulated, rng.random(size)).clip(max=len(cumulated) - 1)
        yield Batch(
            rows.series[some],
            embeddings[drawn[some]],
            np.ones((size, drawn.shape[1]), bool),
            keys[some],
            [rows.ids[row] for row in some],
        )


def padded_keys(own: Sequence[Sequence[str]], possible: Sequence[Sequence[str]]) -> np.ndarray:
    """The keys of rows' views, then of what else may be true of them: int64 (n, k)."""
    numbers = {group.key: key_of(group.key) for group in groups()}
    longest = max(map(len, possible))
    padded = np.full((len(own), longest), NO_KEY, np.int64)
    for row, names in enumerate(possible):
        padded[row, : len(names)] = [numbers[name] for name in names]
    return np.concatenate([np.array([[numbers[n] for n in names] for names in own]), padded], 1)


@torch.inference_mode()
def embedded(
    encoder: SeriesEncoder, preprocessing: Preprocessing, series: np.ndarray, steps: int = 12
) -> np.ndarray:
    """Embeddings float32 (n, dim) of series uint16 (n, 12, band), 0 = missing, in T steps."""
    whole = reduce_months(fill_gaps(torch.from_numpy(series.astype(np.float32))), steps)
    parts = [encoder(preprocessing.normalise(part)) for part in whole.split(4096)]
    return torch.cat(parts).numpy()
