"""The pixels per second that a device encodes, beside the most operations that it can do."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.encoder.checkpoint import Checkpoint
from models.encoder.inference import PixelEncoder, on_one_core
from models.encoder.registry import fast_form

_SIDE = {"cuda": 8192, "cpu": 1024}  # of the matrices whose product is taken for the peak
_COUNTED = 64  # pixels


@dataclass(frozen=True)
class Throughput:
    """How fast a device encodes.

    Attributes:
        pixels: Per second.
        operations: Floating-point operations per pixel.
        peak: Operations per second of a product of large matrices, in the arithmetic that encodes
            (float32; on a GPU float16) and with as many threads.
    """

    pixels: float
    operations: float
    peak: float

    @property
    def share(self) -> float:
        """The share of the peak that encoding reaches, 0 … 1."""
        return self.pixels * self.operations / self.peak


def measure_throughput(
    checkpoint: Checkpoint,
    device: torch.device,
    *,
    threads: int,
    batch_size: int | None = None,
    seconds: float = 4.0,
) -> Throughput:
    """Encode and multiply in turns for some `seconds`, and take the medians.

    On the CPU `threads` encode side by side, each on one core, as a worker's do; on a GPU one.
    """
    encoder = PixelEncoder(checkpoint, device, batch_size)
    sizes = checkpoint.card.architecture
    series = np.full((encoder.batch_size, sizes.months, sizes.bands), 1000, np.uint16)
    side = _SIDE[device.type]
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    matrix = torch.ones(side, side, dtype=dtype, device=device)
    with on_one_core(), ThreadPoolExecutor(threads) as pool:
        pixels, products = _in_turns(
            pool,
            threads,
            seconds,
            device,
            lambda: encoder.embed(series),
            lambda: matrix @ matrix,
        )
    return Throughput(
        pixels=pixels * len(series),
        operations=count_operations(checkpoint),
        peak=products * 2 * side**3,
    )


def count_operations(checkpoint: Checkpoint) -> float:
    """Floating-point operations that encoding a pixel takes, by torch's counter."""
    sizes = checkpoint.card.architecture
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        fast_form(checkpoint.encoder)(torch.rand(_COUNTED, sizes.months, sizes.bands))
    return counter.get_total_flops() / _COUNTED


def _in_turns(
    pool: ThreadPoolExecutor,
    threads: int,
    seconds: float,
    device: torch.device,
    *calls: Callable[[], object],
) -> list[float]:
    """The calls per second of each by all threads together: medians of turns."""
    rates: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(rates[0]) < 4:
        for call, measured in zip(calls, rates, strict=True):
            began = time.perf_counter()
            for done in [pool.submit(call) for _ in range(threads)]:
                done.result()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            measured.append(threads / (time.perf_counter() - began))
    return [float(np.median(measured[1:])) for measured in rates]  # the first call of each is slow
