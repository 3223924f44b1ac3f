"""Pooling, beside the same written plainly: views that are absent have no part."""

import numpy as np
import pytest
import torch

from models.pretraining.ground_pooling import AttentionPooling, MeanPooling, of_view
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
