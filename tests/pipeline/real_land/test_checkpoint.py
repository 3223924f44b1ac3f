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
from models.vocabulary.vocabulary import load_vocabulary
from pipeline.real_land.calendars import last_years
from pipeline.real_land.tables import described_tables, read_labelled_points
from pipeline.real_land.wordings import group

RECIPE = Path(pipeline.real_land.__path__[0]) / "recipe.toml"


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint("real-land")


def test_its_card_names_its_data(checkpoint: Checkpoint) -> None:
    card, raw = checkpoint.card, tomllib.loads(RECIPE.read_text(encoding="utf-8"))
    assert not card.demonstration
    assert card.description == raw["description"]
    assert card.licence == raw["licence"]
    recipe = Recipe.model_validate(raw["recipe"]).model_dump(mode="json")
    assert card.training["recipe"] == recipe
    assert card.training["steps"] == recipe["steps"]
    sources = json.dumps(card.training["data"], ensure_ascii=False)
    for table in described_tables():
        assert table.attribution in sources, table.name
    assert "no measurements" in sources
    assert card.preprocessing.optional_bands == ("B05", "B06", "B07", "B8A")
    assert card.trained_steps == (12, 4, 1)
    assert (card.text_tower, card.text_tower_revision) == (
        load_checkpoint("sample").card.text_tower,
        load_checkpoint("sample").card.text_tower_revision,
    )
    assert sum(path.stat().st_size for path in checkpoint.path.iterdir()) < 5_000_000


@pytest.mark.parametrize("name", ["cropland", "lucas-land-cover", "esa-worldcover"])
@pytest.mark.parametrize("steps", [12, 4, 1])
def test_its_calibrations_are_of_the_vocabularies_as_they_are(
    checkpoint: Checkpoint, name: str, steps: int
) -> None:
    """One of words that were edited since would not be used, and nobody would notice."""
    found = checkpoint.card.calibration_of(load_vocabulary(name).identity, steps)
    assert found is not None
    assert found.ece_after < found.ece_before


@pytest.mark.parametrize(
    ("table", "classes", "least"),
    [
        ("france_2022_monthly", {"grasslands": "grass", "permanent_crops": "orchards"}, 0.7),
        ("lesotho_2021_bimonthly", {"Water": "water", "Trees": "trees", "Urban": "urban"}, 0.9),
        ("us_2021_dekadal", {"Rice": "rice", "Cotton": "cotton", "Grapes": "vineyard"}, 0.9),
        ("rondonia_2018_16day", {"Forest": "forest_tropical", "Pasture": "pasture"}, 0.8),
    ],
)
def test_it_classifies_land_by_held_out_words(
    checkpoint: Checkpoint,
    shared_data: Path,
    table: str,
    classes: dict[str, str],
    least: float,
) -> None:
    """Of points that it was trained on: what it is worth elsewhere, the benchmark measures."""
    points = read_labelled_points(shared_data / "real", (table,))
    points = points.take(np.isin(points.labels, list(classes)))
    series = fill_gaps(torch.from_numpy(last_years(points).astype(np.float32)))
    with torch.inference_mode():
        found = checkpoint.encoder(checkpoint.card.preprocessing.normalise(series)).numpy()
    texts = [embed_words(group(key).held_out, checkpoint.card) for key in classes.values()]
    right = np.array(list(classes))[(found @ np.stack(texts).T).argmax(axis=1)] == points.labels
    assert right.mean() > least
