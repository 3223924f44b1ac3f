"""The cost of `timesen classify` on a run that kept its embeddings, beside that of mapping.

`python -m tests.benchmarks.bench_ask`; about ten minutes on two cores. Writes
tests/benchmarks/results/ask.md. Both commands map the sample archive, each time from nothing; the
second encoder has the paper's sizes (8 million parameters, random weights: its classes mean
nothing, its costs are those of a trained one).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import rasterio

from pipeline.sample.archive import write_archive
from tests.benchmarks.cells import write_paper_checkpoint

RESULT = Path(__file__).parent / "results" / "ask.md"
COMMAND = "python -m tests.benchmarks.bench_ask"
SAMPLE = "sample"
_TURNS = {SAMPLE: 3, "of the paper's sizes": 1}
_OTHER = "cereal field, forest, lake, town, meadow, orchard, marsh, quarry"


@dataclass(frozen=True)
class Spent:
    """Seconds of a command: of the whole process, and of the work on its cells."""

    wall: float
    work: float


def spent_by(command: Sequence[str], out: Path) -> Spent:
    """Run a command that makes a run in `out`."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "flows.cli", *command, "--out", str(out)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    wall = time.perf_counter() - began
    items = [json.loads(path.read_text()) for path in out.glob("cells/*/*/item.json")]
    return Spent(wall, sum(sum(i["properties"]["timesen:seconds"].values()) for i in items))


def agreement(first: Path, second: Path) -> float:
    """The share of pixels to which two runs give the same class; both have the same nodata."""
    same = pixels = 0
    for path in first.glob("cells/*/*/class.tif"):
        with rasterio.open(path) as one, rasterio.open(second / path.relative_to(first)) as other:
            left, right = one.read(1), other.read(1)
        seen = left > 0
        if not np.array_equal(seen, right > 0):
            raise ValueError(f"{path} and its like differ in nodata")
        pixels += int(seen.sum())
        same += int((left == right)[seen].sum())
    return same / pixels


def measured(folder: Path, archive: Path, name: str) -> Iterator[str]:
    """The table's two lines for an encoder, and the share of equal classes."""
    checkpoint = SAMPLE if name == SAMPLE else str(folder / "paper")
    whole, asked = [], []
    for turn in range(_TURNS[name]):
        mapped, again = (folder / f"{kind} {name} {turn}" for kind in ("map", "again"))
        print(f"{name}, {turn + 1} of {_TURNS[name]} …", file=sys.stderr, flush=True)
        command = ["map", "--region", str(archive / "region.geojson"), "--year", "2021"]
        command += ["--vocabulary", "sample-landscape", "--checkpoint", checkpoint]
        whole.append(spent_by([*command, "--catalog", str(archive), "--keep-embeddings"], mapped))
        asked.append(spent_by(["classify", str(mapped), "--classes", _OTHER], again))
    same = folder / f"same {name}"
    spent_by(["classify", str(mapped), "--vocabulary", "sample-landscape"], same)
    full, less = ([median(getattr(s, part) for s in way) for part in ("work", "wall")]
                  for way in (whole, asked))  # fmt: skip
    yield (
        f"| {name} | {full[0]:.1f} | {less[0]:.2f} | {full[0] / less[0]:.0f} × "
        f"| {full[1]:.1f} | {less[1]:.1f} | {full[1] / less[1]:.1f} × "
        f"| {agreement(mapped, same):.2%} |"
    )


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = folder / "archive"
        write_archive(archive, year=2021)
        write_paper_checkpoint(folder / "paper")
        rows = [row for name in _TURNS for row in measured(folder, archive, name)]
    result = f"""# Asking again

Made by `{COMMAND}` on {os.cpu_count()} cores ({platform.machine()}, Linux): the sample archive
mapped with `--keep-embeddings`, then `timesen classify` with eight other classes, in turns.
"Work" is the sum of the seconds that the cells' STAC items state, of reading to writing; "whole"
is the process from its start to its end, with Python's imports, Prefect's server and the mosaic.
The last column: pixels that get the same class from the kept int8 embeddings as from the float32
ones of the map itself, asked for the same words.

| encoder | work: map, s | classify, s | ratio | whole: map, s | classify, s | ratio | same class |
|---|---:|---:|---:|---:|---:|---:|---:|
{chr(10).join(rows)}
"""
    arguments.out.write_text(result)
    print(result)


if __name__ == "__main__":
    main()
