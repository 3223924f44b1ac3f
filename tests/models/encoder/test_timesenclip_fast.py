"""The fast encoder is the plain one's function, with fewer operations."""

import copy
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.encoder.openvino_encoder import OpenVinoEncoder
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from models.encoder.timesenclip_fast import FastTimeSenClip
from models.errors import CheckpointError

CONFIGS = {
    "paper": TimeSenClipArchitecture(),
    "one layer": TimeSenClipArchitecture(
        dim=64, depth=1, heads=4, feedforward=32, embedding_dim=48
    ),
    "two layers": TimeSenClipArchitecture(
        dim=64, depth=2, heads=2, feedforward=96, embedding_dim=80
    ),
    "three layers, one head": TimeSenClipArchitecture(dim=32, depth=3, heads=1, feedforward=64),
    "other bands and steps": TimeSenClipArchitecture(
        bands=7, months=5, dim=48, depth=4, heads=6, feedforward=16
    ),
}


def drawn(config: TimeSenClipArchitecture) -> TimeSenClipEncoder:
    """An encoder none of whose weights is left at a value (0, 1) that hides a mistake."""
    generator = torch.Generator().manual_seed(3)
    encoder = TimeSenClipEncoder(config).eval()
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.2)
    return encoder


def series_of(config: TimeSenClipArchitecture, steps: int, count: int = 33) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.rand(count, steps, config.bands, generator=generator)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@torch.inference_mode()
def test_agrees_with_the_plain_encoder(config: TimeSenClipArchitecture) -> None:
    encoder = drawn(config)
    fast = FastTimeSenClip(encoder)
    for steps in config.series_lengths:
        series = series_of(config, steps)
        plain = encoder(series)
        assert plain.std(dim=0).max() > 1e-3  # the encoder tells pixels apart
        found = fast(series)
        assert found.dtype == torch.float32
        assert (found - plain).abs().max() < 2e-6
        torch.testing.assert_close(fast(series[..., None, None]), found)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@torch.inference_mode()
def test_agrees_where_openvino_computes_it(config: TimeSenClipArchitecture) -> None:
    encoder = drawn(config)
    on_cpu = OpenVinoEncoder(FastTimeSenClip(encoder), batch_size=16)
    for steps in config.series_lengths:
        for count in (33, 16, 1, 0):
            series = series_of(config, steps, count)
            found = on_cpu(series)
            assert found.shape == (count, config.embedding_dim)
            assert found.dtype == torch.float32
            assert not count or (found - encoder(series)).abs().max() < 3e-6
    series = series_of(config, 1)
    torch.testing.assert_close(on_cpu(series[..., None, None]), on_cpu(series))
    series = series_of(config, config.months)
    series[::2, :, -1] = 0.0  # a band that is absent
    for found in (on_cpu(series), FastTimeSenClip(encoder)(series)):
        assert (found - encoder(series)).abs().max() < 3e-6


@torch.inference_mode()
def test_openvino_serves_threads_side_by_side() -> None:
    encoder = drawn(CONFIGS["two layers"])
    on_cpu = OpenVinoEncoder(FastTimeSenClip(encoder), batch_size=8)
    batches = [series_of(encoder.architecture, 12, count) + count / 100 for count in range(1, 40)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(on_cpu, batches))
    for series, embeddings in zip(batches, found, strict=True):
        assert (embeddings - encoder(series)).abs().max() < 3e-6


@torch.inference_mode()
def test_a_pixel_that_is_no_number_spoils_no_other() -> None:
    encoder = drawn(CONFIGS["two layers"])
    series = series_of(encoder.architecture, 12)
    series[3, 5, 2] = torch.nan
    found = OpenVinoEncoder(FastTimeSenClip(encoder), batch_size=64)(series)
    assert not found[torch.arange(len(series)) != 3].isnan().any()


@torch.inference_mode()
def test_agrees_to_rounding_in_double() -> None:
    encoder = drawn(CONFIGS["two layers"]).double()
    fast = FastTimeSenClip(encoder)
    series = series_of(encoder.architecture, 12).double()
    assert (fast(series) - encoder(series)).abs().max() < 1e-7  # given as float32


@torch.inference_mode()
def test_pixels_do_not_depend_on_their_batch() -> None:
    fast = FastTimeSenClip(drawn(CONFIGS["two layers"]))
    series = series_of(fast.architecture, 12)
    alone = torch.cat([fast(series[n : n + 1]) for n in range(len(series))])
    assert (fast(series) - alone).abs().max() < 2e-6
    assert fast(series[:0]).shape == (0, fast.architecture.embedding_dim)


def test_holds_copies() -> None:
    encoder = drawn(CONFIGS["two layers"])
    before = copy.deepcopy(encoder)
    fast = FastTimeSenClip(encoder)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.zero_()
    series = series_of(fast.architecture, 12)
    assert not any(weight.requires_grad for weight in fast.parameters())
    with torch.inference_mode():
        assert (fast(series) - before(series)).abs().max() < 2e-6


def test_takes_a_quarter_fewer_operations() -> None:
    encoder = TimeSenClipEncoder(TimeSenClipArchitecture()).eval()
    series = series_of(encoder.architecture, 12, 8)
    counts = []
    for module in (encoder, FastTimeSenClip(encoder)):
        counter = FlopCounterMode(display=False)
        with counter, torch.enable_grad():  # without gradients, torch's fused layer is not counted
            module(series)
        counts.append(counter.get_total_flops() / len(series) / 1e6)
    assert 204 < counts[0] < 206  # as the paper's encoder is known to take
    assert counts[1] < 150


def test_refuses_other_shapes() -> None:
    fast = FastTimeSenClip(drawn(CONFIGS["two layers"]))
    with pytest.raises(CheckpointError, match=re.escape("(pixels, 12 or 4 or 1, 10)")):
        fast(torch.rand(3, 5, 10))
