"""Fast encoders on a CPU, computed by OpenVINO, which this module imports.

`tests.benchmarks.bench_encoder` shows what it gains over torch.
"""

import os
import sys
import threading

import numpy as np
import torch
from torch import nn

from models.encoder.series_encoder import FastEncoder

# At each import OpenVINO reports to a server of its maker and writes to the user's home, unless
# the package that does so cannot be imported: then it takes a stub in its place.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402
from openvino import opset13 as ops  # noqa: E402

__all__ = ["OpenVinoEncoder", "centred", "constant_of", "linear", "ops", "ov"]


class OpenVinoEncoder:
    """The function of a fast encoder, computed by OpenVINO in float32 from its graph.

    `batch_size` pixels are encoded at once; fewer take as long. Threads that call it are served
    side by side, each by one core.
    """

    def __init__(self, fast: FastEncoder, batch_size: int) -> None:
        self.architecture = fast.architecture
        self._fast = fast
        self._batch_size = batch_size
        self._compiled: dict[int, ov.CompiledModel] = {}
        self._lock = threading.Lock()
        self._of_thread = threading.local()

    def __call__(self, series: torch.Tensor) -> torch.Tensor:
        """Embed normalised series: float32 (B, T, S) or (B, T, S, 1, 1) → (B, embedding_dim).

        Raises:
            CheckpointError: The series has another shape.
        """
        self.architecture.require_shape(series)
        rows = series.flatten(2).numpy()
        size = self._batch_size
        out = np.empty((len(rows), self.architecture.embedding_dim), np.float32)
        request = self._request(rows.shape[1])
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            whole = np.zeros((size, *part.shape[1:]), np.float32) if len(part) < size else part
            whole[: len(part)] = part
            embeddings = request.infer([whole], share_inputs=True, share_outputs=True)
            out[start : start + size] = embeddings[0][: len(part)]
        return torch.from_numpy(out)

    def _request(self, steps: int) -> ov.InferRequest:
        """This thread's request to the model for series of so many steps."""
        requests: dict[int, ov.InferRequest] = self._of_thread.__dict__.setdefault("requests", {})
        if steps not in requests:
            with self._lock:
                if steps not in self._compiled:
                    model = self._fast.openvino_model(steps, self._batch_size)
                    self._compiled[steps] = _compile(model)
                requests[steps] = self._compiled[steps].create_infer_request()
        return requests[steps]


def _compile(model: ov.Model) -> ov.CompiledModel:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ov.Core().compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": cores,  # so many requests at once, with a core each
            "INFERENCE_NUM_THREADS": cores,
            "ENABLE_CPU_PINNING": False,  # other work shares the cores
        },
    )


def linear(rows: ov.Node, layer: nn.Linear) -> ov.Node:
    """The operations of a linear layer on (…, in)."""
    product = ops.matmul(rows, constant_of(layer.weight), False, True)
    return product if layer.bias is None else ops.add(product, constant_of(layer.bias))


def centred(rows: ov.Node, eps: float) -> ov.Node:
    """The operation of a layer norm without weights over the last axis."""
    return ops.mvn(rows, np.array([-1], np.int64), True, eps, "inside_sqrt")


def constant_of(tensor: torch.Tensor) -> ov.Node:
    """A tensor as a constant of float32."""
    return ops.constant(np.ascontiguousarray(tensor.detach().to("cpu", torch.float32).numpy()))
