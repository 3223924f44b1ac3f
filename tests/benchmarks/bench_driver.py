"""The driver of a run of many cells that do nothing: memory, cells a second, start and resumption.

`python -m tests.benchmarks.bench_driver`; some ten minutes of two cores. Writes
`tests/benchmarks/results/driver.md` and `driver.svg`.
"""

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import s3fs
import torch
from matplotlib.figure import Figure

from models.encoder.checkpoint import save_checkpoint
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from pipeline.sample.archive import write_archive
from tests.made_card import made_card

COMMAND = "python -m tests.benchmarks.bench_driver"
RESULTS = Path(__file__).parent / "results"
REPOSITORY = Path(__file__).parents[2]
FOLDER = (1000, 5000, 14000)
S3 = (1000,)
_TINY = TimeSenClipArchitecture(dim=16, depth=1, heads=2, feedforward=16, embedding_dim=384)
_AWS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
}


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of moto's server, in a process of its own, with the bucket "maps"."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    program = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(program, stdout=quiet, stderr=quiet) as server:
        try:
            until = time.monotonic() + 120
            while True:
                try:
                    urllib.request.urlopen(address, timeout=5).close()
                    break
                except OSError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.2)
            os.environ.update(_AWS, AWS_ENDPOINT_URL=address)
            boto3.client("s3").create_bucket(Bucket="maps")
            yield address
        finally:
            os.environ.pop("AWS_ENDPOINT_URL", None)
            server.terminate()


def copied(run: Path) -> str:
    """Copy a run into the bucket; gives its place there."""
    place = f"maps/{run.name}-copied"
    s3fs.S3FileSystem().put(f"{run}/", f"{place}/", recursive=True)
    return f"s3://{place}"


def run_once(cells: int, out: str, folder: Path) -> dict[str, Any]:
    """What one process of `tests.benchmarks.driver_job` measured."""
    program = [sys.executable, "-m", "tests.benchmarks.driver_job", str(cells), out]
    done = subprocess.run(
        [*program, str(folder / "archive"), str(folder / "tiny")],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PREFECT_HOME": str(folder / "prefect")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(cells: int, where: str, what: str, found: Mapping[str, Any]) -> str:
    """A line of the table."""
    above = [(found[name] - found["base"]) / 1e6 for name in ("map_bytes", "bytes")]
    rate = f"{(cells - 1) / found['map']:.0f}" if found["map"] else "–"
    asked = [found["map_requests"], found["requests"] - found["map_requests"]]
    requests = [f"{number / cells:.2f}" if where == "S3" else "–" for number in asked]
    return (
        f"| {cells:,} | {where} | {what} | {found['first']:.1f} | {rate} | {found['publish']:.1f} "
        f"| {above[0]:.0f} | {above[1]:.0f} | {requests[0]} | {requests[1]} |"
    )


def figure(points: Sequence[tuple[int, float, float]]) -> None:
    """Draw memory against cells."""
    drawing = Figure(figsize=(5, 3), layout="constrained")
    axes = drawing.add_subplot()
    cells = [point[0] for point in points]
    axes.plot(cells, [point[1] for point in points], "o-", label="while mapping")
    axes.plot(cells, [point[2] for point in points], "o-", label="with publishing")
    axes.set(xlabel="cells of the run", ylabel="peak above the start (MB)", ylim=(0, None))
    axes.legend()
    drawing.savefig(RESULTS / "driver.svg", metadata={"Date": None})


def table(lines: Sequence[str]) -> str:
    """The page of results."""
    about = (
        f"`{COMMAND}`, {platform.machine()}, {os.cpu_count()} cores. Each cell has one task, which "
        "commits a raster of 2048² pixels of one class and its STAC item, through flow, queue, "
        "scheduler, claims and ledger, 18 cells a tile. Driver, scheduler and worker are one "
        "process; memory is its peak above what it has before the flow begins. S3 is moto's "
        "server, which answers more slowly than a store does: there the requests count. A run that "
        "is *copied* was mapped in the folder and copied into S3; its index of cells is then not "
        "believed, and each cell's item is read once more."
    )
    columns = (
        *("cells", "where", "start", "s to the first cell, or to see that all are done"),
        *("cells/s", "s to publish", "peak while mapping (MB)", "peak with publishing (MB)"),
        *("requests a cell before publishing", "requests a cell to publish"),
    )
    return "\n".join(
        [
            "# The driver of a run of many cells",
            "",
            about,
            "",
            f"| {' | '.join(columns)} |",
            "|--:|---|---|--:|--:|--:|--:|--:|--:|--:|",
            *lines,
            "",
            "![Peak memory](driver.svg)",
            "",
        ]
    )


def main() -> None:
    """Measure, and write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, nargs="+", default=FOLDER, help="in a folder")
    parser.add_argument("--s3-cells", type=int, nargs="*", default=S3, help="in moto's S3")
    given = parser.parse_args()
    lines, points = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.manual_seed(0)
        save_checkpoint(folder / "tiny", TimeSenClipEncoder(_TINY), made_card(_TINY))
        write_archive(folder / "archive", seed=7, size=1300.0, per_month=1)
        for cells in given.cells:
            for what in ("maps all", "all done"):
                found = run_once(cells, str(folder / f"run-{cells}"), folder)
                lines.append(row(cells, "folder", what, found))
                print(lines[-1], flush=True)
                if what == "maps all":
                    rise = [(found[n] - found["base"]) / 1e6 for n in ("map_bytes", "bytes")]
                    points.append((cells, rise[0], rise[1]))
        with s3_server():
            for cells in given.s3_cells:
                for what in ("maps all", "all done"):
                    found = run_once(cells, f"s3://maps/run-{cells}", folder)
                    lines.append(row(cells, "S3", what, found))
                    print(lines[-1], flush=True)
            largest = max(given.cells)
            out = copied(folder / f"run-{largest}")
            for what in ("copied, all done", "all done"):
                found = run_once(largest, out, folder)
                lines.append(row(largest, "S3", what, found))
                print(lines[-1], flush=True)
    if tuple(given.cells) != FOLDER:
        return
    figure(points)
    (RESULTS / "driver.md").write_text(table(lines))


if __name__ == "__main__":
    main()
