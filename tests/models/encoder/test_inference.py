"""Encoding the pixels of a run: the checkpoint's own function, in batches that fit."""

import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from models.encoder.checkpoint import Checkpoint, load_checkpoint
from models.encoder.inference import PIXELS_PER_CORE, DeviceClock, PixelEncoder, device_at_hand
from models.encoder.timesenclip_fast import FastTimeSenClip

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint("sample")


@pytest.fixture(scope="module")
def series() -> np.ndarray:
    """Also numbers that int16 does not hold."""
    rng = np.random.default_rng(0)
    made = rng.integers(1, 6000, (300, 12, 10)).astype(np.uint16)
    made[::7, 3] = rng.integers(32768, 65535, (len(made[::7]), 10))
    return made


def plain(checkpoint: Checkpoint, series: np.ndarray) -> torch.Tensor:
    with torch.inference_mode():
        normalised = checkpoint.card.preprocessing.normalise(series)
        embeddings: torch.Tensor = checkpoint.encoder(normalised)
    return embeddings


@pytest.mark.parametrize("steps", [12, 4, 1])
@pytest.mark.parametrize("batch_size", [None, 1, 7, 1000])
def test_agrees_with_the_encoder(
    checkpoint: Checkpoint, series: np.ndarray, steps: int, batch_size: int | None
) -> None:
    part = series[:50, :steps]
    found = PixelEncoder(checkpoint, CPU, batch_size).embed(part)
    assert found.dtype == torch.float32
    assert (found - plain(checkpoint, part)).abs().max() < 1e-5


def test_no_pixels_give_no_embeddings(checkpoint: Checkpoint, series: np.ndarray) -> None:
    found = PixelEncoder(checkpoint, CPU).embed(series[:0])
    assert found.shape == (0, checkpoint.card.architecture.embedding_dim)


class _Small(torch.nn.Module):
    """An encoder on a device that has memory for so many pixels only."""

    def __init__(self, encoder: torch.nn.Module, holds: int) -> None:
        super().__init__()
        self.encoder, self.holds, self.batches = encoder, holds, list[int]()

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(series))
        if len(series) > self.holds:
            raise torch.OutOfMemoryError("out of memory")
        embeddings: torch.Tensor = self.encoder(series)
        return embeddings


def test_halves_batches_where_memory_runs_out_and_remembers(
    checkpoint: Checkpoint, series: np.ndarray
) -> None:
    encoder = PixelEncoder(checkpoint, CPU, 128)
    small = encoder._encoder = _Small(encoder._encoder, 40)
    found = encoder.embed(series)
    assert (found - plain(checkpoint, series)).abs().max() < 1e-5
    assert small.batches == [128, 64, 32, *[32] * 8, 12]
    small.batches.clear()
    encoder.embed(series[:64])
    assert small.batches == [32, 32]
    assert encoder.batch_size == 32


def test_a_pixel_that_does_not_fit_raises(checkpoint: Checkpoint, series: np.ndarray) -> None:
    encoder = PixelEncoder(checkpoint, CPU, 5)
    encoder._encoder = _Small(encoder._encoder, 0)
    with pytest.raises(torch.OutOfMemoryError):
        encoder.embed(series[:3])


def test_keeps_its_meaning_in_half_precision(checkpoint: Checkpoint, series: np.ndarray) -> None:
    """On the CPU, the arithmetic of a GPU."""
    normalised = checkpoint.card.preprocessing.normalise(series)
    with torch.inference_mode(), torch.autocast("cpu", torch.float16):
        found = FastTimeSenClip(checkpoint.encoder)(normalised)
    assert found.dtype == torch.float32
    assert (found * plain(checkpoint, series)).sum(dim=1).min() > 0.9999


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA GPU")
def test_a_gpu_agrees(checkpoint: Checkpoint, series: np.ndarray) -> None:
    encoder = PixelEncoder(checkpoint, device_at_hand())
    assert encoder.batch_size > PIXELS_PER_CORE
    found = encoder.embed(series).cpu()
    assert (found * plain(checkpoint, series)).sum(dim=1).min() > 0.999


def test_states_what_a_pixel_takes(checkpoint: Checkpoint) -> None:
    sizes = checkpoint.card.architecture
    assert sizes.activation_bytes > 4 * (sizes.months + 1) * 4 * 96


@pytest.mark.parametrize("steps", [4, 1])
def test_months_are_reduced_on_the_way(
    checkpoint: Checkpoint, series: np.ndarray, steps: int
) -> None:
    medians = np.median(series.reshape(len(series), steps, 12 // steps, 10), axis=2)
    found = PixelEncoder(checkpoint, CPU).embed(series, steps)
    normalised = checkpoint.card.preprocessing.normalise(medians.astype(np.float32))
    with torch.inference_mode():
        assert (found - checkpoint.encoder(normalised)).abs().max() < 1e-5


def test_openvino_is_imported_only_where_a_cpu_encodes() -> None:
    program = (
        "import sys, models.encoder.inference, pipeline.mapping.encode_block\n"
        "assert 'openvino' not in sys.modules\n"
        "import torch; from models.encoder.checkpoint import load_checkpoint\n"
        "models.encoder.inference.PixelEncoder(load_checkpoint('sample'), torch.device('cpu'))\n"
        "assert 'openvino' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_clock_measures_work_on_a_cpu() -> None:
    clock = DeviceClock(CPU)
    start = clock.mark()
    time.sleep(0.05)
    assert 0.05 <= clock.seconds(start, clock.mark()) < 5


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="this machine has no CUDA GPU, whose work is measured"
)
def test_a_clock_measures_work_that_a_gpu_does_later(
    checkpoint: Checkpoint, series: np.ndarray
) -> None:
    encoder = PixelEncoder(checkpoint, device_at_hand())
    many = np.tile(series, (200, 1, 1))
    encoder.embed(many).cpu()
    clock = DeviceClock(encoder.device)
    torch.cuda.synchronize()
    began = time.perf_counter()
    start = clock.mark()
    encoder.embed(many)
    end = clock.mark()
    torch.cuda.synchronize()
    assert clock.seconds(start, end) == pytest.approx(time.perf_counter() - began, rel=0.1)
