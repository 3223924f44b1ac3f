"""The encoder on a GPU: ways to encode, beside what the card can do, and what float16 changes.

`python -m tests.benchmarks.bench_gpu [--series FILE.npz] [--out FILE]`, under four minutes on a
machine with CUDA; writes tests/benchmarks/results/gpu.md. It needs PyTorch 2.11 or later with its
Triton, and of this project `models` and pydantic. `tests.benchmarks.gpu_series` makes the file of
real series; without one, series are made up.
"""

import argparse
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from models.encoder.checkpoint import Checkpoint, load_checkpoint
from models.encoder.gpu_transfers import to_host
from models.encoder.inference import DeviceClock, PixelEncoder
from models.encoder.throughput import count_operations
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from models.encoder.timesenclip_fast import FastTimeSenClip

RESULT = Path(__file__).parent / "results" / "gpu.md"
GPU = torch.device("cuda")
PIXELS, CLASSES = 16_384, 60
BATCHES = (4096, 8192, 16_384, 32_768, 65_536)
LOGIT_SCALE = 14.0

Way = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Ceilings:
    """What the card can do: float16 products in operations, copies in bytes, per second."""

    product: float
    copy: float


def seconds_of(call: Callable[[], object], least: float = 0.5) -> float:
    """The median seconds of a call on the GPU, over `least` seconds, after a warm-up."""
    call()
    call()
    torch.cuda.synchronize()
    end = time.perf_counter() + least
    found: list[float] = []
    while time.perf_counter() < end or len(found) < 5:
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        stop.record()
        stop.synchronize()
        found.append(start.elapsed_time(stop) / 1000)
    return median(found)


def ceilings() -> Ceilings:
    """Products of 8192³ on random numbers, and copies of 2 GiB, each for a second."""
    matrix = torch.randn(8192, 8192, dtype=torch.float16, device=GPU)
    other = torch.randn_like(matrix)
    product = 2 * 8192**3 / seconds_of(lambda: matrix @ other, 1.0)
    stored = torch.empty(2**31, dtype=torch.uint8, device=GPU)
    target = torch.empty_like(stored)
    return Ceilings(product, 2 * 2**31 / seconds_of(lambda: target.copy_(stored), 1.0))


def paper_checkpoint(sample: Checkpoint, embedding_dim: int = 512) -> Checkpoint:
    """A checkpoint of the paper's sizes whose weights are drawn."""
    torch.manual_seed(0)
    architecture = TimeSenClipArchitecture(embedding_dim=embedding_dim)
    encoder = TimeSenClipEncoder(architecture).eval()
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.add_(torch.randn_like(weight) * 0.02)
    card = sample.card.model_copy(update={"architecture": architecture})
    return replace(sample, encoder=encoder, card=card)


def distilled(paper: Checkpoint, teacher: Checkpoint, normalised: torch.Tensor) -> Checkpoint:
    """The paper's sizes, taught for some seconds to embed as `teacher` does.

    So its embeddings are as far apart as a trained encoder's, which drawn weights' are not.
    """
    student = copy.deepcopy(paper.encoder).to(GPU).train()
    with torch.inference_mode():
        told = copy.deepcopy(teacher.encoder).to(GPU)(normalised)
    goal, inputs = told.clone(), normalised.clone()
    optimiser = torch.optim.AdamW(student.parameters(), 3e-4)
    for _ in range(400):
        picked = torch.randint(len(inputs), (1024,), device=GPU)
        with torch.autocast("cuda", torch.bfloat16):
            embedded = student(inputs[picked])
        loss = 1 - (embedded.float() * goal[picked]).sum(dim=1).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
    print(f"distilled: mean cosine to its teacher {1 - float(loss):.3f}", flush=True)
    return replace(paper, encoder=student.cpu().eval())


def fast_on_gpu(checkpoint: Checkpoint) -> FastTimeSenClip:
    """The fast form in float32, on the GPU."""
    assert isinstance(checkpoint.encoder, TimeSenClipEncoder)
    return FastTimeSenClip(checkpoint.encoder).to(GPU)


def autocast(module: nn.Module) -> Way:
    """A module's function with float16's autocast."""

    def embed(series: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cuda", torch.float16):
            embedded: torch.Tensor = module(series)
        return embedded

    return embed


class _EightBits(nn.Module):
    """A linear layer whose weights and input are rounded to float8, by rows, as products take."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = _rounded(layer.weight.detach()), layer.bias

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return F.linear(_rounded(rows), self.weight, self.bias)


def _rounded(rows: torch.Tensor) -> torch.Tensor:
    scale = rows.abs().amax(dim=-1, keepdim=True).clamp_min(1e-12) / 448
    return (rows / scale).to(torch.float8_e4m3fn).float() * scale


def eight_bits(fast: FastTimeSenClip) -> Way:
    """The fast form in float32, but for linear layers' inputs and weights."""
    form = copy.deepcopy(fast)
    for module in list(form.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, _EightBits(child))
    return form


def half_form(fast: FastTimeSenClip) -> Way:
    """The fast form with float16 weights, in PyTorch alone."""
    form = copy.deepcopy(fast).half()
    return lambda series: form(series.half())


def speed_table(paper: Checkpoint, card: Ceilings, each: float) -> Iterator[str]:
    """Million pixels per second by way and by batch."""
    encoder = copy.deepcopy(paper.encoder).to(GPU)
    fast = fast_on_gpu(paper)
    form = fast.gpu_form()
    ways: dict[str, Way] = {
        "plain module, float16 autocast": autocast(encoder),
        "`FastEncoder`, float16 autocast": autocast(fast),
        "`FastEncoder`, float16 weights (without Triton)": half_form(fast),
        f"as runs encode (`{type(form).__name__}`)": form,
    }
    yield "| way | pixels at once | Mpx/s | to plain | of the product peak |"
    yield "|---|---:|---:|---:|---:|"
    rates: list[float] = []
    for name, way in ways.items():
        rates.append(_rate(way, PIXELS))
        yield _row(name, PIXELS, rates, card, each)
    for pixels in BATCHES:
        if pixels != PIXELS:
            rates.append(_rate(form, pixels))
            yield _row("as runs encode", pixels, rates, card, each)
    for pixels in (PIXELS, BATCHES[-1]):
        rates.append(whole_path(paper, pixels))
        name = f"whole path: uint16 on the host → {CLASSES} classes, confidence on the host"
        yield _row(name, pixels, rates, card, each)


def _row(name: str, pixels: int, rates: list[float], card: Ceilings, each: float) -> str:
    rate = rates[-1]
    line = (
        f"| {name} | {pixels:,} | {rate / 1e6:.2f} | {rate / rates[0]:.2f} | "
        f"{rate * each / card.product:.1%} |"
    )
    print(line, flush=True)
    return line


def _rate(way: Way, pixels: int) -> float:
    series = torch.rand(pixels, 12, 10, device=GPU)
    with torch.inference_mode():
        return pixels / seconds_of(lambda: way(series), 1.0)


def whole_path(paper: Checkpoint, pixels: int, seconds: float = 3.0) -> float:
    """Pixels per second from uint16 on the host to classes and confidence on the host."""
    encoder = PixelEncoder(paper, GPU, pixels)
    stored = np.random.default_rng(0).integers(1, 6000, (3, pixels, 12, 10)).astype(np.uint16)
    text = F.normalize(torch.randn(CLASSES, 512, device=GPU), dim=1)
    clock = DeviceClock(GPU)

    def begun(number: int) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[object, object]]:
        start = clock.mark()
        results = nearest(encoder.embed(stored[number % 3]), text)
        return (to_host(results[0]), to_host(results[1])), (start, clock.mark())

    busy, done, before, begin = 0.0, 0, begun(0), 0.0
    for number in range(1, 10_000):
        following = begun(number)
        (places, percent), (start, end) = before
        spent = DeviceClock.seconds(start, end)  # type: ignore[arg-type]
        assert int(places.max()) < CLASSES
        assert int(percent.max()) <= 100
        before = following
        if number == 3:  # what came before was slow
            begin, busy, done = time.perf_counter(), 0.0, 0
            continue
        busy, done = busy + spent, done + pixels
        if number > 8 and time.perf_counter() - begin > seconds:
            break
    passed = time.perf_counter() - begin
    print(f"whole path, {pixels:,} at once: the card is busy {busy / passed:.0%}", flush=True)
    return done / passed


@torch.inference_mode()
def nearest(embeddings: torch.Tensor, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The class of the nearest text, and its share in the softmax in percent: uint8 (pixel,)."""
    logits = LOGIT_SCALE * embeddings @ text.T
    best, place = logits.max(dim=1)
    share = torch.exp(best - logits.logsumexp(dim=1))
    return place.to(torch.uint8), (share * 100).round().to(torch.uint8)


def agreement_table(
    checkpoints: dict[str, Checkpoint], normalised: torch.Tensor, text: torch.Tensor
) -> Iterator[str]:
    """The share of series that take float32's class, by way."""
    yield "| checkpoint | way | T | same class as float32 | smallest cosine | not a number |"
    yield "|---|---|---:|---:|---:|---:|"
    for name, checkpoint in checkpoints.items():
        fast = fast_on_gpu(checkpoint)
        form = fast.gpu_form()
        ways: list[tuple[str, Way, int]] = [
            ("float16 autocast", autocast(fast), 12),
            ("float16 weights, without Triton", half_form(fast), 12),
            *((f"as runs encode (`{type(form).__name__}`)", form, steps) for steps in (12, 4, 1)),
            ("products in float8", eight_bits(fast), 12),
        ]
        for label, way, steps in ways:
            series = normalised.unflatten(1, (steps, -1)).median(dim=2).values
            plain, found = _embedded(fast, series), _embedded(way, series)
            same = (plain @ text.T).argmax(dim=1) == (found @ text.T).argmax(dim=1)
            broken = int((~found.isfinite().all(dim=1)).sum())
            line = (
                f"| {name} | {label} | {steps} | {float(same.double().mean()):.3%} | "
                f"{float((plain * found).sum(dim=1).min()):.5f} | {broken} |"
            )
            print(line, flush=True)
            yield line


@torch.inference_mode()
def _embedded(way: Way, series: torch.Tensor) -> torch.Tensor:
    return torch.cat([way(part) for part in series.split(8192)])


def kernel_table(paper: Checkpoint) -> Iterator[str]:
    """Where the time of one batch goes, by kernel."""
    from torch.profiler import ProfilerActivity, profile

    form = fast_on_gpu(paper).gpu_form()
    series = torch.rand(PIXELS, 12, 10, device=GPU)
    with torch.inference_mode():
        form(series)
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CUDA]) as recorded:
            form(series)
            torch.cuda.synchronize()
    spent = sorted(recorded.key_averages(), key=lambda event: -event.self_device_time_total)
    total = sum(event.self_device_time_total for event in spent)
    yield "| kernel | calls | ns a pixel | share |"
    yield "|---|---:|---:|---:|"
    for event in spent[:8]:
        nanoseconds = event.self_device_time_total * 1000 / PIXELS
        share = event.self_device_time_total / total
        yield f"| `{event.key[:60]}` | {event.count} | {nanoseconds:.1f} | {share:.1%} |"


def read_series(path: str | None) -> tuple[str, np.ndarray, np.ndarray | None]:
    """What the series are, uint16 (n, 12, 10), and float32 (text, 384) if the file holds texts."""
    if path is None:
        made = np.random.default_rng(0).integers(1, 6000, (20_000, 12, 10)).astype(np.uint16)
        return "made-up series", made, None
    stored = np.load(path)
    return "real series", stored["series"], stored["text"]


def document(path: str | None) -> str:
    torch.backends.cuda.matmul.allow_tf32 = False
    sample = load_checkpoint("sample")
    kind, stored, words = read_series(path)
    normalised = sample.card.preprocessing.normalise(stored).to(GPU)
    if words is None:
        torch.manual_seed(1)
        words = F.normalize(torch.randn(CLASSES, 384), dim=1).numpy()
    text = torch.from_numpy(words).to(GPU)
    card, paper = ceilings(), paper_checkpoint(sample)
    each = count_operations(paper)
    name = torch.cuda.get_device_name()
    print(f"{name}: {card.product / 1e12:.0f} TFLOP/s, {card.copy / 1e12:.2f} TB/s", flush=True)
    speeds = list(speed_table(paper, card, each))
    kernels = list(kernel_table(paper))
    taught = distilled(paper_checkpoint(sample, 384), sample, normalised)
    checkpoints = {"`sample`": sample, "paper's sizes, distilled from it": taught}
    agreements = list(agreement_table(checkpoints, normalised, text))
    try:
        import triton

        version = f"Triton {triton.__version__}"
    except ImportError:
        version = "no Triton"
    return "\n".join(
        [
            "# Encoding on a GPU",
            "",
            f"Made by `python -m tests.benchmarks.bench_gpu` on one {name}, torch "
            f"{torch.__version__}, {version}.",
            "",
            f"Ceilings, each over a second: products of 8192³ in float16 "
            f"{card.product / 1e12:.0f} TFLOP/s, copies {card.copy / 1e12:.2f} TB/s. An encoder of "
            f"the paper's sizes takes {each / 1e6:.0f} MFLOP a pixel in its fast form; T = 12.",
            "",
            *speeds,
            "",
            f"Where the time of {PIXELS:,} pixels goes:",
            "",
            *kernels,
            "",
            "## What float16 changes",
            "",
            f"{len(stored):,} {kind}, the nearest of {len(text)} texts, beside the fast form in "
            "float32. With float8, inputs and weights of linear layers are rounded by rows "
            "(e4m3), all else is float32: runs do not use it.",
            "",
            *agreements,
            "",
        ]
    )


def main() -> None:
    """Measure, write and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", help="a file of tests.benchmarks.gpu_series")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("this machine has no CUDA GPU that PyTorch can use")
    text = document(given.series)
    given.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
