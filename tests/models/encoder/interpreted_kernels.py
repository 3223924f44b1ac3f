"""Embeds by Triton's kernels on the CPU and prints how far they are from the plain encoder.

`TRITON_INTERPRET=1 python -m tests.models.encoder.interpreted_kernels`: Triton reads the variable
when it is imported, so this is a process of its own. It prints JSON, a list of results.
"""

import json

import torch

from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from models.encoder.timesenclip_fast import FastTimeSenClip
from models.encoder.timesenclip_triton import TritonTimeSenClip

SIZES = {
    # Products of several blocks: 143 rows, 408 and 264 columns, heads of 34.
    "several blocks": {"dim": 136, "depth": 3, "heads": 4, "feedforward": 264},
    "three bands": {"dim": 96, "depth": 2, "heads": 4, "feedforward": 48, "bands": 3},
    "one layer": {"dim": 32, "depth": 1, "heads": 2, "feedforward": 32},
}
PIXELS = 11


def encoder_of(sizes: dict[str, int]) -> TimeSenClipEncoder:
    torch.manual_seed(0)
    encoder = TimeSenClipEncoder(TimeSenClipArchitecture(**sizes, embedding_dim=24)).eval()
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.add_(torch.randn_like(weight) * 0.05)
    return encoder


@torch.inference_mode()
def differences(name: str, dtype: torch.dtype) -> list[dict[str, object]]:
    encoder = encoder_of(SIZES[name])
    form = TritonTimeSenClip(FastTimeSenClip(encoder).layers, dtype)
    found = []
    for steps in (12, 4, 1):
        series = torch.rand(PIXELS, steps, encoder.architecture.bands)
        largest = (form(series) - encoder(series)).abs().max()
        result = {"sizes": name, "dtype": str(dtype), "steps": steps, "largest": float(largest)}
        found.append(result)
    return found


@torch.inference_mode()
def overflow(factor: float = 4e4) -> dict[str, object]:
    """An encoder some of whose hidden numbers float16 does not hold."""
    encoder = encoder_of({**SIZES["three bands"], "depth": 3})
    for layer in encoder.transformer.layers:
        layer.linear1.weight.mul_(factor)
    series = torch.rand(4 * PIXELS, 1, 3)
    plain, found = encoder(series), TritonTimeSenClip(FastTimeSenClip(encoder).layers)(series)
    finite = found.isfinite().all(dim=1)
    return {
        "broken": int((~finite).sum()),
        "whole": int(finite.sum()),
        "smallest cosine of the whole": float((plain * found).sum(dim=1)[finite].min()),
    }


def main() -> None:
    results = [
        result
        for name in SIZES
        for dtype in ((torch.float32, torch.float16) if name == "three bands" else (torch.float32,))
        for result in differences(name, dtype)
    ]
    print(json.dumps({"differences": results, "overflow": overflow()}))


if __name__ == "__main__":
    main()
