"""The command `timesen status`: how far a run is, from what is in its folder."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flows.cli.app import INTERRUPTED, argument, command_app
from flows.cli.region_status import RegionsStatus, read_regions_status
from flows.execution.console import PlainConsole
from flows.execution.progress import duration
from pipeline.io.store import Store, public_url
from pipeline.mapping.plan_geojson import read_cells
from pipeline.product.committed_cells import finished_cells
from pipeline.product.ledger import FailedCell, failed_cells, read_run
from pipeline.raster.read_stats import LeftOut, rasters_left_out, total_stats

_PAUSE = 2.0  # seconds between two looks
_SHARE = 10  # times as long a pause as a look took: thousands of cells in object storage take long

status_app = command_app(
    "status",
    examples=(
        "timesen status runs/a",
        "timesen status s3://maps/a --watch",
        "timesen status runs/a --json",
        "timesen status regions.toml",
    ),
)


@status_app.default
def print_status(
    run: Annotated[
        str, argument("RUN", "A run's folder, or s3:// URL; or a file of regions, regions.toml.")
    ],
    /,
    *,
    as_json: Annotated[
        bool, Parameter(name="--json", negative=(), help="For programs: everything, as JSON.")
    ] = False,
    watch: Annotated[
        bool,
        Parameter(
            negative=(),
            help="Show it anew as it changes, until no cell is left (--json: a line each time).",
        ),
    ] = False,
) -> int:
    """Show which cells of a run are done, which failed and why, and how many are left.

    Of a file of regions (`timesen map-regions`), show a table of all its runs.
    """
    if watch:
        return _watch(run, as_json)
    found = _read(run)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        found.show(PlainConsole())
    return 0


def _watch(run: str, as_json: bool) -> int:
    """Show the status as it changes; on a terminal in one place."""
    console = PlainConsole()
    try:
        if as_json or not console.is_terminal:
            for found in _changes(run):
                if as_json:
                    print(json.dumps(found.to_dict()), flush=True)
                else:
                    found.show(console)
        else:
            with Live(console=console, auto_refresh=False) as live:
                for found in _changes(run):
                    live.update(Group(*found.parts()), refresh=True)
    except KeyboardInterrupt:  # nothing has been stopped but the watching
        return INTERRUPTED
    return 0


def _read(run: str) -> "Status | RegionsStatus":
    """The status of a run, or of all runs of a file of regions."""
    if run.endswith(".toml") and not Path(run).is_dir():
        return read_regions_status(Path(run))
    return read_status(run)


def _changes(run: str) -> Iterator["Status | RegionsStatus"]:
    """The status of a run now and whenever it has changed, until no cell is left."""
    shown = None
    while shown is None or shown.left:
        began = time.monotonic()
        found = _read(run)
        if found != shown:
            yield found
            shown = found
        if shown.left:
            time.sleep(max(_PAUSE, _SHARE * (time.monotonic() - began)))


@dataclass(frozen=True)
class Status:
    """Cells done, failed and left; `seconds` is the workers' time by stage so far."""

    run: str
    cells: int
    done: int
    failures: tuple[FailedCell, ...]
    seconds: Mapping[str, float]
    left_out: LeftOut | None

    @property
    def left(self) -> int:
        """Cells that neither are done nor failed."""
        return self.cells - self.done - len(self.failures)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "run": self.run,
            "cells": self.cells,
            "done": self.done,
            "failed": [asdict(failure) for failure in self.failures],
            "left": self.left,
            "rasters_left_out": self.left_out.rasters if self.left_out else 0,
            "seconds": {stage: round(spent, 3) for stage, spent in self.seconds.items()},
        }

    def show(self, console: Console) -> None:
        """Print it for a person."""
        for part in self.parts():
            console.print(part, soft_wrap=isinstance(part, Text))

    def parts(self) -> list[RenderableType]:
        """What a person sees of it, from top to bottom."""
        counts = f"{self.done} of {self.cells} cells done, {len(self.failures)} failed"
        parts: list[RenderableType] = [Text(f"{counts}, {self.left} left")]
        if self.left_out:
            parts.append(Text(f"{self.left_out.sentence()}; the report names them"))
        if self.seconds:
            spent = ", ".join(f"{stage} {duration(s)}" for stage, s in self.seconds.items())
            parts.append(Text(f"time of the workers: {spent}"))
        if self.failures:
            table = Table("failed cell", "when", "why")
            for failure in self.failures:
                why = f"{failure.kind}: {failure.error}"
                table.add_row(*map(Text, (failure.cell, failure.when, why)))
            parts.append(table)
        return parts


def read_status(folder: str) -> Status:
    """How far the run in a folder or object store's prefix is; raises OutputError where none is."""
    store = Store(folder)
    run = read_run(store)
    planned = {cell.id for cell in read_cells(store, run)}
    reports = [
        report for cell, report in finished_cells(store, run.fingerprint).items() if cell in planned
    ]
    lost = rasters_left_out(report.stats for report in reports)
    return Status(
        run=public_url(store.root),
        cells=len(planned),
        done=len(reports),
        failures=tuple(failed_cells(store, run).values()),
        seconds=total_stats(report.stats for report in reports).seconds,
        left_out=lost,
    )
