"""The perceptron's fast form as an OpenVINO graph, for CPUs."""

from collections.abc import Sequence

import numpy as np
from torch import nn

from models.encoder.openvino_encoder import centred, linear, ops, ov


def perceptron_model(
    layers: Sequence[nn.Linear], norm: nn.LayerNorm, head: nn.Linear, shape: tuple[int, int, int]
) -> ov.Model:
    """The graph of these layers: float32 of `shape` (batch, steps, band) → (batch, dim)."""
    series = ops.parameter(list(shape), np.float32)
    hidden = ops.reshape(series, np.array([shape[0], shape[1] * shape[2]], np.int64), False)
    for layer in layers:
        hidden = ops.gelu(linear(hidden, layer), "erf")
    embedding = linear(centred(hidden, norm.eps), head)
    unit = ops.normalize_l2(embedding, np.array([1], np.int64), 1e-24, "max")
    return ov.Model([unit], [series], "encoder")
