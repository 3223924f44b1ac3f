"""The command `timesen status`: how far a run is, from what is in its folder."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from flows.cli.app import argument, command_app
from flows.execution.console import PlainConsole
from flows.execution.progress import duration
from pipeline.io.store import Store, public_url
from pipeline.mapping.plan_geojson import read_cells
from pipeline.product.ledger import FailedCell, failed_cells, finished_cells, read_run
from pipeline.raster.read_stats import LeftOut, rasters_left_out, total_stats

status_app = command_app(
    "status", examples=("timesen status runs/a", "timesen status runs/a --json")
)


@status_app.default
def print_status(
    run: Annotated[str, argument("RUN", "A run's folder, or s3:// URL.")],
    /,
    *,
    as_json: Annotated[
        bool, Parameter(name="--json", negative=(), help="For programs: everything, as JSON.")
    ] = False,
) -> int:
    """Show which cells of a run are done, which failed and why, and how many are left."""
    found = read_status(run)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        found.show(PlainConsole())
    return 0


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
        console.print(
            f"{self.done} of {self.cells} cells done, {len(self.failures)} failed, "
            f"{self.left} left",
            highlight=False,
        )
        if self.left_out:
            console.print(
                f"{self.left_out.sentence()}; the report names them",
                highlight=False,
                soft_wrap=True,
            )
        if self.seconds:
            spent = ", ".join(f"{stage} {duration(s)}" for stage, s in self.seconds.items())
            console.print(f"time of the workers: {spent}", highlight=False, soft_wrap=True)
        if self.failures:
            table = Table("failed cell", "when", "why")
            for failure in self.failures:
                table.add_row(failure.cell, failure.when, f"{failure.kind}: {failure.error}")
            console.print(table)


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
        failures=tuple(failed_cells(store).values()),
        seconds=total_stats(report.stats for report in reports).seconds,
        left_out=lost,
    )
