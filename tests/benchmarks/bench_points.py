"""Series of points: requests, bytes and seconds per point, together and one point at a time.

`python -m tests.benchmarks.bench_points`, about two minutes on two cores. Writes
tests/benchmarks/results/points.md.
"""

import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np

from models.encoder.preprocessing import AUTHORS, BANDS
from pipeline.catalog.item import Item
from pipeline.grid.cells import Cell
from pipeline.grid.region import read_region
from pipeline.observations.clear_mask import Masking, strict_keep
from pipeline.observations.reading import Reading
from pipeline.point_series.read_points import read_point_series
from pipeline.raster.cog_reader import kept_headers
from pipeline.raster.stackstac_reader import ReaderSettings
from pipeline.settings.map import make_search_settings
from tests.benchmarks import archive
from tests.benchmarks.memory import peak_bytes, reset_peak
from tests.benchmarks.reading_archive import cell_of
from tests.catalog_servers import search_named
from tests.nginx import Nginx, nginx

RESULT = Path(__file__).parent / "results" / "points.md"
COUNTS = (4, 16, 64, 256)
ALONE = 3  # points that are read one at a time

READING = Reading(
    bands=BANDS,
    masking=Masking(strict_keep(AUTHORS.scl_keep), most=6, least=0.01),
    reader=ReaderSettings(),
)


@dataclass(frozen=True)
class Measured:
    """The requests for some points, and their cost."""

    points: int
    requests: int
    sent: int
    again: int
    seconds: float
    peak: int

    def row(self, name: str, alone: "Measured") -> str:
        """A line of the table."""
        each, other = self.requests / self.points, alone.requests / alone.points
        return (
            f"| {name} | {self.requests:,} | {each:,.1f} | {self.sent / self.points / 1e6:,.2f} MB "
            f"| {self.seconds / self.points:,.3f} s | {other / each:,.1f} | {self.again} "
            f"| {self.peak / 1e9:.2f} GB |"
        )


def measure(server: Nginx, points: int, work: Callable[[], object]) -> Measured:
    """Do the work, and count the requests to the server meanwhile."""
    server.forget()
    reset_peak()
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    asked = [r for r in server.requests() if r.path.endswith(".tif")]
    again = sum(count - 1 for count in Counter((r.path, r.range) for r in asked).values())
    sent = sum(request.body for request in asked)
    return Measured(points, len(asked), sent, again, seconds, peak_bytes())


def cold(items: Sequence[Item]) -> None:
    """Forget the headers of all rasters, as a process that begins knows none."""
    for item in items:
        for asset in item.assets.values():
            kept_headers.drop(asset.href)


def items_of(made: archive.BenchArchive, server: Nginx) -> list[Item]:
    """The archive's items, searched on the server."""
    url = f"{server.address}/{made.folder.name}"
    settings = make_search_settings(
        {"region": str(made.region), "year": archive.YEAR, "catalog": {"url": url}}
    )
    return list(search_named(read_region(settings.region), settings).items)


def alone(
    server: Nginx, items: Sequence[Item], cell: Cell, rows: np.ndarray, columns: np.ndarray
) -> tuple[Measured, Measured, np.ndarray]:
    """Points one at a time: by a process each, and by one that remembers headers; their series."""
    series = np.zeros((len(rows), 12, len(BANDS)), np.uint16)

    def one(i: int) -> None:
        part = slice(i, i + 1)
        series[i] = read_point_series(cell, rows[part], columns[part], items, READING).series[0]

    each = []
    for i in range(len(rows)):
        cold(items)
        each.append(measure(server, 1, lambda i=i: one(i)))  # type: ignore[misc]
    by_a_process = Measured(
        len(each),
        sum(m.requests for m in each),
        sum(m.sent for m in each),
        0,
        mean(m.seconds for m in each) * len(each),
        max(m.peak for m in each),
    )
    cold(items)

    def all_in_turn() -> None:
        for i in range(len(rows)):
            one(i)

    in_one = measure(server, len(rows), all_in_turn)
    return by_a_process, in_one, series


def document(made: archive.BenchArchive, lines: Iterator[str]) -> str:
    """The whole result, Markdown."""
    table = "\n".join(lines)
    return f"""# Series of points

Made by `python -m tests.benchmarks.bench_points` on {os.cpu_count()} cores
({platform.machine()}, Linux), which other work may have shared: counts of requests and bytes are
exact, seconds are not. A cell of 2048² pixels (four source blocks of 10 m, one of 20 m), a year of
{made.dates} dates, ten bands and the scene classification, over HTTP from nginx on the same
machine. Points lie anywhere in the cell; {made.clear:.0%} of what the scene classification shows is
clear. Scene classification first; bands of at most 6 dates a month, and only of dates that are
clear at a point.

- **one at a time**: each point by a process of its own, which knows no raster's header.
- **one at a time, one process**: one after the other; headers are remembered.
- **n together**: what `timesen dataset series` does with the points of a cell, by a process that
  knows no header. A continent's points, read a cell at a time, fall into these rows by how many
  of them share a cell.

"Fewer" is requests a point of the first row over those of the row. "Asked again" counts requests
for bytes that were fetched before: together, each block is fetched and decoded once.

| points | requests | a point | sent a point | time a point | fewer | asked again | peak |
|---|---:|---:|---:|---:|---:|---:|---:|
{table}

The series of the points that were read alone are those of the points read together, bit for bit.
"""


def main() -> None:
    """Measure and write the table."""
    with tempfile.TemporaryDirectory() as name, nginx(Path(name)) as server:
        _say("Writing the archive …")
        made = archive.write_archive(Path(name) / "year")
        items, cell = items_of(made, server), cell_of(archive.SIZE)
        rng = np.random.default_rng(0)
        rows, columns = rng.integers(0, archive.SIZE, (2, max(COUNTS)))
        read_point_series(cell, rows[:1], columns[:1], items[:6], READING)  # what is compiled once
        _say("One at a time …")
        first, kept, series = alone(server, items, cell, rows[:ALONE], columns[:ALONE])
        lines = [
            first.row("one at a time", first),
            kept.row("one at a time, one process", first),
        ]
        for count in COUNTS:
            _say(f"{count} together …")
            cold(items)
            found: list[np.ndarray] = []
            measured = measure(
                server,
                count,
                lambda n=count, to=found: to.append(  # type: ignore[misc]
                    read_point_series(cell, rows[:n], columns[:n], items, READING).series
                ),
            )
            shared = min(count, ALONE)
            if not np.array_equal(found[0][:shared], series[:shared]):
                raise RuntimeError("points read alone differ from those read together")
            lines.append(measured.row(f"{count} together", first))
        text = document(made, iter(lines))
    RESULT.write_text(text)
    print(text)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
