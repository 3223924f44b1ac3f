"""The TimeSenCLIP encoder for inference: the same function with a quarter fewer operations.

It is written by hand because no compiler finds these savings: `tests.benchmarks.bench_encoder`
compares it with torch's own fused layers, and its OpenVINO graph with both. These parts are
computed differently, all of them exact up to rounding:

- The first layer attends over tokens that are linear in the bands and constant otherwise, so its
  scores are a bilinear form of bands, and its sums are sums of bands: the input projection,
  queries, keys, values and the output projection fold into two small products (`FirstLayer`).
- The last layer computes its class token alone; keys and values fold into the one query
  (`LastLayer`).
- A bias of keys adds the same to all scores of a query, and softmax drops it; a bias of values adds
  itself, since weights sum to one, and moves into the output projection's. The scores' scale moves
  into the queries, the head's normalisation into its projection.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from models.encoder.series_encoder import FastEncoder, folded_linear
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from models.encoder.timesenclip_layers import (
    FastLayers,
    FirstLayer,
    LastLayer,
    LayerWeights,
    MiddleLayer,
)

if TYPE_CHECKING:
    import openvino as ov


class FastTimeSenClip(FastEncoder):
    """A TimeSenCLIP encoder's function in eval mode, computed with a quarter fewer operations.

    Its weights are copies, of the encoder's dtype and device; later changes of the encoder's do
    not reach it.
    """

    architecture: TimeSenClipArchitecture
    has_openvino_model = True

    def __init__(self, encoder: TimeSenClipEncoder) -> None:
        super().__init__()
        self.architecture = encoder.architecture
        layers = [LayerWeights.of(layer, self.architecture) for layer in encoder.transformer.layers]
        lengths = self.architecture.series_lengths
        self.first = nn.ModuleDict({str(n): FirstLayer(encoder, layers[0], n) for n in lengths})
        self.middle = nn.ModuleList(MiddleLayer(weights) for weights in layers[1:-1])
        self.last = LastLayer(layers[-1]) if len(layers) > 1 else None
        self.head = _head(encoder)
        self.to(encoder.class_token).requires_grad_(False).eval()

    @property
    def layers(self) -> FastLayers:
        """The parts of this form, by themselves."""
        first = {steps: self.first_layer(steps) for steps in self.architecture.series_lengths}
        return FastLayers(self.architecture, first, self.middle_layers, self.last, self.head)

    @property
    def middle_layers(self) -> list[MiddleLayer]:
        """All layers but the first and the last."""
        return [layer for layer in self.middle if isinstance(layer, MiddleLayer)]

    def first_layer(self, steps: int) -> FirstLayer:
        """The first layer for series of so many steps."""
        layer = self.first[str(steps)]
        assert isinstance(layer, FirstLayer)
        return layer

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        """Embed normalised series: (B, T, S) or (B, T, S, 1, 1) → float (B, embedding_dim).

        Raises:
            CheckpointError: The series has another shape.
        """
        self.architecture.require_shape(series)
        tokens = self.first_layer(series.shape[1])(series.flatten(2))
        for layer in self.middle:
            tokens = layer(tokens)
        class_token = tokens[:, 0] if self.last is None else self.last(tokens)
        return F.normalize(self.head(class_token).float(), dim=-1)

    def gpu_form(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """The same function on a GPU, as `models.encoder.timesenclip_gpu` chooses."""
        from models.encoder.timesenclip_gpu import gpu_form

        return gpu_form(self, self.layers)

    def openvino_model(self, steps: int, batch_size: int) -> "ov.Model":
        """The OpenVINO graph of the same function, as `FastEncoder.openvino_model` says."""
        from models.encoder.timesenclip_openvino import timesenclip_model

        first = self.first_layer(steps)
        return timesenclip_model(first, self.middle_layers, self.last, self.head, steps, batch_size)


def _head(encoder: TimeSenClipEncoder) -> nn.Sequential:
    norm, project = encoder.mlp_head
    assert isinstance(norm, nn.LayerNorm)
    assert isinstance(project, nn.Linear)
    matrix = project.weight.detach().double().T
    plain = nn.LayerNorm(norm.normalized_shape, norm.eps, elementwise_affine=False)
    return nn.Sequential(
        plain,
        folded_linear(
            norm.weight.detach().double()[:, None] * matrix,
            norm.bias.detach().double() @ matrix + project.bias.detach().double(),
        ),
    )
