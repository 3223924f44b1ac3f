"""Ranks and losses of a retrieval, beside the same written plainly."""

import math

import pytest
import torch

from models.errors import PretrainingError
from models.pretraining.batch import NO_KEY
from models.pretraining.collectives import Processes
from models.pretraining.validation import Embedded, measured, retrieved


def unit(count: int, seed: int) -> torch.Tensor:
    sides = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(sides, dim=-1)


def test_ranks_and_losses_are_those_written_plainly() -> None:
    queries, gallery = unit(30, 0), unit(30, 1)
    keys = torch.where(torch.arange(30) % 3 == 0, NO_KEY, torch.arange(30) % 7)
    before, losses = retrieved(queries, gallery, torch.arange(30), keys, keys, 12.0)
    cosines = queries.double().numpy() @ gallery.double().numpy().T
    for row in range(30):
        others = [
            cosines[row, column]
            for column in range(30)
            if column != row and (keys[row] == NO_KEY or keys[row] != keys[column])
        ]
        own = cosines[row, row]
        assert int(before[row]) == sum(other >= own for other in others)
        wanted = math.log(sum(math.exp(12 * (other - own)) for other in [own, *others]))
        assert abs(float(losses[row]) - wanted) < 1e-5


def test_many_queries_go_in_parts() -> None:
    queries, gallery = unit(2500, 0), unit(2500, 1)
    keys = torch.full((2500,), NO_KEY)
    places = torch.arange(2500)
    whole, _ = retrieved(queries, gallery, places, keys, keys, 1.0)
    own = (queries * gallery).sum(dim=1, keepdim=True)
    plain = ((queries @ gallery.T) > own + 1e-6).sum(dim=1)
    assert (whole - plain).abs().max() <= 1
    assert (whole == plain).float().mean() > 0.99


def test_an_encoder_that_tells_nothing_apart_finds_nothing() -> None:
    pixels, ground = unit(1, 0).expand(40, 6), unit(40, 1)
    keys = torch.full((40,), NO_KEY)
    found = measured(Embedded(pixels, ground, keys), Processes(), 10.0, False)
    assert found["recall_at_10_ground_to_pixel"] == 0
    assert found["recall_at_1_pixel_to_ground"] == 1 / 40


def test_measures_are_shares() -> None:
    ground = unit(40, 1)
    pixels = torch.cat((ground[:30], ground[30:].roll(1, 0)))
    found = measured(Embedded(pixels, ground, torch.full((40,), NO_KEY)), Processes(), 50.0, True)
    assert found["points"] == 40
    assert found["recall_at_1_pixel_to_ground"] == 0.75
    assert found["recall_at_1_ground_to_pixel"] == 0.75


def test_a_validation_of_nothing_is_refused() -> None:
    nothing = Embedded(unit(0, 0), unit(0, 0), torch.zeros(0, dtype=torch.long))
    with pytest.raises(PretrainingError, match="it has no point"):
        measured(nothing, Processes(), 1.0, False)
