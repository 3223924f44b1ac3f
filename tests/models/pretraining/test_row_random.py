"""Draws are those of the row, whoever draws them."""

import pytest
import torch

from models.pretraining.row_random import RowDraws, drawn_place


def every_draw(draws: RowDraws) -> list[torch.Tensor]:
    return [
        draws.uniform(),
        draws.normal(12, 10),
        draws.uniform(3),
        draws.normal(),
        draws.chance(0.5),
        draws.uniform(5, 1),
    ]


@pytest.mark.parametrize("world", [2, 3, 6])
def test_parts_of_a_batch_draw_what_the_whole_does(world: int) -> None:
    whole = every_draw(RowDraws(5, 17, 0, 12))
    share = 12 // world
    parts = [every_draw(RowDraws(5, 17, rank * share, share)) for rank in range(world)]
    for number, drawn in enumerate(whole):
        assert torch.equal(drawn, torch.cat([part[number] for part in parts]))


def test_seeds_steps_and_draws_differ() -> None:
    first = RowDraws(1, 2, 0, 50)
    others = [first, RowDraws(2, 2, 0, 50), RowDraws(1, 3, 0, 50)]
    drawn = [first.uniform(), *(draws.uniform() for draws in others)]
    for one in range(len(drawn)):
        for other in range(one):
            assert not torch.equal(drawn[one], drawn[other])
    assert len(drawn[0].unique()) == 50


def test_all_rows_share_what_is_the_steps() -> None:
    parts = [RowDraws(1, 2, first, 4) for first in (0, 4)]
    assert parts[0].of_step() == parts[1].of_step()


def test_distributions() -> None:
    draws = RowDraws(0, 0, 0, 20_000)
    uniform, normal = draws.uniform(3), draws.normal(3)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    counts = torch.histc(uniform, 10, 0, 1) / uniform.numel()
    assert (counts - 0.1).abs().max() < 0.006
    assert abs(float(normal.mean())) < 0.02
    assert abs(float(normal.std()) - 1) < 0.02
    assert abs(float((normal.abs() < 1).float().mean()) - 0.6827) < 0.01
    assert abs(float((normal.abs() < 2).float().mean()) - 0.9545) < 0.005
    # No row's draws say anything of another's, nor of the next draw.
    pairs = torch.stack([normal[:-1, 0], normal[1:, 0], normal[:-1, 1], uniform[:-1, 0]])
    assert (torch.corrcoef(pairs) - torch.eye(4)).abs().max() < 0.03


def test_drawn_places_are_choices_and_alike_probable() -> None:
    choices = torch.tensor([[True, True, True, False], [False, True, False, True]])
    numbers = torch.arange(1200) / 1200
    places = torch.stack([drawn_place(choices, number.expand(2)) for number in numbers])
    counts = [torch.bincount(places[:, row], minlength=4).tolist() for row in (0, 1)]
    assert counts == [[400, 400, 400, 0], [0, 600, 0, 600]]
    assert drawn_place(choices, torch.tensor([0.99999994, 0.99999994])).tolist() == [2, 3]
    none = torch.zeros(2, 4, dtype=torch.bool)
    assert drawn_place(none, torch.tensor([0.0, 0.9])).tolist() == [0, 0]
