"""The TimeSenCLIP encoder's fast form as an OpenVINO graph: its operations fused, for CPUs.

Where torch goes over memory several times between two products, OpenVINO goes once, and it packs
the weights of a product once: `tests.benchmarks.bench_encoder` compares both. The graph is built
here by hand, operation by operation: nothing is traced or converted, so that no converter's version
decides how fast it is.
"""

import numpy as np
from torch import nn

from models.encoder.openvino_encoder import centred, constant_of, linear, ops, ov
from models.encoder.timesenclip_layers import AfterAttention, FirstLayer, LastLayer, MiddleLayer


def timesenclip_model(
    first: FirstLayer,
    middle: list[MiddleLayer],
    last: LastLayer | None,
    head: nn.Sequential,
    steps: int,
    batch_size: int,
) -> ov.Model:
    """The graph of these layers and head: float32 (batch_size, steps, band) → (batch_size, dim)."""
    bands = first.bands
    series = ops.parameter([batch_size, steps, bands], np.float32)
    tokens = _first(series, first, batch_size, steps, bands)
    for layer in middle:
        tokens = _middle(tokens, layer)
    class_token = _last(tokens, last) if last is not None else _token(tokens)
    norm, project = head
    assert isinstance(norm, nn.LayerNorm)
    assert isinstance(project, nn.Linear)
    embedding = linear(centred(class_token, norm.eps), project)
    unit = ops.normalize_l2(embedding, np.array([1], np.int64), 1e-24, "max")
    return ov.Model([unit], [series], "encoder")


def _first(series: ov.Node, layer: FirstLayer, count: int, steps: int, bands: int) -> ov.Node:
    tokens, heads = steps + 1, layer.heads
    class_token = np.zeros((count, 1, bands), np.float32)  # it has no bands
    padded = ops.concat([ops.constant(class_token), series], 1)
    form = ops.add(linear(padded, layer.form), constant_of(layer.form_constant[None]))
    form = _reshaped(form, count, tokens * heads, bands + tokens)
    of_bands, of_tokens = ops.variadic_split(
        form, np.int64(2), np.array([bands, tokens], np.int64)
    ).outputs()
    scores = ops.add(ops.matmul(of_bands, padded, False, True), of_tokens)
    shares = ops.softmax(scores, 2)
    summed = ops.matmul(shares, padded, False, False)
    terms = ops.concat(
        [
            _reshaped(summed, count, tokens, heads * bands),
            _reshaped(shares, count, tokens, heads * tokens),
            padded,
        ],
        2,
    )
    out = ops.add(linear(terms, layer.out), constant_of(layer.out_constant[None]))
    return _after_attention(out, layer.after)


def _middle(tokens: ov.Node, layer: MiddleLayer) -> ov.Node:
    heads, width = layer.shape
    projected = ops.reshape(
        linear(tokens, layer.project), np.array([0, 0, 3, heads, width], np.int64), True
    )
    query, key, value = (
        ops.squeeze(part, np.int64(2)) for part in ops.split(projected, np.int64(2), 3).outputs()
    )
    by_head = np.array([0, 2, 1, 3], np.int64)
    attended = ops.scaled_dot_product_attention(
        ops.transpose(query, by_head),
        ops.transpose(key, by_head),
        ops.transpose(value, by_head),
        scale=ops.constant(np.float32(1)),
    )
    together = ops.reshape(
        ops.transpose(attended, by_head), np.array([0, 0, heads * width], np.int64), True
    )
    return _after_attention(ops.add(linear(together, layer.out), tokens), layer.after)


def _last(tokens: ov.Node, layer: LastLayer) -> ov.Node:
    heads, width = layer.shape
    class_token = _token(tokens)
    query = ops.reshape(linear(class_token, layer.query), np.array([0, heads, 1, width]), True)
    by_head = ops.squeeze(ops.matmul(query, constant_of(layer.key), False, False), np.int64(2))
    shares = ops.softmax(ops.matmul(by_head, tokens, False, True), 2)
    summed = ops.unsqueeze(ops.matmul(shares, tokens, False, False), np.int64(2))
    attended = ops.matmul(summed, constant_of(layer.value), False, False)
    together = ops.reshape(attended, np.array([0, heads * width], np.int64), True)
    return _after_attention(ops.add(linear(together, layer.out), class_token), layer.after)


def _after_attention(summed: ov.Node, after: AfterAttention) -> ov.Node:
    tokens = _normed(summed, after.norm1)
    narrow = linear(ops.relu(linear(tokens, after.wide)), after.narrow)
    return _normed(ops.add(narrow, tokens), after.norm2)


def _token(tokens: ov.Node) -> ov.Node:
    """The class token (batch, dim) of tokens (batch, N, dim)."""
    return ops.gather(tokens, np.int64(0), np.int64(1))


def _normed(tokens: ov.Node, norm: nn.LayerNorm) -> ov.Node:
    scaled = ops.multiply(centred(tokens, norm.eps), constant_of(norm.weight))
    return ops.add(scaled, constant_of(norm.bias))


def _reshaped(node: ov.Node, *shape: int) -> ov.Node:
    return ops.reshape(node, np.array(shape, np.int64), False)
