"""Series → embeddings on the device at hand, as fast as it goes: what mapping runs call."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch

from models.encoder.checkpoint import Checkpoint
from models.encoder.encoder import EncoderConfig
from models.encoder.fast_encoder import FastEncoder
from models.encoder.openvino_encoder import OpenVinoEncoder

ON_CPU = 64
"""Pixels encoded at once on a core: more fall out of its cache, fewer waste time between steps
(`tests.benchmarks.bench_encoder`)."""

Progress = Callable[[float], None]
"""Is told the share that is done, 0 … 1."""

_TOGETHER = 2048  # series embedded between two words on progress
_CLASSIFIED = 1024  # pixels that are handed on at once on a CPU

_GPU_SHARE = 0.5  # of the free memory, since classification and other processes need some
_MOST_ON_GPU = 65_536
_LIVE = 5  # arrays of the tokens' width that live at once in a layer, beside its projections


class PixelEncoder:
    """Embeds the series of pixels by a checkpoint, on one device.

    On a GPU the products are of float16 (autocast, as the authors train), batches are sized to
    its free memory, and halved for good where it runs out. On the CPU all is float32, by OpenVINO.
    `batch_size` is how many pixels are taken at once (default: what suits the device).
    """

    def __init__(
        self, checkpoint: Checkpoint, device: torch.device, batch_size: int | None = None
    ) -> None:
        self.device = device
        self.card = checkpoint.card
        fast = FastEncoder(checkpoint.encoder)
        on_cpu = device.type == "cpu"
        self._encoder = OpenVinoEncoder(fast, ON_CPU) if on_cpu else fast.to(device)
        self.batch_size = batch_size or (_CLASSIFIED if on_cpu else self._fitting())

    @torch.inference_mode()
    def embed(self, series: np.ndarray) -> torch.Tensor:
        """Embeddings of series: uint16 (pixel, T, band) → float32 (pixel, dim), unit length.

        On a GPU what is returned may still be under way; using it waits for it.
        """
        given = torch.from_numpy(np.ascontiguousarray(series).view(np.int16))
        if self.device.type == "cuda":
            given = given.pin_memory()  # so that copying does not wait for what is under way
        parts = [torch.empty(0, self.card.architecture.embedding_dim, device=self.device)]
        start = 0
        while start < len(given):
            part = given[start : start + self.batch_size]
            try:
                parts.append(self._embedded(part.to(self.device, non_blocking=True)))
                start += len(part)
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise
                self.batch_size = -(-min(self.batch_size, len(part)) // 2)
                torch.cuda.empty_cache()
        return torch.cat(parts)

    def _embedded(self, stored: torch.Tensor) -> torch.Tensor:
        # As int16, since few operations know uint16.
        series = self.card.preprocessing.normalise(stored.to(torch.int32) & 0xFFFF)
        with torch.autocast("cuda", torch.float16, enabled=self.device.type == "cuda"):
            embeddings: torch.Tensor = self._encoder(series)
        return embeddings

    def _fitting(self) -> int:
        free, _ = torch.cuda.mem_get_info(self.device)
        fits = int(free * _GPU_SHARE) // activation_bytes(self.card.architecture)
        return max(1, min(fits, _MOST_ON_GPU))


def embed_all(
    checkpoint: Checkpoint, series: np.ndarray, progress: Progress | None = None
) -> torch.Tensor:
    """Embeddings of series on the device at hand, float32 (n, dim), on the CPU.

    `series` is uint16 (n, 12, band), n 1 or more.
    """
    encoder = PixelEncoder(checkpoint, device_at_hand())
    parts = np.split(series, range(_TOGETHER, len(series), _TOGETHER))
    found = []
    # On a CPU, a thread has one core.
    threads = 1 if encoder.device.type == "cuda" else os.cpu_count()
    with ThreadPoolExecutor(threads) as pool:
        for embeddings in pool.map(lambda part: encoder.embed(part).cpu(), parts):
            found.append(embeddings)
            if progress is not None:
                progress(len(found) / len(parts))
    # A clone, since what is made in inference mode takes no part in training.
    return torch.cat(found).clone()


def activation_bytes(sizes: EncoderConfig) -> int:
    """Bytes that encoding a pixel takes at its peak, in float32; on a GPU it is some less."""
    width = (_LIVE + 3) * sizes.dim + sizes.feedforward
    return 4 * (sizes.months + 1) * width


def one_core_a_thread() -> None:
    """Let no operation of torch spread over cores in this process.

    Dask's threads share these already; operations that did, too, would wait for one another.
    """
    torch.set_num_threads(1)


@contextmanager
def on_one_core() -> Iterator[None]:
    """The same for a while."""
    threads = torch.get_num_threads()
    one_core_a_thread()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def device_at_hand() -> torch.device:
    """The GPU of this process where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
