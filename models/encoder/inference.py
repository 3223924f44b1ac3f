"""Inference: series → embeddings on the device at hand, as mapping runs compute them."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch

from models.encoder.checkpoint import Checkpoint
from models.encoder.gpu_transfers import beside, to_device
from models.encoder.registry import fast_form
from models.encoder.series_months import reduce_months

PIXELS_PER_CORE = 64
"""Pixels that a CPU core encodes at once: more do not fit into its cache, fewer waste time between
steps (`tests.benchmarks.bench_encoder`)."""

Progress = Callable[[float], None]
"""A function that is called with the share that is done, 0 … 1."""

_PROGRESS_EVERY = 2048  # series embedded between two calls of a `Progress`
_CPU_BATCH = 1024  # pixels
_GPU_SHARE = 0.5  # of the free memory, since classification and other processes need some
_MOST_ON_GPU = 65_536


class PixelEncoder:
    """Embeds the series of pixels by a checkpoint, on one device, `batch_size` pixels at once.

    On a GPU the products are of float16 (`FastEncoder.gpu_form`), batches are sized to its free
    memory by default, and halved for good where it runs out. On the CPU all is float32, by
    OpenVINO where the architecture has a graph for it.
    """

    def __init__(
        self, checkpoint: Checkpoint, device: torch.device, batch_size: int | None = None
    ) -> None:
        self.device = device
        self.card = checkpoint.card
        self._encoder: Callable[[torch.Tensor], torch.Tensor]
        self._encoder = fast = fast_form(checkpoint.encoder).to(device)
        if device.type == "cuda":
            self._encoder = fast.gpu_form()
        elif fast.has_openvino_model:
            from models.encoder.openvino_encoder import OpenVinoEncoder  # it imports OpenVINO

            self._encoder = OpenVinoEncoder(fast, PIXELS_PER_CORE)
        self.batch_size = batch_size or self._fitting_batch()

    @torch.inference_mode()
    def embed(self, series: np.ndarray | torch.Tensor, steps: int | None = None) -> torch.Tensor:
        """Embed series.

        A GPU may still be computing what is returned; using it waits for it, and `DeviceClock`
        measures how long it takes.

        Args:
            series: uint16 (pixel, T, band): reflectance × 10000 without offset, no gaps. As a
                tensor on the device it is int16, with uint16's bits.
            steps: Reduce the months to so many steps first; by default they stay as they are.

        Returns:
            float32 (pixel, dim) on the device, of unit length. A pixel whose products overflow
            float16 on a GPU has NaN: `pipeline.classification` makes it nodata.

        Raises:
            CheckpointError: The encoder takes series of another shape.
        """
        if not isinstance(series, torch.Tensor):
            series = np.ascontiguousarray(series).view(np.int16)
        parts = []
        start = 0
        while start < len(series):
            part = series[start : start + self.batch_size]
            try:
                parts.append(self._embed(self._on_device(part), steps))
                start += len(part)
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise
                self.batch_size = -(-min(self.batch_size, len(part)) // 2)
                torch.cuda.empty_cache()
        if len(parts) == 1:
            return parts[0]
        none = torch.empty(0, self.card.architecture.embedding_dim, device=self.device)
        return torch.cat(parts or [none])

    def _on_device(self, part: np.ndarray | torch.Tensor) -> torch.Tensor:
        if isinstance(part, torch.Tensor):
            return part
        return beside(self.device, lambda: to_device(part, self.device))

    def _embed(self, stored: torch.Tensor, steps: int | None) -> torch.Tensor:
        # As int16, since few operations know uint16.
        reflectance = stored.to(torch.int32) & 0xFFFF
        if steps is not None:
            reflectance = reduce_months(reflectance, steps)
        series = self.card.preprocessing.normalise(reflectance)
        return self._encoder(series)

    def _fitting_batch(self) -> int:
        if self.device.type == "cpu":
            return _CPU_BATCH
        free, _ = torch.cuda.mem_get_info(self.device)
        fits = int(free * _GPU_SHARE) // self.card.architecture.activation_bytes
        return max(1, min(fits, _MOST_ON_GPU))


Mark = float | torch.cuda.Event
"""A moment in a device's work, from `DeviceClock.mark`."""


class DeviceClock:
    """Measures the seconds that a device works, though calls return before a GPU has done.

    Marks are set between pieces of work, which a GPU does in the order of the calls.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def mark(self) -> Mark:
        """A moment in the device's work: on a GPU, when it has done all that was begun before."""
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    @staticmethod
    def seconds(start: Mark, end: Mark) -> float:
        """Seconds between two marks of one clock; waits until the device has passed `end`."""
        if isinstance(start, torch.cuda.Event) and isinstance(end, torch.cuda.Event):
            end.synchronize()
            return start.elapsed_time(end) / 1000
        assert isinstance(start, float)
        assert isinstance(end, float)
        return end - start


def embed_all(
    checkpoint: Checkpoint,
    series: np.ndarray,
    progress: Progress | None = None,
    *,
    steps: int | None = None,
) -> torch.Tensor:
    """Embed any number of series on the device at hand.

    `series` uint16 (n, 12, band), n 1 or more, and `steps` are as `PixelEncoder.embed` takes them;
    `progress` is called with the share that is done. Returns float32 (n, dim), on the CPU.
    """
    encoder = PixelEncoder(checkpoint, device_at_hand())
    parts = np.split(series, range(_PROGRESS_EVERY, len(series), _PROGRESS_EVERY))
    embedded = []
    # On a CPU, OpenVINO gives each thread one core.
    threads = 1 if encoder.device.type == "cuda" else os.cpu_count()
    with ThreadPoolExecutor(threads) as pool:
        for embeddings in pool.map(lambda part: encoder.embed(part, steps).cpu(), parts):
            embedded.append(embeddings)
            if progress is not None:
                progress(len(embedded) / len(parts))
    # A clone, since tensors made in inference mode take no part in training.
    return torch.cat(embedded).clone()


def one_core_per_thread() -> None:
    """Let no operation of torch spread over cores in this process.

    Dask's threads share the cores already, and would wait for one another.
    """
    torch.set_num_threads(1)


@contextmanager
def on_one_core() -> Iterator[None]:
    """Let no operation of torch spread over cores inside the `with` block."""
    threads = torch.get_num_threads()
    one_core_per_thread()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def device_at_hand() -> torch.device:
    """The GPU of this process where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
