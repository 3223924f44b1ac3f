"""Loss and recall of a validation, beside the same written plainly."""

import math

import numpy as np
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
    also = torch.where(torch.arange(30) % 4 == 0, NO_KEY, torch.arange(30) % 5)
    subjects = torch.stack((keys, also), dim=1)
    found = validation_measures(Embedded(pixels, ground, keys, subjects), Processes(), 12.0, True)
    cosines = pixels.double().numpy() @ ground.double().numpy().T
    true = [[c == p or NO_KEY != keys[c] in subjects[p] for c in range(30)] for p in range(30)]
    losses = []
    for way, similar, same in (
        ("pixel_to_ground", cosines, np.array(true)),
        ("ground_to_pixel", cosines.T, np.array(true).T),
    ):
        ranks = []
        for row in range(30):
            others = similar[row, ~same[row]]
            own = similar[row, row]
            ranks.append(1 + sum(other >= max(similar[row, same[row]]) for other in others))
            losses.append(math.log(sum(math.exp(12 * (other - own)) for other in [own, *others])))
        for k in RECALL_AT:
            recall = sum(rank <= k for rank in ranks) / 30
            assert found[f"recall_at_{k}_{way}"] == pytest.approx(recall)
    assert found["loss"] == pytest.approx(sum(losses) / 60, abs=1e-5)


def test_an_encoder_that_tells_nothing_apart_finds_nothing() -> None:
    pixels, ground = unit(1, 0).expand(40, 6), unit(40, 1)
    keys = torch.full((40,), NO_KEY)
    points = Embedded(pixels, ground, keys, keys[:, None])
    found = validation_measures(points, Processes(), 10.0, False)
    assert found["recall_at_10_ground_to_pixel"] == 0
    assert found["recall_at_1_pixel_to_ground"] == 1 / 40


def test_measures_are_shares() -> None:
    ground = unit(40, 1)
    pixels = torch.cat((ground[:30], ground[30:].roll(1, 0)))
    keys = torch.full((40,), NO_KEY)
    points = Embedded(pixels, ground, keys, keys[:, None])
    found = validation_measures(points, Processes(), 50.0, True)
    assert found["points"] == 40
    assert found["recall_at_1_pixel_to_ground"] == 0.75
    assert found["recall_at_1_ground_to_pixel"] == 0.75


def test_a_validation_of_nothing_is_refused() -> None:
    nothing = Embedded.joined([], 6, torch.device("cpu"))
    with pytest.raises(PretrainingError, match="it has no point"):
        validation_measures(nothing, Processes(), 1.0, False)
