"""The moving average of a model's weights over the steps of a training."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


class WeightAverage(Generic[Module]):
    """An exponential moving average of a module's parameters; buffers are the last.

    After update n it is `d · average + (1 − d) · weights`, where `d` is the decay, or less in the
    first updates, (1 + n) / (10 + n), so that the first weights are soon forgotten (as
    `num_updates` of TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, module: Module, decay: float) -> None:
        self.module: Module = copy.deepcopy(module).requires_grad_(False).eval()
        """The module with the averaged weights, in eval mode."""
        self._decay = decay

    @torch.no_grad()
    def update(self, module: Module, updates: int) -> None:
        """Take in the weights of the module after so many updates, this one included."""
        decay = min(self._decay, (1 + updates) / (10 + updates))
        for own, other in zip(self.module.parameters(), module.parameters(), strict=True):
            own.lerp_(other, 1 - decay)
        for kept, last in zip(self.module.buffers(), module.buffers(), strict=True):
            kept.copy_(last)
