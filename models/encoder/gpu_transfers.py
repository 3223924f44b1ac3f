"""Copies between host and GPU that go on while both work; on a CPU they are nothing."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """An array on a device. This thread goes on while a GPU copies."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def to_host(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the host, to be read once the GPU has passed a mark that is set after this call."""
    if tensor.device.type != "cuda":
        return tensor
    held = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return held.copy_(tensor, non_blocking=True)


def beside(device: torch.device, make: Callable[[], torch.Tensor]) -> torch.Tensor:
    """What `make` makes on a GPU, while the GPU does what was begun before.

    What is begun after this call waits for it. `make` must not use the results of such work.
    """
    if device.type != "cuda":
        return make()
    stream, main = _side_stream(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(stream):
        made = make()
    main.wait_stream(stream)
    made.record_stream(main)
    return made


@lru_cache(maxsize=8)
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
