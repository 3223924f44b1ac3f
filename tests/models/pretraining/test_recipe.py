"""Recipes: the schedule beside torch's, and what contradicts itself."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from models.errors import PretrainingError
from models.pretraining.recipe import Recipe


def test_the_defaults_are_the_papers() -> None:
    recipe = Recipe()
    assert (recipe.memory_bank, recipe.temperature, recipe.rate) == (2048, 0.07, 1e-4)
    assert (recipe.weight_decay, recipe.augmentation_probability) == (0.01, 0.5)
    assert (recipe.augmentation, recipe.schedule, recipe.months) == ("TSMixAug", "cosine", (12,))


def test_a_later_choice_at_its_default_is_not_among_the_facts() -> None:
    """A training of an earlier version, whose facts know no such choice, goes on."""
    later = {"weight_average": 0.9, "wording_noise": 1.5}
    assert not later.keys() & Recipe().model_dump(mode="json").keys()
    chosen = Recipe.model_validate({"views": "drawn", **later})
    assert later.items() <= chosen.model_dump(mode="json").items()
    assert Recipe.model_validate_json(chosen.model_dump_json()) == chosen


@pytest.mark.parametrize("half", [10, None])
def test_cosine_is_torchs(half: int | None) -> None:
    recipe = Recipe(steps=45, cosine_steps=half, rate=0.3)
    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, half or 45)
    for step in range(45):
        assert recipe.rate_at(step) == pytest.approx(optimiser.param_groups[0]["lr"], abs=1e-9)
        optimiser.step()
        schedule.step()


def test_the_rate_rises_first() -> None:
    recipe = Recipe(steps=100, warm=0.1, rate=0.55, schedule="constant")
    rates = [recipe.rate_at(step) for step in range(100)]
    assert rates == pytest.approx([*(0.05 * (step + 1) for step in range(10)), *[0.55] * 90])
    down = [Recipe(steps=100, warm=0.1, rate=0.55).rate_at(step) for step in range(100)]
    assert down[:10] == rates[:10]
    assert down[10] == 0.55
    assert down[10:] == sorted(down[10:], reverse=True)
    assert down[-1] < 0.001


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"batch": 512, "memory_bank": 511}, "memory_bank is 511, smaller than the batch of 512"),
        ({"views": "drawn", "pooling": "attention-view"}, "there is nothing to pool"),
        ({"schedule": "constant", "cosine_steps": 5}, "cosine_steps is given"),
        (
            {"loss": "in-batch", "balanced_negatives": True},
            "is for a memory bank, and the loss is in",
        ),
        ({"wording_noise": 1.0}, "wording_noise is 1.0, but views are pooled"),
        ({"weight_average": 1.0}, "less than 1"),
        ({"months": ()}, "at least 1 item"),
        ({"months": (6,)}, "12, 4 or 1"),
        ({"temperature": 0.0}, "greater than or equal to 0.01"),
        ({"variations": ({"name": "mirrored"},)}, "reflectance"),
        ({"batchs": 5}, "Extra inputs"),
    ],
)
def test_what_contradicts_itself_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Recipe.model_validate(fields)


def test_a_recipe_survives_json() -> None:
    recipe = Recipe.model_validate({"variations": [{"name": "another-year"}], "months": [12, 4]})
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_bands_that_a_recipe_can_lose() -> None:
    variations: list[Any] = ["lost-bands:groups=B11/B8A", {"name": "lost-bands", "groups": ["B05"]}]
    assert Recipe.model_validate({"variations": variations}).lost_bands == ("B05", "B8A", "B11")
    never = ["lost-bands:probability=0,groups=red-edge", "lost-months"]
    assert Recipe.model_validate({"variations": never}).lost_bands == ()


def test_the_in_batch_loss_needs_no_bank() -> None:
    assert Recipe(loss="in-batch", batch=4096).batch == 4096


def test_batches_are_shared_alike_or_refused() -> None:
    assert Recipe(batch=12).share(3) == 4
    with pytest.raises(PretrainingError, match=r"fewer points than processes \(3\)"):
        Recipe(batch=2).share(3)
    with pytest.raises(PretrainingError, match=r"5 processes .* alike\. Take 10 or 15"):
        Recipe(batch=12).share(5)
