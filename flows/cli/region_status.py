"""How far all runs of a file of regions are, from what is in their folders."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.errors import OutputError
from pipeline.io.store import Store, public_text, public_url
from pipeline.layout import RUN
from pipeline.mapping.plan_geojson import read_cells
from pipeline.product.committed_cells import finished_ids
from pipeline.product.layers import CLASS
from pipeline.product.ledger import failed_cells, read_run
from pipeline.product.ownership import last_held
from pipeline.settings.regions import RegionRun, load_regions


@dataclass(frozen=True)
class RegionStatus:
    """A run of a file of regions.

    Attributes:
        name: Its name in the file.
        year: The year that it maps.
        state: "not begun", "incomplete", "failed" (some cells did, none is left), "done"; or what
            is wrong with its folder.
        cells: The number of its cells, and of those that are done, failed and left.
        last: When a process last had its folder, in UTC; None where none did.
        map: The path of the map, None where there is none yet.
    """

    name: str
    year: int
    state: str
    cells: int = 0
    done: int = 0
    failed: int = 0
    left: int = 0
    last: str | None = None
    map: str | None = None

    @property
    def counts(self) -> str:
        """The cells in words, "12 of 16 done, 1 failed, 3 left"; empty where none is planned."""
        if not self.cells:
            return ""
        others = {"failed": self.failed, "left": self.left}
        told = [f"{count} {name}" for name, count in others.items() if count]
        return ", ".join([f"{self.done} of {self.cells} done", *told])


@dataclass(frozen=True)
class RegionsStatus:
    """All runs of a file of regions, in its order."""

    file: str
    runs: tuple[RegionStatus, ...]

    @property
    def left(self) -> int:
        """Cells that are neither done nor failed; a run that is not begun counts as one."""
        return sum(run.left or run.state == "not begun" for run in self.runs)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"file": self.file, "runs": [asdict(run) for run in self.runs]}

    def show(self, console: Console) -> None:
        """Print it for a person."""
        for part in self.parts():
            console.print(part)

    def parts(self) -> list[RenderableType]:
        """A table with a row for each run; times are in UTC."""
        table = Table("region", "year", "state", "cells", "last run (UTC)")
        table.add_column("map", overflow="fold")
        for run in self.runs:
            last = (run.last or "")[:16].replace("T", " ")
            row = [run.name, str(run.year), run.state, run.counts, last, run.map or ""]
            table.add_row(*map(Text, row))
        return [table]


def read_regions_status(file: Path) -> RegionsStatus:
    """How far the runs of a file of regions are; raises SettingsError where the file is wrong."""
    return RegionsStatus(str(file), region_states(load_regions(file)))


def region_states(runs: Sequence[RegionRun]) -> tuple[RegionStatus, ...]:
    """How far these runs are."""
    return tuple(_state(run) for run in runs)


def _state(run: RegionRun) -> RegionStatus:
    name, year, store = run.name, run.settings.year, Store(run.settings.out)
    if not store.exists(RUN):
        return RegionStatus(name, year, "not begun")
    try:
        manifest = read_run(store)
        planned = {cell.id for cell in read_cells(store, manifest)}
    except OutputError as error:
        return RegionStatus(name, year, public_text(str(error)))
    done = len(planned & finished_ids(store, manifest.fingerprint))
    failed = len(failed_cells(store, manifest))
    left = len(planned) - done - failed
    state = "incomplete" if left else "failed" if failed else "done"
    there = store.exists(CLASS.mosaic_file)
    shown = public_url(store.path(CLASS.mosaic_file)) if there else None
    cells = len(planned)
    return RegionStatus(name, year, state, cells, done, failed, left, last_held(store), shown)
