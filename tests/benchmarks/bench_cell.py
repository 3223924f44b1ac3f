"""A cell's seconds by stage, its worker's memory, and its reading beside the plain ways.

`make bench`, or `python -m tests.benchmarks.bench_cell`; about twenty minutes on two cores. Writes
tests/benchmarks/results/cell.md.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from models.encoder.checkpoint import load_checkpoint
from models.encoder.timesenclip import TimeSenClipArchitecture
from tests.benchmarks import archive
from tests.benchmarks.cells import (
    MEMORY_LIMIT,
    THREADS,
    Job,
    Measured,
    measure,
    prepare,
    write_paper_checkpoint,
    write_plain_input,
)
from tests.benchmarks.plain import WAYS

RESULT = Path(__file__).parent / "results" / "cell.md"
STAGES = ("search", "read", "composite", "prepare", "encode", "classify", "write")
SIZES = (1024, 2048)
_PLAIN_SIZE = 1024  # the plain ways take minutes for it
_WHOLE = 1024  # the cell of which the sample's encoder encodes every pixel: minutes, not hours
_REPEATS = 3


@dataclass(frozen=True)
class Row:
    """A cell mapped with an encoder: the measured cost, and that of a whole cell."""

    size: int
    encoder: str
    measured: Measured
    seconds: Mapping[str, float]

    @property
    def whole(self) -> bool:
        """Whether every pixel was encoded."""
        return self.measured.encoded == self.size**2


def cell_row(job: Job, encoder: str) -> Row:
    """Map a cell; encoding and classifying are scaled up where only a part was encoded."""
    done = measure(job)
    scale = job.cell.height * job.cell.width / done.encoded
    seconds = {
        stage: spent * (scale if stage in ("encode", "classify") else 1)
        for stage, spent in done.seconds.items()
    }
    return Row(job.cell.height, encoder, done, {"search": job.search_seconds, **seconds})


def cell_table(rows: Sequence[Row]) -> Iterator[str]:
    """A Markdown table, one line per cell."""
    yield "| cell | encoder | encoded | " + " | ".join(STAGES) + " | most but the encoder | peak |"
    yield "|---|---|---:|" + "---:|" * (len(STAGES) + 2)
    for row in rows:
        total = sum(row.seconds.values())
        stage, most = max((s for s in row.seconds.items() if s[0] != "encode"), key=lambda s: s[1])
        share = "every pixel" if row.whole else f"{row.measured.encoded:,} pixels"
        yield (
            f"| {row.size}² | {row.encoder} | {share} | "
            + " | ".join(f"{row.seconds[stage]:.2f}" for stage in STAGES)
            + f" | {stage}, {most / total:.1%} | {row.measured.peak / 1e9:.2f} GB"
            + (" (spilled)" if row.measured.spilled else "")
            + (" (paused)" if row.measured.paused else "")
            + " |"
        )


def plain_runs(
    job: Job, made: archive.BenchArchive, folder: Path, repeats: int
) -> Mapping[str, list[dict[str, float]]]:
    """Each way to make the cell's series, in turns, each in a process of its own.

    Raises RuntimeError where a way's series differs from ours by more than it may.
    """
    items, cell = write_plain_input(job, made, folder)
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way in WAYS:
            out = folder / f"{way}.npy"
            command: list[str | Path] = [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "tests.benchmarks.plain",
                way,
                items,
                cell,
                out,
            ]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            runs[way].append(json.loads(done.stdout.splitlines()[-1]))
            _say(f"  {way}: {runs[way][-1]['seconds']:.1f} s")
    ours = np.load(folder / "timesen.npy", mmap_mode="r")
    for way in WAYS:
        theirs = np.load(folder / f"{way}.npy", mmap_mode="r")
        # Ours rounds the median of an even number to a whole number; theirs keep the half.
        apart = np.nanmax(np.abs(ours.astype(np.float32) - theirs))
        if not apart <= 0.501:
            raise RuntimeError(f"the series of {way} is {apart} DN from timesen's")
    return runs


def plain_table(runs: Mapping[str, list[dict[str, float]]]) -> Iterator[str]:
    """A Markdown table, one line per way: medians and ratios."""
    ours = runs["timesen"]
    yield "| way | seconds (median) | ratio to timesen | peak memory | ratio to timesen |"
    yield "|---|---:|---:|---:|---:|"
    for way, done in runs.items():
        turns = zip(done, ours, strict=True)
        ratio = median(theirs["seconds"] / own["seconds"] for theirs, own in turns)
        peak = median(one["peak"] for one in done)
        yield (
            f"| {way} | {median(one['seconds'] for one in done):.1f} | {ratio:.2f} "
            f"| {peak / 1e9:.2f} GB | {peak / median(one['peak'] for one in ours):.2f} |"
        )


def document(
    rows: Sequence[Row],
    runs: Mapping[str, list[dict[str, float]]],
    made: archive.BenchArchive,
    repeats: int,
) -> str:
    """The whole result, Markdown."""
    cells, plain = "\n".join(cell_table(rows)), "\n".join(plain_table(runs))
    return f"""# One cell

Made by `make bench` on {os.cpu_count()} cores ({platform.machine()}, Linux); an archive of
{made.dates} dates ({archive.A_MONTH} a month) in a folder, ten bands and the scene classification,
DEFLATE, stored at {made.stored:.0%} of its size, {made.clear:.0%} of its pixels clear.

## Seconds by stage and memory

A Dask worker process of {THREADS} threads with a limit of {MEMORY_LIMIT}. Seconds are summed over
its threads: a 2048² cell is done in about half of their sum, while a 1024² cell is one source
block, which one thread encodes. Where not every pixel was encoded (squares
spread over the cell were), encode and classify are scaled up to the whole cell; the rest is read,
composited and written whole. "Peak" is the most that the process has had resident.

{cells}

## Read and composite, beside the plain ways

The same {_PLAIN_SIZE}² cell and items, made into masked monthly medians with gaps filled; the
results agree. {THREADS} threads, processes of their own, {repeats} interleaved runs; ratios are
medians of those within a turn. stackstac and odc-stac as they come, with xarray's `groupby` and
`median`.

{plain}
"""


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--repeats", type=int, default=_REPEATS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _say("Writing the archive …")
        made = archive.write_archive(folder / "archive")
        paper = folder / "paper"
        write_paper_checkpoint(paper)
        shape = load_checkpoint(str(paper)).card.architecture
        assert isinstance(shape, TimeSenClipArchitecture)
        encoders = {
            "sample": "sample",
            f"paper's size ({shape.depth} layers, {shape.dim} wide)": str(paper),
        }
        rows: list[Row] = []
        for size in SIZES:
            for encoder, checkpoint in encoders.items():
                _say(f"A cell of {size}² with the encoder: {encoder} …")
                spots = (encoder, size) != ("sample", _WHOLE)
                run = folder / f"run-{len(rows)}"
                job = prepare(made, run, checkpoint, size, spots=spots)
                rows.append(cell_row(job, encoder))
        _say("Beside the plain ways …")
        job = prepare(made, folder / "plain", "sample", _PLAIN_SIZE)
        runs = plain_runs(job, made, folder, arguments.repeats)
    text = document(rows, runs, made, arguments.repeats)
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(text)
    print(text)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
