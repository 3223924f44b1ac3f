"""The shipped checkpoint `real-land` is what its card and its recipe say."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

import pipeline.real_land
from models.encoder.checkpoint import Checkpoint, load_checkpoint
from models.encoder.series_months import fill_gaps
from models.pretraining.recipe import Recipe
from models.towers.text_embeddings import embed_words
from pipeline.real_land.calendars import last_years
from pipeline.real_land.descriptions import held_out
from pipeline.real_land.tables import read_labelled_points

RECIPE = Path(pipeline.real_land.__path__[0]) / "recipe.toml"


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint("real-land")


def test_its_card_names_its_data(checkpoint: Checkpoint) -> None:
    card, raw = checkpoint.card, tomllib.loads(RECIPE.read_text())
    assert card.demonstration
    assert card.description == raw["description"]
    assert card.licence == raw["licence"]
    recipe = Recipe.model_validate(raw["recipe"]).model_dump(mode="json")
    assert card.training["recipe"] == recipe
    assert card.training["steps"] == recipe["steps"]
    assert card.training["started from"]["fingerprint"] == load_checkpoint("sample").fingerprint
    assert "WorldCereal" in json.dumps(card.training["data"]["attribution"])
    assert {"validation T=12", "validation T=4", "validation T=1"} == set(card.metrics)
    assert (card.text_tower, card.text_tower_revision) == (
        load_checkpoint("sample").card.text_tower,
        load_checkpoint("sample").card.text_tower_revision,
    )
    assert sum(path.stat().st_size for path in checkpoint.path.iterdir()) < 2_000_000


def test_it_classifies_land_by_held_out_words(checkpoint: Checkpoint, shared_data: Path) -> None:
    """Of the points that it was trained on: what it is worth elsewhere, the benchmark measures."""
    points = read_labelled_points(shared_data / "real")
    names = ("grasslands", "permanent_crops", "maize", "wheat")
    some = np.isin(points.classes, names)
    series = fill_gaps(torch.from_numpy(last_years(points.take(some)).astype(np.float32)))
    with torch.inference_mode():
        found = checkpoint.encoder(checkpoint.card.preprocessing.normalise(series)).numpy()
    wordings_of = held_out([(name,) for name in names])
    texts = np.stack([embed_words(wordings, checkpoint.card) for wordings in wordings_of])
    right = np.array(names)[(found @ texts.T).argmax(axis=1)] == points.classes[some]
    assert right.mean() > 0.8
