"""Pooling, beside the same written plainly: views that are absent have no part."""

import numpy as np
import pytest
import torch

from models.pretraining.batch import NO_KEY
from models.pretraining.ground_pooling import (
    AttentionPooling,
    MeanPooling,
    of_view,
    wording_noise,
)
from models.pretraining.row_random import RowDraws
from tests.models.made_points import made_points


@pytest.fixture(scope="module")
def views() -> tuple[np.ndarray, np.ndarray]:
    batch = made_points(9)
    ground = batch.ground.copy()
    ground[~batch.present] = np.nan  # whatever stands where no view is
    return ground, batch.present


def test_mean(views: tuple[np.ndarray, np.ndarray]) -> None:
    ground, present = views
    wanted = [own[there].mean(axis=0) for own, there in zip(ground, present, strict=True)]
    found = MeanPooling()(*map(torch.from_numpy, views))
    assert np.abs(found.numpy() - np.stack(wanted)).max() < 1e-6


@pytest.mark.parametrize("per_dimension", [False, True])
def test_attention(views: tuple[np.ndarray, np.ndarray], per_dimension: bool) -> None:
    torch.manual_seed(0)
    pooling = AttentionPooling(16, per_dimension)
    matrix = pooling.score.weight.detach().numpy().astype(np.float64)
    bias = pooling.score.bias.detach().numpy().astype(np.float64)
    assert len(bias) == (16 if per_dimension else 1)
    wanted = []
    for own, there in zip(*views, strict=True):
        power = np.exp(own[there].astype(np.float64) @ matrix.T + bias)
        wanted.append((own[there] * power / power.sum(axis=0)).sum(axis=0))
    found = pooling(*map(torch.from_numpy, views))
    assert np.abs(found.detach().numpy() - np.stack(wanted)).max() < 1e-6
    found.sum().backward()
    assert pooling.score.weight.grad is not None
    assert torch.isfinite(pooling.score.weight.grad).all()
    assert pooling.score.weight.grad.abs().max() > 1e-4


def test_of_each_row_its_view() -> None:
    views = torch.arange(24).reshape(2, 3, 4)
    assert of_view(views, torch.tensor([2, 0])).tolist() == [[8, 9, 10, 11], [12, 13, 14, 15]]


def test_noise_is_a_part_of_the_difference_of_two_wordings_of_one_class() -> None:
    n, rng = 400, np.random.default_rng(0)
    ground = torch.from_numpy(rng.normal(size=(n, 4, 16)).astype(np.float32))
    keys = torch.tensor([7, 8, 7, 8]).repeat(n, 1)
    present = torch.tensor([True, True, True, False]).repeat(n, 1)
    ground[:, 3] = torch.nan
    noise = wording_noise(ground, keys, present, 2.0, RowDraws(0, 0, 0, n))
    difference = ground[:, 0] - ground[:, 2]  # the only pair of equal keys that is there
    part = (noise * difference).sum(dim=1) / (difference * difference).sum(dim=1)
    assert (noise - part[:, None] * difference).abs().max() < 1e-5
    assert -2 < part.min() < -1.9
    assert 1.9 < part.max() < 2
    assert abs(float(part.mean())) < 0.2


def test_no_noise_without_two_wordings_of_one_class() -> None:
    ground = torch.randn(3, 2, 16, generator=torch.Generator().manual_seed(0))
    ground[2, 0] = torch.nan
    keys = torch.tensor([[1, 2], [NO_KEY, NO_KEY], [3, 3]])
    present = torch.tensor([[True, True], [True, True], [False, True]])
    noise = wording_noise(ground, keys, present, 1.0, RowDraws(0, 0, 0, 3))
    assert noise.tolist() == [[0.0] * 16] * 3
