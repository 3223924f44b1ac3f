"""Searching, planning and starting a map of Europe: its time, processor and memory.

`python -m tests.benchmarks.bench_europe [--side DEGREES] [--folder FOLDER]`; some minutes of one
core, without any raster. With `--side` a box of so many degrees takes seconds. Writes
`tests/benchmarks/results/europe.md`.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.catalog.description import describe_catalog
from pipeline.catalog.item_snapshot import make_snapshot
from pipeline.grid.cells import tiles_of
from pipeline.grid.region import read_region
from pipeline.io.store import Store
from pipeline.mapping.plan_geojson import read_cells
from pipeline.product.ledger import read_run
from tests.benchmarks.europe import YEAR, europe_items, write_region

COMMAND = "python -m tests.benchmarks.bench_europe"
RESULT = Path(__file__).parent / "results" / "europe.md"
REPOSITORY = Path(__file__).parents[2]
_EVERY = 0.05  # seconds between looks at the memory


@dataclass(frozen=True)
class Step:
    """What a command took: seconds passed, seconds of processors, bytes at its peak."""

    name: str
    wall: float
    cpu: float
    peak: int

    def row(self) -> str:
        """Its row of the table."""
        return f"| {self.name} | {self.wall:.0f} s | {self.cpu:.0f} s | {self.peak / 1e9:.2f} GB |"


def measured(name: str, *arguments: str) -> Step:
    """Run Python with some arguments; the memory is that of the process and its children."""
    began, before = time.perf_counter(), os.times()
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen([sys.executable, *arguments], env=environment)
    with _watched(process.pid) as peak:
        code = process.wait()
    after = os.times()
    if code:
        raise SystemExit(f"{name} failed")
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    return Step(name, time.perf_counter() - began, cpu, max(peak))


@contextmanager
def _watched(pid: int) -> Iterator[list[int]]:
    """The resident bytes of a process and its children, looked at all the time."""
    seen, ended = [0], threading.Event()
    first = psutil.Process(pid)

    def watch() -> None:
        while not ended.wait(_EVERY):
            try:
                group = [first, *first.children(recursive=True)]
                seen.append(sum(process.memory_info().rss for process in group))
            except psutil.Error:  # one has just ended
                continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def write_table(out: str, side: float | None) -> None:
    """Write `region.geojson` and `items.parquet`, as `timesen search` of Earth Search would."""
    folder = Path(out)
    write_region(folder / "region.geojson", side)
    tiles = tiles_of(read_region(str(folder / "region.geojson")))
    content = make_snapshot(europe_items(tiles), describe_catalog("earth-search", None))
    (folder / "items.parquet").write_bytes(content)


_START = """
import sys
from pipeline.mapping.prepare import prepared_run
from pipeline.settings.map import make_settings
region, table, out = sys.argv[1:4]
settings = make_settings({{
    "region": region, "year": {year}, "classes": {classes!r}, "catalog": {{"url": table}},
    "checkpoint": "real-land", "out": out,
}})
with prepared_run(settings) as prepared:
    cells = prepared.unfinished()
    prepared.items_of(cells[0])
    print(len(cells), "cells to map")
"""
_CLASSES = "forest, field, water, town"


def steps(folder: Path, side: float | None) -> list[Step]:
    """Measure each step of a run up to its first cell."""
    region, table, out = (str(folder / name) for name in ("region.geojson", "items.parquet", "run"))
    where = (*("--region", region), *("--year", str(YEAR)), *("--catalog", table))
    plan = ("-m", "flows.cli", "plan", *where, "--classes", _CLASSES, "--checkpoint", "real-land")
    search = ("-m", "flows.cli", "search", *where)
    found = str(folder / "found.parquet")
    make = f"from tests.benchmarks import bench_europe as b; b.write_table({str(folder)!r}, {side})"
    start = _START.format(year=YEAR, classes=_CLASSES)
    return [
        measured("the items are made, and frozen as a table", "-c", make),
        measured("`timesen search`, from this table", *search, "--items", found),
        measured("`timesen plan`, from this table", *plan, "--out", out),
        measured("`timesen plan` again", *plan, "--out", out),
        measured("the planned run is started", "-c", start, region, table, out),
    ]


def document(folder: Path, found: list[Step]) -> str:
    """The table with what it says."""
    store = Store(str(folder / "run"))
    cells = read_cells(store, read_run(store))
    tiles = len({cell.tile for cell in cells})
    return f"""# A map of Europe, up to its first cell

Made by `{COMMAND}` on {os.cpu_count()} cores ({platform.machine()}, {platform.system()},
Python {platform.python_version()}). Where other work shares them, the processor's time is steadier
than the time that passes. {tiles} tiles, {len(cells):,} cells; an item every five days of {YEAR} in
each tile, of the form of Earth Search, and no raster. The memory is the most that a command and its
children had resident. A run is started when its folder is held, its finished cells are known, and
the items of its first cell are read.

| step | time | processor | memory |
|---|---:|---:|---:|
{chr(10).join(step.row() for step in found)}
"""


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--side", type=float, help="degrees of a box, in place of all Europe")
    parser.add_argument("--folder", type=Path, help="where region, table and run are kept")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        text = document(folder, steps(folder, given.side))
    given.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
