"""The fast encoder on a CPU by OpenVINO: the same operations, fused, and products packed once.

It goes over memory once where torch goes several times between two products
(`tests.benchmarks.bench_encoder`). The graph is built here, operation by operation: nothing is
traced or converted.

OpenVINO, imported without a word to anybody.
"""

import os
import sys
import threading

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops
from torch import nn

from models.encoder.fast_encoder import FastEncoder, FirstLayer, LastLayer, MiddleLayer, Rest


class OpenVinoEncoder:
    """The function of a `FastEncoder`, from its weights, in float32.

    `batch_size` pixels are encoded at once; fewer take as long. Threads that call it are served
    side by side, each by one core.
    """

    def __init__(self, fast: FastEncoder, batch_size: int) -> None:
        self.config = fast.config
        self._fast = fast
        self._batch_size = batch_size
        self._compiled: dict[int, ov.CompiledModel] = {}
        self._lock = threading.Lock()
        self._of_thread = threading.local()

    def __call__(self, series: torch.Tensor) -> torch.Tensor:
        """Embed normalised series: float32 (B, T, S) or (B, T, S, 1, 1) → (B, embedding_dim).

        Raises CheckpointError for a shape that the encoder does not take.
        """
        self.config.require_shape(series)
        given = series.flatten(2).numpy()
        size = self._batch_size
        out = np.empty((len(given), self.config.embedding_dim), np.float32)
        request = self._request(given.shape[1])
        for start in range(0, len(given), size):
            part = given[start : start + size]
            whole = np.zeros((size, *part.shape[1:]), np.float32) if len(part) < size else part
            whole[: len(part)] = part
            found = request.infer([whole], share_inputs=True, share_outputs=True)
            out[start : start + size] = found[0][: len(part)]
        return torch.from_numpy(out)

    def _request(self, steps: int) -> ov.InferRequest:
        """This thread's request to the model for series of so many steps."""
        requests: dict[int, ov.InferRequest] = self._of_thread.__dict__.setdefault("requests", {})
        if steps not in requests:
            with self._lock:
                if steps not in self._compiled:
                    self._compiled[steps] = _compiled(self._fast, steps, self._batch_size)
                requests[steps] = self._compiled[steps].create_infer_request()
        return requests[steps]


def _compiled(fast: FastEncoder, steps: int, batch_size: int) -> ov.CompiledModel:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ov.Core().compile_model(
        encoder_model(fast, steps, batch_size),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": cores,  # so many requests at once, with a core each
            "INFERENCE_NUM_THREADS": cores,
            "ENABLE_CPU_PINNING": False,  # other work shares the cores
        },
    )


def encoder_model(fast: FastEncoder, steps: int, batch_size: int) -> ov.Model:
    """The graph of a fast encoder: float32 (batch_size, steps, band) → (batch_size, dim)."""
    config = fast.config
    series = ops.parameter([batch_size, steps, config.bands], np.float32)
    tokens = _first(series, fast.first_layer(steps), batch_size, steps, config.bands)
    for layer in fast.middle_layers:
        tokens = _middle(tokens, layer)
    class_token = _last(tokens, fast.last) if fast.last is not None else _token(tokens)
    norm, project = fast.head
    assert isinstance(norm, nn.LayerNorm)
    assert isinstance(project, nn.Linear)
    embedding = _linear(_centred(class_token, norm.eps), project)
    unit = ops.normalize_l2(embedding, np.array([1], np.int64), 1e-24, "max")
    return ov.Model([unit], [series], "encoder")


def _first(series: ov.Node, layer: FirstLayer, count: int, steps: int, bands: int) -> ov.Node:
    tokens, heads = steps + 1, layer.heads
    none = np.zeros((count, 1, bands), np.float32)  # the class token has no bands
    padded = ops.concat([_constant(none), series], 1)
    form = ops.add(_linear(padded, layer.form), _constant(_array(layer.form_constant)[None]))
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
    out = ops.add(_linear(terms, layer.out), _constant(_array(layer.out_constant)[None]))
    return _rest(out, layer.rest)


def _middle(tokens: ov.Node, layer: MiddleLayer) -> ov.Node:
    heads, width = layer.shape
    projected = ops.reshape(
        _linear(tokens, layer.project), np.array([0, 0, 3, heads, width], np.int64), True
    )
    query, key, value = (
        ops.squeeze(part, np.int64(2)) for part in ops.split(projected, np.int64(2), 3).outputs()
    )
    by_head = np.array([0, 2, 1, 3], np.int64)
    attended = ops.scaled_dot_product_attention(
        ops.transpose(query, by_head),
        ops.transpose(key, by_head),
        ops.transpose(value, by_head),
        scale=_constant(np.float32(1)),
    )
    together = ops.reshape(
        ops.transpose(attended, by_head), np.array([0, 0, heads * width], np.int64), True
    )
    return _rest(ops.add(_linear(together, layer.out), tokens), layer.rest)


def _last(tokens: ov.Node, layer: LastLayer) -> ov.Node:
    heads, width = layer.shape
    class_token = _token(tokens)
    query = ops.reshape(_linear(class_token, layer.query), np.array([0, heads, 1, width]), True)
    asked = ops.squeeze(ops.matmul(query, _constant(_array(layer.key)), False, False), np.int64(2))
    shares = ops.softmax(ops.matmul(asked, tokens, False, True), 2)
    summed = ops.unsqueeze(ops.matmul(shares, tokens, False, False), np.int64(2))
    attended = ops.matmul(summed, _constant(_array(layer.value)), False, False)
    together = ops.reshape(attended, np.array([0, heads * width], np.int64), True)
    return _rest(ops.add(_linear(together, layer.out), class_token), layer.rest)


def _rest(summed: ov.Node, rest: Rest) -> ov.Node:
    tokens = _normed(summed, rest.norm1)
    narrow = _linear(ops.relu(_linear(tokens, rest.wide)), rest.narrow)
    return _normed(ops.add(narrow, tokens), rest.norm2)


def _token(tokens: ov.Node) -> ov.Node:
    """The class token (batch, dim) of tokens (batch, N, dim)."""
    return ops.gather(tokens, np.int64(0), np.int64(1))


def _normed(tokens: ov.Node, norm: nn.LayerNorm) -> ov.Node:
    scaled = ops.multiply(_centred(tokens, norm.eps), _constant(_array(norm.weight)))
    return ops.add(scaled, _constant(_array(norm.bias)))


def _centred(tokens: ov.Node, eps: float) -> ov.Node:
    return ops.mvn(tokens, np.array([-1], np.int64), True, eps, "inside_sqrt")


def _linear(rows: ov.Node, linear: nn.Linear) -> ov.Node:
    product = ops.matmul(rows, _constant(_array(linear.weight)), False, True)
    return product if linear.bias is None else ops.add(product, _constant(_array(linear.bias)))


def _reshaped(node: ov.Node, *shape: int) -> ov.Node:
    return ops.reshape(node, np.array(shape, np.int64), False)


def _constant(values: np.ndarray | np.float32) -> ov.Node:
    return ops.constant(values)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().to("cpu", torch.float32).numpy())


# Of each import OpenVINO tells a server of its maker, and it writes to the user's home, unless the
# package that does so cannot be imported: then it takes a stub in its place.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


__all__ = ["ops", "ov"]
