"""The perceptron's fast form as an OpenVINO graph, for CPUs."""

from collections.abc import Sequence

import numpy as np
from torch import nn

from models.encoder.openvino_encoder import centred, linear, ops, ov
from models.encoder.perceptron import STEADY


def perceptron_model(
    layers: Sequence[nn.Linear],
    norm: nn.LayerNorm,
    head: nn.Linear,
    shape: tuple[int, int, int],
    pairs: Sequence[tuple[int, int]],
) -> ov.Model:
    """The graph of these layers: float32 of `shape` (batch, steps, band) → (batch, dim)."""
    series = ops.parameter(list(shape), np.float32)
    inputs = _inputs(series, pairs)
    hidden = ops.reshape(inputs, np.array([shape[0], -1], np.int64), False)
    for layer in layers:
        hidden = ops.gelu(linear(hidden, layer), "erf")
    embedding = linear(centred(hidden, norm.eps), head)
    unit = ops.normalize_l2(embedding, np.array([1], np.int64), 1e-24, "max")
    return ov.Model([unit], [series], "encoder")


def _inputs(series: ov.Node, pairs: Sequence[tuple[int, int]]) -> ov.Node:
    """As `models.encoder.perceptron.perceptron_inputs`."""
    scaled = ops.subtract(ops.multiply(series, np.float32(4)), np.float32(1))
    if not pairs:
        return scaled
    first, second = (
        ops.gather(series, np.array(places, np.int64), np.int64(2))
        for places in zip(*pairs, strict=True)
    )
    total = ops.add(ops.add(first, second), np.float32(STEADY))
    difference = ops.divide(ops.multiply(ops.subtract(first, second), np.float32(2)), total)
    zero = ops.constant(np.float32(0))
    seen = ops.logical_and(ops.greater(first, zero), ops.greater(second, zero))
    return ops.concat([scaled, ops.select(seen, difference, zero)], 2)
