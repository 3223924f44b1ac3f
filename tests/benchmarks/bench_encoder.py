"""Encoding beside the plain module: throughput, operations and accuracy.

`python -m tests.benchmarks.bench_encoder`, about three minutes on two cores; writes
tests/benchmarks/results/encoder.md.
"""

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from models.encoder.checkpoint import Checkpoint, load_checkpoint
from models.encoder.inference import PIXELS_PER_CORE
from models.encoder.openvino_encoder import OpenVinoEncoder
from models.encoder.quantised_embeddings import quantised, restored
from models.encoder.registry import fast_form
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from models.encoder.timesenclip_fast import FastTimeSenClip
from models.towers.text_embeddings import embed_for_checkpoint
from models.vocabulary.vocabulary import load_vocabulary
from tests.benchmarks.real_series import TABLES, read_real_series

RESULT = Path(__file__).parent / "results" / "encoder.md"
SHARED = Path(os.environ.get("TIMESEN_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
TURNS, PIXELS = 7, 512
NAMES = ("plain", "fast", "OpenVINO")
BATCHES = (32, 64, 128, 256, 512)
VOCABULARY = "lucas-land-cover"

Ways = Mapping[str, Callable[[torch.Tensor], torch.Tensor]]


def paper_encoder() -> TimeSenClipEncoder:
    """An encoder of the paper's sizes whose weights are drawn; speed does not depend on them."""
    torch.manual_seed(0)
    encoder = TimeSenClipEncoder(TimeSenClipArchitecture()).eval()
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.add_(torch.randn_like(weight) * 0.02)
    return encoder


def flops(module: torch.nn.Module) -> float:
    """Operations per pixel by torch's counter, in millions."""
    counter = FlopCounterMode(display=False)
    with counter, torch.enable_grad():  # without gradients torch's fused layer is not counted
        module(torch.rand(64, 12, 10))
    return counter.get_total_flops() / 64 / 1e6


def throughput(ways: Ways) -> dict[tuple[str, int], list[float]]:
    """Pixels per second by way, batch size and turn; one thread per core, as runs encode."""
    threads = os.cpu_count() or 1
    torch.set_num_threads(1)
    found: dict[tuple[str, int], list[float]] = {}

    def encode(way: Callable[[torch.Tensor], torch.Tensor], batch: int) -> None:
        series = torch.rand(batch, 12, 10)
        with torch.inference_mode():
            for _ in range(PIXELS // batch):
                way(series)

    with ThreadPoolExecutor(threads) as pool:
        for turn in range(TURNS + 1):
            for batch in BATCHES:
                for name, way in ways.items():
                    began = time.perf_counter()
                    for done in [pool.submit(encode, way, batch) for _ in range(threads)]:
                        done.result()
                    if turn:  # the first is slow
                        rate = threads * PIXELS / (time.perf_counter() - began)
                        found.setdefault((name, batch), []).append(rate)
    return found


def throughput_table(found: Mapping[tuple[str, int], list[float]]) -> Iterator[str]:
    yield f"| pixels at once | {' | '.join(NAMES)} | {' | '.join(NAMES[1:])}, to plain |"
    yield "|---:|---:|---:|---:|---:|---:|"
    for batch in BATCHES:
        rates = [f"{median(found[name, batch]):,.0f}" for name in NAMES]
        plain = found["plain", batch]
        ratios = [
            f"{median(f / p for f, p in zip(found[name, batch], plain, strict=True)):.2f}"
            for name in NAMES[1:]
        ]
        yield f"| {batch} | {' | '.join(rates)} | {' | '.join(ratios)} |"


def agreement_table(checkpoint: Checkpoint, encoder: TimeSenClipEncoder) -> Iterator[str]:
    """The agreement of the fast encoder, and of int8 embeddings, with plain ones on real series."""
    vocabulary = load_vocabulary(VOCABULARY)
    text = embed_for_checkpoint(vocabulary, checkpoint.card)
    fast, paper_fast = (
        OpenVinoEncoder(fast_form(e), PIXELS_PER_CORE) for e in (checkpoint.encoder, encoder)
    )
    yield (
        "| series | points | largest difference, paper's sizes | largest difference | "
        "same class, fast | same class, int8 | smallest cosine, int8 |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for table in TABLES:
        series, _ = read_real_series(SHARED, table)
        normalised = checkpoint.card.preprocessing.normalise(series)
        with torch.inference_mode():
            plain, found = checkpoint.encoder(normalised), fast(normalised)
            kept = restored(quantised(plain))
            paper = (encoder(normalised) - paper_fast(normalised)).abs().max()
        nearest = [text.cosines(e.numpy()).argmax(axis=1) for e in (plain, found, kept)]
        same = [float((nearest[0] == other).mean()) for other in nearest[1:]]
        yield (
            f"| {table} | {len(series)} | {paper:.1e} | {(plain - found).abs().max():.1e} | "
            f"{same[0]:.2%} | {same[1]:.2%} | {(plain * kept).sum(dim=1).min():.5f} |"
        )


def document() -> str:
    encoder = paper_encoder()
    fast = FastTimeSenClip(encoder)
    by_openvino = {batch: OpenVinoEncoder(fast, batch) for batch in BATCHES}
    found = throughput(
        {
            "plain": encoder,
            "fast": fast,
            "OpenVINO": lambda series: by_openvino[len(series)](series),
        }
    )
    best = max(BATCHES, key=lambda batch: median(found["plain", batch]))
    at_best = median(
        f / p for f, p in zip(found["OpenVINO", PIXELS_PER_CORE], found["plain", best], strict=True)
    )
    lines = [
        "# Encoding",
        "",
        f"Made by `python -m tests.benchmarks.bench_encoder` on {os.cpu_count()} cores "
        f"({platform.machine()}, Linux), torch {torch.__version__}, float32.",
        "",
        "An encoder of the paper's sizes (8.17 M parameters). **plain** is "
        "`models.encoder.timesenclip` in eval and inference mode: torch's fused layers; "
        "**fast** is `models.encoder.timesenclip_fast` in torch, **OpenVINO** the same by "
        "`models.encoder.openvino_encoder`, as runs encode on CPUs. A thread a core, each with "
        "one of torch's; medians of "
        f"{TURNS} interleaved turns, pixels a second.",
        "",
        f"Operations a pixel by torch's counter: plain {flops(encoder):.1f} MFLOP, "
        f"fast {flops(fast):.1f} MFLOP.",
        "",
        *throughput_table(found),
        "",
        f"Runs encode {PIXELS_PER_CORE} pixels at once: {at_best:.2f} times the plain module "
        f"at its best batch size ({best}).",
        "",
    ]
    if (SHARED / "PROVENANCE.md").is_file():
        checkpoint = load_checkpoint("sample")
        lines += [
            "## What is lost",
            "",
            "On real series (`shared/data/real`), by the sample checkpoint and the vocabulary "
            f"{VOCABULARY}: numbers of embeddings, and the nearest class.",
            "",
            *agreement_table(checkpoint, encoder),
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    """Measure, write and print the result."""
    text = document()
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
