"""The encoder's kernels for GPUs, by Triton's interpreter, and the choice of a form for a GPU."""

import importlib.util
import json
import logging
import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from models.encoder.timesenclip_fast import FastTimeSenClip
from models.encoder.timesenclip_gpu import size_problem


@pytest.fixture(scope="module")
def interpreted() -> dict[str, Any]:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed: pip install 'timesen[dev]' on Linux")
    program = [sys.executable, "-W", "ignore", "-m", "tests.models.encoder.interpreted_kernels"]
    variables = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(program, env=variables, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.mark.slow
def test_kernels_compute_the_encoder(interpreted: dict[str, Any]) -> None:
    """In float32 to rounding; in float16 to what its products round, for 12, 4 and 1 steps."""
    found = interpreted["differences"]
    assert {result["steps"] for result in found} == {12, 4, 1}
    for result in found:
        most = 2e-6 if result["dtype"] == "torch.float32" else 2e-3
        assert result["largest"] < most, result


@pytest.mark.slow
def test_a_pixel_that_overflows_is_not_a_number(interpreted: dict[str, Any]) -> None:
    """And never a number that is wrong."""
    found = interpreted["overflow"]
    assert found["broken"] > 0
    assert found["whole"] == 0 or found["smallest cosine of the whole"] > 0.999


def fast_of(**sizes: int) -> FastTimeSenClip:
    torch.manual_seed(0)
    return FastTimeSenClip(TimeSenClipEncoder(TimeSenClipArchitecture(**sizes)).eval())


SMALL = {"dim": 32, "depth": 2, "heads": 2, "feedforward": 32, "embedding_dim": 16}


def test_without_kernels_weights_are_of_float16(caplog: pytest.LogCaptureFixture) -> None:
    fast = fast_of(**SMALL)
    with caplog.at_level(logging.WARNING):
        form = fast.gpu_form()
    assert "without Triton: it is a CPU" in caplog.text
    series = torch.rand(50, 12, 10)
    with torch.inference_mode():
        found = form(series)
        assert (found * fast(series)).sum(dim=1).min() > 0.9999
    assert found.dtype == torch.float32
    assert fast.head[1].weight.dtype == torch.float32


def test_weights_that_overflow_float16_stay_float32(caplog: pytest.LogCaptureFixture) -> None:
    fast = fast_of(**SMALL)
    with torch.no_grad():
        fast.first_layer(12).after.wide.weight[0, 0] = 1e6
    with caplog.at_level(logging.WARNING):
        assert fast.gpu_form() is fast
    assert "encodes in float32" in caplog.text


@pytest.mark.parametrize(
    ("sizes", "problem"),
    [
        ({}, None),
        ({**SMALL, "dim": 36}, "multiples of 8"),
        ({**SMALL, "feedforward": 20}, "multiples of 8"),
        ({**SMALL, "bands": 40}, "more than 32 bands"),
    ],
)
def test_sizes_that_kernels_take(sizes: dict[str, int], problem: str | None) -> None:
    found = size_problem(TimeSenClipArchitecture(**{**SMALL, **sizes}))
    assert found is None if problem is None else problem in str(found)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA GPU")
def test_a_hopper_takes_the_kernels() -> None:
    if torch.cuda.get_device_capability() < (9, 0):
        pytest.skip("this machine's GPU is older than Hopper")
    assert type(fast_of(**SMALL).to("cuda").gpu_form()).__name__ == "TritonTimeSenClip"
