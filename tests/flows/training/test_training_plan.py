"""Which bands a trained checkpoint does without."""

from pathlib import Path
from typing import Any

import pytest

from flows.settings.pretrain import PretrainSettings
from flows.training.training_plan import optional_bands, work_of
from models.encoder.preprocessing import BANDS
from models.errors import PretrainingError, UserError
from models.pretraining.recipe import Recipe
from pipeline.errors import DatasetError
from pipeline.io.store import Store
from pipeline.training_set.card import DatasetCard
from pipeline.training_set.loader import TrainingSet
from pipeline.training_set.mixture import SetMixture
from tests.training_sets import made_set


def lacking(card: DatasetCard, **shares: float) -> DatasetCard:
    """The card of a set of which so large shares of the rows lack bands."""
    absent = tuple(shares.get(band, 0.0) for band in card.bands)
    statistics = card.statistics.model_copy(update={"absent": absent})
    return card.model_copy(update={"statistics": statistics})


def recipe_of(*variations: Any) -> Recipe:
    return Recipe.model_validate({"variations": variations})


def found(
    recipe: Recipe, *cards: DatasetCard, shares: tuple[float, ...] = (1.0,)
) -> tuple[str, ...]:
    sets = tuple(TrainingSet(Store("nowhere"), card) for card in cards)
    return optional_bands(recipe, SetMixture(sets, shares))


def test_bands_that_the_recipe_loses_or_many_rows_lack(tmp_path: Path) -> None:
    card = made_set(str(tmp_path / "set"), train=40, held_out=5)
    assert card.statistics.absent == (0.0,) * 10
    assert found(recipe_of("lost-months"), card) == ()
    assert found(recipe_of("lost-bands:groups=B8A/B05"), card) == ("B05", "B8A")
    some = lacking(card, B8A=0.05, B11=0.049, B12=1.0)
    assert found(recipe_of(), some) == ("B8A", "B12")
    assert found(recipe_of("lost-bands:groups=B02"), some) == ("B02", "B8A", "B12")
    earlier = card.statistics.model_copy(update={"absent": ()})
    assert found(recipe_of(), card.model_copy(update={"statistics": earlier})) == ()
    with pytest.raises(UserError, match="each of them may be absent"):
        found(recipe_of(f"lost-bands:groups={'/'.join(BANDS)}"), card)
    nine = card.model_copy(update={"bands": BANDS[:7]})
    with pytest.raises(PretrainingError, match="it can lose B8A"):
        found(recipe_of("lost-bands"), nine)


def test_rows_of_several_sets_count_by_their_shares(tmp_path: Path) -> None:
    card = made_set(str(tmp_path / "set"), train=40, held_out=5)
    some = lacking(card, B8A=1.0, B12=0.4)
    assert found(recipe_of(), card, some, shares=(0.9, 0.1)) == ("B8A",)
    assert found(recipe_of(), card, some, shares=(0.8, 0.2)) == ("B8A", "B12")


def test_the_preprocessing_of_a_training_says_so(tmp_path: Path) -> None:
    made_set(str(tmp_path / "set"), train=40, held_out=5, absent=("B8A",))
    given = {
        "dataset": str(tmp_path / "set"),
        "out": str(tmp_path / "out"),
        "recipe": {"batch": 8, "memory_bank": 16, "variations": ["lost-bands:groups=red-edge"]},
    }
    work = work_of(PretrainSettings.model_validate(given))
    assert work.preprocessing.optional_bands == ("B05", "B06", "B07", "B8A")
    with pytest.raises(DatasetError, match=r"no training row of .* has B8A"):
        work_of(PretrainSettings.model_validate(given | {"normalise": "dataset"}))
