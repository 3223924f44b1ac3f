"""Tiles of `timesen view` beside titiler's plain COG endpoint, and what an asked word costs.

`python -m tests.benchmarks.bench_view`; about six minutes on two cores. Writes
tests/benchmarks/results/view.md. Both servers are processes of this machine that answer over HTTP,
one tile at a time, in turns. Three made runs: cells of 2048 × 2048 pixels in two zones, 800 small
cells in two zones, and cells of 1024 × 1024 pixels with embeddings of 384 dimensions.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import psutil

from pipeline.product.layers import CLASS
from pipeline.viewer.map_tiles import MapTile
from pipeline.viewer.viewed_run import ViewedRun, open_viewed_run
from tests.benchmarks.viewed_runs import make_viewed
from tests.services import free_port

RESULT = Path(__file__).parent / "results" / "view.md"
COMMAND = "python -m tests.benchmarks.bench_view"
_LARGE = "5.80,49.45,6.20,49.80"
_MANY = "5.89,49.69,6.11,49.855"
_EMBEDDED = "5.30,49.70,5.43,49.73"
_ONE, _SEVERAL = "lake", "forest, lake, town, wheat field, grassland, shrubland"
_TURNS = 9
_FEWER_TURNS = 3  # where nothing is compared


def peer_app() -> Any:
    """The plain COG endpoint of titiler."""
    from fastapi import FastAPI
    from titiler.core.factory import TilerFactory

    app = FastAPI()
    app.include_router(TilerFactory().router)
    return app


@dataclass
class Spent:
    """Seconds of each tile, and of the server's processors for each turn's tile on average."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def milliseconds(self) -> str:
        """Medians: elapsed, and of the processors."""
        return f"{median(self.wall) * 1e3:.0f} | {median(self.cpu) * 1e3:.0f}"


@contextmanager
def served(command: Sequence[str], port: int, path: str) -> Iterator[tuple[str, psutil.Process]]:
    """The base address and the process of a server, once it answers."""
    process = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.DEVNULL)
    base, until = f"http://127.0.0.1:{port}", time.monotonic() + 120
    try:
        while True:
            try:
                httpx.get(base + path, timeout=60).raise_for_status()
                break
            except httpx.HTTPError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
        yield base, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def viewer(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The viewer of a run, once it has read ahead."""
    port = free_port()
    with served(["flows.cli", "view", str(folder), "--port", str(port)], port, "/") as found:
        wait_until_idle(found[1])
        yield found


def wait_until_idle(process: psutil.Process) -> None:
    """Wait until a process has done nothing for two seconds."""
    quiet = 0
    while quiet < 4:
        before = sum(process.cpu_times()[:2])
        time.sleep(0.5)
        quiet = quiet + 1 if sum(process.cpu_times()[:2]) - before < 0.02 else 0


def ask_tiles(addresses: Sequence[str], process: psutil.Process, spent: Spent) -> None:
    """Ask for each address once."""
    with httpx.Client(timeout=60) as client:
        client.get(addresses[0])  # opens the connection
        before = sum(process.cpu_times()[:2])
        for address in addresses:
            began = time.perf_counter()
            client.get(address).raise_for_status()
            spent.wall.append(time.perf_counter() - began)
        spent.cpu.append((sum(process.cpu_times()[:2]) - before) / len(addresses))


def tiles_around(lon: float, lat: float, z: int, side: int = 2) -> list[MapTile]:
    """The tiles around a place."""
    x = int((lon + 180) / 360 * 2**z)
    y = int((1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * 2**z)
    return [MapTile(z, x + i, y + j) for i in range(side) for j in range(side)]


def beside_titiler(folder: Path, run: ViewedRun) -> list[str]:
    """Rows of a table: tiles within one cell, by both servers in turns."""
    cell = max(run.cells, key=lambda one: one.shape[0] * one.shape[1])
    west, south, east, north = cell.bbox
    lon, lat = (west + east) / 2, (south + north) / 2
    raster = quote(run.store.path(cell.key(CLASS)))
    port, rows = free_port(), []
    peer = ["uvicorn", "tests.benchmarks.bench_view:peer_app", "--factory", "--port", str(port)]
    with viewer(folder) as ours, served([*peer, "--log-level", "error"], port, "/docs") as theirs:
        for z in (15, 14, 13, 12):
            own, other = Spent(), Spent()
            tiles = tiles_around(lon, lat, z, 3 if z > 13 else 1)
            paths = [f"{one.z}/{one.x}/{one.y}" for one in tiles]
            for _ in range(_TURNS):
                ask_tiles([f"{ours[0]}/api/runs/0/tiles/class/{p}" for p in paths], ours[1], own)
                there = f"{theirs[0]}/tiles/WebMercatorQuad"
                ask_tiles([f"{there}/{p}.png?url={raster}" for p in paths], theirs[1], other)
            ratios = (median(own.wall) / median(other.wall), median(own.cpu) / median(other.cpu))
            rows.append(
                f"| {z} | {own.milliseconds} | {other.milliseconds} | "
                f"{ratios[0]:.2f} | {ratios[1]:.2f} |"
            )
    return rows


def of_two_zones(folder: Path, run: ViewedRun, zooms: Sequence[int], name: str) -> list[str]:
    """Rows of a table: tiles at the border of zones, with and without confidence."""
    _, south, _, north = run.bbox
    rows = []
    with viewer(folder) as (base, process):
        for z in zooms:
            tiles = tiles_around(6.0, (south + north) / 2, z, 2 if z > 9 else 1)
            for fade in (False, True):
                paths = [f"{one.z}/{one.x}/{one.y}?fade={fade}" for one in tiles]
                spent = Spent()
                for _ in range(_FEWER_TURNS):
                    ask_tiles([f"{base}/api/runs/0/tiles/class/{p}" for p in paths], process, spent)
                what = "classes, faded by confidence" if fade else "classes"
                rows.append(f"| {name} | {what} | {z} | {spent.milliseconds} |")
    return rows


def of_questions(folder: Path, run: ViewedRun) -> list[str]:
    """Rows of a table: tiles of a word and of several; first views read, later ones have it."""
    west, south, east, north = run.bbox
    lat, rows = (south + north) / 2, []
    with viewer(folder) as (base, process), httpx.Client(timeout=60) as client:
        # Each at a place of its own, where nothing has been read before.
        for place, (words, z) in enumerate(product((_ONE, _SEVERAL), (14, 13))):
            told = client.post(f"{base}/api/runs/0/questions", json={"words": words}).json()
            address = f"{base}/api/runs/0/questions/{told['id']}"
            lon = west + (east - west) * (place + 0.5) / 4
            tiles = tiles_around(lon, lat, z, 2 if z > 13 else 1)
            paths = [f"{address}/{one.z}/{one.x}/{one.y}" for one in tiles]
            first, again = Spent(), Spent()
            for path in paths:
                before, began = sum(process.cpu_times()[:2]), time.perf_counter()
                client.get(path).raise_for_status()
                first.wall.append(time.perf_counter() - began)
                first.cpu.append(sum(process.cpu_times()[:2]) - before)
            for _ in range(_FEWER_TURNS):
                ask_tiles(paths, process, again)
            many = "a word" if words == _ONE else f"{len(words.split(','))} words"
            rows.append(f"| {many} | {z} | {first.milliseconds} | {again.milliseconds} |")
    return rows


def table(work: Path) -> str:
    """The whole report."""
    make_viewed(work / "large", _LARGE, 2048)
    large = open_viewed_run(str(work / "large"))
    titiler = beside_titiler(work / "large", large)
    zones = of_two_zones(work / "large", large, (15, 13, 11, 9), f"{len(large.cells)}")
    make_viewed(work / "many", _MANY, 64)
    many = open_viewed_run(str(work / "many"))
    zones += of_two_zones(work / "many", many, (15, 13, 11, 9), f"{len(many.cells)}")
    make_viewed(work / "embedded", _EMBEDDED, 1024, 1024)
    asked = of_questions(work / "embedded", open_viewed_run(str(work / "embedded")))
    return "\n".join(
        [
            "# Tiles of `timesen view`",
            "",
            f"`{COMMAND}`, {platform.machine()}, {psutil.cpu_count()} cores, Python "
            f"{platform.python_version()}. Milliseconds a tile of 256 × 256 pixels, medians: as "
            "they pass for who asks over HTTP, one tile after the other, and of the server's "
            f"processor. Other work went on: a load of {os.getloadavg()[1]:.0f} at the end, so the "
            "processor's times and the ratios say more than those that pass.",
            "",
            "## Beside titiler's plain COG endpoint",
            "",
            "The class raster of one cell of 2048 × 2048 pixels, in colours, in turns in one run.",
            "",
            "| zoom | timesen | its processor | titiler | its processor | ratio | of processors |",
            "|---:|---:|---:|---:|---:|---:|---:|",
            *titiler,
            "",
            "## At the border of two UTM zones",
            "",
            "| cells | tile | zoom | passes | processor |",
            "|---:|---|---:|---:|---:|",
            *zones,
            "",
            "## Questions of kept embeddings",
            "",
            "Cells of 1024 × 1024 pixels, 384 dimensions. Where a view is new, its embeddings are "
            "read and decompressed; for the next words they are in memory.",
            "",
            "| asked | zoom | new view | its processor | next words | its processor |",
            "|---|---:|---:|---:|---:|---:|",
            *asked,
            "",
        ]
    )


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="where made runs are kept for the next time")
    chosen = parser.parse_args().work
    with tempfile.TemporaryDirectory() as folder:
        text = table(chosen or Path(folder))
    RESULT.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
