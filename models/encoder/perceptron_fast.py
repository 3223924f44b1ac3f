"""The perceptron for inference: the last normalisation is folded into weights.

For seasons and years, the first layer's weights of the months that share a step are summed.
"""

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from models.encoder.perceptron import PerceptronArchitecture, PerceptronEncoder, perceptron_inputs
from models.encoder.series_encoder import FastEncoder, folded_linear

if TYPE_CHECKING:
    import openvino as ov


class FastPerceptron(FastEncoder):
    """A perceptron's function in eval mode. Its weights are copies."""

    architecture: PerceptronArchitecture
    has_openvino_model = True

    def __init__(self, encoder: PerceptronEncoder) -> None:
        super().__init__()
        self.architecture = encoder.architecture
        lengths = self.architecture.series_lengths
        self.first = nn.ModuleDict({str(steps): _first(encoder, steps) for steps in lengths})
        self.middle = nn.ModuleList(
            folded_linear(layer.weight.detach().double().T, layer.bias.detach().double())
            for layer in encoder.layers[1:]
            if isinstance(layer, nn.Linear)
        )
        norm, head = encoder.norm, encoder.head
        self.norm = nn.LayerNorm(norm.normalized_shape, norm.eps, elementwise_affine=False)
        matrix = head.weight.detach().double().T
        self.head = folded_linear(
            norm.weight.detach().double()[:, None] * matrix,
            norm.bias.detach().double() @ matrix + head.bias.detach().double(),
        )
        self.to(head.weight).requires_grad_(False).eval()

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        """Embed normalised series, as `PerceptronEncoder.forward` does."""
        self.architecture.require_shape(series)
        inputs = perceptron_inputs(series.flatten(2), self.architecture.pairs)
        hidden = F.gelu(self.first[str(series.shape[1])](inputs.flatten(1)))
        for layer in self.middle:
            hidden = F.gelu(layer(hidden))
        return F.normalize(self.head(self.norm(hidden)).float(), dim=-1)

    def openvino_model(self, steps: int, batch_size: int) -> "ov.Model":
        """The OpenVINO graph of the same function, as `FastEncoder.openvino_model` says."""
        from models.encoder.perceptron_openvino import perceptron_model

        layers = [self.first[str(steps)], *self.middle]
        linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
        shape = (batch_size, steps, self.architecture.bands)
        return perceptron_model(linear, self.norm, self.head, shape, self.architecture.pairs)


def _first(encoder: PerceptronEncoder, steps: int) -> nn.Linear:
    """The first layer for series of `steps` steps: (steps · inputs) → dim."""
    sizes, layer = encoder.architecture, encoder.layers[0]
    assert isinstance(layer, nn.Linear)
    matrix = layer.weight.detach().double().T  # (months · inputs, dim)
    by_step = matrix.unflatten(0, (steps, sizes.months // steps, sizes.inputs)).sum(dim=1)
    return folded_linear(by_step.flatten(0, 1), layer.bias.detach().double())
