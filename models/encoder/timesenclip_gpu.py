"""The choice of a TimeSenCLIP encoder's form for a GPU: Triton's kernels, or PyTorch's alone."""

import copy
import logging
from collections.abc import Callable

import torch
from torch.nn import functional as F

from models.encoder.series_encoder import FastEncoder
from models.encoder.timesenclip import TimeSenClipArchitecture
from models.encoder.timesenclip_layers import FastLayers

_LOGGER = logging.getLogger(__name__)
_HOPPER = (9, 0)  # the first with the copy engine that the kernels are written for
_LARGEST = 1024  # of a token, and 32 of bands and tokens: what a kernel holds at once
_TRIED = 16  # pixels
_LEAST_COSINE = 0.99  # of float16's embeddings to float32's; rounding leaves 0.9999


def gpu_form(fast: FastEncoder, layers: FastLayers) -> Callable[[torch.Tensor], torch.Tensor]:
    """A fast form's function on its GPU, as fast as that and its software allow.

    Kernels of Triton where it is installed, the GPU is a Hopper or later and the encoder's sizes
    suit, else PyTorch with float16 weights. Weights that float16 does not hold stay float32. What
    was not taken, and why, is logged.
    """
    half = _Half(fast)
    if not all(weight.isfinite().all() for weight in half.fast.state_dict().values()):
        _LOGGER.warning("the checkpoint's weights overflow float16: the GPU encodes in float32")
        return fast
    device = layers.device
    problem = _problem(layers.architecture, device)
    if problem is None:
        try:
            from models.encoder.timesenclip_triton import TritonTimeSenClip

            form = TritonTimeSenClip(layers)
            if _agrees(form, fast, device):
                return form
            problem = "its kernels compute something else here"
        except Exception as error:  # a compiler is missing, a GPU is not known to Triton, …
            if isinstance(error, torch.OutOfMemoryError):
                raise
            problem = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    _LOGGER.warning("the GPU encodes at a third of its speed, without Triton: %s", problem)
    return half


class _Half:
    """A fast encoder with weights of float16."""

    def __init__(self, fast: FastEncoder) -> None:
        self.fast = copy.deepcopy(fast).half()

    def __call__(self, series: torch.Tensor) -> torch.Tensor:
        embeddings: torch.Tensor = self.fast(series.half())
        return embeddings


def _problem(sizes: TimeSenClipArchitecture, device: torch.device) -> str | None:
    """Why the kernels do not take this encoder on this GPU, if they do not."""
    if device.type != "cuda":
        return "it is a CPU"
    if torch.cuda.get_device_capability(device) < _HOPPER:
        return f"{torch.cuda.get_device_name(device)} is older than Hopper"
    return size_problem(sizes)


def size_problem(sizes: TimeSenClipArchitecture) -> str | None:
    """Why the kernels do not take an encoder of these sizes, if they do not."""
    if sizes.dim % 8 or sizes.feedforward % 8 or sizes.dim > _LARGEST:
        return f"dim {sizes.dim} and feedforward {sizes.feedforward} must be multiples of 8"
    if sizes.bands > 32 or sizes.months > 31 or sizes.heads > 32:
        return "more than 32 bands, 31 months or 32 heads"
    return None


@torch.inference_mode()
def _agrees(
    form: Callable[[torch.Tensor], torch.Tensor], fast: FastEncoder, device: torch.device
) -> bool:
    """Whether two forms embed some series alike, of each length."""
    sizes = fast.architecture
    generator = torch.Generator().manual_seed(0)
    for steps in sizes.series_lengths:
        series = torch.rand(_TRIED, steps, sizes.bands, generator=generator).to(device)
        cosine = F.cosine_similarity(form(series), fast(series))
        if not bool((cosine > _LEAST_COSINE).all()):
            return False
    return True
