"""The input of a way to read, and its run in a process of its own."""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.grid.cells import Cell
from pipeline.grid.mgrs import parse_tile
from tests.benchmarks.reading_archive import Stac

THREADS = 2


@dataclass(frozen=True)
class Job:
    """A cell to read, by its place in the tile's grid, of all `items`.

    With `whole` all pixels are delivered; else the maximum of each chunk is, and its pixels are
    dropped. `warm` are other items, which are read first. `digest` asks for a digest
    of the pixels that are delivered.
    """

    items: Stac
    warm: Stac
    place: tuple[int, int, int, int, int, int]
    tile: str
    whole: bool = True
    digest: bool = False

    @property
    def cell(self) -> Cell:
        return Cell(parse_tile(self.tile), *self.place)

    @property
    def warming(self) -> "Job":
        """The cell of the other items; a corner of it, where it is large."""
        small = self.place[4] <= 1024
        place = self.place if small else (*self.place[:4], 64, 64)
        return replace(self, items=self.warm, place=place, whole=True)


def make_job(items: Stac, warm: Stac, cell: Cell, *, whole: bool = True) -> Job:
    """A job for a cell."""
    place = (cell.row, cell.column, cell.row_offset, cell.column_offset, *cell.shape)
    return Job(items, warm, place, cell.tile.name, whole)


def write_json(path: Path, what: object) -> Path:
    """Write a job, or anything that JSON can hold; gives the path."""
    path.write_text(json.dumps(asdict(what) if isinstance(what, Job) else what))
    return path


def read_job(path: Path) -> Job:
    """The job that a file holds."""
    fields = json.loads(path.read_text())
    return Job(**fields | {"place": tuple(fields["place"])})


def in_own_process(module: str, *arguments: object) -> dict[str, Any]:
    """Run `python -m tests.benchmarks.MODULE ARGUMENTS`; gives the JSON that it prints last."""
    command = [sys.executable, "-W", "ignore", "-m", f"tests.benchmarks.{module}"]
    done = subprocess.run(
        [*command, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True
    )
    printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return printed


def say(what: str) -> None:
    """Print progress to standard error."""
    print(what, file=sys.stderr, flush=True)
