import itertools
from typing import Any

import numpy as np
import pytest
import torch

from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from models.errors import CheckpointError

SMALL = TimeSenClipArchitecture(dim=24, depth=2, heads=3, feedforward=20, embedding_dim=12)


def _encoder(config: TimeSenClipArchitecture = SMALL, seed: int = 0) -> TimeSenClipEncoder:
    torch.manual_seed(seed)
    encoder = TimeSenClipEncoder(config).eval()
    with torch.no_grad():  # zero at first, and then positions would not be tested
        encoder.time_pos_encoding.normal_()
        encoder.class_token.normal_()
    return encoder


def _layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


def _softmax(x: np.ndarray) -> np.ndarray:
    exponent = np.exp(x - x.max())
    return exponent / exponent.sum()


def _embed_plainly(
    encoder: TimeSenClipEncoder, pixel: np.ndarray, positions: np.ndarray
) -> np.ndarray:
    """One pixel (T, S) in float64, every step of the paper's encoder written out."""
    w = {name: value.double().numpy() for name, value in encoder.state_dict().items()}
    config = encoder.architecture
    tokens = [
        w["spectral_embedding.1.weight"] @ month + w["spectral_embedding.1.bias"] + position
        for month, position in zip(pixel, positions, strict=True)
    ]
    x = np.stack([w["class_token"][0, 0], *tokens])
    size = config.dim // config.heads
    for layer in range(config.depth):
        p = f"transformer.layers.{layer}."
        projected = x @ w[p + "self_attn.in_proj_weight"].T + w[p + "self_attn.in_proj_bias"]
        query, key, value = np.split(projected, 3, axis=1)
        attended = np.zeros_like(x)
        for head in range(config.heads):
            part = slice(head * size, (head + 1) * size)
            for row in range(len(x)):
                scores = np.array([query[row, part] @ k for k in key[:, part]]) / np.sqrt(size)
                attended[row, part] = _softmax(scores) @ value[:, part]
        attended = attended @ w[p + "self_attn.out_proj.weight"].T
        attended = attended + w[p + "self_attn.out_proj.bias"]
        x = _layer_norm(x + attended, w[p + "norm1.weight"], w[p + "norm1.bias"])
        hidden = np.maximum(x @ w[p + "linear1.weight"].T + w[p + "linear1.bias"], 0)
        hidden = hidden @ w[p + "linear2.weight"].T + w[p + "linear2.bias"]
        x = _layer_norm(x + hidden, w[p + "norm2.weight"], w[p + "norm2.bias"])
    head = _layer_norm(x[0], w["mlp_head.0.weight"], w["mlp_head.0.bias"])
    embedding = w["mlp_head.1.weight"] @ head + w["mlp_head.1.bias"]
    return embedding / np.linalg.norm(embedding)


def _positions_plainly(encoder: TimeSenClipEncoder, steps: int) -> np.ndarray:
    months = encoder.time_pos_encoding.detach().double().numpy()[0]
    if steps == 12:
        return months
    if steps == 4:
        return np.stack([np.median(months[start : start + 3], axis=0) for start in (0, 3, 6, 9)])
    return months[:1]


@pytest.mark.parametrize("steps", [12, 4, 1])
def test_agrees_with_the_plain_reference(steps: int) -> None:
    encoder = _encoder()
    series = torch.rand(5, steps, 10, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        got = encoder(series).numpy()
    positions = _positions_plainly(encoder, steps)
    for pixel, embedding in zip(series.double().numpy(), got, strict=True):
        expected = _embed_plainly(encoder, pixel, positions)
        np.testing.assert_allclose(embedding, expected, atol=1e-5)


def test_agrees_with_the_plain_reference_at_the_papers_size() -> None:
    encoder = _encoder(TimeSenClipArchitecture())
    series = torch.rand(1, 12, 10, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        got = encoder(series).numpy()[0]
    expected = _embed_plainly(encoder, series.double().numpy()[0], _positions_plainly(encoder, 12))
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_embeddings_have_unit_length_and_the_cards_size() -> None:
    got = _encoder()(torch.rand(7, 12, 10))
    assert got.shape == (7, 12)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.norm(dim=1), torch.ones(7))


def test_pixel_axes_of_one_make_no_difference() -> None:
    encoder, series = _encoder(), torch.rand(3, 12, 10)
    assert torch.equal(encoder(series), encoder(series[..., None, None]))


def test_no_pixels_give_no_embeddings() -> None:
    assert _encoder()(torch.rand(0, 12, 10)).shape == (0, 12)


def test_the_order_of_months_matters() -> None:
    encoder, series = _encoder(), torch.rand(3, 12, 10)
    assert (encoder(series) - encoder(series.flip(1))).abs().max() > 1e-3


def test_the_papers_architecture_has_8_17_million_parameters() -> None:
    with torch.device("meta"):
        encoder = TimeSenClipEncoder(TimeSenClipArchitecture())
    assert round(sum(p.numel() for p in encoder.parameters()) / 1e6, 2) == 8.17


def test_state_dict_names_are_the_authors() -> None:
    layer = [
        *(f"self_attn.{name}" for name in ("in_proj_weight", "in_proj_bias")),
        *(
            f"{name}.{what}"
            for name, what in itertools.product(
                ("self_attn.out_proj", "linear1", "linear2", "norm1", "norm2"), ("weight", "bias")
            )
        ),
    ]
    expected = {
        "time_pos_encoding",
        "class_token",
        *(f"spectral_embedding.1.{what}" for what in ("weight", "bias")),
        *(f"mlp_head.{part}.{what}" for part in "01" for what in ("weight", "bias")),
        *(f"transformer.layers.{index}.{name}" for index in range(6) for name in layer),
    }
    with torch.device("meta"):
        state = TimeSenClipEncoder(TimeSenClipArchitecture()).state_dict()
    assert set(state) == expected
    assert state["time_pos_encoding"].shape == (1, 12, 512)
    assert state["class_token"].shape == (1, 1, 512)
    assert state["spectral_embedding.1.weight"].shape == (512, 10)
    assert state["transformer.layers.5.linear1.weight"].shape == (256, 512)


def test_positions_and_class_token_begin_at_zero() -> None:
    encoder = TimeSenClipEncoder(SMALL)
    assert not encoder.time_pos_encoding.any()
    assert not encoder.class_token.any()


@pytest.mark.parametrize(
    "shape",
    [(3, 12, 9), (3, 11, 10), (3, 2, 10), (12, 10), (3, 12, 10, 1), (3, 12, 10, 2, 2), (3, 10, 12)],
)
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError, match=r"12 or 4 or 1, 10\)"):
        _encoder()(torch.rand(shape))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": 0}, "bands is 0"),
        ({"depth": -1}, "depth is -1"),
        ({"dim": 25}, "dim 25 cannot be shared by 8 heads"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        TimeSenClipArchitecture(**change)


def test_dropout_works_in_training_only() -> None:
    encoder, series = _encoder(), torch.rand(3, 12, 10)
    assert torch.equal(encoder(series), encoder(series))
    encoder.train()
    assert not torch.equal(encoder(series), encoder(series))
