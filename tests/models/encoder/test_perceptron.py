"""The perceptron, and its fast forms, which must compute the same."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from models.encoder.openvino_encoder import OpenVinoEncoder
from models.encoder.perceptron import PerceptronArchitecture, PerceptronEncoder
from models.encoder.perceptron_fast import FastPerceptron
from models.encoder.registry import empty_encoder, make_architecture
from models.errors import CheckpointError

PAIRS = ((6, 2), (1, 6))
SIZES = PerceptronArchitecture(embedding_dim=24, dim=32, depth=3, pairs=PAIRS)


@pytest.fixture(scope="module")
def encoder() -> PerceptronEncoder:
    torch.manual_seed(3)
    made = PerceptronEncoder(SIZES)
    with torch.no_grad():
        made.norm.weight.uniform_(0.5, 2)
        made.norm.bias.uniform_(-1, 1)
    return made.eval()


def plain(encoder: PerceptronEncoder, series: np.ndarray) -> np.ndarray:
    """The same in numpy, step by step, of float64 series (n, 12, band)."""
    weights = {name: tensor.double().numpy() for name, tensor in encoder.state_dict().items()}
    inputs = [4 * series - 1]
    for a, b in PAIRS:
        with np.errstate(invalid="ignore"):
            ratio = 2 * (series[..., a] - series[..., b]) / (series[..., a] + series[..., b] + 0.02)
        absent = (series[..., a] == 0) | (series[..., b] == 0)
        inputs.append(np.where(absent, 0, ratio)[..., None])
    hidden = np.concatenate(inputs, axis=2).reshape(len(series), -1)
    for place in range(SIZES.depth):
        linear = hidden @ weights[f"layers.{place}.weight"].T + weights[f"layers.{place}.bias"]
        hidden = F.gelu(torch.from_numpy(linear)).numpy()
    spread = np.sqrt(hidden.var(axis=1, keepdims=True) + 1e-5)
    normed = (hidden - hidden.mean(axis=1, keepdims=True)) / spread
    normed = normed * weights["norm.weight"] + weights["norm.bias"]
    out = normed @ weights["head.weight"].T + weights["head.bias"]
    return out / np.linalg.norm(out, axis=1, keepdims=True)


@pytest.mark.parametrize("steps", [12, 4, 1])
def test_all_forms_compute_the_same(encoder: PerceptronEncoder, steps: int) -> None:
    series = torch.rand(70, steps, 10)
    series[:20, :, 6] = 0  # an absent band
    expected = plain(encoder, series.double().repeat_interleave(12 // steps, dim=1).numpy())
    fast = FastPerceptron(encoder)
    for form in (encoder, fast, OpenVinoEncoder(fast, 32)):
        with torch.inference_mode():
            found = form(series).numpy()
        assert np.abs(found - expected).max() < 1e-5


def test_a_step_that_takes_no_part_changes_nothing(encoder: PerceptronEncoder) -> None:
    series = torch.rand(5, 12, 10)
    kept = torch.ones(5, 12, dtype=torch.bool)
    kept[:, 3:6] = False
    other = series.clone()
    other[:, 3:6] = torch.rand(5, 3, 10)
    assert torch.equal(encoder(series, kept), encoder(other, kept))
    assert not torch.allclose(encoder(series, kept), encoder(series))


def test_weights_are_counted(encoder: PerceptronEncoder) -> None:
    assert SIZES.weight_count == sum(p.numel() for p in empty_encoder(SIZES).parameters())


def test_sizes_that_cannot_be_are_refused() -> None:
    for wrong in ({"dropout": 1.0}, {"depth": 0}, {"dim": 0}, {"pairs": [[0, 10]]}):
        with pytest.raises(CheckpointError):
            make_architecture({"kind": "perceptron", **wrong})
    with pytest.raises(CheckpointError, match="12 or 4 or 1"):
        PerceptronEncoder(SIZES)(torch.rand(2, 6, 10))
