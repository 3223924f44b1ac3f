"""Loss and recall of a validation, beside the same written plainly."""

import math

import pytest
import torch

from models.errors import PretrainingError
from models.pretraining.batch import NO_KEY
from models.pretraining.collectives import Processes
from models.pretraining.retrieval import RECALL_AT
from models.pretraining.validation import Embedded, validation_measures


def unit(count: int, seed: int) -> torch.Tensor:
    sides = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(sides, dim=-1)


def test_loss_and_recall_are_those_written_plainly() -> None:
    pixels, ground = unit(30, 0), unit(30, 1)
    keys = torch.where(torch.arange(30) % 3 == 0, NO_KEY, torch.arange(30) % 7)
    found = validation_measures(Embedded(pixels, ground, keys), Processes(), 12.0, False)
    cosines = pixels.double().numpy() @ ground.double().numpy().T
    losses, ranks = [], []
    for row in range(30):
        same = [c for c in range(30) if c == row or (keys[row] != NO_KEY and keys[c] == keys[row])]
        others = [cosines[row, column] for column in range(30) if column not in same]
        own = cosines[row, row]
        ranks.append(1 + sum(other >= max(cosines[row, same]) for other in others))
        losses.append(math.log(sum(math.exp(12 * (other - own)) for other in [own, *others])))
    assert found["loss"] == pytest.approx(sum(losses) / 30, abs=1e-5)
    for k in RECALL_AT:
        recall = sum(rank <= k for rank in ranks) / 30
        assert found[f"recall_at_{k}_pixel_to_ground"] == pytest.approx(recall)


def test_an_encoder_that_tells_nothing_apart_finds_nothing() -> None:
    pixels, ground = unit(1, 0).expand(40, 6), unit(40, 1)
    keys = torch.full((40,), NO_KEY)
    found = validation_measures(Embedded(pixels, ground, keys), Processes(), 10.0, False)
    assert found["recall_at_10_ground_to_pixel"] == 0
    assert found["recall_at_1_pixel_to_ground"] == 1 / 40


def test_measures_are_shares() -> None:
    ground = unit(40, 1)
    pixels = torch.cat((ground[:30], ground[30:].roll(1, 0)))
    found = validation_measures(
        Embedded(pixels, ground, torch.full((40,), NO_KEY)), Processes(), 50.0, True
    )
    assert found["points"] == 40
    assert found["recall_at_1_pixel_to_ground"] == 0.75
    assert found["recall_at_1_ground_to_pixel"] == 0.75


def test_a_validation_of_nothing_is_refused() -> None:
    nothing = Embedded(unit(0, 0), unit(0, 0), torch.zeros(0, dtype=torch.long))
    with pytest.raises(PretrainingError, match="it has no point"):
        validation_measures(nothing, Processes(), 1.0, False)
