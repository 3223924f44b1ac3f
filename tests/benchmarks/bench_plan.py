"""Plans beside the runs that they are of: time, bytes and requests, predicted and real.

`python -m tests.benchmarks.bench_plan [--folder FOLDER]`; some ten minutes on two idle cores. It
needs nginx and the real data of `tests.benchmarks.belgium`. Writes
`tests/benchmarks/results/plan.md`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely

from flows.execution.dask_cluster import open_cluster
from models.encoder.checkpoint import load_checkpoint
from pipeline.costs.machine_rates import MachineRates, rates_of, this_machine
from pipeline.grid.mgrs import parse_tile
from pipeline.mapping.cell_graph import cell_graph
from pipeline.mapping.plan import Plan
from pipeline.mapping.prepare import prepare_run
from pipeline.mapping.run import PreparedRun
from pipeline.product.committed_cells import mapped_items
from pipeline.raster.read_stats import ReadStats, total_stats
from pipeline.real_land.belgium import patch_bbox, read_patch, write_belgian_archive
from pipeline.sample.archive import write_archive
from pipeline.settings.map import make_settings
from tests.benchmarks import archive
from tests.benchmarks.belgium import SHARED
from tests.benchmarks.reading_job import say
from tests.nginx import nginx

COMMAND = "python -m tests.benchmarks.bench_plan"
RESULT = Path(__file__).parent / "results" / "plan.md"
_WITHIN = 0.25


@dataclass(frozen=True)
class Case:
    """A run that is planned and mapped; `by_gdal`: GDAL reads its rasters, uncounted."""

    name: str
    settings: Mapping[str, Any]
    by_gdal: bool = False


@dataclass(frozen=True)
class Compared:
    """A run's plan, and what it took: core seconds, seconds by the clock, bytes, requests.

    `rates` are those that the plan was reckoned by.
    """

    case: Case
    plan: Plan
    rates: MachineRates
    cpu: float
    wall: float
    stats: ReadStats
    written: int

    @property
    def pairs(self) -> Iterator[tuple[str, float, float]]:
        """Name, prediction and truth of each number."""
        planned = self.plan.resources
        clock = sum(self.plan.seconds) / 2
        yield "core seconds", planned.core_seconds / self.rates.held, self.cpu
        yield "seconds by the clock", clock, self.wall
        yield "MB read", planned.bytes_read / 1e6, self.stats.fetched / 1e6
        yield "requests", planned.requests, float(self.stats.requests)
        yield "MB written", planned.bytes_written / 1e6, self.written / 1e6


def compared(case: Case, folder: Path) -> Compared:
    """Measure the machine with the case's catalogue, plan the run, and map its cells."""
    settings = make_settings({**case.settings, "out": str(folder / "run")})
    rates = _measured(case, folder)
    prepared = prepare_run(settings)
    say(prepared.plan.summary())
    warm = _warm(prepared)
    before, began = time.process_time(), time.perf_counter()
    _mapped(prepared)
    wall, cpu = time.perf_counter() - began, time.process_time() - before
    items = mapped_items(prepared.run.store, prepared.run.manifest)
    stats = total_stats(
        ReadStats.from_dict({k.removeprefix("timesen:"): v for k, v in one["properties"].items()})
        for one in items
    )
    sizes = prepared.run.store.sizes("cells/")
    done = Compared(case, prepared.plan, rates, cpu, wall, stats, sum(sizes.values()))
    say("\n".join(f"{name}: {a:,.1f} {b:,.1f}" for name, a, b in done.pairs) + f"\n{warm} warm")
    return done


def _measured(case: Case, folder: Path) -> MachineRates:
    """The rates that `timesen bench machine` keeps, in a process of its own."""
    options: list[str] = []
    for name in ("region", "year", "first_month", "checkpoint"):
        if name in case.settings:
            options += [f"--{name.replace('_', '-')}", str(case.settings[name])]
    options += ["--catalog", case.settings["catalog"]["url"]]
    if network := case.settings.get("network"):
        options += ["--allowed-hosts", network["allowed_hosts"]]
    command = [sys.executable, "-m", "flows.cli", "bench", "machine", *options]
    subprocess.run(command, check=True)
    rates = rates_of(this_machine())
    assert rates is not None
    return rates


def _warm(prepared: PreparedRun) -> str:
    """Load the encoder and compile what is compiled, which a run does once."""
    from pipeline.mapping.encode_block import _encoder

    run = prepared.run
    _encoder(run.checkpoint, run.checkpoint_fingerprint, run.settings.batch_size)
    return load_checkpoint(run.checkpoint).card.name


def _mapped(prepared: PreparedRun) -> None:
    """Map the cells as a run does, two in flight."""
    left = [*prepared.cells]
    with open_cluster(prepared.run.settings.cluster) as client:
        while left:
            now, left = left[:2], left[2:]
            graphs = [cell_graph(cell, prepared.items_of(cell), prepared.run) for cell in now]
            for future in client.compute(graphs):
                future.result()


def cases(folder: Path, shared: Path, address: str) -> Iterator[Case]:
    """The demo, the Belgian patch, and a cell of 2048² with 60 dates over HTTP.

    `folder / "http"` is what the server at `address` shows.
    """
    sample = write_archive(folder / "sample", year=2021)
    demo = {"region": str(folder / "sample" / "region.geojson"), "year": 2021}
    land = {"vocabulary": "sample-landscape", "checkpoint": "sample"}
    yield Case("the demo", {**demo, **land, "catalog": {"url": str(sample.folder)}})
    made = write_belgian_archive(shared, folder / "belgium")
    place = ",".join(str(degrees) for degrees in patch_bbox(read_patch(shared)))
    belgium = {"region": place, "year": 2020, "first_month": 11}
    yield Case(
        "the Belgian patch",
        {**belgium, "vocabulary": "cropland", "catalog": {"url": str(made)}},
        by_gdal=True,
    )
    if not (folder / "http" / "year" / "catalog.json").exists():
        (folder / "http").mkdir(exist_ok=True)
        archive.write_archive(folder / "http" / "year")
    region = folder / "cell.geojson"
    outline = archive.outline(parse_tile(archive.TILE), margin=-1.0)
    region.write_text(json.dumps(shapely.geometry.mapping(outline)))
    yield Case(
        "a cell of 2048², 60 dates, over HTTP",
        {
            **land,
            "region": str(region),
            "year": archive.YEAR,
            "catalog": {"url": f"{address}/year/catalog.json"},
            "network": {"allowed_hosts": "127.0.0.1"},
        },
    )


def table(done: list[Compared]) -> Iterator[str]:
    """A Markdown table, a row for each number of each case."""
    yield "| run | what | predicted | real | predicted / real |"
    yield "|---|---|---:|---:|---:|"
    for one in done:
        for name, planned, real in one.pairs:
            if real:
                apart = planned / real
                if name == "MB read" and one.case.by_gdal:
                    yield f"| {one.case.name} | {name} | {planned:,.1f} | not counted | |"
                    continue
                mark = "" if abs(apart - 1) <= _WITHIN else " (beyond 25 %)"
                yield (
                    f"| {one.case.name} | {name} | {planned:,.1f} | {real:,.1f} "
                    f"| {apart:.2f}{mark} |"
                )


def document(done: list[Compared], load: tuple[float, float]) -> str:
    """The whole result, Markdown."""
    rows = "\n".join(table(done))
    return f"""# Plans and runs

Made by `{COMMAND}` on {os.cpu_count()} cores ({platform.machine()}, Linux). Before each plan the
machine was measured with the run's own catalogue, as `timesen bench machine run.toml` does. Core
seconds are processor time of the process that maps, planned and real. Seconds by the clock hold
what other programs took, too: the load was {load[0]:.1f} when it began and {load[1]:.1f} when it
ended, and above the number of cores they are uncertain. What a run does once is left out: its
start, and the publication of the map. The Belgian rasters are compressed by
LZW: GDAL reads them, and what it reads is not counted.

{rows}
"""


def main() -> None:
    """Plan, map, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    shared = Path(os.environ.get("TIMESEN_TEST_DATA", SHARED))
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.folder or Path(name)
        os.environ["XDG_STATE_HOME"] = str(Path(name) / "state")
        (folder / "http").mkdir(parents=True, exist_ok=True)
        first = os.getloadavg()[0]
        with nginx(folder / "http") as server:
            done = [
                compared(case, Path(name) / str(number))
                for number, case in enumerate(cases(folder, shared, server.address))
            ]
        text = document(done, (first, os.getloadavg()[0]))
    arguments.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
